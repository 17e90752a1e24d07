"""How fast the files of a run may travel, over all transfers together, and how much has.

The waiting is done where bytes are read, before they are handed to a provider. S3, Azure and GCS get whole files, or
parts of 8 MiB, from memory, so no request is under way meanwhile and no deadline runs; they leave in one burst then,
and the limit is kept on average. SFTP and `local` get them as they are read.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from datetime import time as time_of_day

from config.errors import RunInterrupted
from config.text.amounts import UNLIMITED, Timetable
from providers.base import Source

SLICE_SECONDS = 0.1
"""For how much time bytes are granted at once: so soon a change of the timetable counts, and so small a burst is."""

SHORTEST_WAIT_SECONDS = 0.005
"""Less than this is not waited for but owed: it costs more than it slows."""

BYTES_PER_SECOND_AND_DOWNLOAD = 16 * 1024
"""With less, each of many downloads would stand still for so long that servers or firewalls take it for dead."""


_Ticket = tuple[int, int]
"""A place in the queue, and the order of arrival among those who share it."""


def _local_time_of_day() -> time_of_day:
    return datetime.now().astimezone().time()


class Traffic:
    """What files pass through on their way, in either direction. Safe to use from several threads.

    Under a limit, whoever came first goes first: so the oldest executions are finished first, and as little as can be
    is half sent when the time of a run is up. The line stands still for nobody who has nothing to send just then.
    """

    def __init__(
        self,
        bandwidth: Timetable = UNLIMITED,
        interruption: threading.Event | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], time_of_day] = _local_time_of_day,
    ) -> None:
        self._bandwidth = bandwidth
        self._is_limited = bandwidth != UNLIMITED
        self._interruption = interruption or threading.Event()
        self._clock = clock
        self._now = now
        self._counting = threading.Lock()
        self._changed = threading.Condition(self._counting)
        self._numbers = itertools.count()
        self._queue: list[_Ticket] = []
        self._free_at = 0.0
        self.passed_bytes = 0
        self.passed_files = 0

    def new_place(self) -> int:
        """A place in the queue, behind all earlier ones."""
        return next(self._numbers)

    def pass_bytes(self, size_bytes: int, place: int = 0) -> None:
        """Wait until so many bytes may travel. Raises `RunInterrupted` as soon as the run is asked to stop."""
        if self._is_limited:
            ticket = (place, next(self._numbers))
            with self._changed:
                heapq.heappush(self._queue, ticket)
            try:
                self._wait(size_bytes, ticket)
            finally:
                with self._changed:
                    self._queue.remove(ticket)
                    heapq.heapify(self._queue)
                    self._changed.notify_all()
        with self._counting:
            self.passed_bytes += size_bytes

    def note_file(self) -> None:
        """Count one file that has arrived."""
        with self._counting:
            self.passed_files += 1

    def note_passed(self, size_bytes: int, files: int) -> None:
        """Count what has passed elsewhere, in another process of the run."""
        with self._counting:
            self.passed_bytes += size_bytes
            self.passed_files += files

    def _wait(self, size_bytes: int, ticket: _Ticket) -> None:
        remaining_bytes = size_bytes
        while remaining_bytes > 0:
            with self._changed:
                # When the run is asked to stop, the first one leaves at once, and so on.
                self._changed.wait_for(lambda: self._queue[0] == ticket)
                granted_bytes, wait_seconds = self._grant(remaining_bytes)
            remaining_bytes -= granted_bytes
            if wait_seconds >= SHORTEST_WAIT_SECONDS and self._interruption.wait(wait_seconds):
                raise RunInterrupted("interrumpido")

    def _grant(self, wanted_bytes: int) -> tuple[int, float]:
        """Give away the next slice of the line's time: how many bytes, and after how many seconds they have travelled.

        What nobody used before is lost.
        """
        bytes_per_second = self._bandwidth.bytes_per_second(self._now())
        if bytes_per_second is None:
            return wanted_bytes, 0.0
        granted_bytes = min(wanted_bytes, max(1, int(bytes_per_second * SLICE_SECONDS)))
        now = self._clock()
        self._free_at = max(self._free_at, now - SLICE_SECONDS) + granted_bytes / bytes_per_second
        return granted_bytes, self._free_at - now


class Pacer:
    """Lets the bytes of one file come no faster than the traffic allows, and knows how long that has kept them."""

    def __init__(self, traffic: Traffic, place: int) -> None:
        self._traffic = traffic
        self._place = place
        self._waited_seconds = 0.0

    def waited_seconds(self) -> float:
        """How long whoever reads was kept waiting for the limit's sake."""
        return self._waited_seconds

    def paced(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The same chunks. Raises `RunInterrupted`, too."""
        for chunk in chunks:
            started = time.monotonic()
            self._traffic.pass_bytes(len(chunk), self._place)
            self._waited_seconds += time.monotonic() - started
            yield chunk


class PacedSource:
    """A source whose bytes come no faster than a pacer lets them."""

    def __init__(self, source: Source, pacer: Pacer) -> None:
        self._source = source
        self._pacer = pacer

    @property
    def size_bytes(self) -> int:
        return self._source.size_bytes

    def chunks(self, chunk_size_bytes: int) -> Iterator[bytes]:
        """See `Source`. Raises `RunInterrupted`, too."""
        return self._pacer.paced(self._source.chunks(chunk_size_bytes))


def transfers_within(transfers: int, bandwidth: Timetable) -> int:
    """How many downloads at a time a bandwidth can keep moving, of those that are wanted; by its best hour.

    Uploads need no such bound: nearly all of them wait before their request.
    """
    bytes_per_second = bandwidth.fastest_bytes_per_second
    if bytes_per_second is None:
        return transfers
    return max(1, min(transfers, bytes_per_second // BYTES_PER_SECOND_AND_DOWNLOAD))
