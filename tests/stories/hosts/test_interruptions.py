"""Two runs at once, a database that is gone, signals, and deaths in the worst moments."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.destinations import Destination
from tests.processes import wait_until
from tests.stories.doors import Door, refused_port
from tests.stories.installation import Installation
from tests.stories.programs import change_constants
from tests.stories.trees import copy_tree, make_usual_tree, require_stored, snapshot

NEVER_AGAIN = {"attempts": 0, "leases": 0, "removals": 0}


class Patient:
    """An installation whose S3 server lies behind a door, and one execution with a file of several parts."""

    def __init__(self, installation: Installation, real: Destination, door: Door) -> None:
        self.installation = installation
        self.real = real
        self.door = door
        self.provider = installation.add_provider(real.with_options(endpoint_url=door.url))
        installation.configure(self.provider, eliminar_despues_de_migrar=True)
        self.directory = installation.new_directory("uno")
        make_usual_tree(self.directory)
        (self.directory / "grande.bin").write_bytes(os.urandom(20_000_000))
        installation.add_execution("uno", self.directory)
        self.before = snapshot(self.directory)

    def require_untouched(self) -> None:
        """Nothing is lost: the row says that it is not migrated, and everything is there."""
        assert self.installation.place("uno") == (False, None, None)
        assert snapshot(self.directory) == self.before

    def require_finished_by_the_next_tick(self, original: Path) -> None:
        """One tick with the door open does all that is left, and leaves nothing."""
        self.door.open()
        run = self.installation.run()
        assert run.exit_code == 0, str(run)
        assert self.installation.place("uno") == (True, "cloud://s3/ejecuciones/uno", self.provider)
        require_stored(self.real, "ejecuciones/uno", original)
        assert len(self.real.everything_stored()) == 1 + len([item for item in self.before.values() if len(item) == 5])
        assert os.listdir(self.installation.executions) == []
        assert self.installation.unfinished() == NEVER_AGAIN


MakePatient = Callable[[bytes], Patient]
ON_BOTH_SERVERS = pytest.mark.parametrize("patient", ["s3-swift", "s3-rclone"], indirect=True)


@pytest.fixture
def patient(
    request: pytest.FixtureRequest, installation: Installation, new_destination: Callable[[str], Destination]
) -> Iterator[MakePatient]:
    """Make the patient; requests that match the pattern wait. The test may name the server: see `ON_BOTH_SERVERS`."""
    name = getattr(request, "param", "s3-rclone")
    doors: list[Door] = []

    def make(hold: bytes) -> Patient:
        real = new_destination(name)
        door = Door(int(str(real.options["endpoint_url"]).rpartition(":")[2]), hold=hold).__enter__()
        doors.append(door)
        return Patient(installation, real, door)

    yield make
    for door in doors:
        door.__exit__(None, None, None)


SECOND_PART = rb"PUT /[^ ]*grande\.bin\?[^ ]*partNumber=2"
MANIFEST_IS_PUT = rb"PUT /[^ ]*\.manifest\.json"
MANIFEST_IS_READ = rb"GET /[^ ]*\.manifest\.json"
DISCONNECT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"


def test_a_second_migration_on_the_host_gives_way_at_once(patient: MakePatient) -> None:
    case = patient(SECOND_PART)
    with case.installation.start() as first:
        wait_until(case.door.met.is_set, 30)
        content = case.installation.everything_in_the_database()
        for arguments in (["--only", "migration"], ["run", "migration"], ["--migrate-only"]):
            second = case.installation.run(*arguments)
            assert second.exit_code == 75, str(second)
            assert len(second.messages()) == 1
        assert case.installation.everything_in_the_database() == content
        assert case.installation.run("--dry-run").exit_code == 0
        assert case.installation.run("status").exit_code == 0
        case.door.open()
        run = first.finish()
    assert run.exit_code == 0, str(run)
    assert case.installation.place("uno")[0] is True


def test_runs_against_different_databases_do_not_get_in_each_others_way(
    installation: Installation, new_installation: Callable[[], Installation]
) -> None:
    other = new_installation()
    other.environment["JANITOR_LOCK_DIR"] = installation.environment["JANITOR_LOCK_DIR"]
    with installation.start() as one, other.start() as two:
        assert (one.finish().exit_code, two.finish().exit_code) == (0, 0)


@pytest.mark.parametrize(
    "arguments", [[], ["--clean-only"], ["--dry-run"], ["status"], ["check"], ["init-db"]], ids=str
)
def test_without_the_database_nothing_is_touched(
    installation: Installation, nas: Destination, arguments: list[str]
) -> None:
    installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=True)
    directory = installation.small_execution("uno")
    old = installation.temporary / "viejo"
    old.touch()
    os.utime(old, (0, 0))
    before = snapshot(directory)
    url = f"postgresql://sage:secreto-de-la-base@127.0.0.1:{refused_port()}/sage"
    run = installation.run(*arguments, DATABASE_URL=url)
    assert run.exit_code == 3, str(run)
    (error,) = run.messages("ERROR")
    assert "base de datos" in error
    assert "secreto-de-la-base" not in run.errors
    assert snapshot(directory) == before
    assert old.exists()


def test_a_database_that_is_lost_in_the_middle_loses_nothing(
    patient: MakePatient, database_administrator: Callable[[str], None]
) -> None:
    case = patient(MANIFEST_IS_PUT)
    change_constants(case.installation, sql__connection__LOST_FOR_SECONDS=3.0)
    original = copy_tree(case.directory, case.installation.directory / "original")
    (row,) = case.installation.rows("SELECT current_database() AS name")
    with case.installation.start() as command:
        wait_until(case.door.met.is_set, 30)
        case.installation.close()
        database_administrator(f"ALTER DATABASE {row['name']} ALLOW_CONNECTIONS false")
        database_administrator(DISCONNECT.format(**row))
        case.door.open()
        run = command.finish()
    assert run.exit_code == 3, str(run)
    assert "Traceback" not in run.errors
    assert snapshot(case.directory) == case.before
    database_administrator(f"ALTER DATABASE {row['name']} ALLOW_CONNECTIONS true")
    case.installation.connect()
    case.require_untouched()
    case.require_finished_by_the_next_tick(original)


def test_a_database_that_breaks_the_connection_once_is_asked_again(
    patient: MakePatient, database_administrator: Callable[[str], None]
) -> None:
    case = patient(MANIFEST_IS_PUT)
    (row,) = case.installation.rows("SELECT current_database() AS name")
    with case.installation.start() as command:
        wait_until(case.door.met.is_set, 30)
        database_administrator(DISCONNECT.format(**row) + " AND application_name = 'janitor_daemon'")
        case.door.open()
        run = command.finish()
    assert run.exit_code == 0, str(run)
    assert case.installation.place("uno")[0] is True


@pytest.mark.parametrize(
    ("patient", "number"), [("s3-swift", signal.SIGTERM), ("s3-rclone", signal.SIGINT)], indirect=["patient"]
)
def test_a_signal_in_the_middle_of_an_upload_that_hangs_discards_it_and_loses_nothing(
    patient: MakePatient, number: signal.Signals
) -> None:
    case = patient(SECOND_PART)
    original = copy_tree(case.directory, case.installation.directory / "original")
    with case.installation.start() as command:
        wait_until(case.door.met.is_set, 30)
        run = command.stop(number)
    assert run.exit_code == 128 + number, str(run)
    assert "Traceback" not in run.errors
    assert not [name for name in case.real.everything_stored() if "(unfinished)" in name]
    case.require_untouched()
    case.require_finished_by_the_next_tick(original)


@ON_BOTH_SERVERS
@pytest.mark.parametrize("moment", [SECOND_PART, MANIFEST_IS_PUT], ids=["second part", "manifest"])
def test_a_death_in_the_middle_of_an_upload_loses_nothing(patient: MakePatient, moment: bytes) -> None:
    case = patient(moment)
    original = copy_tree(case.directory, case.installation.directory / "original")
    with case.installation.start() as command:
        wait_until(case.door.met.is_set, 30)
        command.stop(signal.SIGKILL)
    case.require_untouched()
    case.require_finished_by_the_next_tick(original)


def test_a_death_after_the_commit_and_before_the_deletion_is_finished_by_the_next_tick(
    installation: Installation, nas: Destination
) -> None:
    """The commit records that the local copy is to go, so that a death right after it is told from "kept"."""
    installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=False)
    directory = installation.small_execution("uno")
    assert installation.run().exit_code == 0
    installation.execute("UPDATE janitor_migrations SET local_copy = 'deleting'")  # as the commit would have left it
    installation.configure(1, eliminar_despues_de_migrar=True)
    run = installation.run()
    assert run.exit_code == 0, str(run)
    assert run.said("INFO", "Copia local de la ejecución uno borrada")
    assert not directory.exists()
    assert installation.unfinished() == NEVER_AGAIN


def test_a_death_in_the_middle_of_the_deletion_is_finished_by_the_next_tick(patient: MakePatient) -> None:
    case = patient(MANIFEST_IS_READ)
    installation = case.installation
    original = copy_tree(case.directory, installation.directory / "original")
    installation.configure(case.provider, eliminar_despues_de_migrar=False)
    run = installation.run()
    assert run.exit_code == 0, str(run)
    installation.execute("UPDATE janitor_migrations SET local_copy = 'deleting'")
    installation.configure(case.provider, eliminar_despues_de_migrar=True)
    with installation.start() as command:
        wait_until(case.door.met.is_set, 30)
        assert os.listdir(installation.executions) != ["uno"]  # set aside already
        command.stop(signal.SIGKILL)
    (aside,) = installation.executions.iterdir()
    (aside / "registro.log").unlink()  # as far as it had come
    case.require_finished_by_the_next_tick(original)


def test_what_was_set_aside_gets_its_name_back_where_deletion_was_switched_off(patient: MakePatient) -> None:
    case = patient(MANIFEST_IS_READ)
    installation = case.installation
    installation.configure(case.provider, eliminar_despues_de_migrar=False)
    run = installation.run()
    assert run.exit_code == 0, str(run)
    installation.execute("UPDATE janitor_migrations SET local_copy = 'deleting'")
    installation.configure(case.provider, eliminar_despues_de_migrar=True)
    with installation.start() as command:
        wait_until(case.door.met.is_set, 30)
        command.stop(signal.SIGKILL)
    installation.configure(case.provider, eliminar_despues_de_migrar=False)
    case.door.open()
    assert installation.run().exit_code == 0
    assert snapshot(case.directory) == case.before
    assert installation.unfinished() == NEVER_AGAIN


def test_parts_that_a_death_left_are_removed_though_the_execution_went_elsewhere(
    patient: MakePatient, nas: Destination
) -> None:
    case = patient(SECOND_PART)
    installation = case.installation
    original = copy_tree(case.directory, installation.directory / "original")
    with installation.start() as command:
        wait_until(case.door.met.is_set, 30)
        command.stop(signal.SIGKILL)
    case.door.open()
    alternate = installation.add_provider(nas, "El NAS")
    installation.configure(case.provider, alternate, eliminar_despues_de_migrar=True)
    place = "UPDATE cloud_providers SET configuracion = jsonb_set(configuracion, '{endpoint_url}', to_jsonb(%s::text))"
    installation.execute(f"{place} WHERE id = %s", (f"http://127.0.0.1:{refused_port()}", case.provider))
    run = installation.run()
    assert run.exit_code == 0, str(run)
    assert installation.place("uno") == (True, "cloud://local/ejecuciones/uno", alternate)

    installation.execute(f"{place} WHERE id = %s", (case.real.options["endpoint_url"], case.provider))
    for _ in range(2):
        run = installation.run()
        assert run.exit_code == 0, str(run)
    assert case.real.everything_stored() == set()
    require_stored(nas, "ejecuciones/uno", original)
    assert installation.unfinished() == NEVER_AGAIN


def test_two_hosts_share_the_work_and_do_none_of_it_twice(installation: Installation, nas: Destination) -> None:
    installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=True)
    uuids = [f"e{number:02d}" for number in range(24)]
    for uuid in uuids:
        installation.small_execution(uuid)
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
    assert os.listdir(installation.executions) == []
    assert installation.unfinished() == NEVER_AGAIN


def test_a_host_leaves_alone_what_another_one_has_on_its_disk(installation: Installation, nas: Destination) -> None:
    provider = installation.add_provider(nas)
    installation.configure(provider, eliminar_despues_de_migrar=False)
    directory = installation.small_execution("del-norte")
    assert installation.run(JANITOR_HOST="norte").exit_code == 0
    installation.execute("UPDATE janitor_migrations SET local_copy = 'deleting'")
    installation.configure(provider, eliminar_despues_de_migrar=True)
    aside = directory.rename(installation.directory / "disco del norte")
    run = installation.run(JANITOR_HOST="sur")
    assert run.exit_code == 0, str(run)
    assert installation.migration("del-norte")["local_copy"] == "deleting"
    aside.rename(directory)
    assert installation.run(JANITOR_HOST="norte").exit_code == 0
    assert not directory.exists()
