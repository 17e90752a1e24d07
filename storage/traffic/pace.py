"""How fast the files of a run may travel, over all transfers together, and how much has been transferred.

Transfers wait where bytes are read, before a provider gets them. S3, Azure and GCS get whole files, or parts of 8 MiB,
from memory. So no request is open during the wait and no deadline runs. Each part leaves in one burst, and the limit
holds on average. SFTP and `local` get bytes as they are read.
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
from providers.sources import Source

SLICE_SECONDS = 0.1
"""Bytes are granted for this time at once: it bounds the delay of a timetable change and the size of a burst."""

SHORTEST_WAIT_SECONDS = 0.005
"""A shorter wait is not slept but owed: sleeping would cost more than it slows."""

BYTES_PER_SECOND_AND_DOWNLOAD = 16 * 1024
"""With less, each of many downloads would pause so long that servers or firewalls close it."""


_Ticket = tuple[int, int]
"""A position in the queue, and the order of arrival among those who share it."""


def _local_time_of_day() -> time_of_day:
    return datetime.now().astimezone().time()


class Traffic:
    """The path of all file bytes, in either direction. Safe to use from several threads.

    Under a limit, transfers are served in order of arrival. So the oldest executions finish first, and as little as
    possible is half sent when a run's time is up. A transfer with nothing to send never blocks the line.
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

    def new_queue_position(self) -> int:
        """A position behind all earlier ones."""
        return next(self._numbers)

    def pass_bytes(self, size_bytes: int, queue_position: int = 0) -> None:
        """Wait until this number of bytes may travel. Raises `RunInterrupted` as soon as the run is asked to stop."""
        if self._is_limited:
            ticket = (queue_position, next(self._numbers))
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
        """Count what another process of the run has transferred."""
        with self._counting:
            self.passed_bytes += size_bytes
            self.passed_files += files

    def _wait(self, size_bytes: int, ticket: _Ticket) -> None:
        remaining_bytes = size_bytes
        while remaining_bytes > 0:
            with self._changed:
                # When the run is asked to stop, the first one leaves at once, then the next.
                self._changed.wait_for(lambda: self._queue[0] == ticket)
                granted_bytes, wait_seconds = self._grant(remaining_bytes)
            remaining_bytes -= granted_bytes
            if wait_seconds >= SHORTEST_WAIT_SECONDS and self._interruption.wait(wait_seconds):
                raise RunInterrupted("interrumpido")

    def _grant(self, wanted_bytes: int) -> tuple[int, float]:
        """Grant the next slice of the line's time: how many bytes, and in how many seconds they will have travelled.

        Unused time is lost.
        """
        bytes_per_second = self._bandwidth.bytes_per_second(self._now())
        if bytes_per_second is None:
            return wanted_bytes, 0.0
        granted_bytes = min(wanted_bytes, max(1, int(bytes_per_second * SLICE_SECONDS)))
        now = self._clock()
        self._free_at = max(self._free_at, now - SLICE_SECONDS) + granted_bytes / bytes_per_second
        return granted_bytes, self._free_at - now


class Pacer:
    """Slows the bytes of one file to what the traffic allows, and measures the delay."""

    def __init__(self, traffic: Traffic, queue_position: int) -> None:
        self._traffic = traffic
        self._queue_position = queue_position
        self._waited_seconds = 0.0

    def waited_seconds(self) -> float:
        """How long the limit has kept the reader waiting."""
        return self._waited_seconds

    def paced(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The same chunks. Raises `RunInterrupted`, too."""
        for chunk in chunks:
            started = time.monotonic()
            self._traffic.pass_bytes(len(chunk), self._queue_position)
            self._waited_seconds += time.monotonic() - started
            yield chunk


class PacedSource:
    """A source whose bytes come at a pacer's speed."""

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
    """How many of the wanted downloads a bandwidth can keep moving at a time, by its best hour.

    Uploads need no such bound: nearly all of them wait before their request.
    """
    bytes_per_second = bandwidth.fastest_bytes_per_second
    if bytes_per_second is None:
        return transfers
    return max(1, min(transfers, bytes_per_second // BYTES_PER_SECOND_AND_DOWNLOAD))
