"""Ways to a server that go wrong: one that never answers, one that nobody listens at, one that holds a request up."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from demo.servers.process import free_port

LONGEST_REQUEST_LINE_BYTES = 2000
NOTHING = b"(?!)"
"""A pattern that never matches."""


@contextlib.contextmanager
def silent_server() -> Iterator[int]:
    """The port of a server whose connections open, as the kernel sees to, and which never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        yield listener.getsockname()[1]


class SilentDoor:
    """A server like that, whose connections can be counted. Has room for 512."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._listener.setblocking(False)
        self._connections: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for connection in (self._listener, *self._connections):
            connection.close()

    def connections(self) -> int:
        """How many were opened until now, also those that were closed since."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._connections.append(self._listener.accept()[0])
        return len(self._connections)


def refused_port() -> int:
    """A port at which nobody listens."""
    return free_port()


class Door:
    """Passes everything on to a server until a request matches a pattern, and everything once `open` was called.

    Requests that match `hold` wait, the connections of those that match `cut` break, and with the first one that
    matches `die` all connections break, and each new one. `met` tells that there was such a request; its bytes have
    not reached the server.
    """

    def __init__(self, target_port: int, *, hold: bytes = NOTHING, cut: bytes = NOTHING, die: bytes = NOTHING) -> None:
        self._target_port = target_port
        self._hold = re.compile(hold)
        self._cut = re.compile(cut)
        self._die = re.compile(die)
        self._dead = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._sockets: list[socket.socket] = []
        self._opened = threading.Event()
        self.met = threading.Event()
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        """Let everything pass from now on."""
        self._opened.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target_port))
                self._sockets += [client, server]
                threading.Thread(target=self._pass, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, False), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, watched: bool) -> None:
        seen = b""
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                seen = (seen + data)[-len(data) - LONGEST_REQUEST_LINE_BYTES :]
                if watched and not self._opened.is_set() and not self._lets_pass(seen):
                    break
                target.sendall(data)
        for connection in (source, target):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _lets_pass(self, seen: bytes) -> bool:
        if self._die.search(seen):
            self._dead = True
        if self._dead or self._cut.search(seen):
            self.met.set()
            return False
        if self._hold.search(seen):
            self.met.set()
            self._opened.wait()
        return True

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # closing alone would not wake the thread that accepts
        self._listener.close()
        for connection in self._sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._opened.set()
