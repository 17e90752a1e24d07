"""What the requests to one provider have shown: whether it is alive, and which request rate it accepts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

ALIVE_SECONDS = 15.0
"""A provider with a success within this time is alive: a request that failed meanwhile is worth another try."""

LONGEST_OBEYED_PAUSE_SECONDS = 60.0
"""A server's request for a longer pause than this is not obeyed: the step is given up."""

SLOWEST_REQUESTS_PER_SECOND = 0.5
LOWERED_TO = 0.6
"""The factor applied to the rate when a server asks for less."""

LOWERED_ONCE_IN_SECONDS = 1.0
"""Refusals within this time concern requests sent together, and count as one."""

RAISED_PER_SUCCESS = 0.1
"""How many requests per second each success adds to the rate: additive, as in TCP."""

FREE_AFTER_SECONDS = 60.0
"""After this time at a limited rate without complaint, a server is no longer limited."""

MEASURED_SECONDS = 2.0
"""The period over which the refused rate is measured."""


class Progress:
    """Shared by all senders of requests to one provider in this process. Safe to use from several threads.

    The request rate is unlimited until the server asks for less. Then it drops for all transfers together, and
    rises again while the server does not complain: additive increase, multiplicative decrease (RFC 5681, 3.1).
    """

    def __init__(
        self, interruption: threading.Event | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.interruption = interruption or threading.Event()
        """Set when the run is asked to stop."""
        self._clock = clock
        self._lock = threading.Lock()
        self._last_success: float | None = None
        self._successes = 0
        self._counted_since = clock()
        self._rate: float | None = None
        self._lowered_at = 0.0
        self._next_turn_at = 0.0

    def note_success(self) -> None:
        """A request succeeded, or bytes have arrived."""
        now = self._clock()
        self._last_success = now
        self._successes += 1  # two threads at once may lose one count: harmless
        if self._rate is not None:
            self._raise_rate(now)
        elif now - self._counted_since > MEASURED_SECONDS:
            self._successes, self._counted_since = 1, now

    def note_slow_down(self, pause_seconds: float = 0.0) -> None:
        """The server asked for fewer requests, or for none during `pause_seconds` (`Retry-After`)."""
        with self._lock:
            now = self._clock()
            if pause_seconds <= LONGEST_OBEYED_PAUSE_SECONDS:
                self._next_turn_at = max(self._next_turn_at, now + pause_seconds)
            if self._rate is not None and now - self._lowered_at < LOWERED_ONCE_IN_SECONDS:
                return
            current = self._rate or self._successes / max(now - self._counted_since, LOWERED_ONCE_IN_SECONDS)
            self._rate = max(SLOWEST_REQUESTS_PER_SECOND, current * LOWERED_TO)
            self._lowered_at = now

    def has_succeeded_since(self, moment: float) -> bool:
        """Whether anything has succeeded after a moment of `time.monotonic`."""
        return self._last_success is not None and self._last_success > moment

    @property
    def is_alive(self) -> bool:
        """Whether anything has succeeded lately."""
        return self.has_succeeded_since(self._clock() - ALIVE_SECONDS)

    @property
    def requests_per_second(self) -> float | None:
        """The limit of requests per second; `None` while the server has not asked for less."""
        return self._rate

    def take_turn(self) -> float:
        """Reserve the next turn to send a request, and return in how many seconds it comes."""
        if self._rate is None:
            return 0.0
        with self._lock:
            now = self._clock()
            turn_at = max(now, self._next_turn_at)
            self._next_turn_at = turn_at + 1 / self._rate if self._rate else turn_at
            return turn_at - now

    def _raise_rate(self, now: float) -> None:
        with self._lock:
            if self._rate is None:
                return
            self._rate += RAISED_PER_SUCCESS
            if now - self._lowered_at > FREE_AFTER_SECONDS:
                self._rate = None
                self._successes, self._counted_since = 0, now
