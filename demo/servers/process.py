"""Servers that run as children of this process, for the demonstration and the tests, and end with it unless asked."""

from __future__ import annotations

import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

POLL_INTERVAL_SECONDS = 0.01
START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 10.0
LOG_TAIL_BYTES = 4096

GUARD = """
import ctypes, os, sys
parent, death_signal, user, group = map(int, sys.argv[1:5])
if user >= 0:
    os.setgroups([])
    os.setgid(group)
    os.setuid(user)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, death_signal)
if os.getppid() != parent:
    sys.exit("the parent process is gone")
os.execv(sys.argv[5], sys.argv[5:])
"""
"""Becomes the server, after asking the kernel for a signal when its parent dies, even by SIGKILL.

1 is `PR_SET_PDEATHSIG` (prctl(2)), and signal 0 means none. The setting survives execve and is lost when the user
changes, hence the order. It is bound to the thread that started the child, so a server must be started by a thread that
lives as long as it is needed.
"""


class ServerDidNotStart(RuntimeError):
    """A server ended or did not answer. The message, in Spanish, ends with the server's own log."""


@dataclass(frozen=True, slots=True)
class Account:
    """The user and group that a server runs as."""

    name: str
    user_id: int
    group_id: int


class ServerProcess:
    """A running server, in its own session, so that a Ctrl-C at the terminal reaches only its parent.

    `command` begins with an absolute path; its output is appended to `log_path`. `stop_signal` ends the server cleanly;
    on Linux the kernel also sends it when this process dies, unless the server `outlives_parent`.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log_path: Path,
        *,
        account: Account | None = None,
        environment: Mapping[str, str] | None = None,
        working_directory: Path = Path("/"),
        stop_signal: signal.Signals = signal.SIGTERM,
        outlives_parent: bool = False,
    ) -> None:
        self.name = name
        self._log_path = log_path
        self._stop_signal = stop_signal
        identity = (account.user_id, account.group_id) if account else (-1, -1)
        death_signal = 0 if outlives_parent else int(stop_signal)
        guard = [sys.executable, "-I", "-S", "-c", GUARD, *map(str, (os.getpid(), death_signal, *identity))]
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 the commands are those of our own modules
                [*guard, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                cwd=working_directory,
                start_new_session=True,
            )

    @property
    def process_id(self) -> int:
        """The server's own process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the server has not ended yet."""
        return self._process.poll() is None

    def wait_until(self, is_ready: Callable[[], bool], timeout_seconds: float = START_TIMEOUT_SECONDS) -> None:
        """Call `is_ready` repeatedly until it is true. Stops the server and raises `ServerDidNotStart` if it ends or
        the time is over first.
        """
        deadline = time.monotonic() + timeout_seconds
        while not is_ready():
            if not self.is_running or time.monotonic() > deadline:
                what = "no respondió a tiempo" if self.is_running else f"terminó con {self._process.returncode}"
                self.stop()
                raise ServerDidNotStart(f"{self.name} {what}: {self._log_tail()}")
            time.sleep(POLL_INTERVAL_SECONDS)

    def stop(self) -> None:
        """End the server and everything it started; return only when it is gone. May be called again."""
        if self.is_running:
            self._process.send_signal(self._stop_signal)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _log_tail(self) -> str:
        return self._log_path.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip() or "(sin mensajes)"


def free_port() -> int:
    """A free TCP port of 127.0.0.1, below the range that Linux uses for outgoing connections."""
    while True:
        port = random.randrange(20_000, 32_768)  # noqa: S311 not a secret
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port


def answers_http(port: int, path: str = "/") -> bool:
    """Whether a server on 127.0.0.1 answers a request, whatever it answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False
    else:
        return True
    finally:
        connection.close()
