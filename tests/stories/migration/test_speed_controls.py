"""Operators decide how fast a run may be, how long it may take and how much it may send; what is left is told."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from janitor_daemon import run_command_line
from providers.local.provider import LocalProvider
from tests.destinations import Destination
from tests.repository import REPOSITORY
from tests.stories.installation import LOG_LINE, Installation, Run
from tests.stories.trees import snapshot

KIBIBYTE = 1024


def add_executions(installation: Installation, count: int, kibibytes: int, files: int = 1) -> list[str]:
    """Executions of this many random bytes, oldest first; give their uuids."""
    uuids = [f"uuid-{number:02}" for number in range(count)]
    for age, uuid in zip(range(500, 0, -1), uuids, strict=False):
        directory = installation.new_directory(uuid)
        for number in range(files):
            (directory / f"datos-{number}.bin").write_bytes(os.urandom(kibibytes * KIBIBYTE // files))
        installation.add_execution(uuid, directory, age)
    return uuids


def migrated(installation: Installation) -> list[str]:
    """The uuids of what is migrated."""
    rows = installation.rows("SELECT uuid FROM ejecuciones_yaml WHERE migrado_a_nube ORDER BY uuid")
    return [row["uuid"] for row in rows]


def last_report(installation: Installation) -> dict[str, object]:
    """What the last run has recorded of itself."""
    (row,) = installation.rows("SELECT report FROM janitor_runs ORDER BY id DESC LIMIT 1")
    report: dict[str, object] = row["report"]
    return report


def told_what_is_left(run: Run, limit: str, not_begun: int, half_done: int = 0) -> bool:
    """Whether both the line about the limit and the last line of the run say what is left, and why."""
    left = (
        f"; se alcanzó {limit}: quedan para la próxima vez {not_begun} ejecuciones sin empezar y {half_done} a medias"
    )
    told = [message for message in run.messages("INFO") if message.endswith(left)]
    return [message.partition(" ")[0] for message in told] == ["No", "Ciclo"]


# Bandwidth


@pytest.mark.parametrize("name", ["s3-rclone", "sftp-openssh"])
def test_a_run_and_a_restore_keep_to_the_bandwidth_and_nothing_times_out(
    installation: Installation, new_destination: Callable[[str], Destination], name: str, tmp_path: Path
) -> None:
    installation.configure(installation.add_provider(new_destination(name)))
    (uuid,) = add_executions(installation, 1, 192, files=16)
    run = installation.run("--transfers", "16", "--bandwidth-limit", "64K", "--migrate-only")
    assert run.exit_code == 0, str(run)
    assert run.messages("WARNING") + run.messages("ERROR") == []
    assert run.seconds >= 192 / 64 / 1.3
    restored = installation.run("restore", "--bandwidth-limit", "64K", uuid, str(tmp_path / "restored"))
    assert restored.exit_code == 0, str(restored)
    assert restored.seconds >= 192 / 64 / 1.3
    assert snapshot(tmp_path / "restored") == snapshot(installation.executions / uuid)


def test_a_run_that_waits_for_its_turn_on_the_line_ends_at_once_when_asked_to(
    installation: Installation, nas: Destination
) -> None:
    installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=True)
    add_executions(installation, 2, 1024)
    with installation.start(JANITOR_BANDWIDTH_LIMIT="1K") as command:
        command.wait_for_line("Migrando ejecución uuid-01")
        run = command.stop(signal.SIGTERM)
    assert run.exit_code == 143, str(run)
    assert installation.run().exit_code == 0
    assert migrated(installation) == ["uuid-00", "uuid-01"]
    assert set(installation.unfinished().values()) == {0}


# Time


def test_when_the_time_is_up_nothing_is_begun_and_what_runs_is_left_for_the_next_time(
    installation: Installation, nas: Destination
) -> None:
    installation.configure(installation.add_provider(nas), eliminar_despues_de_migrar=True)
    installation.small_execution("uuid-pequeña", 1000)
    uuids = add_executions(installation, 8, 1024)
    before = {uuid: snapshot(installation.executions / uuid) for uuid in uuids}
    old = installation.temporary / "viejo"
    old.touch()
    os.utime(old, (0, 0))
    run = installation.run("--max-duration", "4s", "--bandwidth-limit", "64K")
    assert run.exit_code == 0, str(run)
    assert run.messages("WARNING") + run.messages("ERROR") == []
    begun = LocalProvider.executions_at_once
    assert told_what_is_left(run, "--max-duration", not_begun=8 - begun, half_done=begun), str(run)
    half_done = "La ejecución {} se quedó a medias al alcanzarse --max-duration; se retoma la próxima vez"
    assert all(run.said("INFO", half_done.format(uuid)) for uuid in uuids[:begun])
    assert not old.exists()
    report = last_report(installation)
    assert (report["migrated"], report["put_off"], report["left_due"]) == (1, begun, 8 - begun)
    assert (report["limit_reached"], report["failed"], report["interrupted"]) == ("--max-duration", 0, False)
    assert {uuid: snapshot(installation.executions / uuid) for uuid in uuids} == before
    assert installation.unfinished()["leases"] == 0
    assert installation.run("--max-duration", "1h").exit_code == 0
    assert sorted(migrated(installation)) == sorted(["uuid-pequeña", *uuids])
    assert set(installation.unfinished().values()) == {0}
    assert list(installation.executions.iterdir()) == []


LATE_THREAD = """
import sys, time
sys.path.insert(0, {repository!r})
import janitor_daemon
from jobs.migration.run import Migration
new_attempts = Migration.new_attempts

def new_attempts_late(self, execution, **more):
    if execution.uuid == "uuid-vieja":
        time.sleep(1)
    return new_attempts(self, execution, **more)

Migration.new_attempts = new_attempts_late
janitor_daemon.main()
"""


def test_the_oldest_execution_goes_first_although_its_thread_comes_late(
    installation: Installation, nas: Destination
) -> None:
    """By then a younger one, which takes longer than the run may, is using the line."""
    installation.configure(installation.add_provider(nas))
    installation.small_execution("uuid-vieja", 1000)
    add_executions(installation, 1, 1024)
    installation.program = installation.directory / "programa.py"
    installation.program.write_text(LATE_THREAD.format(repository=str(REPOSITORY)))
    run = installation.run("--max-duration", "4s", "--bandwidth-limit", "64K")
    assert run.exit_code == 0, str(run)
    assert migrated(installation) == ["uuid-vieja"], str(run)


def test_a_limit_that_is_not_reached_is_not_mentioned(installation: Installation, nas: Destination) -> None:
    installation.configure(installation.add_provider(nas))
    add_executions(installation, 2, 10)
    run = installation.run("--max-duration", "1h", "--max-bytes", "1G")
    assert run.exit_code == 0
    assert "se alcanzó" not in run.errors
    report = last_report(installation)
    assert (report["migrated"], report["limit_reached"], report["left_due"]) == (2, None, 0)


# Bytes


def test_no_more_is_begun_than_the_limit_of_bytes_has_room_for(installation: Installation, nas: Destination) -> None:
    """What is too large for any run goes alone; what is refused uses nothing up."""
    installation.configure(installation.add_provider(nas))
    uuids = add_executions(installation, 6, 100)
    os.mkfifo(installation.executions / uuids[0] / "tubería")
    (installation.executions / uuids[0] / "grande.bin").write_bytes(bytes(1024 * KIBIBYTE))
    run = installation.run("--max-bytes", "250K")
    assert run.exit_code == 1  # for the pipe
    assert migrated(installation) == uuids[1:3]
    assert told_what_is_left(run, "--max-bytes", not_begun=3)
    run = installation.run(JANITOR_MAX_BYTES="10K")
    assert migrated(installation) == uuids[1:4]
    assert told_what_is_left(run, "--max-bytes", not_begun=2)
    run = installation.run("--max-bytes", "off", JANITOR_MAX_BYTES="10K")
    assert migrated(installation) == uuids[1:]
    assert "se alcanzó" not in run.errors


# Progress

CLEARED = "\r\x1b[K"
PROGRESS = re.compile(
    r"Migradas \d de 3, \d ficheros?, [\d.]+ K?B, [\d.]+ K?B/s(?:, faltan unos (?:\d+ s|\d+ min))?", re.ASCII
)


PROGRESS_OF_RESTORE = re.compile(
    r"Restaurando: \d de 3 ficheros, [\d.]+ K?B de 300 KB \(\d+ %\), [\d.]+ K?B/s(?:, faltan unos \d+ (?:s|min))?",
    re.ASCII,
)


def run_on_a_terminal(installation: Installation, *arguments: str, **environment: str) -> list[list[str]]:
    """What a terminal of 120 columns shows: for each of its lines, all that stood there, one after the other."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    command = [sys.executable, str(installation.program), *arguments]
    process = subprocess.Popen(
        command, env={**installation.environment, "TERM": "xterm", **environment}, cwd=installation.directory,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = bytearray()
    with contextlib.suppress(OSError):  # how the end of the other side is told
        while content := os.read(ours, 65536):
            shown += content
    os.close(ours)
    assert process.wait(30) == 0
    return [line.split(CLEARED) for line in shown.decode().replace("\r\n", "\n").split("\n")]


def test_a_terminal_shows_the_progress_and_every_log_line_whole(installation: Installation, nas: Destination) -> None:
    installation.configure(installation.add_provider(nas))
    add_executions(installation, 3, 100)
    lines = run_on_a_terminal(installation, "--bandwidth-limit", "128K")
    stands = [line[-1] for line in lines]
    assert stands.pop() == ""
    assert all(LOG_LINE.fullmatch(line) for line in stands), stands
    assert sum("migrada exitosamente" in line for line in stands) == 3
    replaced = [text for line in lines for text in line[:-1] if text]
    assert len(replaced) >= 2
    assert all(PROGRESS.fullmatch(text) for text in replaced), replaced
    assert any("faltan" in text for text in replaced)


@pytest.mark.parametrize(("arguments", "terminal"), [(["--debug"], "xterm"), ([], "dumb")])
def test_no_progress_where_it_would_be_in_the_way(
    installation: Installation, nas: Destination, arguments: list[str], terminal: str
) -> None:
    installation.configure(installation.add_provider(nas))
    add_executions(installation, 3, 64)
    lines = run_on_a_terminal(installation, *arguments, "--bandwidth-limit", "128K", TERM=terminal)
    assert all(len(line) == 1 and "faltan" not in line[0] for line in lines)


def test_no_progress_without_a_terminal(installation: Installation, nas: Destination) -> None:
    installation.configure(installation.add_provider(nas))
    add_executions(installation, 3, 64)
    run = installation.run("--bandwidth-limit", "128K", TERM="xterm")
    assert len(run.messages()) == len(run.errors.splitlines()) >= 7


# Values


@pytest.mark.parametrize(
    ("option", "value"),
    [("--transfers", "0"), ("--bandwidth-limit", "20"), ("--max-duration", "5"), ("--max-bytes", "-1G")],
)
def test_a_bad_value_is_a_usage_error_that_names_its_option(
    capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    assert run_command_line([option, value]) == 2
    usage, message = capsys.readouterr().err.splitlines()
    assert usage.startswith("Uso: ")
    assert message.startswith(f"Error: Valor no válido para '{option}': debe ser ")


def test_a_bad_variable_is_named(bare_installation: Installation) -> None:
    run = bare_installation.run(JANITOR_BANDWIDTH_LIMIT="20")
    assert run.exit_code == 2
    (message,) = run.messages("ERROR")
    assert message.startswith("JANITOR_BANDWIDTH_LIMIT debe ser ")


def test_a_dry_run_takes_the_options_and_shows_everything(installation: Installation, nas: Destination) -> None:
    installation.configure(installation.add_provider(nas))
    uuids = add_executions(installation, 3, 10)
    run = installation.run("--dry-run", "--max-bytes", "20K", "--max-duration", "1s", "--bandwidth-limit", "1K")
    assert run.exit_code == 0
    assert all(any(uuid in message for message in run.messages()) for uuid in uuids)
    (plan,) = (message for message in run.messages() if "En total se migrarían" in message)
    assert "En total se migrarían 2 ejecuciones" in plan
    assert "quedarían para después 1 ejecución (0.01 MB), para al menos 1 ciclo más" in plan


def test_a_terminal_shows_the_progress_of_a_restore(installation: Installation, nas: Destination) -> None:
    """And a pipe none of it."""
    installation.configure(installation.add_provider(nas))
    directory = installation.new_directory("uno")
    for number in range(3):
        (directory / str(number)).write_bytes(os.urandom(102_400))
    installation.add_execution("uno", directory)
    assert installation.run().exit_code == 0
    limited = ("restore", "--bandwidth-limit", "128K", "uno")
    lines = run_on_a_terminal(installation, *limited, str(installation.directory / "restaurada"))
    replaced = [text for line in lines for text in line[:-1] if text]
    assert len(replaced) >= 2
    assert all(PROGRESS_OF_RESTORE.fullmatch(text) for text in replaced), replaced
    assert [line[-1] for line in lines] == [""]
    run = installation.run(*limited, str(installation.directory / "otra"))
    assert "Restaurando" not in run.output
    assert not run.messages("INFO")
