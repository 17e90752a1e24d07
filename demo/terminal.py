"""The demonstration's output: plain lines for a terminal or a log, and commands with their output."""

from __future__ import annotations

import io
import shlex
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from config.errors import RunInterrupted

FIRST_LINES_SHOWN = 14
LAST_LINES_SHOWN = 4
POLL_INTERVAL_SECONDS = 0.05
STOP_TIMEOUT_SECONDS = 15.0


def say(text: str = "") -> None:
    """Print one line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Print one line below the current heading."""
    say(f"    {text}")


def tolerate_any_terminal() -> None:
    """Let a terminal that cannot show an accent show its code instead of stopping the demonstration."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def run_command(
    command: Sequence[str], environment: Mapping[str, str], directory: Path, interruption: threading.Event
) -> int:
    """Run a command as a user would type it, show it and its output, and return its exit code.

    It runs in its own session, so that a Ctrl-C at the terminal reaches it once, from here. Raises `RunInterrupted`
    when it has ended after that.
    """
    say(f"    $ {shlex.join(command)}")
    started = time.monotonic()
    with subprocess.Popen(  # noqa: S603 the program itself
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd=directory,
        start_new_session=True,
        encoding="utf-8",
        errors="backslashreplace",
    ) as process:
        reader = threading.Thread(target=_show, args=(process.stdout,))
        reader.start()
        _wait(process, interruption)
        reader.join()
    say(f"      (código de salida {process.returncode}, {time.monotonic() - started:.1f} s)")
    return process.returncode


def _wait(process: subprocess.Popen[str], interruption: threading.Event) -> None:
    while process.poll() is None:
        if interruption.wait(POLL_INTERVAL_SECONDS):
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
            raise RunInterrupted("interrumpido")


def _show(lines: Iterable[str]) -> None:
    """Show the first lines as they come, and the last ones: a tick over forty executions prints more than a screen."""
    last: deque[str] = deque(maxlen=LAST_LINES_SHOWN)
    count = 0
    for count, line in enumerate(lines, start=1):
        if count <= FIRST_LINES_SHOWN:
            say(f"      | {line.rstrip()}")
        else:
            last.append(line.rstrip())
    left_out = count - FIRST_LINES_SHOWN - len(last)
    if left_out > 0:
        say(f"      | ... ({left_out} líneas más, todas en el registro)")
    for line in last:
        say(f"      | {line}")
