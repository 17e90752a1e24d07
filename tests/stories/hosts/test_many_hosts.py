"""Four hosts at once on one database: each execution is migrated once, by one of them, none is forgotten, and who dies
in the middle is replaced once its lease is over.
"""

from __future__ import annotations

import contextlib
import signal
from collections import Counter
from collections.abc import Callable

import psycopg2
import pytest

from sql.database import Database
from sql.migration import executions as executions_module
from tests.destinations import Destination
from tests.processes import wait_until
from tests.repository import REPOSITORY
from tests.stories.installation import Installation, RunningCommand
from tests.stories.posing_hosts import EVERY_HOST, PosingHosts

DYING, *LIVING = ("norte", "sur", "este", "oeste")
REMEMBER_LOOK = (REPOSITORY / "sql" / "queries" / "remember_look.sql").read_text()
SHARED, OWN = 30, 2
ENDS = ("/000.csv", "/001.csv", ".manifest.json")


@pytest.fixture
def hosts(installation: Installation) -> PosingHosts:
    """Four hosts with a disk that all share and one of their own each."""
    return PosingHosts(installation, (DYING, *LIVING))


@pytest.fixture
def server(installation: Installation, new_destination: Callable[[str], Destination]) -> Destination:
    """An S3 server that all hosts send to."""
    destination = new_destination("s3-rclone")
    installation.configure(installation.add_provider(destination), eliminar_despues_de_migrar=True)
    return destination


def test_four_hosts_share_the_work_and_one_that_is_killed_is_replaced(
    installation: Installation, hosts: PosingHosts, server: Destination
) -> None:
    directories = [hosts.add_execution(f"comun-{number:02}", EVERY_HOST) for number in range(SHARED)]
    directories += [hosts.add_execution(f"de-{name}-{number}", name) for name in LIVING for number in range(OWN)]

    with hosts.start(DYING) as command:
        _stop_when_it_holds_something(installation, command)
        with hosts.all_at_once(LIVING) as commands:
            command.stop(signal.SIGKILL)
            for name in LIVING:
                run = commands[name].finish()
                assert (run.exit_code, run.messages("ERROR")) == (0, []), f"{name}: {run}"

    held = _uuids(installation, HELD)
    assert held
    assert _uuids(installation, PENDING) == held
    share = _migrated_by(installation)
    assert set(share) == {DYING, *LIVING}
    assert sum(share.values()) == len(directories) - len(held)

    installation.execute(
        "UPDATE janitor_migrations SET lease_expires_at = now() - interval '1 second' "
        "WHERE lease_expires_at IS NOT NULL AND host = %s",
        (DYING,),
    )
    for name in (LIVING[0], DYING):  # switched on again, it finds the removals that it had begun
        with hosts.start(name) as command:
            run = command.finish()
            assert run.exit_code == 0, f"{name}: {run}"

    assert _uuids(installation, PENDING) == set()
    assert installation.unfinished() == {"attempts": 0, "leases": 0, "removals": 0}
    assert not [path for path in directories if path.exists()]
    assert _uuids(installation, NOT_COMMITTED_ONCE) == set()
    assert _uuids(installation, TRIED_TWICE) <= held
    assert installation.rows(DEADLOCKS) == [{"deadlocks": 0}]
    copies = (f"ejecuciones/{path.name}{end}" for path in directories for end in ENDS)
    assert server.everything_stored() == set(copies)


def test_hosts_that_look_at_the_same_moment_do_not_wait_for_each_other(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is in the middle of remembering what it found, and stays there; the other one would fail in the end."""
    monkeypatch.setattr(executions_module, "LARGE_TABLE_BYTES", 0)
    installation.add_execution("uno", "/datos/uno")
    with (
        contextlib.closing(psycopg2.connect(installation.database_url)) as other,
        contextlib.closing(Database(installation.database_url, "sur")) as database,
    ):
        other.cursor().execute(
            REMEMBER_LOOK, {"table_state": "", "execution_ids": "{}", "executed_at": "{}", "last_table_id": 0}
        )
        database.start_run(1, "tick", "prueba")
        assert [execution.uuid for (execution,) in database.candidates(0)] == ["uno"]
    assert installation.rows("SELECT FROM janitor_looks") == []


def _stop_when_it_holds_something(installation: Installation, command: RunningCommand) -> None:
    """Stop a run in the middle of its work: some of what it has taken up is migrated, and some is not."""

    def is_stopped() -> bool:
        assert command.process.poll() is None, f"it was done before it could be stopped: {command.errors()}"
        if not _migrated_by(installation):
            return False
        command.process.send_signal(signal.SIGSTOP)
        if len(_uuids(installation, HELD)) > 1:
            return True
        command.process.send_signal(signal.SIGCONT)
        return False

    wait_until(is_stopped, 60)


def _uuids(installation: Installation, question: str) -> set[str]:
    return {row["uuid"] for row in installation.rows(question)}


def _migrated_by(installation: Installation) -> Counter[str]:
    rows = installation.rows("SELECT host, count(*) AS count FROM janitor_migrations WHERE state='migrated' GROUP BY 1")
    return Counter({row["host"]: row["count"] for row in rows})


PENDING = "SELECT uuid FROM ejecuciones_yaml WHERE migrado_a_nube IS NOT TRUE"
HELD = "SELECT uuid FROM janitor_migrations WHERE state = 'migrating'"
TRIED_TWICE = "SELECT uuid FROM janitor_migrations WHERE attempts > 1"
NOT_COMMITTED_ONCE = (
    "SELECT uuid FROM ejecuciones_yaml AS execution WHERE 1 <> "
    "(SELECT count(*) FROM janitor_attempts WHERE execution_id = execution.id AND state = 'committed')"
)
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
