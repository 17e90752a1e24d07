"""Breaks a connection whose server does not answer, so that whoever waits for it can go on."""

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
"""How long a statement may take: the longest one, over a million executions that are pending, takes one minute."""

LOOKS_FOR_EACH_TIMEOUT = 20


class Watchdog:
    """Watches one connection, from a thread of its own, until `end`.

    libpq itself waits without end for a server that is there and stays silent.
    """

    def __init__(self, connection: psycopg2.extensions.connection) -> None:
        self._connection = connection
        self._waiting_since: float | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._watch, name="database", daemon=True).start()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Within, a statement is under way."""
        self._waiting_since = time.monotonic()
        try:
            yield
        finally:
            self._waiting_since = None

    def _watch(self) -> None:
        while not self._ended.wait(ANSWER_TIMEOUT_SECONDS / LOOKS_FOR_EACH_TIMEOUT):
            since = self._waiting_since
            if since is not None and time.monotonic() - since > ANSWER_TIMEOUT_SECONDS:
                self._break_connection()
                return

    def _break_connection(self) -> None:
        """Shut the socket down below libpq, which then finds that the server has closed the connection."""
        gone_already = (OSError, psycopg2.InterfaceError)
        with contextlib.suppress(*gone_already), socket.socket(fileno=os.dup(self._connection.fileno())) as shared:
            shared.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Watch no more."""
        self._ended.set()
