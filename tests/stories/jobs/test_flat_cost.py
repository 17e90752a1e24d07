"""What a run asks of the database does not grow with what is in it: counted in pages, scans, rows and round trips."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing

import pytest

from config.models import Evidence, Execution, ProvenCopy
from demo.servers.postgres import EmbeddedPostgres
from sql.database import Database
from sql.migration import executions as executions_module
from tests.databases.platform_database import Platform, claim_one, open_attempt
from tests.destinations import Destination
from tests.processes import wait_until
from tests.stories.installation import Installation

EXECUTIONS = 100
GROWING_TABLES = ("ejecuciones_yaml", "janitor_migrations", "janitor_attempts")
COPY = ProvenCopy("cloud://local/p/uuid-1", 1, "p/uuid-1", 2, 10, Evidence.READ_BACK, "ab" * 32)

LARGE_TABLE = """
INSERT INTO ejecuciones_yaml (uuid, ruta_directorio, fecha_ejecucion, migrado_a_nube, ruta_nube, nube_provider_id)
SELECT 'u' || n, %s || '/' || n, now() - interval '30 days', n %% 1000 <> 0, 'cloud://s3/' || repeat('x', 300), 1
FROM generate_series(1, 200000) AS n
"""
"""Of a size from which a look is remembered: 200 executions are pending, and their directories are not here."""


@pytest.fixture(scope="module")
def shared_platform(postgres: EmbeddedPostgres) -> Iterator[Platform]:
    """One database for the tests below the command line."""
    with closing(Platform(postgres.new_database(f"flat_{secrets.token_hex(4)}"))) as made:
        yield made


@pytest.fixture
def platform(shared_platform: Platform) -> Platform:
    """The platform's database, its tables empty."""
    shared_platform.clear()
    return shared_platform


def flush(platform: Platform) -> None:
    """Let PostgreSQL tell at once what this session has changed."""
    platform.sql("SELECT pg_stat_force_next_flush()")


DAEMON_IS_CONNECTED = (
    "SELECT pid FROM pg_stat_activity WHERE application_name = 'janitor_daemon' AND datname = current_database()"
)
"""A session tells what it did before it is gone from here."""


# A tick with nothing to do


def blocks_read(installation: Installation) -> int:
    """How many pages of the platform's table anybody has asked for, from memory or from the disk."""
    wait_until(lambda: not installation.rows(DAEMON_IS_CONNECTED), 10)
    (row,) = installation.rows(
        "SELECT heap_blks_read + heap_blks_hit AS blocks FROM pg_statio_user_tables WHERE relname = 'ejecuciones_yaml'"
    )
    return int(row["blocks"])


def test_a_tick_with_nothing_to_do_does_not_read_a_large_table_again(
    installation: Installation, nas: Destination
) -> None:
    installation.configure(installation.add_provider(nas))
    installation.execute(LARGE_TABLE, (str(installation.executions),))
    installation.execute("SELECT pg_stat_force_next_flush()")
    first = installation.run()
    assert first.exit_code == 0
    (row,) = installation.rows("SELECT pg_relation_size('ejecuciones_yaml') / 8192 AS pages")
    before = blocks_read(installation)
    assert before > row["pages"]
    second = installation.run()
    assert (second.exit_code, len(second.messages("WARNING"))) == (0, len(first.messages("WARNING")))
    assert blocks_read(installation) - before < 1000  # those of the 200 that are pending, by their ids


def test_a_look_is_remembered_until_something_changes(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executions_module, "LARGE_TABLE_BYTES", 0)
    monkeypatch.setattr(executions_module, "CANDIDATES_PER_PAGE", 2)
    executions = [platform.add_execution(f"/data/{number}", f"uuid-{number}") for number in range(3)]
    platform.add_execution("/data/later", "later", "2400-01-01")
    flush(platform)

    def look() -> tuple[list[Execution], str]:
        found = [execution for page in platform.run().candidates(0) for execution in page]
        return found, platform.value("SELECT looked_at::text FROM janitor_looks")

    first, looked_at = look()
    assert first == executions
    assert look() == (executions, looked_at)
    assert list(platform.run().candidates(24 * 365 * 200)) == []
    for change, found in (
        ("UPDATE ejecuciones_yaml SET migrado_a_nube = true WHERE id = 1", executions[1:]),
        ("UPDATE ejecuciones_yaml SET migrado_a_nube = false WHERE id = 1", executions),
        ("DELETE FROM ejecuciones_yaml WHERE id = 3", executions[:2]),
        ("INSERT INTO ejecuciones_yaml SELECT 3, 'uuid-2', '/data/2', '2020-01-01'", executions),
        ("UPDATE janitor_looks SET looked_at = looked_at - interval '1 day'", executions),
    ):
        platform.sql(change)
        flush(platform)
        again, looked_at_then = look()
        assert (again, looked_at_then > looked_at) == (found, True)
        looked_at = looked_at_then


def test_a_simulation_writes_no_look_down(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executions_module, "LARGE_TABLE_BYTES", 0)
    execution = platform.add_execution()
    assert list(platform.database().candidates(0)) == [[execution]]
    assert platform.sql("SELECT id FROM janitor_looks") == []


# Many executions


def rows_scanned(platform: Platform) -> dict[str, int]:
    """How many rows were read by going through each table that grows with executions from its beginning to its end."""
    flush(platform)
    wait_until(lambda: not platform.sql(DAEMON_IS_CONNECTED), 10)
    rows = platform.sql("SELECT relname, seq_tup_read FROM pg_stat_user_tables")
    return {row["relname"]: row["seq_tup_read"] for row in rows if row["relname"] in GROWING_TABLES}


def test_pages_do_not_look_through_the_table_again(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executions_module, "CANDIDATES_PER_PAGE", 100)
    platform.sql(
        "INSERT INTO ejecuciones_yaml (uuid, ruta_directorio, fecha_ejecucion) "
        "SELECT 'u' || n, '/data/' || n, timestamp '2020-01-01' + n * interval '1 s' FROM generate_series(1, 10000) n"
    )
    platform.sql("ANALYZE ejecuciones_yaml")
    before = rows_scanned(platform)
    with closing(platform.run()) as database:
        assert sum(map(len, database.candidates(0))) == 10_000
    assert rows_scanned(platform)["ejecuciones_yaml"] - before["ejecuciones_yaml"] == 10_000


def test_one_execution_costs_the_same_among_many(platform: Platform) -> None:
    """Every statement of its way finds its rows by an index, whatever is there besides."""
    execution = platform.add_execution()
    other = platform.add_execution("/data/other", "uuid-2")
    platform.switch_deletion_on()
    fill(platform, 20_000)
    before = rows_scanned(platform)
    with closing(platform.run()) as database:
        migrate_and_delete(database, execution)
        fail(database, other)
        database.renew_leases()
        assert [len(list(found)) for found in (database.leftovers(), database.list_deletions())] == [0, 0]
        database.finish_run(0, {})
    assert rows_scanned(platform) == before


def fill(platform: Platform, count: int) -> None:
    """As many executions that were migrated long ago, with all that was written down of them."""
    platform.sql(
        "INSERT INTO ejecuciones_yaml (uuid, ruta_directorio, fecha_ejecucion, migrado_a_nube, ruta_nube, "
        "nube_provider_id) SELECT 'u' || n, '/data/' || n, '2020-01-01', true, 'cloud://local/u' || n, 1 "
        "FROM generate_series(1, %s) AS n",
        count,
    )
    platform.sql(
        "INSERT INTO janitor_migrations (execution_id, uuid, state, local_copy, host, run_id, fencing_token, uri, "
        "provider_id) SELECT id, uuid, 'migrated', 'deleted', 'host-1', 1, 1, ruta_nube, 1 FROM ejecuciones_yaml "
        "WHERE migrado_a_nube"
    )
    platform.sql(
        "INSERT INTO janitor_attempts (execution_id, run_id, host, fencing_token, provider_id, key_prefix, state) "
        "SELECT execution_id, 1, 'host-1', 1, 1, uuid, 'committed' FROM janitor_migrations"
    )
    platform.sql("ANALYZE")


def migrate_and_delete(database: Database, execution: Execution) -> None:
    """All that is written down of an execution that is migrated and whose local copy is removed."""
    claim = claim_one(database, execution)
    attempt = open_attempt(database, claim)
    database.note_place(attempt, foreign_objects=False)
    assert database.lease_seconds_left(claim)
    assert database.commit_migration(claim, attempt, COPY, delete_local_copy=True)
    assert database.note_set_aside(claim, "17")
    assert database.deletion_seconds_left(claim)
    assert database.note_emptied(claim, "1:2")
    assert database.finish_deletion(claim)


def fail(database: Database, execution: Execution) -> None:
    """All that is written down of an execution that cannot be migrated."""
    claim = claim_one(database, execution)
    database.abandon_attempt(open_attempt(database, claim), "unavailable", "no responde")
    database.fail_migration(claim, "failed", "unavailable", "no responde")


# Round trips


def transactions(installation: Installation) -> int:
    """How many there were in this database; the daemon's connection sends each of its own in one round trip."""
    wait_until(lambda: not installation.rows(DAEMON_IS_CONNECTED), 10)
    (row,) = installation.rows(
        "SELECT xact_commit + xact_rollback AS count FROM pg_stat_database WHERE datname = current_database()"
    )
    return int(row["count"])


def test_an_execution_takes_at_most_eight_round_trips(installation: Installation, nas: Destination) -> None:
    """All that a run asks is counted, from its start to its end, with the removal of the local copies."""
    installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=True)
    for number in range(EXECUTIONS):
        installation.small_execution(f"e{number}", a="1", b="2", c="3")
    installation.execute("SELECT pg_stat_force_next_flush()")
    before = transactions(installation)
    assert installation.run("--migrate-only").exit_code == 0
    assert sum(1 for _ in installation.executions.iterdir()) == 0
    assert EXECUTIONS < transactions(installation) - before <= 8 * EXECUTIONS
