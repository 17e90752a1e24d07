"""Runs the command line many times, each in a process of its own, without paying for the start of Python each time.

`Program` starts this module as a process that has imported everything and begun nothing. For every order, one line of
JSON, it forks; the child is what `janitor_daemon.py` would be at the same arguments, and ends as that would.
"""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg2

from tests.repository import PRODUCT_FOLDERS, REPOSITORY
from tests.running.botocore_data import share_botocores_data

LATE_IMPORTS = (
    "_strptime",
    "azure.core.rest._http_response_impl",
    "azure.core.rest._requests_basic",
    "click._textwrap",
    "zoneinfo",
)
"""What the program and its packages import only once they need it."""


def import_program() -> None:
    """Import every module of the program, so that no forked run has to."""
    for folder in set(PRODUCT_FOLDERS) - {"demo"}:
        for file in (REPOSITORY / folder).rglob("*.py"):
            path = file.parent if file.name == "__init__.py" else file.with_suffix("")
            importlib.import_module(".".join(path.relative_to(REPOSITORY).parts))
    for name in ("janitor_daemon", *LATE_IMPORTS):
        importlib.import_module(name)


def connect_once(database_url: str) -> None:
    """Enter a database and leave it: what libpq and its libraries prepare for their first connection costs each forked
    run several milliseconds, and one that finds it prepared nothing.
    """
    psycopg2.connect(database_url).close()


@dataclass(frozen=True)
class Ended:
    """How one run ended: its exit code (negative: the signal that killed it), its console, the boundaries reached."""

    exit_code: int
    errors: str
    reached: tuple[str, ...]
    seconds: float

    def __str__(self) -> str:
        last = self.reached[-1] if self.reached else "nothing"
        return f"exit code {self.exit_code} after {self.seconds:.1f} s, last came to: {last}\n{self.errors}"


class Program:
    """The process that forks the runs; it connects once to the database. Leave the context to end it."""

    def __init__(self, database_url: str) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="janitor-crash-")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.program"],
            cwd=REPOSITORY,
            env={**os.environ, "DATABASE_URL": database_url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def run(
        self,
        arguments: tuple[str, ...],
        environment: Mapping[str, str],
        working_directory: Path,
        *,
        strike_at: int | None = None,
        signal_number: signal.Signals = signal.SIGKILL,
        kill_after_seconds: float | None = None,
        refused_put: str = "",
    ) -> Ended:
        """Run the command line. At boundary number `strike_at`, counted from one, it gets the signal; or it is killed
        after some time, wherever it is then. A put to provider 1 of a key that ends in `refused_put` fails.
        """
        console, record = Path(self._directory.name, "console"), Path(self._directory.name, "record")
        order = {
            "arguments": arguments,
            "environment": dict(environment),
            "directory": str(working_directory),
            "console": str(console),
            "record": str(record),
            "strike_at": strike_at,
            "signal_number": int(signal_number),
            "kill_after_seconds": kill_after_seconds,
            "refused_put": refused_put,
        }
        started = time.monotonic()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the process that forks the runs is gone"
        seconds = time.monotonic() - started
        reached = tuple(record.read_text(encoding="utf-8", errors="surrogateescape").splitlines())
        return Ended(int(answer), console.read_text(encoding="utf-8", errors="replace"), reached, seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._directory.cleanup()


def serve() -> None:
    """Fork a run for each line of standard input, and answer how it ended. Returns at the end of the input."""
    from tests.crash.boundaries import watch_everything

    watch_everything()
    import_program()
    _read_botocores_data()
    connect_once(os.environ["DATABASE_URL"])
    import janitor_daemon

    gc.freeze()  # what the collector does not visit stays shared with the forked runs
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if not child:
            _become(order)
            end_process(janitor_daemon.run_command_line(order["arguments"]))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201 the answer


def _read_botocores_data() -> None:
    """Read the description of S3 before the first fork."""
    import boto3

    share_botocores_data()
    boto3.Session().client("s3", region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none")


def _become(order: Mapping[str, Any]) -> None:
    """Make this new process the run that was ordered."""
    from tests.crash.boundaries import boundaries

    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    console = os.open(order["console"], flags, 0o600)
    for standard in (1, 2):
        os.dup2(console, standard)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # where tests run in the background it is ignored
    os.chdir(order["directory"])
    os.environ.clear()
    os.environ.update(order["environment"])
    record = os.open(order["record"], flags, 0o600)
    if order["kill_after_seconds"] is not None:
        death = threading.Timer(order["kill_after_seconds"], os.kill, (os.getpid(), signal.SIGKILL))
        death.daemon = True
        death.start()
    boundaries.begin(record, order["strike_at"], order["signal_number"], order["refused_put"])


def end_process(exit_code: int) -> None:
    """End as the interpreter would, which waits for threads, but without taking a hundred modules down."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    logging.shutdown()
    sys.stdout.flush()
    os._exit(exit_code)


if __name__ == "__main__":
    serve()
