"""The host is in a bad way: disks full or read-only, an environment from nowhere, a clock that jumps. The tick still
migrates, records, deletes and cleans.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.destinations import Destination, local_destination
from tests.disks.small_disk import make_read_only, mounted_small_disk, use_up_inodes, use_up_space
from tests.stories.installation import COMMAND_TIMEOUT_SECONDS, Installation, Run
from tests.stories.trees import make_odd_tree, make_usual_tree, require_stored, snapshot

TWO_DAYS_SECONDS = 48 * 3600
DISK_BYTES = 512 * 1024
LEFT_BYTES = 4096


@pytest.fixture
def ready(installation: Installation, nas: Destination) -> Installation:
    """Migrates to a disk of its own, and deletes."""
    installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=True)
    return installation


def tick(
    installation: Installation,
    *arguments: str,
    setting: str = 'exec "$@"',
    directory: Path | None = None,
    program: Sequence[str] = (),
    environment: Mapping[str, str | None] | None = None,
) -> Run:
    """A tick whose process a shell has prepared, as cron's does; `setting` is what it does."""
    changed: Mapping[str, str | None] = {**installation.environment, **(environment or {})}
    command = program or [str(installation.program)]
    started = time.monotonic()
    done = subprocess.run(
        ["/bin/sh", "-c", setting, "sh", sys.executable, *command, *arguments],
        check=False,
        capture_output=True,
        env={name: value for name, value in changed.items() if value is not None},
        cwd=directory or installation.directory,
        timeout=COMMAND_TIMEOUT_SECONDS,
    )
    output, errors = done.stdout.decode(), done.stderr.decode()
    return Run(done.returncode, output, errors, time.monotonic() - started)


def old_temporary_files(directory: Path, count: int = 3) -> None:
    directory.mkdir(exist_ok=True)
    for number in range(count):
        (directory / f"viejo-{number}").write_text("x")
        os.utime(directory / f"viejo-{number}", (0, time.time() - TWO_DAYS_SECONDS))


def require_all_done(installation: Installation, run: Run, count: int = 2, exit_code: int = 0) -> None:
    """Every execution is migrated and gone from here; all is recorded; and what `exit_code` says."""
    assert run.exit_code == exit_code, str(run)
    assert "Traceback" not in run.errors
    rows = installation.rows("SELECT migrado_a_nube AS done, ruta_directorio AS path FROM ejecuciones_yaml")
    assert [row["done"] for row in rows] == [True] * count, str(run)
    assert not [row["path"] for row in rows if os.path.lexists(row["path"])]
    assert installation.unfinished() == {"attempts": 0, "leases": 0, "removals": 0}


# Full disks


@pytest.fixture
def disk(ready: Installation) -> Iterator[Path]:
    """A small disk on which everything local lies: executions, temporary files, logs, locks, home."""
    path = ready.directory / "disco"
    path.mkdir()
    with mounted_small_disk(path, DISK_BYTES, inodes=100):
        for name in ("ejecuciones", "bloqueos", "tmp", "casa", "trabajo", "registros"):
            (path / name).mkdir()
        ready.environment.update(
            {
                "JANITOR_ROOTS": str(path / "ejecuciones"),
                "JANITOR_LOG_DIR": str(path / "registros"),
                "JANITOR_LOCK_DIR": str(path / "bloqueos"),
                "TEMP_DIR": str(path / "temporales"),
                "TMPDIR": str(path / "tmp"),
                "HOME": str(path / "casa"),
            }
        )
        ready.executions = path / "ejecuciones"
        yield path


FILL: dict[str, Callable[[Path], None]] = {"no space": use_up_space, "no inodes": use_up_inodes}


@pytest.mark.parametrize("lacking", FILL)
def test_a_tick_works_with_everything_local_on_a_full_disk(ready: Installation, disk: Path, lacking: str) -> None:
    """That is when it is needed most. The first one ever, too: no lock file and no log file are there yet."""
    old_temporary_files(disk / "temporales")
    for uuid in ("uno", "dos"):
        ready.small_execution(uuid)
    FILL[lacking](disk)
    run = tick(ready, directory=disk / "trabajo")
    require_all_done(ready, run, exit_code=1)  # the log could not be written
    assert os.listdir(disk / "temporales") == []
    complaints = [line for line in run.errors.splitlines() if "no queda espacio" in line or "WARNING" in line]
    assert len(complaints) <= 1, str(run)
    FILL[lacking](disk)  # what was deleted has left some room
    for uuid in ("tres", "cuatro"):
        (ready.directory / "ejecuciones" / uuid).mkdir()
        ready.add_execution(uuid, ready.directory / "ejecuciones" / uuid)
    roots = f"{ready.executions}:{ready.directory / 'ejecuciones'}"
    again = tick(ready, directory=disk / "trabajo", environment={"JANITOR_ROOTS": roots})
    require_all_done(ready, again, 4, exit_code=1 if lacking == "no inodes" else 0)  # its log file has some room


@pytest.mark.parametrize("lacking", FILL)
def test_a_whole_execution_is_removed_from_a_full_disk(
    ready: Installation, disk: Path, nas: Destination, lacking: str
) -> None:
    """Setting it aside is a rename, which needs no room; so is removing its files one by one."""
    make_usual_tree(ready.new_directory("uno"))
    ready.add_execution("uno", ready.executions / "uno")
    original = snapshot(ready.executions / "uno")
    FILL[lacking](disk)
    require_all_done(ready, tick(ready), 1, exit_code=1)
    restored = ready.directory / "restaurada"
    assert tick(ready, "restore", "uno", str(restored)).exit_code == 0
    assert snapshot(restored) == original
    assert nas.everything_stored()


def test_the_disk_of_the_log_fills_up_in_the_middle(ready: Installation, disk: Path) -> None:
    ready.executions = ready.directory / "ejecuciones"
    for number in range(30):
        ready.small_execution(f"numero-{number}")
    use_up_space(disk)
    os.truncate(disk / "todo", (disk / "todo").stat().st_size - LEFT_BYTES)
    run = tick(ready, "--debug", directory=disk / "trabajo", environment={"JANITOR_ROOTS": str(ready.executions)})
    require_all_done(ready, run, 30, exit_code=1)
    assert run.errors.count("No se puede escribir el registro en ") == 1
    written = (disk / "registros" / "janitor_daemon.log").read_bytes()
    assert 0 < len(written) <= LEFT_BYTES
    assert len(run.errors) > 2 * LEFT_BYTES


def test_neither_a_log_nor_a_console_is_no_reason_not_to_work(ready: Installation, disk: Path) -> None:
    ready.small_execution("uno")
    use_up_space(disk)
    require_all_done(ready, tick(ready, setting='exec "$@" <&- >&- 2>&-'), 1, exit_code=1)
    (report,) = [row["report"] for row in ready.rows("SELECT report FROM janitor_runs")]
    assert report["problems"] == [f"1 registro que no se pudo escribir: {disk}/registros/janitor_daemon.log"]


def test_messages_that_go_to_a_full_disk_do_not_decide_how_it_ends(ready: Installation, disk: Path) -> None:
    """As `2>> /var/log/janitor.log` in a crontab does. Python would end with 120."""
    ready.small_execution("uno")
    use_up_space(disk)
    run = tick(ready, setting=f'exec "$@" > {disk}/salida 2> {disk}/errores')
    require_all_done(ready, run, 1, exit_code=1)  # as the log has no room either
    for arguments, exit_code in ((("status",), 1), (("--retention-hours", "x"), 2), (("check",), 1)):
        use_up_space(disk)
        assert tick(ready, *arguments, setting='exec "$@" > /dev/full 2> /dev/full').exit_code == exit_code


def test_what_may_not_be_written_to_is_no_reason_not_to_work(ready: Installation, disk: Path) -> None:
    """Logs, locks, home and working directory on a read-only disk, executions on another: the directory is the lock."""
    executions = ready.directory / "ejecuciones"
    (executions / "uno").mkdir()
    ready.add_execution("uno", executions / "uno")
    make_read_only(disk)
    run = tick(
        ready,
        directory=disk / "trabajo",
        environment={"JANITOR_ROOTS": str(executions), "TEMP_DIR": str(ready.temporary)},
    )
    require_all_done(ready, run, 1, exit_code=1)
    (warning,) = run.messages("WARNING")
    assert warning.startswith("No se puede escribir el registro en ")


def test_executions_on_a_read_only_disk_are_migrated_and_stay(ready: Installation, disk: Path) -> None:
    directory = ready.small_execution("uno")
    make_read_only(disk)
    elsewhere = {"JANITOR_LOG_DIR": ready.logs, "JANITOR_LOCK_DIR": ready.directory, "TEMP_DIR": ready.temporary}
    for _ in range(2):
        run = tick(ready, environment={name: str(path) for name, path in elsewhere.items()})
        assert run.exit_code == 1, str(run)
        assert ready.place("uno")[0] is True
        (error,) = run.messages("ERROR")
        assert error.startswith("No se borró la copia local de la ejecución uno")
        assert "sistema de ficheros de solo lectura" in error
    assert sorted(os.listdir(directory)) == ["ejecucion.txt", "tabla.txt"]


# Environments


ENVIRONMENTS: dict[str, tuple[str, dict[str, str | None]]] = {
    "no home": ('exec "$@"', {"HOME": None}),
    "no terminal": ('exec "$@"', {"TERM": None}),
    "nothing on the path": ('exec "$@"', {"PATH": ""}),
    "no errors": ('exec "$@" 2>&-', {}),
    "no streams": ('exec "$@" <&- >&- 2>&-', {}),
    "a closed umask": ('umask 777 && exec "$@"', {}),
    "an open umask": ('umask 000 && exec "$@"', {}),
    "few files": ('ulimit -n 256 && exec "$@"', {}),
    "a directory that is gone": ('mkdir x && cd x && rmdir ../x && exec "$@"', {}),
    "a locale of one byte": ('exec "$@"', {"LANG": "C"}),
    "names in ASCII": ('exec "$@"', {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_it_does_not_matter_where_it_is_started_from(ready: Installation, nas: Destination, name: str) -> None:
    setting, environment = ENVIRONMENTS[name]
    directory = ready.new_directory("uno")
    make_odd_tree(directory)
    ready.add_execution("uno", directory)
    original = ready.directory / "original"
    subprocess.run(["cp", "-a", str(directory), str(original)], check=True)
    old_temporary_files(ready.temporary)
    run = tick(ready, setting=setting, environment=environment)
    require_all_done(ready, run, 1)
    assert os.listdir(ready.temporary) == []
    assert "Ejecución uno migrada exitosamente" in ready.log_file.read_text()
    assert ready.log_file.stat().st_mode & 0o700 == 0o600  # to root, any mode would do
    require_stored(nas, "ejecuciones/uno", original)
    restored = ready.directory / "restaurada"
    assert tick(ready, "restore", "uno", str(restored), setting=setting, environment=environment).exit_code == 0
    assert snapshot(restored) == snapshot(original)


def test_it_does_not_matter_whether_anybody_reads(ready: Installation) -> None:
    ready.small_execution("uno")
    run = tick(ready, setting='("$@"; echo $? > code) 2>&1 | true; exit $(cat code)')
    require_all_done(ready, run, 1)
    assert "Ejecución uno migrada exitosamente" in ready.log_file.read_text()


def test_too_few_files_for_a_deep_execution_fail_it_alone(ready: Installation) -> None:
    """One descriptor for each level: 200 levels do not fit into 64 files. What it took away from the other one that is
    under way, this one is given again.
    """
    deep = ready.new_directory("honda").joinpath(*["d"] * 200)
    deep.mkdir(parents=True)
    ready.add_execution("honda", ready.executions / "honda")
    ready.small_execution("plana")
    run = tick(ready, setting='ulimit -n 64 && exec "$@"', environment={"JANITOR_TRANSFERS": "2"})
    assert run.exit_code == 1, str(run)
    assert ready.place("plana")[0] is True, str(run)
    assert ready.place("honda")[0] is False
    assert deep.is_dir()
    assert "demasiados ficheros abiertos" in run.errors
    require_all_done(ready, tick(ready))


FEW_FILES = """
import errno, os, sys
sys.path.insert(0, sys.argv.pop(1))
concerns, times = eval(sys.argv.pop(1)), int(sys.argv.pop(1))
real_open, refused = os.open, []

def open_unless_too_many(name, flags, *arguments, dir_fd=None, **more):
    if dir_fd is not None and concerns(name, flags) and len(refused) < times:
        refused.append(name)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), name)
    return real_open(name, flags, *arguments, dir_fd=dir_fd, **more)

os.open = open_unless_too_many
import janitor_daemon
try:
    janitor_daemon.main()
finally:
    print("refused", len(refused))
"""

WHAT_FINDS_TOO_MANY = {
    "its directory": "lambda name, flags: name == 'plana'",
    "a file of it": "lambda name, flags: name == 'tabla.txt'",
    "a file on the provider": "lambda name, flags: flags & os.O_CREAT",
}


def tick_with_few_files(installation: Installation, concerns: str, times: int) -> Run:
    driver = installation.directory / "driver.py"
    driver.write_text(FEW_FILES)
    return tick(installation, program=[str(driver), str(installation.program.parent), concerns, str(times)])


@pytest.mark.parametrize("name", WHAT_FINDS_TOO_MANY)
def test_what_found_too_many_files_open_is_tried_again_when_the_others_are_done(
    installation: Installation, nas: Destination, tmp_path: Path, name: str
) -> None:
    """In the same run, by itself, and on the same provider: it was not the provider's fault.

    For a file on the provider, the step alone may be repeated instead, which nobody needs to hear of.
    """
    alternate = local_destination("alterno", tmp_path / "alterno")
    providers = [installation.add_provider(destination) for destination in (nas, alternate)]
    installation.configure(*providers, eliminar_despues_de_migrar=True)
    installation.small_execution("plana")
    installation.small_execution("otra", otra="x")
    run = tick_with_few_files(installation, WHAT_FINDS_TOO_MANY[name], 1)
    require_all_done(installation, run)
    assert "refused 1" in run.output
    warning = "WARNING - Demasiados ficheros abiertos a la vez: la ejecución "
    assert warning in run.errors or name == "a file on the provider", str(run)
    assert not os.listdir(tmp_path / "alterno")


@pytest.mark.parametrize("name", ["its directory", "a file of it"])
def test_what_finds_too_many_files_open_by_itself_too_has_failed(ready: Installation, name: str) -> None:
    """It is said, recorded, and left for the next tick; the other one is migrated."""
    directory = ready.small_execution("plana")
    ready.small_execution("otra", otra="x")
    run = tick_with_few_files(ready, WHAT_FINDS_TOO_MANY[name], 1000)
    assert run.exit_code == 1, str(run)
    assert "refused 2" in run.output
    assert run.errors.count("se intenta otra vez al final") == 1
    assert next(line for line in run.errors.splitlines() if "No se pudo migrar la ejecución plana" in line).endswith(
        "demasiados ficheros abiertos"
    ), str(run)
    assert (ready.place("plana")[0], ready.place("otra")[0]) == (False, True)
    assert directory.is_dir()
    require_all_done(ready, tick(ready))


# Clocks


CLOCK = """
import itertools, sys, time
real_time, real_time_ns = time.time, time.time_ns
sys.path.insert(0, sys.argv.pop(1))
offsets = iter(eval(sys.argv.pop(1)))
asked = 0

def offset():
    global asked
    asked += 1
    return next(offsets)

time.time = lambda: real_time() + offset()
time.time_ns = lambda: real_time_ns() + int(offset() * 1e9)
import janitor_daemon
try:
    janitor_daemon.main()
finally:
    print("asked", asked)
"""

CLOCKS = {
    "set back in the middle, by a day": "itertools.chain([0] * 6, itertools.repeat(-86400))",
    "set forward in the middle, by a day": "itertools.chain([0] * 6, itertools.repeat(86400))",
    "to and fro": "itertools.cycle([0, -3600, 3600, -86400])",
    "back to 1970": "itertools.repeat(-real_time())",
    "beyond 2038": "itertools.repeat(20 * 365 * 86400)",
}


@pytest.mark.parametrize("name", CLOCKS)
def test_a_clock_that_jumps_harms_nothing(ready: Installation, nas: Destination, name: str) -> None:
    """What decides is the database's clock, and time that cannot be set. A run meets the jump, wherever it comes."""
    for uuid in ("uno", "dos"):
        make_usual_tree(ready.new_directory(uuid))
        ready.add_execution(uuid, ready.executions / uuid)
    original = ready.directory / "original"
    subprocess.run(["cp", "-a", str(ready.executions / "uno"), str(original)], check=True)
    driver = ready.directory / "driver.py"
    driver.write_text(CLOCK)
    run = tick(ready, program=[str(driver), str(ready.program.parent), CLOCKS[name]])
    require_all_done(ready, run)
    asked = int(run.output.split()[-1])
    assert asked > 12, "the clock was hardly asked"
    require_stored(nas, "ejecuciones/uno", original)
    assert all(path.stat().st_size > 0 for path in nas.directory.rglob("*.json"))


def test_temporary_files_from_the_future_stay_until_their_time_has_come(ready: Installation) -> None:
    """After the clock was set back, what was written before seems to come from the future."""
    old_temporary_files(ready.temporary, 2)
    for days in (0.01, 30, 20 * 365):
        (ready.temporary / f"dentro de {days} días").touch()
        os.utime(ready.temporary / f"dentro de {days} días", (0, time.time() + days * 86400))
    run = tick(ready, "--clean-only")
    assert run.exit_code == 0
    assert run.said("INFO", "Limpieza completada: 2 archivos temporales eliminados (0.00 MB)"), str(run)
    assert len(os.listdir(ready.temporary)) == 3
