"""Breaks a connection whose server does not answer, so that the waiting thread can continue."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator

import psycopg2
import psycopg2.extensions

ANSWER_TIMEOUT_SECONDS = 300.0
"""How long a statement may take: the longest, over a million pending executions, takes one minute."""

LOOKS_FOR_EACH_TIMEOUT = 20


def cut(connection: psycopg2.extensions.connection) -> None:
    """Shut down the socket beneath libpq: a thread that waits for an answer sees a connection closed by the server."""
    gone_already = (OSError, psycopg2.InterfaceError)
    with contextlib.suppress(*gone_already), socket.socket(fileno=os.dup(connection.fileno())) as shared:
        shared.shutdown(socket.SHUT_RDWR)


class Watchdog:
    """Watches one connection in its own thread until `end`.

    libpq itself waits for ever for a server that is connected but silent.
    """

    def __init__(self, connection: psycopg2.extensions.connection) -> None:
        self._connection = connection
        self._waiting_since: float | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._watch, name="database", daemon=True).start()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Inside this context, a statement is running."""
        self._waiting_since = time.monotonic()
        try:
            yield
        finally:
            self._waiting_since = None

    def _watch(self) -> None:
        while not self._ended.wait(ANSWER_TIMEOUT_SECONDS / LOOKS_FOR_EACH_TIMEOUT):
            since = self._waiting_since
            if since is not None and time.monotonic() - since > ANSWER_TIMEOUT_SECONDS:
                cut(self._connection)
                return

    def end(self) -> None:
        """Stop watching."""
        self._ended.set()
