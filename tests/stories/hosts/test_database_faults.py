"""A database that is lost, refuses, waits, or has somebody else's hands in it: always a right state and exit code.

That it is down at the start, or lost during an upload, is in `test_interruptions`.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg2
import pytest

from demo.servers.postgres import EmbeddedPostgres
from jobs.history.job import JOB as HISTORY
from tests.databases.roles import OF_EVERY_RUN, granted, role_of, role_with
from tests.destinations import Destination
from tests.processes import wait_until
from tests.servers.postgres.pgbouncer import PgBouncer
from tests.servers.postgres.postgres_proxy import Accident, PostgresProxy
from tests.stories.installation import Installation, Run
from tests.stories.programs import change_constants
from tests.stories.trees import copy_tree, require_stored, snapshot

COMMIT = b"The one moment in which"
NEVER_AGAIN = {"attempts": 0, "leases": 0, "removals": 0}
DISCONNECT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE application_name = 'janitor_daemon' AND datname = current_database()"
)
ROW = "SELECT FROM ejecuciones_yaml WHERE uuid = 'uno' FOR UPDATE"


@pytest.fixture
def two(installation: Installation, nas: Destination) -> Installation:
    """An installation with two executions that are due, to be deleted once they are stored."""
    installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=True)
    for uuid in ("uno", "dos"):
        installation.small_execution(uuid)
    return installation


def _name(installation: Installation) -> str:
    return str(installation.rows("SELECT current_database() AS name")[0]["name"])


def _set_for_the_database(installation: Installation, setting: str) -> None:
    """For every session that begins from now on."""
    installation.execute(f"ALTER DATABASE {_name(installation)} SET {setting}")


def _require_done(installation: Installation, nas: Destination, *uuids: str) -> None:
    for uuid in uuids:
        assert installation.place(uuid)[:2] == (True, f"cloud://local/ejecuciones/{uuid}")
        assert not (installation.executions / uuid).exists()
        assert f"ejecuciones/{uuid}.manifest.json" in nas.everything_stored()
    assert installation.unfinished() == NEVER_AGAIN


def _require_untouched(installation: Installation, *uuids: str) -> None:
    for uuid in uuids:
        assert installation.place(uuid) == (False, None, None)
        assert len(list((installation.executions / uuid).iterdir())) == 2


# Lost in the commit


@pytest.mark.parametrize("accident", [Accident.STATEMENT_LOST, Accident.ANSWER_LOST, Accident.BROKEN_AT_ONCE])
def test_the_outcome_of_a_commit_on_which_the_connection_broke_is_found_out(
    two: Installation, nas: Destination, accident: Accident
) -> None:
    original = copy_tree(two.executions / "uno", two.directory / "original")
    with PostgresProxy(two.database_url, COMMIT, accident) as proxy:
        run = two.run(DATABASE_URL=proxy.url)
    assert proxy.struck == 1
    assert run.exit_code == 0, str(run)
    assert run.messages("ERROR") == []
    assert len([line for line in run.messages("INFO") if "migrada exitosamente" in line]) == 2
    _require_done(two, nas, "uno", "dos")
    assert two.attempts("uno") == two.attempts("dos") == [(1, "committed")]
    require_stored(nas, "ejecuciones/uno", original)


def test_a_commit_whose_outcome_stays_unknown_is_finished_by_the_next_run(two: Installation, nas: Destination) -> None:
    """Every answer is lost: the first one to arrive did it, and nobody came to know."""
    change_constants(two, sql__connection__LOST_FOR_SECONDS=3.0)
    with PostgresProxy(two.database_url, COMMIT, Accident.ANSWER_LOST, times=1_000_000) as proxy:
        run = two.run(DATABASE_URL=proxy.url)
    assert proxy.struck > 2
    assert run.exit_code == 3, str(run)
    assert any("no se puede usar la base de datos" in line for line in run.messages("ERROR"))
    assert {place.name for place in two.executions.iterdir()} == {"uno", "dos"}  # nothing is deleted on a guess
    assert two.place("uno")[0] is two.place("dos")[0] is True
    run = two.run()
    assert run.exit_code == 0, str(run)
    assert two.attempts("uno") == [(1, "committed")]  # nothing was sent again
    _require_done(two, nas, "uno", "dos")


def test_a_statement_that_is_never_answered_is_sent_again_on_a_new_connection(
    two: Installation, nas: Destination
) -> None:
    """The server is there, takes the connection, and stays silent: nobody waits for it without end."""
    change_constants(two, sql__watchdog__ANSWER_TIMEOUT_SECONDS=3)
    with (
        PostgresProxy(two.database_url, COMMIT, Accident.HELD) as proxy,
        two.start(DATABASE_URL=proxy.url) as command,
    ):
        run = command.finish()
        assert proxy.struck == 1  # and it is held still
    assert run.exit_code == 0, str(run)
    _require_done(two, nas, "uno", "dos")


# A database that takes nothing down


def _require_refused_as_read_only(run: Run) -> None:
    assert run.exit_code == 3, str(run)
    assert [line for line in run.messages("ERROR") if "solo admite lecturas" in line], str(run)
    assert "Traceback" not in run.errors


def test_on_a_database_that_was_set_to_reading_only_nothing_is_touched(two: Installation, nas: Destination) -> None:
    old = two.temporary / "viejo"
    old.touch()
    os.utime(old, (0, 0))
    _set_for_the_database(two, "default_transaction_read_only TO on")
    content = two.everything_in_the_database()
    for arguments in ([], ["--clean-only"], ["init-db"]):
        run = two.run(*arguments)
        _require_refused_as_read_only(run)
    assert two.run("--dry-run").exit_code == 0
    status = two.run("status")
    assert status.exit_code == 1
    assert "  ! base de datos: la base de datos solo admite lecturas" in status.output
    check = two.run("check")
    assert check.exit_code == 1
    assert "solo admite lecturas" in check.output
    assert two.everything_in_the_database() == content
    assert nas.everything_stored() == set()
    assert old.exists()
    _require_untouched(two, "uno", "dos")

    two.execute(f"ALTER DATABASE {_name(two)} RESET default_transaction_read_only")
    assert two.run().exit_code == 0
    _require_done(two, nas, "uno", "dos")


def test_a_database_that_takes_nothing_down_any_more_in_the_middle_loses_nothing(
    two: Installation, nas: Destination
) -> None:
    """As after a failover, on the connection that is made when the old one breaks."""
    with (
        PostgresProxy(two.database_url, COMMIT, Accident.HELD) as proxy,
        two.start(DATABASE_URL=proxy.url) as command,
    ):
        wait_until(proxy.met.is_set, 30)
        _set_for_the_database(two, "default_transaction_read_only TO on")
        two.execute(DISCONNECT)
        proxy.release()
        run = command.finish()
    assert nas.everything_stored() != set()
    _require_refused_as_read_only(run)
    _require_untouched(two, "uno", "dos")
    two.execute(f"ALTER DATABASE {_name(two)} RESET default_transaction_read_only")
    assert two.run().exit_code == 0
    _require_done(two, nas, "uno", "dos")


# Others in the same tables


@contextlib.contextmanager
def _rival(installation: Installation) -> Iterator[psycopg2.extensions.connection]:
    """Somebody else's session, whose transactions stay open until it is told otherwise."""
    with contextlib.closing(psycopg2.connect(installation.database_url)) as connection:
        yield connection
        connection.rollback()


def _waits_for_a_lock(installation: Installation) -> bool:
    (row,) = installation.rows(
        "SELECT count(*) AS count FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name = 'janitor_daemon' AND wait_event_type = 'Lock'"
    )
    return bool(row["count"])


@pytest.mark.parametrize("limit", ["statement_timeout", "lock_timeout"])
def test_a_row_that_somebody_holds_locked_fails_alone(two: Installation, nas: Destination, limit: str) -> None:
    if limit == "statement_timeout":
        _set_for_the_database(two, "statement_timeout TO '1s'")
    else:
        change_constants(two, sql__connection__LOCK_WAIT_SECONDS=0.3)
    with _rival(two) as rival, rival.cursor() as cursor:
        cursor.execute(ROW)
        run = two.run()
    assert run.exit_code == 1, str(run)
    (error,) = [line for line in run.messages("ERROR") if line.startswith("No se pudo migrar la ejecución")]
    assert error.startswith("No se pudo migrar la ejecución uno: la base de datos no hizo la operación")
    assert {"statement_timeout": "statement timeout", "lock_timeout": "lock timeout"}[limit] in error
    assert "Traceback" not in run.errors
    _require_untouched(two, "uno")
    assert two.place("dos")[0] is True
    assert two.run().exit_code == 0
    _require_done(two, nas, "uno", "dos")


@pytest.mark.parametrize("row", ["claim", "end"])
def test_a_row_of_the_daemons_own_that_somebody_holds_locked_fails_alone(
    two: Installation, nas: Destination, row: str
) -> None:
    """When it is to be taken up, and when the end of its removal is to be recorded."""
    change_constants(two, sql__connection__LOCK_WAIT_SECONDS=0.3)
    two.execute("UPDATE ejecuciones_config SET nube_primaria_id = 99")
    assert two.run().exit_code == 1  # so that both are known to the daemon
    two.execute("UPDATE ejecuciones_config SET nube_primaria_id = 1")
    statement = "SELECT FROM janitor_migrations WHERE uuid = 'uno' FOR UPDATE"
    accidents = PostgresProxy(two.database_url, b"SET local_copy = 'deleted'", Accident.HELD)
    with _rival(two) as rival, rival.cursor() as cursor, accidents as proxy:
        if row == "claim":
            cursor.execute(statement)
            run = two.run()
        else:
            with two.start(DATABASE_URL=proxy.url) as command:
                wait_until(proxy.met.is_set, 30)
                (held,) = two.rows("SELECT uuid FROM janitor_migrations WHERE state = 'migrated' ORDER BY uuid LIMIT 1")
                cursor.execute(statement.replace("uno", held["uuid"]))
                proxy.release()
                run = command.finish()
    assert run.exit_code == 1, str(run)
    assert "Traceback" not in run.errors
    errors = run.messages("ERROR")
    assert len(errors) == 1
    assert "lock timeout" in errors[0]
    assert errors[0].startswith("No se pudo migrar la ejecución uno" if row == "claim" else "No se anotó qué fue de")
    assert two.place("dos")[0] is True
    assert two.run().exit_code == 0
    _require_done(two, nas, "uno", "dos")


def _rolled_back(installation: Installation, column: str) -> int:
    (row,) = installation.rows(f"SELECT {column} AS count FROM pg_stat_database WHERE datname = current_database()")  # noqa: S608
    return int(row["count"])


def test_a_deadlock_is_survived(two: Installation, nas: Destination) -> None:
    """The rival locks the rows of both tables in the other order, and PostgreSQL ends the daemon's transaction."""
    with _rival(two) as rival, rival.cursor() as cursor:
        cursor.execute("SET LOCAL deadlock_timeout TO '1min'")  # it is the other one who looks, and is ended
        cursor.execute(ROW)
        with two.start() as command:
            wait_until(lambda: _waits_for_a_lock(two), 30)
            cursor.execute("UPDATE janitor_migrations SET error = 'rival' WHERE uuid = 'uno'")
            rival.commit()
            run = command.finish()
    wait_until(lambda: _rolled_back(two, "deadlocks") == 1, 10)
    assert run.exit_code == 0, str(run)
    assert run.messages("ERROR") == []
    _require_done(two, nas, "uno", "dos")


def test_a_transaction_that_cannot_be_serialized_is_repeated(two: Installation, nas: Destination) -> None:
    two.execute("ALTER TABLE ejecuciones_yaml ADD COLUMN nota TEXT")
    _set_for_the_database(two, "default_transaction_isolation TO 'repeatable read'")
    before = _rolled_back(two, "xact_rollback")
    with _rival(two) as rival, rival.cursor() as cursor:
        cursor.execute("UPDATE ejecuciones_yaml SET nota = 'de la plataforma' WHERE uuid = 'uno'")
        with two.start() as command:
            wait_until(lambda: _waits_for_a_lock(two), 30)
            rival.commit()  # 40001: could not serialize access due to concurrent update
            run = command.finish()
    wait_until(lambda: _rolled_back(two, "xact_rollback") > before, 10)
    assert run.exit_code == 0, str(run)
    assert run.messages("ERROR") == []
    assert two.execution("uno")["nota"] == "de la plataforma"
    _require_done(two, nas, "uno", "dos")


# Rights and limits of a role


@pytest.fixture
def role(two: Installation) -> Iterator[str]:
    """A role with exactly the rights of a run, whom the installation uses."""
    with role_with(two, (*OF_EVERY_RUN, *granted(HISTORY.rights))) as url:
        two.environment["DATABASE_URL"] = url
        yield role_of(two)


def test_the_rights_that_the_readme_names_are_enough(two: Installation, nas: Destination, role: str) -> None:
    run = two.run()
    assert run.exit_code == 0, str(run)
    _require_done(two, nas, "uno", "dos")
    assert two.run("status").exit_code == two.run("check").exit_code == 0


@pytest.mark.parametrize(
    ("revoked", "table"),
    [
        ("UPDATE (ruta_nube) ON ejecuciones_yaml", "ejecuciones_yaml"),
        ("SELECT ON ejecuciones_yaml", "ejecuciones_yaml"),
        ("SELECT ON cloud_providers", "cloud_providers"),
        ("INSERT ON janitor_attempts", "janitor_attempts"),
        ("UPDATE ON janitor_migrations", "janitor_migrations"),
    ],
)
def test_a_right_that_is_missing_is_reported_before_anything_is_sent(
    two: Installation, nas: Destination, role: str, revoked: str, table: str
) -> None:
    two.execute(f"REVOKE {revoked} FROM {role}")
    run = two.run()
    assert run.exit_code == 2, str(run)
    (error,) = run.messages("ERROR")
    assert "permiso" in error
    assert table in error
    assert nas.everything_stored() == set()
    _require_untouched(two, "uno", "dos")
    check = two.run("check")
    assert check.exit_code in (1, 2)
    assert table in check.output + check.errors


@pytest.mark.parametrize(
    ("right", "table"),
    [
        ("SELECT", "janitor_jobs"),
        ("UPDATE", "janitor_jobs"),
        ("INSERT", "janitor_job_runs"),
        ("UPDATE", "janitor_job_runs"),
    ],
)
def test_what_a_role_from_before_the_tables_of_jobs_lacks_is_named(
    two: Installation, nas: Destination, role: str, right: str, table: str
) -> None:
    """`init-db` was run by the tables' owner, and nobody has granted anything since."""
    two.execute(f"REVOKE {right} ON {table} FROM {role}")
    run = two.run()
    assert run.exit_code == 2, str(run)
    assert run.messages("ERROR")
    for error in run.messages("ERROR"):
        assert "permiso" in error, str(run)
        assert table in error, str(run)
    assert nas.everything_stored() == set()
    _require_untouched(two, "uno", "dos")
    check = two.run("check")
    assert check.exit_code in (1, 2)
    assert table in check.output + check.errors
    two.execute(f"GRANT {right} ON {table} TO {role}")
    assert two.run().exit_code == 0
    _require_done(two, nas, "uno", "dos")


def test_too_many_connections_are_a_database_that_cannot_be_used_now(
    two: Installation, nas: Destination, role: str
) -> None:
    two.execute(f"ALTER ROLE {role} CONNECTION LIMIT 0")
    run = two.run()
    assert run.exit_code == 3, str(run)
    (error,) = run.messages("ERROR")
    assert "too many connections" in error
    assert nas.everything_stored() == set()
    _require_untouched(two, "uno", "dos")


def test_too_many_connections_are_waited_out_in_the_middle(two: Installation, nas: Destination, role: str) -> None:
    with (
        PostgresProxy(two.environment["DATABASE_URL"], COMMIT, Accident.HELD) as proxy,
        two.start(DATABASE_URL=proxy.url) as command,
    ):
        wait_until(proxy.met.is_set, 30)
        two.execute(f"ALTER ROLE {role} CONNECTION LIMIT 0")
        two.execute(DISCONNECT)
        proxy.release()
        wait_until(lambda: proxy.refused > 1, 30)
        two.execute(f"ALTER ROLE {role} CONNECTION LIMIT -1")
        run = command.finish()
    assert run.exit_code == 0, str(run)
    _require_done(two, nas, "uno", "dos")


# Tables of another version


def test_every_command_leaves_the_tables_of_another_version_alone(two: Installation, nas: Destination) -> None:
    """A newer program's, and an older one's; `init-db` alone takes care of the latter."""
    everywhere: tuple[list[str], ...] = (
        [],
        ["--clean-only"],
        ["--migrate-only"],
        ["--dry-run"],
        ["status"],
        ["check"],
        ["restore", "uno", "x"],
    )
    last = len(two.rows("SELECT FROM janitor_upgrades"))
    for change, words in (
        ("INSERT INTO janitor_upgrades (number, name, sha256) VALUES (9999, '9999_futuro.sql', 'x')", "más nueva"),
        (f"DELETE FROM janitor_upgrades WHERE number >= {last}", "init-db"),  # noqa: S608 a number
    ):
        two.execute(change)
        content = two.everything_in_the_database()
        for arguments in everywhere:
            run = two.run(*arguments)
            assert run.exit_code == 2, f"{arguments} {run}"
            (error,) = run.messages("ERROR")
            assert words in error
        assert two.everything_in_the_database() == content
    assert nas.everything_stored() == set()
    _require_untouched(two, "uno", "dos")


# Servers that come and go


class OwnServer(EmbeddedPostgres):
    """A PostgreSQL server that a test may restart, also as a standby: that one is never "ready", and answers."""

    def become_standby(self) -> None:
        """Start again as one that waits for more from a primary, and takes nothing down."""
        self.stop()
        cluster = self.data_directory / "cluster"
        signal = cluster / "standby.signal"
        signal.touch()
        os.chown(signal, cluster.stat().st_uid, cluster.stat().st_gid)
        self.start()

    def _accepts_connections(self) -> bool:
        with contextlib.suppress(psycopg2.OperationalError):
            psycopg2.connect(self.database_url).close()
            return True
        return False


@pytest.fixture
def own_server() -> Iterator[OwnServer]:
    """A server of the test's own."""
    with tempfile.TemporaryDirectory(prefix="janitor-test-") as directory:
        Path(directory).chmod(0o755)
        with OwnServer(Path(directory, "postgres"), {"fsync": "off"}) as server:
            yield server


def test_a_restart_of_the_database_is_waited_out_and_a_standby_can_be_read(
    tmp_path: Path, own_server: OwnServer, nas: Destination
) -> None:
    """One server for both: first it is shut down and started again, then started as a standby."""
    with contextlib.closing(Installation(tmp_path / "sage", own_server.new_database("sage"))) as installation:
        installation.install()
        installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=True)
        installation.small_execution("uno")
        original = snapshot(installation.executions / "uno")
        with (
            PostgresProxy(installation.database_url, COMMIT, Accident.HELD) as proxy,
            installation.start(DATABASE_URL=proxy.url) as command,
        ):
            wait_until(proxy.met.is_set, 30)
            own_server.stop()
            proxy.release()
            wait_until(lambda: proxy.refused > 1, 30)
            own_server.start()
            run = command.finish()
        assert run.exit_code == 0, str(run)
        installation.connect()
        _require_done(installation, nas, "uno")

        installation.small_execution("dos")
        own_server.become_standby()
        installation.connect()
        assert installation.rows("SELECT pg_is_in_recovery() AS standby") == [{"standby": True}]
        _require_refused_as_read_only(installation.run())
        _require_untouched(installation, "dos")
        assert "  ! base de datos: la base de datos solo admite lecturas" in installation.run("status").output
        restored = installation.directory / "restaurada"
        run = installation.run("restore", "uno", str(restored))
        assert run.exit_code == 0, str(run)
        assert snapshot(restored) == original


# A pooler between


def test_everything_works_through_a_transaction_pooler(
    bare_installation: Installation, nas: Destination, pgbouncer: PgBouncer
) -> None:
    """One connection for all, of which every statement may get a new session: two `init-db`, two runs at once."""
    installation = bare_installation
    installation.create_platform_tables()
    installation.environment["DATABASE_URL"] = pgbouncer.url_of(installation.database_url)
    with ThreadPoolExecutor(2) as executor:
        runs = list(executor.map(lambda _number: installation.run("init-db"), range(2)))
    assert [run.exit_code for run in runs] == [0, 0], str(runs)
    installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=True)
    uuids = [f"e{number:02d}" for number in range(12)]
    for uuid in uuids:
        installation.small_execution(uuid)
    original = snapshot(installation.executions / "e00")
    assert installation.run("--dry-run").exit_code == installation.run("check").exit_code == 0
    with contextlib.ExitStack() as stack:
        commands = []
        for host in ("norte", "sur"):
            locks = installation.directory / f"bloqueos-{host}"
            locks.mkdir()
            variables = {"JANITOR_HOST": host, "JANITOR_LOCK_DIR": str(locks), "JANITOR_LOG_DIR": str(locks)}
            commands.append(stack.enter_context(installation.start(**variables)))
        runs = [command.finish() for command in commands]
    assert [run.exit_code for run in runs] == [0, 0], str(runs)
    done = [line for run in runs for line in run.messages("INFO") if "migrada exitosamente" in line]
    assert sorted(line.split()[1] for line in done) == uuids
    _require_done(installation, nas, *uuids)
    assert installation.run("status").exit_code == 0
    restored = installation.directory / "restaurada"
    assert installation.run("restore", "e00", str(restored)).exit_code == 0
    assert snapshot(restored) == original
    _require_pooled(installation, pgbouncer)


def _require_pooled(installation: Installation, pgbouncer: PgBouncer) -> None:
    """All of that went through the pooler, and over one connection at a time."""
    name = _name(installation)
    (statistics,) = [row for row in pgbouncer.show("STATS") if row["database"] == name]
    assert int(str(statistics["total_xact_count"])) > 12 * 4
    (pool,) = [row for row in pgbouncer.show("POOLS") if row["database"] == name]
    assert pool["pool_mode"] == "transaction"
    (mine, others) = installation.rows(
        "SELECT count(*) AS count FROM pg_stat_activity WHERE datname = current_database() "
        "GROUP BY pid = pg_backend_pid() ORDER BY pid = pg_backend_pid() DESC"
    )
    assert (mine["count"], others["count"]) == (1, 1)


def test_a_setting_that_the_pooler_would_lose_is_not_relied_upon(
    installation: Installation, nas: Destination, pgbouncer: PgBouncer
) -> None:
    """A statement waits for a lock no longer than it should, though each is sent in a session of its own."""
    change_constants(installation, sql__connection__LOCK_WAIT_SECONDS=0.3)
    installation.configure(installation.add_provider(nas))
    installation.small_execution("uno")
    with _rival(installation) as rival, rival.cursor() as cursor:
        cursor.execute(ROW)
        run = installation.run(DATABASE_URL=pgbouncer.url_of(installation.database_url))
    assert run.exit_code == 1, str(run)
    assert "lock timeout" in run.messages("ERROR")[0]
