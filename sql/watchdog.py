"""Breaks a connection whose server does not answer, so that the waiting thread can continue."""

from __future__ import annotations

import contextlib
import math
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
        self._deadline = math.inf
        self._ended = threading.Event()
        self.has_cut = False
        """Whether the server did not answer in time."""
        threading.Thread(target=self._watch, name="database", daemon=True).start()

    @contextlib.contextmanager
    def watching(self, seconds: float | None = None) -> Iterator[None]:
        """Inside this context, a statement is running, which may take `ANSWER_TIMEOUT_SECONDS` or those given."""
        self._deadline = time.monotonic() + (ANSWER_TIMEOUT_SECONDS if seconds is None else seconds)
        try:
            yield
        finally:
            self._deadline = math.inf

    def _watch(self) -> None:
        while not self._ended.wait(ANSWER_TIMEOUT_SECONDS / LOOKS_FOR_EACH_TIMEOUT):
            if time.monotonic() > self._deadline:
                self.has_cut = True
                cut(self._connection)
                return

    def end(self) -> None:
        """Stop watching."""
        self._ended.set()


@contextlib.contextmanager
def watched(connection: psycopg2.extensions.connection) -> Iterator[Watchdog]:
    """A watchdog that ends with the context."""
    watchdog = Watchdog(connection)
    try:
        yield watchdog
    finally:
        watchdog.end()
