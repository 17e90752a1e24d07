"""A way to PostgreSQL on which one statement meets with an accident, and which tells that it did."""

from __future__ import annotations

import contextlib
import enum
import socket
import threading
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

READY_FOR_QUERY = b"Z\x00\x00\x00\x05I"


class Accident(enum.Enum):
    """What happens to the statement, and to the connection that it comes on."""

    STATEMENT_LOST = "the connection breaks before the server gets the statement"
    ANSWER_LOST = "the server does it, and the connection breaks when its answer comes"
    BROKEN_AT_ONCE = "the server gets it, and the connection breaks while it works on it"
    HELD = "it waits here, until `release`"


class PostgresProxy:
    """Passes everything on to a database, but for the first `times` statements that hold a text.

    `url` is the database's URL by this way; `struck` counts the accidents that have happened, and `met` is set with the
    first one. Accidents that break a connection leave the others alone. `refused` counts the connections that the
    server did not take, or ended before it was ready for a statement.
    """

    def __init__(self, database_url: str, statement: bytes, accident: Accident, *, times: int = 1) -> None:
        parts = urlsplit(database_url)
        self._target = (str(parts.hostname), int(parts.port or 5432))
        self._statement = statement
        self._accident = accident
        self._times = times
        self._turn = threading.Lock()
        self._released = threading.Event()
        self._closed = False
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        port = self._listener.getsockname()[1]
        login = parts.netloc.rpartition("@")[0]
        self.url = parts._replace(netloc=f"{login}@127.0.0.1:{port}", query="sslmode=disable").geturl()
        self.struck = 0
        self.refused = 0
        self.met = threading.Event()

    def release(self) -> None:
        """Let what is held go on."""
        self._released.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(self._target)
                except OSError:  # the server is not there at the moment
                    self.refused += 1
                    client.close()
                    continue
                self._sockets += [client, server]
                struck = threading.Event()
                threading.Thread(target=self._send, args=(client, server, struck), daemon=True).start()
                threading.Thread(target=self._answer, args=(server, client, struck), daemon=True).start()

    def _send(self, client: socket.socket, server: socket.socket, struck: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 20):
                if self._statement in data and self._is_due():
                    if self._accident is Accident.STATEMENT_LOST:
                        break
                    if self._accident is Accident.HELD:
                        self._released.wait()
                        if self._closed:
                            break
                    else:
                        struck.set()
                server.sendall(data)
                if struck.is_set() and self._accident is Accident.BROKEN_AT_ONCE:
                    _shut(client)
                    return  # the server is left to finish: it notices only when it answers
        _shut(client, server)

    def _is_due(self) -> bool:
        with self._turn:
            if self.struck >= self._times:
                return False
            self.struck += 1
        self.met.set()
        return True

    def _answer(self, server: socket.socket, client: socket.socket, struck: threading.Event) -> None:
        ready = False
        with contextlib.suppress(OSError):
            while (data := server.recv(1 << 20)) and not struck.is_set():
                ready = ready or READY_FOR_QUERY in data
                client.sendall(data)
        self.refused += not ready
        _shut(client, server)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closed = True
        self._released.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # closing alone would not wake the thread that accepts
        self._listener.close()
        _shut(*self._sockets)
        for connection in self._sockets:
            connection.close()


def _shut(*connections: socket.socket) -> None:
    for connection in connections:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
