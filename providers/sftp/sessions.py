"""A bounded pool of SFTP sessions over a few SSH connections, shared by all threads."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from providers.base import TRANSFER_TIMEOUT_SECONDS
from providers.errors import ProviderError, ProviderUnavailable
from providers.sftp.packets import SessionLost
from providers.sftp.protocol import SftpSession, TransferTooSlow
from providers.sftp.ssh import ConnectionFull, SshConnection, SshSettings

SESSIONS_PER_CONNECTION = 8
"""Two less than sshd's `MaxSessions` (10) allows: commands need channels too."""

WATCH_SECONDS = 1.0
"""How often to check whether transfers make progress."""

MAXIMUM_SESSIONS = 32
"""More than enough threads can use at a time; enough that one that reads here while it writes here gets both."""


class _Connection:
    """An SSH connection and the number of sessions on it, which the pool's lock guards."""

    def __init__(self, settings: SshSettings) -> None:
        self.ssh = SshConnection(settings)
        self.sessions = 0
        self.capacity = SESSIONS_PER_CONNECTION

    @property
    def has_room(self) -> bool:
        return self.ssh.alive and self.sessions < self.capacity


@dataclass(frozen=True, slots=True, eq=False)
class _BorrowedSession:
    """A session and the connection that carries it."""

    session: SftpSession
    connection: _Connection


@dataclass(frozen=True, slots=True)
class _Failure:
    """The last failed attempt to open a session, and when it ended."""

    error: ProviderError
    at: float


class SessionPool:
    """Lends sessions, and opens new ones, with the connections they need, when none is idle.

    After a server refuses another session, no more are requested while any of its sessions is in use.
    """

    def __init__(self, settings: SshSettings) -> None:
        self._settings = settings
        self._changed = threading.Condition()
        self._opening = threading.Lock()
        self._connections: set[_Connection] = set()
        self._idle: list[_BorrowedSession] = []
        self._lent: set[_BorrowedSession] = set()
        self._watch: threading.Thread | None = None
        self._closed = threading.Event()
        self._established = 0
        self._being_opened = 0
        self._limit = MAXIMUM_SESSIONS
        self._failure: _Failure | None = None

    @contextlib.contextmanager
    def session(self) -> Iterator[SftpSession]:
        """A session for this thread alone. Raises `ProviderUnavailable`, `AccessDenied`; turns `SessionLost` into
        the former, and gives the connection up then.
        """
        lease = self._take()
        try:
            yield lease.session
        except SessionLost as error:
            lease.connection.ssh.close()
            unavailable = ProviderUnavailable(str(error))
            unavailable.given_up = isinstance(error, TransferTooSlow)
            raise unavailable from error
        finally:
            self._give_back(lease)

    def run(self, command: str, standard_input: bytes, deadline_seconds: float) -> bytes:
        """The output of a command on the server. Raises `CommandFailed`, `ProviderUnavailable`, `AccessDenied`."""
        lease = self._take()
        try:
            return lease.connection.ssh.run(command, standard_input, deadline_seconds)
        finally:
            self._give_back(lease)

    def close(self) -> None:
        """End all connections."""
        self._closed.set()
        with self._changed:
            connections, self._connections = self._connections, set()
            self._idle.clear()
        for connection in connections:
            connection.ssh.close()

    def _take(self) -> _BorrowedSession:
        asked_at = time.monotonic()
        while True:
            lease = self._take_idle_or_permission()
            if lease is not None:
                return lease
            try:
                return self._open(asked_at)
            except ProviderError:
                if not self._make_do():
                    raise

    def _watch_transfers(self) -> None:
        """End the connections of stalled transfers, which their waiting threads cannot always do."""
        while not self._closed.wait(WATCH_SECONDS):
            with self._changed:
                now = time.monotonic()
                overdue = {lease.connection for lease in self._lent if lease.session.due_at <= now}
            for connection in overdue:
                connection.ssh.close()

    def _take_idle_or_permission(self) -> _BorrowedSession | None:
        """An idle session; or `None` and permission to open one, if fewer than allowed are open."""
        with self._changed:
            while True:
                self._retire_dead()
                if self._idle:
                    lease = self._idle.pop()
                    self._lent.add(lease)
                    return lease
                if self._established + self._being_opened < self._limit:
                    self._being_opened += 1
                    return None
                # Every lent session makes progress or is ended: so this wait ends too, however slow the line is.
                if not self._changed.wait(TRANSFER_TIMEOUT_SECONDS) and not self._lent:
                    raise ProviderUnavailable("todas las sesiones SFTP están ocupadas")

    def _make_do(self) -> bool:
        """After failing to open another: limit the pool to the open sessions, and return whether there are any."""
        with self._changed:
            self._being_opened -= 1
            self._limit = self._established or MAXIMUM_SESSIONS
            self._changed.notify_all()
            return self._established > 0

    def _open(self, asked_at: float) -> _BorrowedSession:
        """Open a session, one thread at a time. Threads that were waiting during another's failure share it."""
        with self._opening:
            if self._failure is not None and self._failure.at > asked_at:
                raise type(self._failure.error)(str(self._failure.error))
            try:
                return self._establish()
            except ProviderError as error:
                self._failure = _Failure(error, time.monotonic())
                raise

    def _establish(self) -> _BorrowedSession:
        while True:
            connection = self._connection_with_room()
            try:
                session = connection.ssh.open_sftp()
            except ConnectionFull as error:
                if not self._note_full(connection):
                    connection.ssh.close()
                    raise ProviderUnavailable(str(error)) from error
                continue
            except SessionLost as error:
                connection.ssh.close()
                raise ProviderUnavailable(str(error)) from error
            with self._changed:
                connection.sessions += 1
                self._established += 1
                self._being_opened -= 1
                lease = _BorrowedSession(session, connection)
                self._lent.add(lease)
                self._keep_watch()
            return lease

    def _keep_watch(self) -> None:
        """Start the watching thread, if there is none. Needs the lock."""
        if self._watch is None:
            self._watch = threading.Thread(target=self._watch_transfers, name="sftp-watch", daemon=True)
            self._watch.start()

    def _connection_with_room(self) -> _Connection:
        with self._changed:
            self._connections = {connection for connection in self._connections if connection.ssh.alive}
            for connection in self._connections:
                if connection.has_room:
                    return connection
        connection = _Connection(self._settings)
        with self._changed:
            self._connections.add(connection)
        return connection

    def _note_full(self, connection: _Connection) -> bool:
        """Limit a connection to its current sessions, and return whether it has any."""
        with self._changed:
            connection.capacity = connection.sessions
            return connection.capacity > 0

    def _give_back(self, lease: _BorrowedSession) -> None:
        lease.session.due_at = math.inf
        with self._changed:
            self._lent.discard(lease)
            self._idle.append(lease)
            self._retire_dead()
            self._changed.notify_all()

    def _retire_dead(self) -> None:
        """Drop unusable idle sessions and ended connections. Needs the lock."""
        dead = [lease for lease in self._idle if not (lease.session.reusable and lease.connection.ssh.alive)]
        for lease in dead:
            self._idle.remove(lease)
            self._established -= 1
            lease.connection.sessions -= 1
            lease.session.close()
        if dead:
            self._limit = self._limit if self._established else MAXIMUM_SESSIONS
