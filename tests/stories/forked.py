"""Runs the command line in processes that are forked, so that a story does not pay for the start of Python each time.

`ForkedCommands` starts this module as a process that has imported the program and begun nothing. It forks servers, and
these fork for every order, one line of JSON; the child is what `janitor_daemon.py` would be with the same arguments and
ends as that would.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.crash.program import end_process, import_program
from tests.repository import REPOSITORY

SEEN_BY_A_START_ALONE = ("PYTHON", "LANG", "LC_", "LD_", "TZ")
"""How variables begin that the interpreter or the C library reads only once: with such a one a command is started."""

LOCALE = {"LANG": "C.UTF-8"}
"""What of them the process that forks was started with."""

LONGEST_ANSWER_BYTES = 16
RECEIVED_BYTES = 65536


def may_be_forked(environment: Mapping[str, str]) -> bool:
    """Whether a forked command would see this environment as a started one does."""
    return {name: text for name, text in environment.items() if name.startswith(SEEN_BY_A_START_ALONE)} == LOCALE


class ForkedCommands:
    """The process that forks: for each command that begins while others are under way a server more, which forks one
    command after the other. It begins with the first of them; `close` ends them all.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._idle: list[socket.socket] = []
        self._root: subprocess.Popen[bytes] | None = None
        self._orders: socket.socket | None = None

    def run(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        output: Path,
        errors: Path,
        timeout_seconds: float,
    ) -> tuple[int, float]:
        """Run a command, with files as its console; give its exit code and how many seconds it took."""
        order = {
            "arguments": arguments,
            "environment": dict(environment),
            "directory": str(directory),
            "output": str(output),
            "errors": str(errors),
        }
        server = self._server()
        try:
            server.settimeout(timeout_seconds)
            started = time.monotonic()
            server.sendall(json.dumps(order).encode() + b"\n")
            exit_code = int(server.recv(LONGEST_ANSWER_BYTES))
        except BaseException as error:
            server.close()
            if isinstance(error, TimeoutError):
                self.close()
                raise subprocess.TimeoutExpired(["janitor_daemon.py", *arguments], timeout_seconds) from None
            raise
        seconds = time.monotonic() - started
        with self._turn:
            self._idle.append(server)
        return exit_code, seconds

    def close(self) -> None:
        """End the process, and the commands that may be under way."""
        with self._turn:
            if self._root is not None and self._orders is not None:
                os.killpg(self._root.pid, signal.SIGKILL)
                self._root.wait()
                for connection in (self._orders, *self._idle):
                    connection.close()
                self._idle.clear()
                self._root = self._orders = None

    def _server(self) -> socket.socket:
        """The connection to a server that has nothing to do."""
        with self._turn:
            if self._idle:
                return self._idle.pop()
            if self._orders is None:
                self._orders, theirs = socket.socketpair()
                with theirs:
                    self._root = _new_process(theirs)
            ours, theirs = socket.socketpair()
            with theirs:
                socket.send_fds(self._orders, [b"+"], [theirs.fileno()])
            return ours


def _new_process(orders: socket.socket) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.stories.forked"],
        cwd=REPOSITORY,
        env={name: text for name, text in os.environ.items() if not name.startswith(SEEN_BY_A_START_ALONE)} | LOCALE,
        stdin=orders.fileno(),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def serve() -> None:
    """Fork a server for each connection that comes through standard input. Returns at the end of the input."""
    import_program()
    gc.freeze()  # what the collector does not visit stays shared with the forked commands
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # servers that end need not be waited for
    with socket.socket(fileno=os.dup(0)) as orders:
        while True:
            _, descriptors, _, _ = socket.recv_fds(orders, 1, 1)
            if not descriptors:
                return
            with socket.socket(fileno=descriptors[0]) as connection:
                if not os.fork():
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    orders.close()
                    _serve_one_after_the_other(connection)
                    os._exit(0)


def _serve_one_after_the_other(connection: socket.socket) -> None:
    """Fork a command for each line that comes, and answer how it ended. Returns at the end of what comes."""
    while order := _next_line(connection):
        child = os.fork()
        if not child:
            connection.close()
            _become(json.loads(order))
            end_process(_exit_code())
        _, status = os.waitpid(child, 0)
        connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())


def _next_line(connection: socket.socket) -> bytes:
    """What comes up to the end of a line; nothing once the other side has closed."""
    line = b""
    while not line.endswith(b"\n"):
        received = connection.recv(RECEIVED_BYTES)
        if not received:
            return b""
        line += received
    return line


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
