"""A log file that cannot be written: all of it is on the console, one line says why, and the exit code is 1."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from config.process.write_advice import advice_to_write, user_name
from tests.destinations import Destination
from tests.disks.privileges import NOBODY, WITHOUT_CAPABILITIES
from tests.stories.installation import Installation


@pytest.fixture
def ready(installation: Installation, nas: Destination) -> Installation:
    """One execution that is to be migrated."""
    installation.configure(installation.add_provider(nas))
    installation.small_execution("uno")
    return installation


def _give_away(path: Path) -> str:
    """Let a path be another user's, as far as this one may; give what is to be done about it."""
    me = user_name(os.geteuid())
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)
        return f"{path} es de {user_name(NOBODY)} y el programa corre como {me}: ejecute chown {me} {path}"
    return f"{path} es de {me}, sin permiso de escritura: ejecute chmod u+rwX {path}"


def _directory_of_others(logs: Path) -> str:
    logs.mkdir()
    logs.chmod(0o555)
    return _give_away(logs)


def _file_of_others(logs: Path) -> str:
    logs.mkdir()
    file = logs / "janitor_daemon.log"
    file.touch()
    file.chmod(0o444)
    return _give_away(file)


def _no_directory_in_one_of_others(logs: Path) -> str:
    logs.parent.mkdir()
    logs.parent.chmod(0o555)
    advice = _give_away(logs.parent)
    return f"cree el directorio {logs} para el usuario {user_name(os.geteuid())}" if os.geteuid() == 0 else advice


def _file_in_its_place(logs: Path) -> str:
    logs.touch()
    return f"{logs} no es un directorio: quítelo, o indique otro directorio en JANITOR_LOG_DIR"


def _file_above_it(logs: Path) -> str:
    _file_in_its_place(logs.parent)
    return f"{logs.parent} no es un directorio: quítelo, o indique otro directorio en JANITOR_LOG_DIR"


UNWRITABLE: dict[str, Callable[[Path], str]] = {
    "a directory of others": _directory_of_others,
    "a file of others": _file_of_others,
    "none, in a directory of others": _no_directory_in_one_of_others,
    "a file in its place": _file_in_its_place,
    "none, below a file": _file_above_it,
}


@pytest.mark.parametrize("name", UNWRITABLE)
def test_a_log_that_cannot_be_written_is_reported_on_the_console_and_by_the_exit_code(
    ready: Installation, name: str
) -> None:
    """`logs` was made by root, say, and cron runs as another user. A full disk: `test_host_faults`."""
    logs = ready.directory / "var" / "registros" if name.startswith("none") else ready.directory / "registros"
    advice = UNWRITABLE[name](logs)
    run = ready.run_as_ordinary_user(JANITOR_LOG_DIR=str(logs))
    assert run.exit_code == 1, str(run)
    assert ready.place("uno")[0] is True
    file = logs / "janitor_daemon.log"
    (warning,) = run.messages("WARNING")
    assert warning.startswith(f"No se puede escribir el registro en {file}: ")
    assert advice in warning
    assert run.messages("INFO")[0] == "Migrando ejecución uno a la nube"
    assert run.messages()[-1].endswith(f"; 1 registro que no se pudo escribir: {file}")
    check = ready.run_as_ordinary_user("check", JANITOR_LOG_DIR=str(logs))
    assert check.exit_code == 1, str(check)
    (line,) = [line for line in check.output.splitlines() if line.startswith("ERROR")]
    assert line.startswith(f"ERROR  registro {logs}: ")
    assert advice in line


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
@pytest.mark.parametrize("path", ["/", "/etc", "/root", "/usr/lib", "/home/otra"])
def test_no_advice_gives_away_a_directory_of_the_system_or_a_home(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """Nor anything with all that is in it. For each directory that the advice is given of: log, lock, TEMP_DIR."""
    refused = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    monkeypatch.setattr(os, "access", lambda *_arguments: False)
    for named in (Path(path), Path(path, "janitor_daemon.log"), Path(path, "logs", "janitor_daemon.log")):
        advice = advice_to_write(named, refused, "JANITOR_LOG_DIR")
        assert "chown" not in advice
        assert "indique otro directorio en JANITOR_LOG_DIR" in advice


def test_where_nobody_reads_the_console_either_the_report_of_the_run_says_so(ready: Installation) -> None:
    logs = ready.directory / "registros"
    _directory_of_others(logs)
    done = subprocess.run(
        [
            *("/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"),
            *(sys.executable, "-c", WITHOUT_CAPABILITIES, str(ready.program)),
        ],
        env={**ready.environment, "JANITOR_LOG_DIR": str(logs)},
        cwd=ready.directory,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    status = ready.run("status").output.splitlines()
    assert status[-1] == f"  1 registro que no se pudo escribir: {logs / 'janitor_daemon.log'}"


def test_the_line_is_json_where_all_others_are(ready: Installation) -> None:
    logs = ready.directory / "registros"
    _directory_of_others(logs)
    run = ready.run_as_ordinary_user(JANITOR_LOG_DIR=str(logs), JANITOR_LOG_FORMAT="json")
    assert run.exit_code == 1, str(run)
    assert all(line.startswith('{"timestamp"') for line in run.errors.splitlines())
    assert '"event": "log_file_unusable"' in run.errors.splitlines()[0]
