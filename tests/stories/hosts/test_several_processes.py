"""A tick with much to do runs in several processes: seen from outside, stopped, or with one killed, it is one run."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.destinations import Destination
from tests.processes import children_of, is_alive, wait_until
from tests.stories.doors import Door
from tests.stories.installation import Installation
from tests.stories.programs import change_constants

EXECUTIONS = 40
FILES = ("ejecucion.txt", "tabla.txt")
MANIFEST_IS_PUT = rb"PUT /[^ ]*\.manifest\.json"
NOTHING_UNFINISHED = {"attempts": 0, "leases": 0, "removals": 0}
DISCONNECT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"


class Much:
    """An installation with many executions, on their way to an S3 server behind a door that holds every manifest up."""

    def __init__(self, installation: Installation, real: Destination, door: Door) -> None:
        self.installation = installation
        self.real = real
        self.door = door
        self.uuids = [f"e{number:02}" for number in range(EXECUTIONS)]
        installation.environment["JANITOR_PROCESSES"] = "2"
        self.provider = installation.add_provider(real.with_options(endpoint_url=door.url))
        installation.configure(self.provider, eliminar_despues_de_migrar=True)
        for uuid in self.uuids:
            installation.small_execution(uuid)

    def require_nothing_lost(self) -> None:
        """What is not migrated lies where it lay, whole."""
        for uuid in self.uuids:
            if not self.installation.place(uuid)[0]:
                assert tuple(sorted(os.listdir(self.installation.executions / uuid))) == FILES

    def require_finished_by_the_next_tick(self) -> None:
        """One tick with the door open, at once, does all that is left, and leaves nothing."""
        self.door.open()
        run = self.installation.run()
        assert run.exit_code == 0, str(run)
        self.require_all_done()

    def require_all_done(self) -> None:
        """Everything is migrated, stored and removed."""
        places = {self.installation.place(uuid) for uuid in self.uuids}
        assert places == {(True, f"cloud://s3/ejecuciones/{uuid}", self.provider) for uuid in self.uuids}
        files = {f"ejecuciones/{uuid}/{name}" for uuid in self.uuids for name in FILES}
        manifests = {f"ejecuciones/{uuid}.manifest.json" for uuid in self.uuids}
        assert self.real.everything_stored() == files | manifests
        assert os.listdir(self.installation.executions) == []
        assert self.installation.unfinished() == NOTHING_UNFINISHED


@pytest.fixture
def much(installation: Installation, new_destination: Callable[[str], Destination]) -> Iterator[Much]:
    """Much to do."""
    real = new_destination("s3-rclone")
    with Door(int(str(real.options["endpoint_url"]).rpartition(":")[2]), hold=MANIFEST_IS_PUT) as door:
        yield Much(installation, real, door)


def test_all_members_report_as_one_run(much: Much) -> None:
    installation = much.installation
    os.mkfifo(installation.executions / "e07" / "tubo")
    with installation.start("--debug", JANITOR_LOG_FORMAT="json", JANITOR_PROCESSES="3") as command:
        wait_until(much.door.met.is_set, 30)
        assert len(children_of(command.process.pid)) == 3
        much.door.open()
        run = command.finish()
    assert run.exit_code == 1, str(run)
    for lines in (run.errors.splitlines(), installation.log_file.read_text().splitlines()):
        told = [json.loads(line) for line in lines]
        migrated = [line["execution"] for line in told if line["event"] == "migration_finished"]
        assert sorted(migrated) == [uuid for uuid in much.uuids if uuid != "e07"]
        (failed,) = [line for line in told if line["event"] == "migration_failed"]
        assert failed["execution"] == "e07"
        assert "UnsafeSource" in failed["traceback"]
    (row,) = installation.rows("SELECT exit_code, report FROM janitor_runs")
    assert row["exit_code"] == 1
    assert row["report"]["migrated"] == row["report"]["local_copies_deleted"] == EXECUTIONS - 1
    assert row["report"]["migrated_files"] == (EXECUTIONS - 1) * len(FILES)
    assert row["report"]["failed"] == 1
    assert os.listdir(installation.executions) == ["e07"]


@pytest.mark.parametrize("to_all", [False, True], ids=["to the run", "to all of its processes"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_them_all_in_time_and_loses_nothing(much: Much, number: signal.Signals, to_all: bool) -> None:
    with much.installation.start() as command:
        wait_until(much.door.met.is_set, 30)
        members = children_of(command.process.pid)
        assert len(members) == 2
        for member in members if to_all else ():
            os.kill(member, number)
        run = command.stop(number)
    assert run.exit_code == 128 + number, str(run)
    assert "Traceback" not in run.errors
    assert len([line for line in run.messages("WARNING") if "Interrumpido" in line]) <= 1
    wait_until(lambda: not any(map(is_alive, members)), 5)
    much.require_nothing_lost()
    much.require_finished_by_the_next_tick()


def test_no_member_outlives_a_killed_run_and_the_next_run_continues_at_once(much: Much) -> None:
    with much.installation.start() as command:
        wait_until(much.door.met.is_set, 30)
        members = children_of(command.process.pid)
        assert len(members) == 2
        command.stop(signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, members)), 5)
    much.require_nothing_lost()
    much.require_finished_by_the_next_tick()


def test_a_killed_member_is_reported_and_costs_no_more_than_what_it_had(much: Much) -> None:
    with much.installation.start() as command:
        wait_until(much.door.met.is_set, 30)
        victim, _ = children_of(command.process.pid)
        os.kill(victim, signal.SIGKILL)
        much.door.open()
        run = command.finish()
    assert run.exit_code == 1, str(run)
    (error,) = run.messages("ERROR")
    assert "código -9" in error
    undone = [uuid for uuid in much.uuids if not much.installation.place(uuid)[0]]
    assert 1 <= len(undone) <= 8
    much.require_nothing_lost()
    much.require_finished_by_the_next_tick()


def test_a_database_that_is_lost_ends_them_all_and_loses_nothing(
    much: Much, database_administrator: Callable[[str], None]
) -> None:
    (row,) = much.installation.rows("SELECT current_database() AS name")
    change_constants(much.installation, sql__connection__LOST_FOR_SECONDS=2.0)
    with much.installation.start() as command:
        wait_until(much.door.met.is_set, 30)
        much.installation.close()
        database_administrator(f"ALTER DATABASE {row['name']} ALLOW_CONNECTIONS false")
        database_administrator(DISCONNECT.format(**row))
        much.door.open()
        run = command.finish()
    assert run.exit_code == 3, str(run)
    assert "Traceback" not in run.errors
    database_administrator(f"ALTER DATABASE {row['name']} ALLOW_CONNECTIONS true")
    much.installation.connect()
    much.require_nothing_lost()
    much.require_finished_by_the_next_tick()


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["--bandwidth-limit", "900M"], {}),
        (["--max-duration", "1h"], {}),
        (["--max-bytes", "1G"], {}),
        (["--transfers", "1"], {}),
        ([], {"JANITOR_PROCESSES": "1"}),
    ],
    ids=str,
)
def test_one_process_keeps_limits_that_hold_for_all_transfers_together(
    much: Much, arguments: list[str], variables: dict[str, str]
) -> None:
    with much.installation.start(*arguments, **variables) as command:
        wait_until(much.door.met.is_set, 30)
        assert children_of(command.process.pid) == set()
        much.door.open()
        run = command.finish()
    assert run.exit_code == 0, str(run)
    much.require_all_done()
