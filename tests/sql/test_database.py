"""What keeps several runs from harming each other, and rows from being misread: claims, leases, tokens, pages."""

from __future__ import annotations

import contextlib
import re
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from urllib.parse import quote

import psycopg2
import pytest
from cryptography.fernet import Fernet

from config.fields import FieldError
from config.logs import Redactor
from config.models import LEASE_SECONDS, Attempt, Claim, Evidence, Execution, MigrationPolicy, ProvenCopy, ProviderRow
from demo.servers.postgres import EmbeddedPostgres
from sql import connection as connection_module
from sql.connection import LOST_FOR_SECONDS, Connection
from sql.database import (
    Database,
    DatabaseError,
    DatabaseReadOnly,
    DatabaseUnavailable,
    DeletionHeld,
    DeletionSwitchedOff,
    SchemaError,
    database_identity,
)
from sql.memory.outlook import WHOLE_TABLE, PendingSource
from sql.migration import executions as executions_module
from sql.migration.executions import Conflicts
from sql.migration.removals import ListedDeletion, RemovalRecord
from tests.databases.platform_database import Platform, claim_one, open_attempt
from tests.processes import wait_until
from tests.servers.postgres.pgbouncer import PgBouncer
from tests.servers.postgres.postgres_proxy import Accident, PostgresProxy

COPY = ProvenCopy("cloud://local/p/uuid-1", 1, "p/uuid-1", 2, 10, Evidence.READ_BACK, "ab" * 32)


@pytest.fixture(scope="module")
def shared_platform(postgres: EmbeddedPostgres) -> Iterator[Platform]:
    """One database for these tests."""
    with closing(Platform(postgres.new_database(f"database_{secrets.token_hex(4)}"))) as made:
        yield made


@pytest.fixture
def platform(shared_platform: Platform) -> Platform:
    """The platform's database, its tables empty."""
    shared_platform.clear()
    return shared_platform


def commit(database: Database, execution: Execution, *, delete_local_copy: bool = False) -> Attempt:
    """Migrate an execution, as far as the database is concerned."""
    claim = claim_one(database, execution)
    attempt = open_attempt(database, claim)
    assert database.commit_migration(claim, attempt, COPY, delete_local_copy=delete_local_copy)
    return attempt


# Claims


def test_of_several_hosts_exactly_one_gets_each_execution(platform: Platform) -> None:
    executions = [platform.add_execution(f"/data/{number}", f"uuid-{number}") for number in range(200)]
    runs = [platform.run(f"host-{number}") for number in range(4)]
    start = threading.Barrier(len(runs))

    def claim_in_batches(database: Database) -> list[int]:
        start.wait()
        claimed: list[int] = []
        for first in range(0, len(executions), 8):
            claimed += [claim.execution.id for claim in database.claim(executions[first : first + 8])]
        return claimed

    with ThreadPoolExecutor(len(runs)) as executor:
        claimed = [ids for answer in executor.map(claim_in_batches, runs) for ids in answer]
    assert sorted(claimed) == [execution.id for execution in executions]


def test_claims_come_in_the_order_asked_for(platform: Platform) -> None:
    executions = [platform.add_execution(f"/data/{number}", f"uuid-{number}") for number in range(5)]
    asked = executions[::-1]
    assert [claim.execution for claim in platform.run().claim(asked)] == asked


def test_a_lease_protects_until_it_expires(platform: Platform) -> None:
    execution = platform.add_execution()
    first = claim_one(platform.run("host-1"), execution)
    other = platform.run("host-2")
    assert other.claim([execution]) == []
    assert list(other.candidates(0)) == []
    platform.sql("UPDATE janitor_migrations SET lease_expires_at = now() - interval '1 second'")
    assert list(other.candidates(0)) == [[execution]]
    assert claim_one(other, execution).fencing_token == first.fencing_token + 1


def test_a_renewed_lease_protects_longer(platform: Platform) -> None:
    execution = platform.add_execution()
    database = platform.run("host-1")
    claim_one(database, execution)
    platform.sql("UPDATE janitor_migrations SET lease_expires_at = now() + interval '1 second'")
    database.renew_leases()
    remaining = platform.value("SELECT extract(epoch FROM lease_expires_at - now()) FROM janitor_migrations")
    assert remaining > LEASE_SECONDS - 10


def test_a_finished_run_frees_what_it_held(platform: Platform) -> None:
    execution = platform.add_execution()
    database = platform.run("host-1")
    claim_one(database, execution)
    database.finish_run(0, {"migrated": 0})
    assert len(platform.run("host-2").claim([execution])) == 1
    (run,) = platform.sql(
        "SELECT exit_code, report, finished_at IS NOT NULL AS finished FROM janitor_runs WHERE id = 1"
    )
    assert run == {"exit_code": 0, "report": {"migrated": 0}, "finished": True}


@pytest.fixture
def redactor(monkeypatch: pytest.MonkeyPatch) -> Redactor:
    """In the place of the process's only one, so that what a test teaches it is forgotten afterwards."""
    forgotten = Redactor()
    for module in ("config.logs", "sql.runs", "sql.session"):
        monkeypatch.setattr(f"{module}.redactor", forgotten)
    return forgotten


def test_the_report_is_recorded_without_secrets_also_where_one_looks_like_a_number(
    platform: Platform, redactor: Redactor
) -> None:
    redactor.add("4096")
    platform.run().finish_run(1, {"bytes": 40961, "problems": ["x 4096 y"], "ok": True, "none": None})
    report = platform.value("SELECT report FROM janitor_runs")
    assert report == {"bytes": 40961, "problems": ["x *** y"], "ok": True, "none": None}


def test_a_host_takes_over_what_its_dead_run_held(platform: Platform) -> None:
    execution = platform.add_execution()
    first = claim_one(platform.run("host-1"), execution)
    after = platform.run("host-1")
    assert list(after.candidates(0)) == [[execution]]
    assert claim_one(after, execution).fencing_token == first.fencing_token + 1
    assert after.claim([execution]) == []  # but not from itself


def test_an_execution_migrated_meanwhile_is_not_claimed(platform: Platform) -> None:
    execution = platform.add_execution()
    platform.sql("UPDATE ejecuciones_yaml SET migrado_a_nube = true")
    assert platform.run().claim([execution]) == []
    platform.sql("DELETE FROM ejecuciones_yaml")
    assert platform.run().claim([execution]) == []


# Fencing


def taken_over(platform: Platform) -> tuple[Database, Database, Execution]:
    """A run that was thought dead, and the one that took over from it."""
    execution = platform.add_execution()
    return platform.run("host-1"), platform.run("host-2"), execution


def expire_leases(platform: Platform) -> None:
    platform.sql("UPDATE janitor_migrations SET lease_expires_at = now() - interval '1 second'")


def test_an_old_token_can_begin_and_commit_nothing(platform: Platform) -> None:
    late, current, execution = taken_over(platform)
    old = claim_one(late, execution)
    attempt = open_attempt(late, old)
    expire_leases(platform)
    new = claim_one(current, execution)
    assert late.open_attempt(old, 1, "p/uuid-1") is None
    assert not late.commit_migration(old, attempt, COPY, delete_local_copy=True)
    assert platform.value("SELECT migrado_a_nube FROM ejecuciones_yaml") is False
    late.fail_migration(old, "failed", "late", "tarde")
    assert platform.value("SELECT state FROM janitor_migrations") == "migrating"
    assert current.commit_migration(new, open_attempt(current, new), COPY, delete_local_copy=False)
    assert not late.commit_migration(old, attempt, COPY, delete_local_copy=True)
    assert platform.value("SELECT local_copy FROM janitor_migrations") == "kept"


def test_what_an_old_token_saw_at_a_place_does_not_count(platform: Platform) -> None:
    """It was the work of the run that took over: taken for somebody else's, it would never be removed again."""
    late, current, execution = taken_over(platform)
    attempt = open_attempt(late, claim_one(late, execution))
    expire_leases(platform)
    new = claim_one(current, execution)
    current.note_place(open_attempt(current, new), foreign_objects=False)
    late.note_place(attempt, foreign_objects=True)
    again = open_attempt(current, new)
    assert (again.earlier_attempts_here, again.foreign_objects_here) == (1, False)


def test_a_claim_is_held_until_it_is_taken_over_or_its_row_says_otherwise(platform: Platform) -> None:
    late, current, execution = taken_over(platform)
    old = claim_one(late, execution)
    assert 0 < (late.lease_seconds_left(old) or 0) <= LEASE_SECONDS
    expire_leases(platform)
    assert (late.lease_seconds_left(old) or 0) < 0
    new = claim_one(current, execution)
    assert late.lease_seconds_left(old) is None
    assert (current.lease_seconds_left(new) or 0) > 0
    assert current.deletion_seconds_left(new) is None
    platform.switch_deletion_on()
    current.commit_migration(new, open_attempt(current, new), COPY, delete_local_copy=True)
    assert current.lease_seconds_left(new) is None
    assert (current.deletion_seconds_left(new) or 0) > 0
    platform.sql("UPDATE ejecuciones_yaml SET ruta_nube = 'cloud://s3/elsewhere'")
    assert current.deletion_seconds_left(new) is None


def test_an_old_token_can_end_no_deletion(platform: Platform) -> None:
    database = platform.run("host-1")
    execution = platform.add_execution()
    old = claim_one(database, execution)
    database.commit_migration(old, open_attempt(database, old), COPY, delete_local_copy=True)
    later = platform.run("host-1")
    platform.switch_deletion_on()
    (deletion,) = later.claim_deletions([execution])
    assert deletion.claim.fencing_token == old.fencing_token + 1
    assert database.note_set_aside(old, "17") is None
    assert not database.note_emptied(old, "1:2")
    for end in (database.finish_deletion, database.keep_local_copy, database.put_off_deletion):
        end(old)
        assert platform.value("SELECT local_copy FROM janitor_migrations") == "deleting"
    database.stop_deletion(old, "late", "tarde")
    assert platform.sql("SELECT error, deletion_tries, set_aside_inode, emptied_in FROM janitor_migrations") == [
        {"error": None, "deletion_tries": 1, "set_aside_inode": None, "emptied_in": None}
    ]
    assert platform.value("SELECT lease_expires_at > now() FROM janitor_migrations")
    assert later.finish_deletion(deletion.claim)
    assert later.finish_deletion(deletion.claim)  # as after an answer that was lost
    assert platform.value("SELECT local_copy FROM janitor_migrations") == "deleted"
    assert (later.list_deletions(), later.claim_deletions([execution])) == ([], [])


def test_the_end_of_an_old_run_frees_nothing_of_a_new_one(platform: Platform) -> None:
    late, current, execution = taken_over(platform)
    claim_one(late, execution)
    expire_leases(platform)
    claim_one(current, execution)
    late.finish_run(1, {})
    late.renew_leases()
    assert platform.run("host-3").claim([execution]) == []


# Letting go

ENDS: dict[str, Callable[[Database, Claim], object]] = {
    "the migration failed": lambda database, claim: database.fail_migration(claim, "failed", "unavailable", "caído"),
    "the execution is refused": lambda database, claim: database.fail_migration(claim, "refused", "unsafe", "no"),
    "the run is over": lambda database, claim: database.finish_run(1, {"left": claim.execution.id}),
}
"""How a run lets go of an execution that it has not migrated."""

DELETION_ENDS: dict[str, Callable[[Database, Claim], object]] = {
    "the local copy is gone": Database.finish_deletion,
    "the local copy is kept": Database.keep_local_copy,
    "the local copy differs": lambda database, claim: database.stop_deletion(claim, "differs", "difiere"),
    "the run is over": ENDS["the run is over"],
}


@pytest.mark.parametrize("end", ENDS)
def test_after_letting_go_nothing_begins_and_nothing_is_committed(platform: Platform, end: str) -> None:
    """A thread of a run that ends may still be at work, and its token is the newest: nobody else has claimed it."""
    database, execution = platform.run(), platform.add_execution()
    claim = claim_one(database, execution)
    attempt = open_attempt(database, claim)
    ENDS[end](database, claim)
    assert database.open_attempt(claim, 1, COPY.key_prefix) is None
    assert not database.commit_migration(claim, attempt, COPY, delete_local_copy=True)
    assert database.lease_seconds_left(claim) is None
    database.note_place(attempt, foreign_objects=True)
    assert platform.value("SELECT migrado_a_nube FROM ejecuciones_yaml") is False
    assert platform.value("SELECT foreign_objects FROM janitor_attempts") is None
    assert platform.value("SELECT local_copy FROM janitor_migrations") == "kept"


@pytest.mark.parametrize("end", ENDS)
def test_a_lease_that_was_let_go_does_not_come_back(platform: Platform, end: str) -> None:
    """The run continues for hours and renews what it holds: what it does not hold any more is free for others."""
    database, execution = platform.run("host-1"), platform.add_execution()
    claim = claim_one(database, execution)
    ENDS[end](database, claim)
    database.renew_leases()
    assert platform.value("SELECT lease_expires_at FROM janitor_migrations") is None
    assert len(platform.run("host-2").claim([execution])) == 1


def test_a_run_renews_what_it_holds_and_nothing_else(platform: Platform) -> None:
    """What a dead run held would otherwise be held as long as any other one lives."""
    executions = [platform.add_execution(f"/data/{number}", f"uuid-{number}") for number in (1, 2)]
    runs = [platform.run(f"host-{number}") for number in (1, 2)]
    claims = [claim_one(run, execution) for run, execution in zip(runs, executions, strict=True)]
    platform.sql("UPDATE janitor_migrations SET lease_expires_at = now() + interval '1 minute'")
    runs[0].renew_leases()
    renewed, not_renewed = (run.lease_seconds_left(claim) or 0 for run, claim in zip(runs, claims, strict=True))
    assert renewed > LEASE_SECONDS - 60
    assert not_renewed <= 60


@pytest.mark.parametrize("end", DELETION_ENDS)
def test_a_deletion_that_was_let_go_does_not_come_back(platform: Platform, end: str) -> None:
    """Also the lease of a deletion; and a run that has let go of one can neither finish it nor call it off."""
    platform.switch_deletion_on()
    database, execution = platform.run("host-1"), platform.add_execution()
    claim = claim_one(database, execution)
    assert database.commit_migration(claim, open_attempt(database, claim), COPY, delete_local_copy=True)
    assert (database.deletion_seconds_left(claim) or 0) > 0
    DELETION_ENDS[end](database, claim)
    database.renew_leases()
    assert database.deletion_seconds_left(claim) is None
    assert platform.value("SELECT lease_expires_at FROM janitor_migrations") is None
    platform.sql("UPDATE ejecuciones_yaml SET migrado_a_nube = false")
    assert len(platform.run("host-2").claim([execution])) == 1


def test_a_run_that_ends_leaves_what_is_migrated_migrated(platform: Platform) -> None:
    """Its local copy is still to be removed: the next run continues with that."""
    database, execution = platform.run("host-1"), platform.add_execution()
    commit(database, execution, delete_local_copy=True)
    database.finish_run(143, {})
    assert platform.value("SELECT state FROM janitor_migrations") == "migrated"
    assert len(platform.run("host-1").claim_deletions([execution])) == 1


@pytest.mark.parametrize("before", ["deleting", "deleted"])
def test_a_new_claim_knows_nothing_of_an_earlier_deletion(platform: Platform, before: str) -> None:
    """The platform took the migration back and wrote new files: they are not what was to be deleted."""
    database, execution = platform.run("host-1"), platform.add_execution()
    claim = claim_one(database, execution)
    assert database.commit_migration(claim, open_attempt(database, claim), COPY, delete_local_copy=True)
    if before == "deleted":
        database.finish_deletion(claim)
    platform.sql("UPDATE ejecuciones_yaml SET migrado_a_nube = false")
    later = platform.run("host-1")
    again = claim_one(later, execution)
    assert platform.value("SELECT local_copy FROM janitor_migrations") == "kept"
    assert later.commit_migration(again, open_attempt(later, again), COPY, delete_local_copy=False)
    assert platform.run("host-1").claim_deletions([execution]) == []


# One execution and its neighbours

MIGRATING: dict[str, Callable[[Database, Claim, Attempt], object]] = {
    "begin": lambda database, claim, _: database.open_attempt(claim, 1, "p/uuid-1"),
    "note": lambda database, _, attempt: database.note_place(attempt, foreign_objects=True),
    "discard_unfinished": lambda database, _, attempt: database.abandon_attempt(attempt, "unavailable", "caído"),
    "settle": lambda database, _, attempt: database.settle_attempt(attempt.id),
    "fail": lambda database, claim, _: database.fail_migration(claim, "failed", "unavailable", "caído"),
    "commit": lambda database, claim, attempt: database.commit_migration(claim, attempt, COPY, delete_local_copy=True),
}
DELETING: dict[str, Callable[[Database, Claim], object]] = {
    "finish": Database.finish_deletion,
    "keep": Database.keep_local_copy,
    "stop": lambda database, claim: database.stop_deletion(claim, "differs", "difiere"),
}


def rows_of(platform: Platform, execution: Execution) -> list[list[dict[str, object]]]:
    """All that the database holds of one execution."""
    tables = {"ejecuciones_yaml": "id", "janitor_migrations": "execution_id", "janitor_attempts": "execution_id"}
    return [
        platform.sql(f"SELECT * FROM {table} WHERE {column} = %s ORDER BY 1", execution.id)  # noqa: S608 from above
        for table, column in tables.items()
    ]


@pytest.mark.parametrize("step", MIGRATING)
def test_what_is_recorded_of_one_execution_changes_no_other(platform: Platform, step: str) -> None:
    """Its neighbour was taken up at the same time, so that their tokens are equal, and goes to the same place."""
    database = platform.run()
    executions = [platform.add_execution(f"/data/{number}", f"uuid-{number}") for number in (1, 2)]
    claims = database.claim(executions)
    attempts = [open_attempt(database, claim) for claim in claims]
    own, neighbours = (rows_of(platform, execution) for execution in executions)
    MIGRATING[step](database, claims[0], attempts[0])
    assert rows_of(platform, executions[0]) != own
    assert rows_of(platform, executions[1]) == neighbours


@pytest.mark.parametrize("step", DELETING)
def test_the_end_of_one_deletion_changes_no_other(platform: Platform, step: str) -> None:
    database = platform.run()
    executions = [platform.add_execution(f"/data/{number}", f"uuid-{number}") for number in (1, 2)]
    claims = database.claim(executions)
    for claim in claims:
        assert database.commit_migration(claim, open_attempt(database, claim), COPY, delete_local_copy=True)
    own, neighbours = (rows_of(platform, execution) for execution in executions)
    DELETING[step](database, claims[0])
    assert rows_of(platform, executions[0]) != own
    assert rows_of(platform, executions[1]) == neighbours


def test_a_commit_changes_no_row_that_looks_like_its_own(platform: Platform) -> None:
    """One of the same uuid and directory, added after the run's one look at conflicts."""
    database, execution = platform.run(), platform.add_execution()
    claim = claim_one(database, execution)
    attempt = open_attempt(database, claim)
    twin = platform.add_execution()
    before = rows_of(platform, twin)
    database.commit_migration(claim, attempt, COPY, delete_local_copy=True)
    assert rows_of(platform, twin) == before


def test_a_lost_claim_is_not_held_by_the_token_of_another_one(platform: Platform) -> None:
    """Tokens count for one execution each: the late run's is a good one of the neighbour's."""
    late, current = platform.run("host-1"), platform.run("host-2")
    executions = [platform.add_execution(f"/data/{number}", f"uuid-{number}") for number in (1, 2)]
    lost, held = late.claim(executions)
    attempt = open_attempt(late, lost)
    platform.sql("UPDATE janitor_migrations SET lease_expires_at = NULL WHERE execution_id = %s", executions[0].id)
    claim_one(current, executions[0])
    assert held.fencing_token == lost.fencing_token
    assert (late.lease_seconds_left(held) or 0) > 0
    assert late.lease_seconds_left(lost) is None
    assert late.open_attempt(lost, 1, COPY.key_prefix) is None
    late.note_place(attempt, foreign_objects=True)
    assert platform.value("SELECT foreign_objects FROM janitor_attempts") is None
    assert not late.commit_migration(lost, attempt, COPY, delete_local_copy=True)
    assert platform.value("SELECT count(*) FROM ejecuciones_yaml WHERE migrado_a_nube") == 0


def test_no_deletion_continues_because_another_row_points_where_its_own_did(platform: Platform) -> None:
    execution = platform.add_execution()
    commit(platform.run("host-1"), execution, delete_local_copy=True)
    other = platform.add_execution("/data/other", "uuid-2")
    platform.sql("UPDATE ejecuciones_yaml SET migrado_a_nube = (uuid = 'uuid-2'), ruta_nube = %s", COPY.uri)
    platform.sql("UPDATE ejecuciones_yaml SET nube_provider_id = 1")
    assert platform.run("host-1").claim_deletions([execution, other]) == []


def test_only_what_was_stored_at_a_place_is_an_earlier_attempt_there(platform: Platform) -> None:
    """Another provider's or prefix's attempts make nothing that is there ours, and nothing foreign."""
    database = platform.run()
    executions = [platform.add_execution(f"/data/{number}", f"uuid-{number}") for number in (1, 2)]
    claim, neighbour = database.claim(executions)
    for whose, provider_id, key_prefix in ((neighbour, 1, "r/e"), (claim, 2, "p/e"), (claim, 1, "q/e")):
        attempt = open_attempt(database, whose, provider_id, key_prefix)
        database.note_place(attempt, foreign_objects=True)
    found = open_attempt(database, claim, 1, "p/e")
    assert (found.earlier_attempts_here, found.foreign_objects_here) == (0, False)


# What a claim takes over


def test_a_claim_takes_the_row_as_it_is_now_and_its_host(platform: Platform) -> None:
    """Uuid, directory and host decide what is deleted, where, and by whom."""
    execution = platform.add_execution()
    first = platform.run("host-1")
    first.fail_migration(claim_one(first, execution), "failed", "unavailable", "caído")
    platform.sql("UPDATE ejecuciones_yaml SET uuid = 'new', ruta_directorio = '/data/new'")
    changed = Execution(execution.id, "new", "/data/new")
    commit(platform.run("host-2"), changed, delete_local_copy=True)
    assert platform.run("host-1").claim_deletions([execution]) == []
    (deletion,) = platform.run("host-2").claim_deletions([execution])
    assert deletion.claim.execution == changed


def test_a_deletion_that_is_taken_up_is_held_by_the_run_that_took_it_up(platform: Platform) -> None:
    platform.switch_deletion_on()
    dead, execution = platform.run("host-1"), platform.add_execution()
    commit(dead, execution, delete_local_copy=True)
    platform.sql("UPDATE janitor_migrations SET lease_expires_at = NULL")
    current = platform.run("host-1")
    (deletion,) = current.claim_deletions([execution])
    assert (current.deletion_seconds_left(deletion.claim) or 0) > LEASE_SECONDS - 60
    dead.finish_run(1, {})
    assert (current.deletion_seconds_left(deletion.claim) or 0) > 0
    current.finish_run(1, {})
    assert current.lease_seconds_left(deletion.claim) is None


# What is on the server's disk before it is answered


@pytest.fixture
def noted(platform: Platform) -> Iterator[Callable[[], set[str]]]:
    """A role that wants no answer to wait for the disk; gives how each change was committed, looked at while it was."""
    platform.sql(
        "CREATE TABLE noted (change text);"
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO noted VALUES (concat_ws(' ', TG_TABLE_NAME, current_setting('synchronous_commit')));"
        " RETURN NULL; END $$"
    )
    for table in ("ejecuciones_yaml", "janitor_migrations", "janitor_attempts"):
        platform.sql(
            f"CREATE CONSTRAINT TRIGGER note AFTER INSERT OR UPDATE ON {table} "
            "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note()"
        )
    name = platform.value("SELECT current_database()")
    platform.sql(f'ALTER ROLE CURRENT_USER IN DATABASE "{name}" SET synchronous_commit = off')
    yield lambda: {row["change"] for row in platform.sql("SELECT DISTINCT change FROM noted")}
    platform.sql(f'ALTER ROLE CURRENT_USER IN DATABASE "{name}" RESET synchronous_commit')
    platform.sql("DROP FUNCTION note CASCADE; DROP TABLE noted")


@pytest.mark.parametrize("pooled", [False, True])
def test_what_is_acted_upon_is_on_the_servers_disk_whatever_its_role_says(
    platform: Platform, noted: Callable[[], set[str]], request: pytest.FixtureRequest, pooled: bool
) -> None:
    """The commit, after which the local copy goes; and, as the same kind, whatever else is written before something is
    done outside the database: claims, whose tokens must never be given twice, attempts, and the ends of deletions.
    """
    url = platform.database_url
    if pooled:
        pgbouncer: PgBouncer = request.getfixturevalue("pgbouncer")
        url = pgbouncer.url_of(url)
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW synchronous_commit")
        assert cursor.fetchone() == ("off",)
    execution = platform.add_execution()
    platform.sql("TRUNCATE noted")
    with closing(Database(url, "host-1")) as database:
        database.start_run(1, "tick", "test")
        claim = claim_one(database, execution)
        assert noted() == {"janitor_migrations on"}
        attempt = open_attempt(database, claim)
        database.note_place(attempt, foreign_objects=False)
        assert database.commit_migration(claim, attempt, COPY, delete_local_copy=True)
        database.finish_deletion(claim)
    assert noted() == {"ejecuciones_yaml on", "janitor_migrations on", "janitor_attempts on"}


# The commit


def test_a_commit_says_everything_at_once(platform: Platform) -> None:
    database, execution = platform.run("host-1"), platform.add_execution()
    attempt = commit(database, execution, delete_local_copy=True)
    (row,) = platform.sql("SELECT migrado_a_nube, ruta_nube, nube_provider_id FROM ejecuciones_yaml")
    assert row == {"migrado_a_nube": True, "ruta_nube": COPY.uri, "nube_provider_id": 1}
    (migration,) = platform.sql(
        "SELECT state, local_copy, file_count, size_bytes, evidence, manifest_sha256, uri, directory, "
        "lease_expires_at IS NOT NULL AS held FROM janitor_migrations"
    )
    assert migration == {
        "state": "migrated",
        "local_copy": "deleting",
        "file_count": 2,
        "size_bytes": 10,
        "evidence": "read-back",
        "manifest_sha256": "ab" * 32,
        "uri": COPY.uri,
        "directory": "/data/e",
        "held": True,
    }
    assert platform.value("SELECT state FROM janitor_attempts WHERE id = %s", attempt.id) == "committed"
    (stored,) = database.stored_executions.with_uuid("uuid-1")
    assert (stored.migrated, stored.uri, stored.manifest_sha256) == (True, COPY.uri, "ab" * 32)


def test_no_attempt_begins_at_a_row_that_was_migrated_meanwhile(platform: Platform) -> None:
    database, execution = platform.run(), platform.add_execution()
    claim = claim_one(database, execution)
    platform.sql("UPDATE ejecuciones_yaml SET migrado_a_nube = true")
    assert database.open_attempt(claim, 1, "p/uuid-1") is None
    assert platform.sql("SELECT id FROM janitor_attempts") == []


def test_a_failure_that_is_noted_too_late_changes_nothing(platform: Platform) -> None:
    database, execution = platform.run(), platform.add_execution()
    claim = claim_one(database, execution)
    attempt = open_attempt(database, claim)
    database.commit_migration(claim, attempt, COPY, delete_local_copy=False)
    database.fail_migration(claim, "failed", "late", "tarde")
    database.abandon_attempt(attempt, "late", "tarde")
    assert platform.value("SELECT state FROM janitor_migrations") == "migrated"
    assert platform.value("SELECT state FROM janitor_attempts") == "committed"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE ejecuciones_yaml SET uuid = 'other'",
        "UPDATE ejecuciones_yaml SET ruta_directorio = '/data/other'",
        "UPDATE ejecuciones_yaml SET ruta_directorio = NULL",
        "UPDATE ejecuciones_yaml SET migrado_a_nube = true, ruta_nube = 'cloud://s3/by/hand'",
        "DELETE FROM ejecuciones_yaml",
    ],
)
def test_a_row_that_changed_is_not_committed(platform: Platform, change: str) -> None:
    database, execution = platform.run(), platform.add_execution()
    claim = claim_one(database, execution)
    attempt = open_attempt(database, claim)
    platform.sql(change)
    before = platform.sql("SELECT * FROM ejecuciones_yaml")
    assert not database.commit_migration(claim, attempt, COPY, delete_local_copy=True)
    assert platform.sql("SELECT * FROM ejecuciones_yaml") == before
    assert platform.sql("SELECT state, local_copy FROM janitor_migrations") == [
        {"state": "migrating", "local_copy": "kept"}
    ]
    assert platform.value("SELECT state FROM janitor_attempts") == "open"


def test_a_null_migration_flag_counts_as_false(platform: Platform) -> None:
    database, execution = platform.run(), platform.add_execution()
    platform.sql("UPDATE ejecuciones_yaml SET migrado_a_nube = NULL")
    assert list(database.candidates(0)) == [[execution]]
    commit(database, execution)
    assert platform.value("SELECT migrado_a_nube FROM ejecuciones_yaml") is True


def test_a_commit_settles_attempts_at_the_same_place_alone(platform: Platform) -> None:
    database, execution = platform.run(), platform.add_execution()
    claim = claim_one(database, execution)
    for provider_id, key_prefix in ((1, "p/uuid-1"), (2, "p/uuid-1"), (1, "q/uuid-1")):
        attempt = open_attempt(database, claim, provider_id, key_prefix)
        database.note_place(attempt, foreign_objects=False)
        database.abandon_attempt(attempt, "unavailable", "no responde")
    last = open_attempt(database, claim)
    assert (last.earlier_attempts_here, last.foreign_objects_here) == (1, False)
    assert database.commit_migration(claim, last, COPY, delete_local_copy=False)
    states = [row["state"] for row in platform.sql("SELECT state FROM janitor_attempts ORDER BY id")]
    assert states == ["settled", "abandoned", "abandoned", "committed"]
    assert [leftover.attempt_id for leftover in database.leftovers()] == [2, 3]


def test_a_committed_place_is_known_to_a_later_migration(platform: Platform) -> None:
    """The platform took the migration back: the old copy there may still be wanted by somebody."""
    database, execution = platform.run(), platform.add_execution()
    commit(database, execution)
    platform.sql("UPDATE ejecuciones_yaml SET migrado_a_nube = false")
    assert open_attempt(database, claim_one(database, execution)).committed_here


def test_a_failure_is_recorded_in_one_line(platform: Platform) -> None:
    database, execution = platform.run(), platform.add_execution()
    claim = claim_one(database, execution)
    database.fail_migration(claim, "refused", "unsafe_source", "dos\nlíneas")
    (row,) = platform.sql("SELECT state, error_code, error, lease_expires_at FROM janitor_migrations")
    assert list(row.values()) == ["refused", "unsafe_source", "dos\\nlíneas", None]
    assert claim_one(database, execution).fencing_token == 2  # the next run tries again


# A connection that is lost


Swallower = Callable[..., tuple[PostgresProxy, Database]]


@pytest.fixture
def swallower(platform: Platform) -> Iterator[Swallower]:
    """Make a way on which the answer to a statement is lost, and a run whose connection goes that way."""
    with contextlib.ExitStack() as stack:

        def make(statement: bytes, accident: Accident = Accident.ANSWER_LOST) -> tuple[PostgresProxy, Database]:
            proxy = stack.enter_context(PostgresProxy(platform.database_url, statement, accident))
            database = stack.enter_context(closing(Database(proxy.url, "host-1")))
            database.start_run(1, "tick", "test")
            return proxy, database

        yield make


def test_a_commit_whose_answer_is_lost_is_known_to_have_happened(platform: Platform, swallower: Swallower) -> None:
    execution = platform.add_execution()
    proxy, database = swallower(b"The one moment in which")
    attempt = commit(database, execution)
    assert proxy.struck == 1
    assert platform.value("SELECT state FROM janitor_attempts WHERE id = %s", attempt.id) == "committed"
    assert platform.value("SELECT count(*) FROM janitor_attempts") == 1


def test_a_commit_that_happens_only_after_the_connection_broke_is_known_too(
    platform: Platform, swallower: Swallower
) -> None:
    """It waits for a lock that somebody holds on the row; so does the second one, which then finds it done."""
    execution = platform.add_execution()
    _, database = swallower(b"The one moment in which", Accident.BROKEN_AT_ONCE)
    with closing(psycopg2.connect(platform.database_url)) as somebody, ThreadPoolExecutor(1) as executor:
        with somebody.cursor() as cursor:
            cursor.execute("SELECT FROM ejecuciones_yaml FOR UPDATE")
        committing = executor.submit(commit, database, execution)
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        wait_until(lambda: platform.value(waiting) >= 2 or committing.done(), 30)
        somebody.rollback()
        committing.result()
    assert platform.value("SELECT count(*) FROM janitor_attempts WHERE state = 'committed'") == 1


def test_a_commit_that_was_refused_unheard_is_refused(platform: Platform, swallower: Swallower) -> None:
    execution = platform.add_execution()
    proxy, database = swallower(b"The one moment in which")
    claim = claim_one(database, execution)
    attempt = open_attempt(database, claim)
    platform.sql("UPDATE ejecuciones_yaml SET ruta_directorio = '/data/other'")
    assert not database.commit_migration(claim, attempt, COPY, delete_local_copy=True)
    assert proxy.struck == 1
    assert platform.value("SELECT migrado_a_nube FROM ejecuciones_yaml") is False


def test_a_commit_that_did_not_reach_the_server_is_sent_again(platform: Platform) -> None:
    database, execution = platform.run(), platform.add_execution()
    claim = claim_one(database, execution)
    attempt = open_attempt(database, claim)
    platform.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'janitor_daemon' "
        "AND datname = current_database()"
    )
    assert database.commit_migration(claim, attempt, COPY, delete_local_copy=False)
    assert platform.value("SELECT migrado_a_nube FROM ejecuciones_yaml") is True


def test_an_attempt_recorded_twice_because_the_answer_was_lost_counts_for_nothing(
    platform: Platform, swallower: Swallower
) -> None:
    execution = platform.add_execution()
    proxy, database = swallower(b"Written before the first remote byte")
    attempt = open_attempt(database, claim_one(database, execution))
    assert proxy.struck == 1
    assert platform.value("SELECT count(*) FROM janitor_attempts") == 2
    assert (attempt.earlier_attempts_here, attempt.foreign_objects_here) == (0, False)


def test_a_claim_whose_answer_was_lost_is_not_worked_on_by_anybody(platform: Platform, swallower: Swallower) -> None:
    execution = platform.add_execution()
    proxy, database = swallower(b"of several runs exactly one")
    assert database.claim([execution]) == []
    assert proxy.struck == 1
    database.finish_run(0, {})
    assert len(platform.run("host-2").claim([execution])) == 1


class PassingTime:
    """Stands for `time`: every wait is over at once, and the clock shows it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def waited_seconds(monkeypatch: pytest.MonkeyPatch) -> Callable[[Connection], float]:
    """How long a statement waits for a database that it does not get."""
    clock = PassingTime()
    monkeypatch.setattr(connection_module, "time", clock)

    def measure(connection: Connection) -> float:
        before = clock.seconds
        with pytest.raises(DatabaseUnavailable):
            connection.query("list_upgrades")
        return clock.seconds - before

    return measure


def test_a_lost_database_is_waited_for_once_and_not_again_for_each_statement(
    waited_seconds: Callable[[Connection], float],
) -> None:
    """A run that ends without it would have much to tell it in vain: of claims, of jobs, of itself."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"postgresql://janitor@127.0.0.1:{taken.getsockname()[1]}/sage"
        with closing(Connection(url)) as connection:
            assert waited_seconds(connection) >= LOST_FOR_SECONDS
            assert waited_seconds(connection) == 0


def test_a_database_that_was_back_is_waited_for_as_before(
    platform: Platform, waited_seconds: Callable[[Connection], float]
) -> None:
    with (
        PostgresProxy(platform.database_url, b"janitor_job_upgrades", Accident.ANSWER_LOST, times=1_000_000) as proxy,
        closing(Connection(proxy.url)) as connection,
    ):
        assert waited_seconds(connection) >= LOST_FOR_SECONDS
        connection.query("find_missing_columns")
        assert waited_seconds(connection) >= LOST_FOR_SECONDS
        with pytest.raises(DatabaseError):
            connection.execute_script("SELECT 1 / 0")  # an error is an answer, too
        assert waited_seconds(connection) >= LOST_FOR_SECONDS


def test_a_database_that_only_reads_is_not_waited_for(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = PassingTime()
    monkeypatch.setattr(connection_module, "time", clock)
    reading_only = f"{platform.database_url}?options={quote('-c default_transaction_read_only=on')}"
    with closing(Connection(reading_only)) as connection, pytest.raises(DatabaseReadOnly):
        connection.query("reopen_place", {"attempt_id": 1, "run_id": 1})
    assert clock.seconds == 0


def test_a_database_that_is_not_there_is_unavailable_and_its_password_is_not_reported() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"postgresql://janitor:contra%40sena@127.0.0.1:{taken.getsockname()[1]}/sage"
        with closing(Database(url, "host-1")) as database, pytest.raises(DatabaseUnavailable) as caught:
            database.connect()
    assert "contra" not in str(caught.value)
    assert str(caught.value).isprintable()


# Candidates


def ids(pages: Iterator[list[Execution]]) -> list[int]:
    return [execution.id for page in pages for execution in page]


@pytest.mark.parametrize("looked_at_once", [3, 25, 1000])
def test_pages_are_complete_and_oldest_first(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, looked_at_once: int
) -> None:
    monkeypatch.setattr(executions_module, "CANDIDATES_PER_PAGE", 7)
    monkeypatch.setattr(executions_module, "PENDING_PER_LOOK", looked_at_once)
    platform.sql(
        "INSERT INTO ejecuciones_yaml (uuid, ruta_directorio, fecha_ejecucion) "
        "SELECT 'u' || n, '/data/' || n, timestamp '2020-01-01' + (n * 37 % 10) * interval '1.000001 days' "
        "FROM generate_series(1, 50) AS n"  # five of each age
    )
    pages = list(platform.run().candidates(0))
    assert max(len(page) for page in pages) == min(7, looked_at_once)
    ordered = platform.sql("SELECT id FROM ejecuciones_yaml ORDER BY fecha_ejecucion, id")
    assert ids(iter(pages)) == [row["id"] for row in ordered]


def test_every_due_execution_comes_once_whatever_happens_meanwhile(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executions_module, "PENDING_PER_LOOK", 2)
    executions = [platform.add_execution(f"/data/{number}", f"uuid-{number}") for number in range(7)]
    database = platform.run()
    seen: list[Execution] = []
    for page in database.candidates(0):
        seen += page
        for claim in database.claim(page):  # some are migrated, some fail, and are due again at once
            if claim.execution.id % 2:
                database.fail_migration(claim, "failed", "unavailable", "no responde")
            else:
                attempt = open_attempt(database, claim, key_prefix=f"p/{claim.execution.uuid}")
                database.commit_migration(claim, attempt, COPY, delete_local_copy=False)
    assert seen == executions


@pytest.mark.parametrize(
    ("age", "retention_hours", "due"),
    [
        ("now() - interval '31 minutes'", 0.5, True),
        ("now() - interval '29 minutes'", 0.5, False),
        ("now()", 0, True),
        ("now() + interval '1 minute'", 0, False),
        ("now() - interval '100 years'", 24 * 365 * 101, False),
        ("now() - interval '100 years'", 1e300, False),
        ("NULL", 0, False),
        ("'-infinity'", 0, True),
        ("'-infinity'", 1e300, True),
        ("'infinity'", 0, False),
        ("'0044-03-15 BC'", 0, True),
    ],
)
@pytest.mark.parametrize("column_type", ["timestamp", "timestamptz"])
def test_what_is_due(platform: Platform, age: str, retention_hours: float, due: bool, column_type: str) -> None:
    platform.sql(f"ALTER TABLE ejecuciones_yaml ALTER COLUMN fecha_ejecucion TYPE {column_type}")
    try:
        execution = platform.add_execution()
        platform.sql(f"UPDATE ejecuciones_yaml SET fecha_ejecucion = {age}")  # noqa: S608 from the list above
        assert ids(platform.run().candidates(retention_hours)) == ([execution.id] if due else [])
        for source in (WHOLE_TABLE, PendingSource("{}", 0)):
            counted, listed = platform.run().outlook.pending_by_state(retention_hours, source, 5)
            assert sum(row["old_enough"] for row in counted.values()) == (1 if due else 0)
            found = [(row["id"], row["uuid"], row["directory"]) for row in listed]
            assert found == ([(execution.id, execution.uuid, execution.directory)] if due else [])
    finally:
        platform.sql("ALTER TABLE ejecuciones_yaml ALTER COLUMN fecha_ejecucion TYPE timestamp")


def test_dates_from_the_beginning_of_time_do_not_break_the_pages(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executions_module, "PENDING_PER_LOOK", 1)
    dates = ("-infinity", "0044-03-15 BC", "1969-12-31 23:59:59.999999", "2020-01-01")
    executions = [platform.add_execution(f"/data/{number}", f"u{number}", date) for number, date in enumerate(dates)]
    assert ids(platform.run().candidates(0)) == [execution.id for execution in executions]


@pytest.mark.parametrize(
    "change",
    [
        "fecha_ejecucion = now() + interval '1 hour'",
        "fecha_ejecucion = NULL",
        "migrado_a_nube = true",
    ],
)
def test_what_is_changed_after_the_look_is_left_out(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(executions_module, "CANDIDATES_PER_PAGE", 1)
    executions = [platform.add_execution(f"/data/{number}", f"uuid-{number}") for number in range(3)]
    pages = platform.run().candidates(0)
    assert next(pages) == executions[:1]
    platform.sql(f"UPDATE ejecuciones_yaml SET {change} WHERE id = 2")  # noqa: S608 from the list above
    assert list(pages) == [executions[2:]]


def test_a_naive_date_is_in_the_databases_time_zone(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGTZ", "Pacific/Kiritimati")
    execution = platform.add_execution()
    platform.sql("UPDATE ejecuciones_yaml SET fecha_ejecucion = (now() - interval '10 minutes')::timestamp")
    assert ids(platform.run().candidates(0)) == [execution.id]
    assert ids(platform.run().candidates(0.5)) == []


# Conflicts


def conflicts(platform: Platform, *directories: str | None) -> dict[int, str]:
    """What is said of rows with these directories, by position from 1."""
    executions = [platform.add_execution(directory, f"uuid-{number}") for number, directory in enumerate(directories)]
    return reasons(platform.run().conflicts(acceptable), executions)


def reasons(found: Conflicts, executions: Sequence[Execution]) -> dict[int, str]:
    """What is said of each execution of which something is said."""
    told = {execution.id: found.reason(execution) for execution in executions}
    return {execution_id: reason for execution_id, reason in told.items() if reason is not None}


def acceptable(execution: Execution) -> bool:
    """All but what looks like a directory of the system."""
    return execution.directory not in ("/data/sage", "/data//sage/")


@pytest.mark.parametrize(
    ("directories", "in_conflict"),
    [
        (("/data/a", "/data/b"), set()),
        (("/data/a", "/data/a"), {1, 2}),
        (("/data/a", "/data/a/"), {1, 2}),
        (("/data/a", "//data///a//"), {1, 2}),
        (("/data/a", "/data/a/b"), {1, 2}),
        (("/data/a//b/c/", "/data/a"), {1, 2}),
        (("/data", "/data/a/b/c", "/data/x"), {1, 2, 3}),
        (("/data/a", "/data/ab", "/data/a b", "/data/a.b", "/data/A"), set()),
        (("/data/a%", "/data/a_", "/data/ab"), set()),
        (("/data/a\\", "/data/a\\b"), set()),
        ((None, None, "", "relative", "relative"), set()),
        (("/", "/data/a"), set()),
        (("/data/sage", "/data/sage/a", "/data//sage/"), set()),
        (("/data/sage", "/data/sage/a", "/data/sage/a/b", "/data"), {2, 3, 4}),
    ],
)
def test_equal_and_nested_directories_are_in_conflict(
    platform: Platform, directories: tuple[str | None, ...], in_conflict: set[int]
) -> None:
    found = conflicts(platform, *directories)
    assert set(found) == in_conflict
    assert all("su directorio es, contiene o está dentro del de la ejecución con id" in text for text in found.values())


def test_a_migrated_row_is_no_conflict_of_directories(platform: Platform) -> None:
    platform.add_execution("/data/a", "uuid-1")
    platform.sql("UPDATE ejecuciones_yaml SET migrado_a_nube = true")
    assert conflicts(platform, "/data/a") == {}


def test_duplicate_uuids_conflict_also_with_migrated_rows(platform: Platform) -> None:
    """Both would have the same place in the cloud."""
    executions = [platform.add_execution(f"/data/{number}", "the same") for number in range(3)]
    platform.sql("UPDATE ejecuciones_yaml SET migrado_a_nube = true WHERE id = 1")
    assert reasons(platform.run().conflicts(acceptable), executions[1:]) == {
        2: "la ejecución con id 1 tiene el mismo uuid",
        3: "la ejecución con id 1 tiene el mismo uuid",
    }


def test_one_row_above_ten_thousand_others_is_remembered_as_one(platform: Platform) -> None:
    platform.sql(
        "INSERT INTO ejecuciones_yaml (uuid, ruta_directorio, fecha_ejecucion) "
        "SELECT 'u' || n, '/data/executions/' || n % 300 || '/' || n, '2020-01-01' FROM generate_series(1, 10000) AS n"
    )
    outer = platform.add_execution("/data//executions/7", "outer")
    found = platform.run().conflicts(acceptable)
    rows = [Execution(number, f"u{number}", f"/data/executions/{number % 300}/{number}") for number in range(1, 10001)]
    assert set(reasons(found, [*rows, outer])) == {outer.id, *range(7, 10001, 300)}
    assert (len(found.containers), len(found.uuids)) == (1, 0)


# Configuration


def policy_of(platform: Platform, **columns: object) -> MigrationPolicy | None:
    names = ", ".join(columns)
    values = ", ".join(["%s"] * len(columns))
    statement = f"INSERT INTO ejecuciones_config ({names}) VALUES ({values})"  # noqa: S608 names that tests give
    platform.sql(statement, *columns.values())
    return platform.run().load_policy()


def test_without_a_row_there_is_no_policy(platform: Platform) -> None:
    assert platform.run().load_policy() is None


def test_the_row_with_the_highest_id_is_in_force(platform: Platform) -> None:
    policy_of(platform, nube_primaria_id=1)
    policy = policy_of(
        platform,
        nube_primaria_id=3,
        nubes_alternativas=[5, 3, 4, 5],
        tiempo_retencion_local=48,
        prefijo_ruta_nube="//prod//sage/",
        migrar_automaticamente=False,
        eliminar_despues_de_migrar=True,
    )
    assert policy == MigrationPolicy(3, (5, 3, 4, 5), 48.0, "prod/sage", False, True)
    assert policy.provider_ids == (3, 5, 4)


def test_nulls_mean_the_defaults(platform: Platform) -> None:
    columns = ("nube_primaria_id", "nubes_alternativas", "tiempo_retencion_local", "prefijo_ruta_nube")
    flags = ("migrar_automaticamente", "eliminar_despues_de_migrar")
    policy = policy_of(platform, **dict.fromkeys((*columns, *flags)))
    assert policy == MigrationPolicy()
    assert policy.provider_ids == ()


def test_missing_columns_mean_the_defaults(database_url: str) -> None:
    with closing(Platform(database_url)) as old:
        old.sql(
            "ALTER TABLE ejecuciones_config DROP COLUMN eliminar_despues_de_migrar, DROP COLUMN nubes_alternativas, "
            "DROP COLUMN migrar_automaticamente, DROP COLUMN prefijo_ruta_nube"
        )
        policy = policy_of(old, nube_primaria_id=2, tiempo_retencion_local=1)
    assert policy == MigrationPolicy(primary_provider_id=2, retention_hours=1.0)


@pytest.mark.parametrize(
    ("columns", "field"),
    [
        ({"tiempo_retencion_local": -1}, "tiempo_retencion_local"),
        ({"prefijo_ruta_nube": "a/../b"}, "prefijo_ruta_nube"),
        ({"prefijo_ruta_nube": "./a"}, "prefijo_ruta_nube"),
        ({"prefijo_ruta_nube": "a\nb"}, "prefijo_ruta_nube"),
    ],
)
def test_a_wrong_policy_is_reported_by_its_field(platform: Platform, columns: dict[str, object], field: str) -> None:
    with pytest.raises(FieldError, match=f"ejecuciones_config.{field}"):
        policy_of(platform, **columns)


def test_rows_of_providers_are_read_however_they_are_stored(platform: Platform) -> None:
    platform.sql(
        "ALTER TABLE cloud_providers ALTER COLUMN credenciales TYPE text, ALTER COLUMN configuracion TYPE text"
    )
    try:
        rows = (
            ("S3 ", '{"access_key": "AK", "secret_key": "SK1234"}', '{"bucket": "b"}', True),
            ("gcp", '"{\\"type\\": \\"service_account\\"}"', "null", True),
            ("gcp", "/etc/gcp.json", "", False),
            ("gcp", '"/etc/gcp.json"', None, None),
            ("local", None, '"{\\"ruta\\": \\"/nas\\"}"', True),
            ("local", None, "[1]", True),
            ("local", "{", "{}", True),
        )
        for kind, credentials, options, active in rows:
            platform.sql(
                "INSERT INTO cloud_providers (nombre, tipo, credenciales, configuracion, activo) "
                "VALUES (%s, %s, %s, %s, %s)",
                "dos\nlíneas", kind, credentials, options, active,
            )  # fmt: skip
        found = list(platform.run().load_provider_rows())
    finally:
        platform.sql("TRUNCATE cloud_providers")
        platform.sql(
            "ALTER TABLE cloud_providers ALTER COLUMN credenciales TYPE jsonb USING credenciales::jsonb, "
            "ALTER COLUMN configuracion TYPE jsonb USING configuracion::jsonb"
        )
    name = "dos\\nlíneas"
    assert found[:5] == [
        ProviderRow(1, name, "s3", {"access_key": "AK", "secret_key": "SK1234"}, {"bucket": "b"}, active=True),
        ProviderRow(2, name, "gcp", {"type": "service_account"}, {}, active=True),
        ProviderRow(3, name, "gcp", "/etc/gcp.json", {}, active=False),
        ProviderRow(4, name, "gcp", "/etc/gcp.json", {}, active=False),
        ProviderRow(5, name, "local", None, {"ruta": "/nas"}, active=True),
    ]
    errors = [str(item[1]) for item in found[5:] if isinstance(item, tuple)]
    assert errors == ["configuracion: debe ser un objeto JSON", "credenciales: debe ser un objeto JSON"]


@pytest.mark.parametrize("column_type", ["text", "bytea"])
def test_secrets_are_read_however_they_are_stored(
    platform: Platform, column_type: str, redactor: Redactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them holds what a whole column `credenciales` would."""
    key = Fernet.generate_key()
    monkeypatch.setenv("JANITOR_SECRET_KEYS", key.decode())
    platform.sql(f"ALTER TABLE secretos_nube ALTER COLUMN valor_cifrado TYPE {column_type} USING NULL")
    try:
        for name, value in {"part": "s3cret", "whole": '{"type": "service_account", "private_key": "pr1vate"}'}.items():
            encrypted = Fernet(key).encrypt(value.encode())
            written = encrypted.decode() if column_type == "text" else encrypted
            platform.sql("INSERT INTO secretos_nube VALUES (%s, %s)", name, written)
        platform.add_provider("s3", {}, {"access_key": "AK", "secret_key": {"secreto": "part"}})
        platform.add_provider("gcp", {}, {"secreto": "whole"})
        rows = [row for row in platform.run().load_provider_rows() if isinstance(row, ProviderRow)]
    finally:
        platform.sql("TRUNCATE secretos_nube")
        platform.sql("ALTER TABLE secretos_nube ALTER COLUMN valor_cifrado TYPE text USING NULL")
    assert [row.credentials for row in rows] == [
        {"access_key": "AK", "secret_key": "s3cret"},
        {"type": "service_account", "private_key": "pr1vate"},
    ]
    assert redactor.redact("s3cret pr1vate") == "*** ***"
    assert "s3cret" not in str(rows)


def test_credentials_do_not_show_in_a_repr() -> None:
    row = ProviderRow(1, "n", "s3", {"secret_key": "top-secret"}, {}, active=True)
    assert "top-secret" not in repr(row)


# Deletions


def test_unfinished_deletions_belong_to_their_host(platform: Platform) -> None:
    execution = platform.add_execution()
    commit(platform.run("host-1"), execution, delete_local_copy=True)
    assert (platform.run("host-2").list_deletions(), platform.run("host-2").claim_deletions([execution])) == ([], [])
    assert platform.run("host-1").list_deletions() == [ListedDeletion(execution, is_due=True)]
    (deletion,) = platform.run("host-1").claim_deletions([execution])
    assert (deletion.claim.execution, deletion.uri, deletion.provider_id) == (execution, COPY.uri, 1)
    assert deletion.manifest_sha256 == COPY.manifest_sha256
    assert deletion.record == RemovalRecord()


CHANGES_OF_A_ROW = [
    "UPDATE ejecuciones_yaml SET migrado_a_nube = false",
    "UPDATE ejecuciones_yaml SET ruta_nube = 'cloud://s3/elsewhere'",
    "UPDATE ejecuciones_yaml SET nube_provider_id = 9",
    "UPDATE ejecuciones_yaml SET ruta_nube = NULL",
    "UPDATE ejecuciones_yaml SET uuid = 'another'",
    "UPDATE ejecuciones_yaml SET ruta_directorio = '/data/moved'",
    "DELETE FROM ejecuciones_yaml",
]


@pytest.mark.parametrize("change", CHANGES_OF_A_ROW)
def test_no_deletion_continues_when_the_row_points_elsewhere(platform: Platform, change: str) -> None:
    """Whatever a removal asks or writes. Looked for elsewhere: a migration has statements of its own for its row."""
    execution = platform.add_execution()
    database = platform.run("host-1")
    platform.switch_deletion_on()
    commit(database, execution, delete_local_copy=True)
    (deletion,) = platform.run("host-1").claim_deletions([execution])
    assert database.deletion_seconds_left(deletion.claim)
    platform.sql(change)
    assert database.deletion_seconds_left(deletion.claim) is None
    assert database.note_set_aside(deletion.claim, "17") is None
    assert not database.finish_deletion(deletion.claim)
    assert platform.sql("SELECT local_copy, set_aside_inode FROM janitor_migrations") == [
        {"local_copy": "deleting", "set_aside_inode": None}
    ]
    assert (platform.run("host-1").list_deletions(), platform.run("host-1").claim_deletions([execution])) == ([], [])


def test_a_stopped_deletion_is_tried_again_by_the_next_run(platform: Platform) -> None:
    database, execution = platform.run("host-1"), platform.add_execution()
    commit(database, execution, delete_local_copy=True)
    (deletion,) = platform.run("host-1").claim_deletions([execution])
    database.stop_deletion(deletion.claim, "local_copy_differs", "difiere")
    assert platform.value("SELECT error FROM janitor_migrations") == "difiere"
    assert len(platform.run("host-1").claim_deletions([execution])) == 1


def test_what_a_run_removes_just_now_it_does_not_take_up_again(platform: Platform) -> None:
    """It may be set back and migrated again while earlier removals are finished beside."""
    database, execution = platform.run("host-1"), platform.add_execution()
    commit(database, execution, delete_local_copy=True)
    assert database.claim_deletions([execution]) == []


SWITCHES = [
    "INSERT INTO ejecuciones_config (eliminar_despues_de_migrar) VALUES (false)",
    "INSERT INTO ejecuciones_config (eliminar_despues_de_migrar) VALUES (NULL)",
    "UPDATE ejecuciones_config SET eliminar_despues_de_migrar = false",
    "DELETE FROM ejecuciones_config",
    "ALTER TABLE ejecuciones_config RENAME COLUMN eliminar_despues_de_migrar TO other",
]


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_policy_that_does_not_ask_for_a_deletion_any_more_ends_it(platform: Platform, switch: str) -> None:
    """Older installations lack the column; that means the same."""
    database, execution = platform.run("host-1"), platform.add_execution()
    platform.switch_deletion_on()
    commit(database, execution, delete_local_copy=True)
    (deletion,) = platform.run("host-1").claim_deletions([execution])
    platform.sql(switch)
    try:
        with pytest.raises(DeletionSwitchedOff):
            database.deletion_seconds_left(deletion.claim)
        with pytest.raises(DeletionSwitchedOff):
            database.note_set_aside(deletion.claim, "17")
    finally:
        if "RENAME" in switch:
            platform.sql("ALTER TABLE ejecuciones_config RENAME COLUMN other TO eliminar_despues_de_migrar")
    assert platform.value("SELECT set_aside_inode FROM janitor_migrations") is None


HOURS_BETWEEN_TRIES = [None, None, None, 6, 12, 24, 48, 48, 48]


def test_a_deletion_that_fails_again_and_again_is_tried_less_and_less_often(platform: Platform) -> None:
    database, execution = platform.run("host-1"), platform.add_execution()
    commit(database, execution, delete_local_copy=True)
    pauses = []
    for _ in HOURS_BETWEEN_TRIES:
        run = platform.run("host-1")
        (deletion,) = run.claim_deletions([execution])
        run.stop_deletion(deletion.claim, "local_copy_differs", "difiere")
        pause = "SELECT round(extract(epoch FROM deletion_next_at - now()) / 3600)::int FROM janitor_migrations"
        pauses.append(platform.value(pause))
        assert [listed.is_due for listed in run.list_deletions()] == [pauses[-1] is None]
    assert pauses == HOURS_BETWEEN_TRIES
    platform.sql("UPDATE janitor_migrations SET deletion_next_at = now() - interval '1 second'")
    assert [listed.is_due for listed in database.list_deletions()] == [True]


def test_a_deletion_that_was_put_off_was_not_tried(platform: Platform) -> None:
    execution = platform.add_execution()
    commit(platform.run("host-1"), execution, delete_local_copy=True)
    for _ in HOURS_BETWEEN_TRIES:
        run = platform.run("host-1")
        (deletion,) = run.claim_deletions([execution])
        run.put_off_deletion(deletion.claim)
        assert [listed.is_due for listed in run.list_deletions()] == [True]


def test_deletions_come_in_order_of_tries_and_then_of_age(platform: Platform) -> None:
    executions = [platform.add_execution(f"/data/{number}", f"uuid-{number}") for number in range(3)]
    for execution in reversed(executions):
        commit(platform.run("host-1"), execution, delete_local_copy=True)
    run = platform.run("host-1")
    assert [listed.execution for listed in run.list_deletions()] == executions[::-1]
    run.claim_deletions([executions[2]])
    assert [listed.execution for listed in run.list_deletions()] == [executions[1], executions[0], executions[2]]


def test_what_was_written_down_of_an_earlier_removal_says_nothing_about_a_later_one(platform: Platform) -> None:
    """The row was set back in the middle, and the execution was migrated again: killed right then, that run has seen
    nothing of its directory.
    """
    platform.switch_deletion_on()
    execution = platform.add_execution()
    database = platform.run("host-1")
    commit(database, execution, delete_local_copy=True)
    (deletion,) = platform.run("host-1").claim_deletions([execution])
    database.note_set_aside(deletion.claim, "17")
    database.note_emptied(deletion.claim, "1:2")
    (again,) = platform.run("host-1").claim_deletions([execution])
    assert again.record == RemovalRecord("17", "1:2")
    platform.sql("UPDATE ejecuciones_yaml SET migrado_a_nube = false")
    commit(platform.run("host-1"), execution, delete_local_copy=True)
    (later,) = platform.run("host-1").claim_deletions([execution])
    assert later.record == RemovalRecord()


def test_a_question_during_a_removal_changes_nothing(platform: Platform) -> None:
    platform.switch_deletion_on()
    execution = platform.add_execution()
    database = platform.run("host-1")
    commit(database, execution, delete_local_copy=True)
    (deletion,) = platform.run("host-1").claim_deletions([execution])
    database.note_set_aside(deletion.claim, "17")
    database.note_emptied(deletion.claim, "1:2")
    assert (database.deletion_seconds_left(deletion.claim) or 0) > 0
    (again,) = platform.run("host-1").claim_deletions([execution])
    assert again.record == RemovalRecord("17", "1:2")


def test_a_question_during_a_removal_waits_for_nobody_and_writes_nothing(platform: Platform) -> None:
    """Or a hold would not be seen while somebody makes an index, or where the database takes no writes any more."""
    platform.switch_deletion_on()
    execution = platform.add_execution()
    commit(platform.run("host-1"), execution, delete_local_copy=True)
    (deletion,) = platform.run("host-1").claim_deletions([execution])
    sign = "&" if "?" in platform.database_url else "?"
    reading = f"{platform.database_url}{sign}options=-cdefault_transaction_read_only%3Don"
    with (
        closing(Database(reading, "host-1")) as database,
        closing(psycopg2.connect(platform.database_url)) as other,
        other.cursor() as cursor,
    ):
        cursor.execute("LOCK TABLE janitor_migrations IN SHARE MODE")
        assert (database.deletion_seconds_left(deletion.claim) or 0) > 0
        platform.sql(
            "INSERT INTO janitor_holds (execution_id, uuid, reason, host, os_user) "
            "VALUES (%s, 'uuid-1', 'espera', 'host-1', 'ana')",
            execution.id,
        )
        with pytest.raises(DeletionHeld):
            database.deletion_seconds_left(deletion.claim)


def test_what_is_set_aside_again_is_not_empty(platform: Platform) -> None:
    platform.switch_deletion_on()
    execution = platform.add_execution()
    database = platform.run("host-1")
    commit(database, execution, delete_local_copy=True)
    (deletion,) = platform.run("host-1").claim_deletions([execution])
    database.note_set_aside(deletion.claim, "17")
    database.note_emptied(deletion.claim, "1:2")
    database.note_set_aside(deletion.claim, "18")
    (again,) = platform.run("host-1").claim_deletions([execution])
    assert again.record == RemovalRecord("18")
    assert not database.note_emptied(deletion.claim, "1:2")
    assert not database.note_emptied(again.claim, "1:2")  # which has set nothing aside yet
    assert database.note_set_aside(again.claim, "18")
    assert not database.note_emptied(deletion.claim, "1:2")
    assert database.note_emptied(again.claim, "1:2")


def test_a_removal_that_was_stopped_has_removed_nothing(platform: Platform) -> None:
    """Somebody moved the empty directory away in the last moment, and puts another one in its place."""
    platform.switch_deletion_on()
    execution = platform.add_execution()
    database = platform.run("host-1")
    commit(database, execution, delete_local_copy=True)
    (deletion,) = platform.run("host-1").claim_deletions([execution])
    database.note_set_aside(deletion.claim, "17")
    database.note_emptied(deletion.claim, "1:2")
    database.stop_deletion(deletion.claim, "source_changed", "cambió")
    (again,) = platform.run("host-1").claim_deletions([execution])
    assert again.record == RemovalRecord("17")


# Rows that name the directory of a local copy that is to go

NAMES_OF_IT = {
    "the same": "/data/e",
    "the same, written otherwise": "//data///e/",
    "one above it": "/data",
    "one in it": "/data/e/sub/sub",
}
NAMES_OF_OTHERS = ("/data/e2", "/data/ee/sub", "/dat", "/other/data/e", "data/e", "", None)


@pytest.mark.parametrize("state", ["an unfinished removal", "a migration of this run"])
@pytest.mark.parametrize("name", NAMES_OF_IT)
def test_rows_in_the_way_of_a_removal_are_found(platform: Platform, name: str, state: str) -> None:
    database, execution = platform.run("host-1"), platform.add_execution("/data//e/")
    if state == "an unfinished removal":
        commit(database, execution, delete_local_copy=True)
        database = platform.run("host-1")
    else:
        claim_one(database, execution)
    for number, directory in enumerate(NAMES_OF_OTHERS):
        platform.add_execution(directory, f"other-{number}")
    migrated = platform.add_execution(NAMES_OF_IT[name], "migrated")
    platform.sql("UPDATE ejecuciones_yaml SET migrado_a_nube = true WHERE id = %s", migrated.id)
    assert database.rows_in_the_way() == []
    in_the_way = platform.add_execution(NAMES_OF_IT[name], "new")
    assert database.rows_in_the_way() == [(execution.id, in_the_way)]
    assert platform.run("host-2").rows_in_the_way() == []


# Names and errors of databases


@pytest.mark.parametrize("url", ["postgresql://u:p@h:1/d", "host=h port=1 dbname=d user=u password=other"])
def test_a_database_is_named_without_user_and_password(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPORT", "PGDATABASE"):
        monkeypatch.delenv(name, raising=False)
    assert database_identity(url) == "h/1/d"


def test_a_database_without_url_is_named_by_libpqs_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PGHOST": "h", "PGPORT": "1", "PGDATABASE": "d"}.items():
        monkeypatch.setenv(name, value)
    assert database_identity("") == "h/1/d"


def test_a_url_that_is_none_is_reported_without_its_password() -> None:
    with pytest.raises(SchemaError) as caught:
        database_identity("postgresql://user:s3cret@[host/db")
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in str(caught.value.__cause__)


@pytest.mark.parametrize(
    "password",
    [
        "no-debe@verse",
        "no-debe/verse",
        "no@debe/verse",
        "no@debe/verse@",
        "1234/verse",
        "no?debe@verse",
        "no@debe:verse",
    ],
)
def test_a_password_that_tears_the_address_apart_is_refused_before_anything_is_looked_for(password: str) -> None:
    """libpq would ask the name server for a part of it. Looked for in the host, the port and the database."""
    with pytest.raises(SchemaError, match="codifique la contraseña: @ es %40") as caught:
        database_identity(f"postgresql://sage:{password}@127.0.0.1:5432/sage")
    assert not re.search("debe|verse|1234", str(caught.value))
    encoded = quote(password, safe="")
    assert database_identity(f"postgresql://sage:{encoded}@127.0.0.1:5432/sage%40norte") == "127.0.0.1/5432/sage@norte"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://janitor@127.0.0.1:puerto/sage", "DATABASE_URL: el puerto no es un número"),
        ("postgresql://janitor:s3cret@127.0.0.1:26432:1/sage", "DATABASE_URL: el puerto no es un número"),
        ("postgresql://127.0.0.1:puerto/sage", "DATABASE_URL: el puerto no es un número"),
        ("host=h port=puerto password=s3cret@", "DATABASE_URL: el puerto no es un número"),
        ("postgresql://janitor:s3cret@h/sage?sslmod=require", "DATABASE_URL: el parámetro sslmod no se conoce"),
        ("host=h sslmod=require", "DATABASE_URL: el parámetro sslmod no se conoce"),
        ("mysql://janitor:s3cret@h/sage", "DATABASE_URL: el esquema mysql no se conoce"),
        ("postgresql+psycopg2://janitor@h/sage", r"DATABASE_URL: el esquema postgresql\+psycopg2 no se conoce"),
        ("postgresql://janitor@h/sage?sslmode", "DATABASE_URL no es una URI"),
    ],
)
def test_what_is_wrong_with_an_address_is_reported_and_the_password_is_not_blamed(url: str, told: str) -> None:
    with pytest.raises(SchemaError, match=f"^{told}") as caught:
        database_identity(url)
    assert "contraseña" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://sage:pa/ss?s3cret=word@h/sage",
        "postgresql://h/sage?password=pa&s3cret=word",
        "postgresql://sage:p@ss?s3cret=word@h/sage",
        "postgresql://sage:p@ss:s3cret/w@h/sage",
        "host=h password=pa s3cret=word",
        "postgresql://sage:s3%zcret@h/sage",
    ],
)
def test_a_part_of_a_password_never_passes_for_a_parameter(url: str) -> None:
    with pytest.raises(SchemaError, match="codifique la contraseña") as caught:
        database_identity(url)
    assert "s3" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["postgresql:///sage?user=a@b", "postgresql://h/s%40n", "postgresql://u:p@h1:1,h2:2/s", "dbname=a@b user=c@d"],
)
def test_an_address_with_an_at_sign_in_its_place_is_good(url: str) -> None:
    assert database_identity(url)


def test_a_user_without_rights_is_reported(platform: Platform) -> None:
    platform.sql("DROP ROLE IF EXISTS nobody")
    platform.sql("CREATE ROLE nobody LOGIN PASSWORD 'nobody'")
    url = psycopg2.extensions.make_dsn(platform.database_url, user="nobody", password="nobody")
    with closing(Database(url, "host-1")) as database, pytest.raises(SchemaError, match="permiso"):
        database.load_policy()
    platform.sql("DROP ROLE nobody")


# Secrets


def test_no_error_is_recorded_with_a_secret(platform: Platform, redactor: Redactor) -> None:
    redactor.add("top-secret")
    told = "el servidor respondió:\ntop-secret"
    database, execution = platform.run(), platform.add_execution()
    claim = claim_one(database, execution)
    database.abandon_attempt(open_attempt(database, claim), "provider_error", told)
    database.fail_migration(claim, "failed", "provider_error", told)
    (again,) = platform.run().claim([execution])
    assert database.commit_migration(again, open_attempt(database, again), COPY, delete_local_copy=True)
    failed = platform.value("SELECT error FROM janitor_attempts WHERE error IS NOT NULL")
    database.stop_deletion(again, "provider_error", told)
    kept = platform.value("SELECT error FROM janitor_migrations")
    assert {failed, kept} == {"el servidor respondió:\\n***"}


@pytest.mark.parametrize("given", ["in the URL", "in the environment"])
def test_the_password_of_the_database_is_blotted_out_wherever_it_turns_up(
    given: str, redactor: Redactor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "top-secret" if given == "in the environment" else "")
    with closing(Database(f"postgresql://sage{':top-secret' if given == 'in the URL' else ''}@nowhere/sage", "host-1")):
        assert redactor.redact("contraseña top-secret") == "contraseña ***"
