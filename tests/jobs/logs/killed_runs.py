"""Runs of the job that are killed at the Nth system call by which they change the file system.

This module, started as a process that has imported everything, forks a run for each line of its standard input. It
counts the calls of Python's `os` as they come: a step that is added to the job is covered without anybody naming it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.repository import REPOSITORY

CHANGING_CALLS = (
    *("open", "write", "rename", "unlink", "rmdir", "mkdir", "link", "fsync"),
    *("fchmod", "fchown", "utime", "setxattr", "removexattr"),
)

RETENTION_DAYS = 10 * 365


class KilledRuns:
    """The process that forks the runs. Leave the context to end it."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.jobs.logs.killed_runs"]
        self._process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, directory: Path, kill_at: int) -> bool:
        """Run the job in a directory, killed at its Nth call; whether it came so far."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(directory), kill_at]).encode() + b"\n")
        self._process.stdin.flush()
        exit_code = int(self._process.stdout.readline())
        assert exit_code in (0, -signal.SIGKILL)
        return exit_code != 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.communicate()


def serve() -> None:
    """Fork a run for each line, and answer how it ended."""
    from tests.jobs.logs.log_files import clean

    for line in sys.stdin:
        directory, kill_at = json.loads(line)
        child = os.fork()
        if not child:
            count_calls(kill_at)
            os._exit(clean(Path(directory), retention_days=RETENTION_DAYS).failures)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201 the answer


def count_calls(kill_at: int) -> None:
    """Let this process be killed right before the Nth call, or in the middle of it if it writes."""
    turn = threading.Lock()
    calls = 0

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def count(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            if name == "open" and not arguments[1] & os.O_CREAT:
                return call(*arguments, **options)
            with turn:
                calls += 1
                if calls == kill_at:
                    if name == "write":
                        call(arguments[0], arguments[1][: len(arguments[1]) // 2])
                    os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)

        return count

    for name in CHANGING_CALLS:
        setattr(os, name, counted(name, getattr(os, name)))


if __name__ == "__main__":
    serve()
