"""Runs the command line in processes that are forked, so that a story does not pay for the start of Python each time.

`ForkedCommands` starts this module as a process that has imported the program and begun nothing. For every order, one
line of JSON, it forks; the child is what `janitor_daemon.py` would be with the same arguments and ends as that would.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.crash.program import end_process, import_program
from tests.repository import REPOSITORY

SEEN_BY_A_START_ALONE = ("PYTHON", "LANG", "LC_", "LD_", "TZ")
"""How variables begin that the interpreter or the C library reads only once: with such a one a command is started."""

LOCALE = {"LANG": "C.UTF-8"}
"""What of them the process that forks was started with."""


def may_be_forked(environment: Mapping[str, str]) -> bool:
    """Whether a forked command would see this environment as a started one does."""
    return {name: text for name, text in environment.items() if name.startswith(SEEN_BY_A_START_ALONE)} == LOCALE


class ForkedCommands:
    """The process that forks the commands, one at a time. It begins with the first of them; `close` ends it."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Whether nobody else has a command under way, and then nobody else has one within."""
        free = self._turn.acquire(blocking=False)
        try:
            yield free
        finally:
            if free:
                self._turn.release()

    def run(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        output: Path,
        errors: Path,
        timeout_seconds: float,
    ) -> tuple[int, float]:
        """Run a command within a `turn`, with files as its console; give its exit code and how many seconds it took."""
        order = {
            "arguments": arguments,
            "environment": dict(environment),
            "directory": str(directory),
            "output": str(output),
            "errors": str(errors),
        }
        process = self._process = self._process or _new_process()
        assert process.stdin is not None
        assert process.stdout is not None
        started = time.monotonic()
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
        if not select.select([process.stdout], [], [], timeout_seconds)[0]:
            self.close()
            raise subprocess.TimeoutExpired(["janitor_daemon.py", *arguments], timeout_seconds)
        return int(process.stdout.readline()), time.monotonic() - started

    def close(self) -> None:
        """End the process, and the command that may be under way."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate()
            self._process = None


def _new_process() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.stories.forked"],
        cwd=REPOSITORY,
        env={name: text for name, text in os.environ.items() if not name.startswith(SEEN_BY_A_START_ALONE)} | LOCALE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


def serve() -> None:
    """Fork a command for each line of standard input, and answer how it ended. Returns at the end of the input."""
    import_program()
    gc.freeze()  # what the collector does not visit stays shared with the forked commands
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _become(json.loads(line))
            end_process(_exit_code())
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201 the answer


def _become(order: Mapping[str, Any]) -> None:
    """Make this new process the command that was ordered."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for standard, path in ((1, order["output"]), (2, order["errors"])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666), standard)
    os.chdir(order["directory"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = [str(REPOSITORY / "janitor_daemon.py"), *order["arguments"]]


def _exit_code() -> int:
    """Run the command as the interpreter would."""
    import janitor_daemon

    try:
        janitor_daemon.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except BaseException:  # whatever it is, the interpreter would show it so
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    serve()
