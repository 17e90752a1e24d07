"""Runs the command line in processes that are forked, so that a story does not pay for the start of Python each time.

`ForkedCommands` starts this module as a process that has imported the program and begun nothing. It forks servers, and
these fork for every order, one line of JSON; the child is what `janitor_daemon.py` would be with the same arguments and
ends as that would.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.constants import change_constant
from tests.crash.program import connect_once, end_process, import_program
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


class ForkedCommand:
    """A command that a server has forked, with the part of `subprocess.Popen` that tests use. Wait for its end."""

    def __init__(self, process_id: int, handle: int, server: socket.socket, give_back: Callable[[], None]) -> None:
        self.pid = process_id
        self.returncode: int | None = None
        self._handle = handle
        self._server = server
        self._give_back = give_back
        self._turn = threading.Lock()

    def poll(self) -> int | None:
        """The exit code once it has ended, negative after a signal, as `subprocess` gives it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, seconds: float | None = None) -> int:
        """Wait for its end, and give its exit code. Raises `subprocess.TimeoutExpired` if it runs on."""
        if self.returncode is None:
            answers = select.poll()
            answers.register(self._server, select.POLLIN)
            if not answers.poll(None if seconds is None else seconds * 1000):
                raise subprocess.TimeoutExpired(["janitor_daemon.py"], seconds or 0)
        with self._turn:
            if self.returncode is None:
                self.returncode = int(self._server.recv(LONGEST_ANSWER_BYTES))
                os.close(self._handle)
                self._give_back()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it is known to have ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        """End it where it stands."""
        self.send_signal(signal.SIGKILL)


class ForkedCommands:
    """The process that forks: for each command that begins while others are under way a server more, which forks one
    command after the other. It begins with the first of them, and connects once to the database; `close` ends them all.
    """

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._turn = threading.Lock()
        self._idle: list[socket.socket] = []
        self._root: subprocess.Popen[bytes] | None = None
        self._orders: socket.socket | None = None

    def start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        output: Path,
        errors: Path,
        constants: Mapping[str, float],
    ) -> ForkedCommand:
        """Begin a command, with files as its console, and with other values of some constants."""
        order = {
            "arguments": arguments,
            "environment": dict(environment),
            "directory": str(directory),
            "output": str(output),
            "errors": str(errors),
            "constants": dict(constants),
        }
        server = self._server()
        try:
            server.sendall(json.dumps(order).encode() + b"\n")
            process_id, (handle,), _, _ = socket.recv_fds(server, LONGEST_ANSWER_BYTES, 1)
        except BaseException:
            server.close()
            raise
        return ForkedCommand(int(process_id), handle, server, lambda: self._take_back(server))

    def _take_back(self, server: socket.socket) -> None:
        with self._turn:
            self._idle.append(server)

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
                    self._root = _new_process(theirs, self._database_url)
            ours, theirs = socket.socketpair()
            with theirs:
                socket.send_fds(self._orders, [b"+"], [theirs.fileno()])
            return ours


def _new_process(orders: socket.socket, database_url: str) -> subprocess.Popen[bytes]:
    usual = {name: text for name, text in os.environ.items() if not name.startswith(SEEN_BY_A_START_ALONE)}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.stories.forked"],
        cwd=REPOSITORY,
        env={**usual, **LOCALE, "DATABASE_URL": database_url},
        stdin=orders.fileno(),
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def serve() -> None:
    """Fork a server for each connection that comes through standard input. Returns at the end of the input."""
    import_program()
    connect_once(os.environ["DATABASE_URL"])
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
    """Fork a command for each line that comes; answer which process it is, and then how it ended.

    Returns at the end of what comes.
    """
    while order := _next_line(connection):
        child = os.fork()
        if not child:
            connection.close()
            _become(json.loads(order))
            end_process(_exit_code())
        handle = os.pidfd_open(child)
        socket.send_fds(connection, [str(child).encode()], [handle])
        os.close(handle)
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
    for place, value in order["constants"].items():
        change_constant(place, value, setattr)


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
