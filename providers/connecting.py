"""Connects to a server within a time, however many addresses its name has.

Python tries them one after another, each for the whole time: eight addresses behind a firewall that drops packets, as
many as Amazon's names have, take eight times as long, and a network that has lost its IPv6 delays each new connection.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
from collections import deque
from time import monotonic
from typing import Any

NEXT_AFTER_SECONDS = 0.25
"""After this time without an answer the next address is tried as well; sooner if there are so many that the last one
would not have most of the time. Source: RFC 8305, section 5.
"""

NO_WAY = frozenset((errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.ENETUNREACH))
"""What this machine says itself of an address, as of all IPv6 ones where it has no IPv6. It explains nothing if another
address refused.
"""

Address = tuple[Any, ...]
"""One answer of `socket.getaddrinfo`."""


def connect(host: str, port: int, timeout_seconds: float) -> socket.socket:
    """A connection to the first address of a name that takes one; its timeout is `timeout_seconds`.

    Raises `OSError`: `TimeoutError` once the time is over, `socket.gaierror` for a name that has no address.
    """
    try:
        addresses = deque(socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM))
    except UnicodeError:
        raise socket.gaierror(socket.EAI_NONAME, "a name that cannot be") from None
    next_after_seconds = min(NEXT_AFTER_SECONDS, timeout_seconds / 4 / max(1, len(addresses)))
    with contextlib.closing(_Race(monotonic() + timeout_seconds, next_after_seconds)) as race:
        connected = race.run(addresses)
    connected.settimeout(timeout_seconds)
    return connected


class _Race:
    """The attempts to connect to the addresses of one name. The first one to succeed ends the others."""

    def __init__(self, due_at: float, next_after_seconds: float) -> None:
        self._due_at = due_at
        self._next_after_seconds = next_after_seconds
        self._attempts: dict[int, socket.socket] = {}
        self._answered = select.poll()

    def run(self, addresses: deque[Address]) -> socket.socket:
        """The connection, which is the caller's then. Raises `OSError`: the last one that a server, or the network,
        gave as an answer, if any did; or `TimeoutError`.
        """
        failure: OSError | None = None
        while addresses or self._attempts:
            try:
                if addresses:
                    self._begin(addresses.popleft())
                connected = self._first_connected(wait_for_others=not addresses)
            except OSError as error:
                if failure is None or error.errno not in NO_WAY:
                    failure = error
                continue
            if connected is not None:
                return connected
            if monotonic() >= self._due_at:
                raise TimeoutError("timed out")
        raise failure or OSError("a name without addresses")

    def _begin(self, address: Address) -> None:
        family, kind, protocol, _, where = address
        attempt = socket.socket(family, kind, protocol)
        self._attempts[attempt.fileno()] = attempt
        self._answered.register(attempt, select.POLLOUT)
        attempt.setblocking(False)
        code = attempt.connect_ex(where)
        if code not in (0, errno.EINPROGRESS):
            self._end(attempt)
            raise OSError(code, os.strerror(code))

    def _first_connected(self, *, wait_for_others: bool) -> socket.socket | None:
        """Wait for the next answer; `None` if none comes in time. Raises the `OSError` of an attempt that failed."""
        seconds = max(0.0, self._due_at - monotonic())
        if not wait_for_others:
            seconds = min(seconds, self._next_after_seconds)
        for descriptor, _ in self._answered.poll(seconds * 1000):
            attempt = self._attempts[descriptor]
            code = attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._end(attempt)
                raise OSError(code, os.strerror(code))
            self._answered.unregister(descriptor)
            return self._attempts.pop(descriptor)
        return None

    def _end(self, attempt: socket.socket) -> None:
        self._attempts.pop(attempt.fileno())
        self._answered.unregister(attempt)
        attempt.close()

    def close(self) -> None:
        """End all attempts that are left."""
        for attempt in tuple(self._attempts.values()):
            self._end(attempt)
