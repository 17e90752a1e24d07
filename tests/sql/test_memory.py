"""What no run may do to an execution that an operator holds, or that failed too often, no matter who asks and when."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from config.models import Claim, Evidence, Execution, ProvenCopy
from config.process.person import Person
from sql.database import CopyKnownBad, Database, DeletionHeld
from sql.memory.outlook import PutOff, Throughput
from tests.databases.platform_database import Platform, claim_one, open_attempt

ANA = Person("ana", "janitor-daemon hold uuid-1 --reason r")


@pytest.fixture
def platform(initialized_database_url: str) -> Iterator[Platform]:
    """An empty database."""
    with closing(Platform(initialized_database_url)) as made:
        yield made


@pytest.fixture
def execution(platform: Platform) -> Execution:
    """One that is due, with the removal of local copies switched on."""
    platform.switch_deletion_on()
    return platform.add_execution()


def candidates(database: Database) -> list[Execution]:
    return [execution for page in database.candidates(0) for execution in page]


def fail(database: Database, claim: Claim, max_failed_runs: int | None = 3) -> bool:
    """Note a failure; whether the execution is in quarantine now."""
    return database.fail_migration(claim, "failed", "source_error", "x", max_failed_runs).is_quarantined


def migrate(database: Database, claim: Claim) -> None:
    """Commit a claimed execution, whose local copy is then to be removed."""
    attempt = open_attempt(database, claim)
    copy = ProvenCopy("cloud://s3/p/uuid-1", 1, "p/uuid-1", 1, 1, Evidence.CHECKSUM, "0" * 64)
    assert database.commit_migration(claim, attempt, copy, delete_local_copy=True)


def test_a_held_execution_is_neither_listed_nor_claimed(platform: Platform, execution: Execution) -> None:
    """Also not by a run that read the row before."""
    database = platform.run()
    assert candidates(database) == [execution]
    database.orders.hold(execution.uuid, "r", ANA)
    assert candidates(database) == []
    assert database.claim([execution]) == []
    assert database.count_due(0, 10) == 0
    database.orders.release(execution.uuid, ANA)
    assert candidates(database) == [execution]
    assert database.count_due(0, 10) == 1
    claim_one(database, execution)


def test_a_hold_set_during_the_migration_stops_the_removal(platform: Platform, execution: Execution) -> None:
    """The commit goes through; each question about the removal is answered with the hold, until it is released."""
    database = platform.run()
    claim = claim_one(database, execution)
    (row,) = database.orders.hold(execution.uuid, "r", ANA)
    assert row.is_under_way
    assert (database.lease_seconds_left(claim) or 0) > 0
    migrate(database, claim)
    with pytest.raises(DeletionHeld):
        database.deletion_seconds_left(claim)
    with pytest.raises(DeletionHeld):
        database.note_set_aside(claim, "17")
    assert platform.value("SELECT set_aside_inode FROM janitor_migrations") is None
    database.put_off_deletion(claim)
    assert [deletion.is_held for deletion in database.list_deletions()] == [True]
    database.orders.release(execution.uuid, ANA)
    assert [(deletion.is_held, deletion.is_due) for deletion in database.list_deletions()] == [(False, True)]


def test_a_copy_that_an_audit_found_bad_stops_the_removal(platform: Platform, execution: Execution) -> None:
    """Not what was found of another copy, or before this one was proven, nor that it is whole."""
    database = platform.run()
    claim = claim_one(database, execution)
    migrate(database, claim)
    platform.sql(
        "INSERT INTO janitor_audits (execution_id, provider_id, uri, audited_at, state, evidence) "
        "SELECT execution_id, provider_id, uri, now(), 'damaged', 'read-back' FROM janitor_migrations"
    )
    with pytest.raises(CopyKnownBad):
        database.deletion_seconds_left(claim)
    with pytest.raises(CopyKnownBad):
        database.note_set_aside(claim, "17")
    assert platform.value("SELECT set_aside_inode FROM janitor_migrations") is None
    for found, other in (
        ("state = 'damaged'", "state = 'whole'"),
        ("provider_id = 1", "provider_id = 2"),
        ("uri = 'cloud://s3/p/uuid-1'", "uri = 'cloud://s3/q/uuid-1'"),
        ("audited_at = now()", "audited_at = now() - interval '1 hour'"),
    ):
        platform.sql(f"UPDATE janitor_audits SET {other}")  # noqa: S608 from the list above
        assert database.deletion_seconds_left(claim) is not None, other
        platform.sql(f"UPDATE janitor_audits SET {found}")  # noqa: S608 from the list above
        with pytest.raises(CopyKnownBad):
            database.deletion_seconds_left(claim)


def test_failures_are_counted_once_for_each_claim(platform: Platform, execution: Execution) -> None:
    """A statement that is sent twice, as its answer was lost, counts once and answers the same."""
    database = platform.run()
    claim = claim_one(database, execution)
    assert [fail(database, claim, 1), fail(database, claim, 1)] == [True, True]
    assert platform.value("SELECT failed_runs FROM janitor_migrations") == 1
    assert platform.value("SELECT count(*) FROM janitor_audit WHERE event = 'quarantined'") == 1


def test_a_run_that_lost_its_claim_counts_no_failure(platform: Platform, execution: Execution) -> None:
    old = claim_one(platform.run(), execution)
    database = platform.run()
    claim_one(database, execution)
    assert not fail(database, old, 1)
    assert platform.value("SELECT failed_runs FROM janitor_migrations") == 0


def test_the_pauses_grow_until_the_quarantine(platform: Platform, execution: Execution) -> None:
    hours = []
    for _ in range(5):
        database = platform.run()
        fail(database, claim_one(database, execution), 5)
        hours.append(
            platform.value(
                "SELECT round(extract(epoch FROM next_try_at - now()) / 3600)::integer FROM janitor_migrations"
            )
        )
        assert candidates(platform.run()) == ([execution] if len(hours) == 1 else [])
        platform.sql("UPDATE janitor_migrations SET next_try_at = now()")
    assert hours == [None, 1, 6, 24, 24]
    assert platform.value("SELECT quarantined_at IS NOT NULL FROM janitor_migrations") is True
    database = platform.run()
    assert (candidates(database), database.claim([execution]), database.count_due(0, 10)) == ([], [], 0)
    assert database.outlook.put_off() == PutOff(held=0, quarantined=1, waiting=0)
    (row,) = database.orders.retry(execution.uuid, ANA)
    assert row.is_changed
    assert candidates(database) == [execution]


@pytest.mark.parametrize(
    "change",
    ["uuid = 'other'", "ruta_directorio = '/data/other'", "fecha_ejecucion = '2021-01-01'"],
)
def test_a_row_that_changed_is_free_and_its_failures_are_void(
    platform: Platform, execution: Execution, change: str
) -> None:
    database = platform.run()
    fail(database, claim_one(database, execution), 1)
    assert candidates(database) == []
    platform.sql(f"UPDATE ejecuciones_yaml SET {change}")  # noqa: S608 our own texts
    database = platform.run()
    assert database.count_due(0, 10) == 1
    (changed,) = candidates(database)
    claim = claim_one(database, changed)
    assert not fail(database, claim, 2)
    assert platform.value("SELECT failed_runs FROM janitor_migrations") == 1


def test_what_does_not_count_leaves_what_was_counted(platform: Platform, execution: Execution) -> None:
    """And a commit forgets all of it."""
    for limit in (5, None):
        database = platform.run()
        fail(database, claim_one(database, execution), limit)
    assert platform.value("SELECT failed_runs FROM janitor_migrations") == 1
    database = platform.run()
    migrate(database, claim_one(database, execution))
    assert platform.value("SELECT failed_runs FROM janitor_migrations") == 0


def test_a_removal_that_waits_is_taken_up_after_a_retry(platform: Platform, execution: Execution) -> None:
    database = platform.run()
    claim = claim_one(database, execution)
    migrate(database, claim)
    database.stop_deletion(claim, "local_copy_differs", "x")
    platform.sql("UPDATE janitor_migrations SET deletion_tries = 5, deletion_next_at = now() + interval '1 day'")
    assert [deletion.is_due for deletion in database.list_deletions()] == [False]
    (row,) = database.orders.retry(execution.uuid, ANA)
    assert row.is_changed
    assert [deletion.is_due for deletion in database.list_deletions()] == [True]


def test_a_hold_repeated_is_recorded_once_and_a_new_reason_again(platform: Platform, execution: Execution) -> None:
    orders = platform.database().orders
    seen = [orders.hold(execution.uuid, reason, ANA)[0] for reason in ("a", "a", "b")]
    assert [(row.is_held, row.is_changed) for row in seen] == [(False, True), (True, False), (True, True)]
    rows = platform.sql("SELECT os_user, command, details ->> 'reason' AS reason FROM janitor_audit ORDER BY id")
    assert rows == [{"os_user": ANA.os_user, "command": ANA.command, "reason": reason} for reason in ("a", "b")]


def test_what_a_run_works_on_is_left_to_it_by_a_retry(platform: Platform, execution: Execution) -> None:
    database = platform.run()
    fail(database, claim_one(database, execution))
    database = platform.run()
    claim_one(database, execution)
    (row,) = database.orders.retry(execution.uuid, ANA)
    assert (row.is_under_way, row.is_changed) == (True, False)


def test_a_held_row_that_is_gone_can_be_released(platform: Platform, execution: Execution) -> None:
    orders = platform.database().orders
    orders.hold(execution.uuid, "r", ANA)
    platform.sql("DELETE FROM ejecuciones_yaml")
    (row,) = orders.release(execution.uuid, ANA)
    assert (row.execution_id, row.is_changed) == (None, True)
    assert platform.value("SELECT count(*) FROM janitor_holds") == 0


def test_the_time_of_a_plan_follows_bytes_or_executions() -> None:
    """Whichever takes longer; nothing is known without a past."""
    past = Throughput(executions=10, size_bytes=1000, seconds=100.0)
    assert past.seconds_for(1, 2000) == 200.0
    assert past.seconds_for(50, 1) == 500.0
    assert Throughput(0, 0, 0.0).seconds_for(1, 1) is None
