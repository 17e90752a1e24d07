"""Signals at any moment of a whole process: its exit code is that of the signal, and nothing is told as an error."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.destinations import Destination
from tests.processes import wait_until
from tests.stories.doors import Door
from tests.stories.installation import PROGRAM, Installation, Run

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ON_EACH_SIGNAL = pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
SECOND_PART = rb"PUT /[^ ]*grande\.bin\?[^ ]*partNumber=2"

RUN_UNDER_FAULT = """
import os, signal, sys
sys.argv = sys.argv[2:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
moment, number = os.environ["MOMENT"], int(os.environ["SIGNAL"])

def strike(event, arguments):
    if event == "import" and arguments[0] == moment:
        os.kill(os.getpid(), number)

sys.addaudithook(strike)
import runpy
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""The program as `python janitor_daemon.py` runs it, which gets a signal when it is about to import a module."""


def interrupted_import(installation: Installation, module: str, number: signal.Signals, *arguments: str) -> Run:
    """A run that gets a signal while it is imported."""
    environment = {**installation.environment, "MOMENT": module, "SIGNAL": str(int(number))}
    command = [sys.executable, "-c", RUN_UNDER_FAULT, "-", str(PROGRAM), *arguments]
    done = subprocess.run(
        command, env=environment, cwd=installation.directory, capture_output=True, text=True, check=False, timeout=60
    )
    return Run(done.returncode, done.stdout, done.stderr, 0.0)


def recorded(installation: Installation) -> dict[str, object]:
    """What the last run has written down of itself."""
    (row,) = installation.rows("SELECT exit_code, report FROM janitor_runs ORDER BY id DESC LIMIT 1")
    return row


@ON_EACH_SIGNAL
@pytest.mark.parametrize("module", ["click", "psycopg2", "jobs.temp_files.clean"])
def test_a_signal_while_the_program_is_imported_ends_it_without_a_traceback(
    installation: Installation, module: str, number: signal.Signals
) -> None:
    run = interrupted_import(installation, module, number)
    told = f"Interrumpido por {number.name}: todo queda en orden\n"
    assert (run.exit_code, run.output, run.errors) == (128 + number, "", told)


@ON_EACH_SIGNAL
def test_a_signal_while_a_command_is_imported_ends_it_without_a_traceback(
    installation: Installation, number: signal.Signals
) -> None:
    """By then the program handles signals, and click turns what is raised into the end of the command."""
    run = interrupted_import(installation, "commands.check_rights", number, "check")
    assert (run.exit_code, run.output) == (128 + number, "")
    assert run.messages() == [f"Interrumpido por {number.name}: todo queda en orden"]


@ON_EACH_SIGNAL
def test_a_signal_when_the_work_is_done_is_not_swallowed(installation: Installation, number: signal.Signals) -> None:
    """The moment after the last line of the log: as the last of what the program does, it says good-bye to its log."""
    program = installation.directory / "programa.py"
    program.write_text(
        f"import os, sys\nsys.path.insert(0, {str(PROGRAM.parent)!r})\nsys.argv[0] = '/usr/bin/janitor-daemon'\n"
        f"import logging, janitor_daemon\nlogging.shutdown = lambda: os.kill(os.getpid(), {int(number)})\n"
        "janitor_daemon.program()\n"
    )
    installation.program = program
    run = installation.run()
    assert run.exit_code == 128 + number, str(run)
    assert "Traceback" not in run.errors
    assert "Ciclo terminado" in run.errors


class Hanging:
    """An installation whose S3 server lets an upload hang: it lies behind a door that stays shut."""

    def __init__(self, installation: Installation, real: Destination, door: Door) -> None:
        self.installation = installation
        self.door = door
        provider = installation.add_provider(real.with_options(endpoint_url=door.url))
        installation.configure(provider, eliminar_despues_de_migrar=True)
        self.directory = installation.new_directory("uno")
        (self.directory / "grande.bin").write_bytes(os.urandom(20_000_000))
        installation.add_execution("uno", self.directory)


@ON_EACH_SIGNAL
def test_an_interrupted_run_is_recorded_as_it_ends_and_reported_in_one_line(
    installation: Installation, new_destination: Callable[[str], Destination], number: signal.Signals
) -> None:
    real = new_destination("s3-rclone")
    with Door(int(str(real.options["endpoint_url"]).rpartition(":")[2]), hold=SECOND_PART) as door:
        case = Hanging(installation, real, door)
        with installation.start() as command:
            wait_until(door.met.is_set, 30)
            run = command.stop(number)
    assert run.exit_code == 128 + number, str(run)
    assert run.messages("ERROR") == []
    (told,) = run.messages("WARNING")
    assert told.startswith(f"Interrumpido por {number.name}: todo queda en orden; el siguiente ciclo")
    row = recorded(installation)
    assert row["exit_code"] == 128 + number
    assert isinstance(row["report"], dict)
    assert (row["report"]["failed"], row["report"]["interrupted"]) == (0, True)
    status = installation.run("status").output
    assert "Con error: 0\n" in status
    assert case.directory.exists()


def test_a_terminal_that_is_closed_does_not_end_a_run_under_nohup(
    installation: Installation, nas: Destination, tmp_path: Path
) -> None:
    installation.configure(installation.add_provider(nas))
    installation.small_execution("uno")
    program = tmp_path / "nohup.py"
    program.write_text(
        "import os, runpy, signal, sys\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        f"sys.argv[0] = {str(PROGRAM)!r}\nsys.path.insert(0, {str(PROGRAM.parent)!r})\n"
        "import jobs.temp_files.clean as job\nclean = job.clean_temp_files\n"
        "job.clean_temp_files = lambda *a, **k: (os.kill(os.getpid(), signal.SIGHUP), clean(*a, **k))[1]\n"
        f"runpy.run_path({str(PROGRAM)!r}, run_name='__main__')\n"
    )
    installation.program = program
    run = installation.run()
    assert run.exit_code == 0, str(run)
    assert "Interrumpido" not in run.errors


@ON_EACH_SIGNAL
def test_check_takes_its_probe_object_away_when_it_is_interrupted(
    installation: Installation, new_destination: Callable[[str], Destination], number: signal.Signals
) -> None:
    """As do all commands that have something to clear away: no signal kills them where they stand."""
    real = new_destination("s3-rclone")
    with Door(int(str(real.options["endpoint_url"]).rpartition(":")[2]), hold=rb"GET /[^ ]*janitor-check") as door:
        installation.configure(installation.add_provider(real.with_options(endpoint_url=door.url)))
        with installation.start("check") as command:
            wait_until(door.met.is_set, 30)
            run = command.stop(number)
    assert run.exit_code == 128 + number, str(run)
    assert "Traceback" not in run.errors
    assert real.everything_stored() == set()
