"""Runs the program's own `restore`, in a process that ends with this one."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import jobs
from config.errors import RunInterrupted
from config.logs import one_line
from config.settings import Settings

PROGRAM = Path(jobs.__file__).parent.parent / "janitor_daemon.py"
POLL_SECONDS = 0.2
SECONDS_TO_END = 3.0

ENDING_WITH_ITS_PARENT = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG: SIGKILL; it survives execv
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def restore(uuid: str, target: Path, settings: Settings, stop: threading.Event) -> str | None:
    """Restore an execution into a directory; return the last line of what the command says if it fails.

    Raises `RunInterrupted`, `OSError`.
    """
    environment = dict(os.environ)
    if settings.database_url:
        environment["DATABASE_URL"] = settings.database_url
    command = [sys.executable, "-c", ENDING_WITH_ITS_PARENT, str(os.getpid())]
    order = [str(PROGRAM), "restore", uuid, str(target)]
    with subprocess.Popen(  # noqa: S603 our own program
        [*command, *order], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        errors = _errors_until_end(process, stop)
    if process.returncode == 0:
        return None
    lines = errors.decode("utf-8", "replace").splitlines()
    said = one_line(lines[-1]) if lines else ""
    return f"restore acabó con código {process.returncode}: {said}"


def _errors_until_end(process: subprocess.Popen[bytes], stop: threading.Event) -> bytes:
    while True:
        try:
            return process.communicate(timeout=POLL_SECONDS)[1]
        except subprocess.TimeoutExpired:
            if stop.is_set():
                _end(process)
                raise RunInterrupted("se pidió parar") from None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
