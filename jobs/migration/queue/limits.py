"""When a run stops beginning executions: after a time, or after an amount of bytes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from config.errors import MigrationError
from config.models import Execution
from files.walk import walk_tree
from jobs.migration.directories import DirectoryJudge
from jobs.report import MAX_BYTES, MAX_DURATION
from storage.traffic.pace import Traffic

GRACE_SHARE = 0.1
LONGEST_GRACE_SECONDS = 300.0
"""Work in flight when the time is up may take a tenth of that time more, and no longer than this."""


class RunLimits:
    """How long a run may begin executions, and how much it may send. Safe to use from several threads.

    `run_for_seconds` is the run's time so far, spent on finding its work.

    An execution larger than `max_bytes` begins anyway if nothing was sent before it, and is then the only one of its
    run: otherwise it would be skipped forever.
    """

    def __init__(
        self,
        max_duration_seconds: float | None,
        max_bytes: int | None,
        traffic: Traffic,
        clock: Callable[[], float] = time.monotonic,
        run_for_seconds: float = 0.0,
    ) -> None:
        self._max_duration_seconds = max_duration_seconds
        self._max_bytes = max_bytes
        self._traffic = traffic
        self._clock = clock
        self._started = clock() - run_for_seconds
        self._lock = threading.Lock()
        self._under_way: dict[int, int] = {}
        self.reached: str | None = None
        """The option that kept work from beginning or finishing."""

    @property
    def any(self) -> bool:
        """Whether there is any limit."""
        return self._max_duration_seconds is not None or self._max_bytes is not None

    @property
    def counts_bytes(self) -> bool:
        """Whether the size of an execution matters."""
        return self._max_bytes is not None

    def has_time(self) -> bool:
        """Whether there is time to begin another execution."""
        if self._max_duration_seconds is None or self._clock() - self._started < self._max_duration_seconds:
            return True
        self.reached = MAX_DURATION
        return False

    def has_room(self, size_bytes: int) -> bool:
        """Whether an execution of this size may begin, if those under way send all their bytes."""
        if self._max_bytes is None:
            return True
        with self._lock:
            used_bytes = self._traffic.passed_bytes + sum(self._under_way.values())
        return has_room_for(size_bytes, used_bytes, self._max_bytes)

    def begin(self, execution: Execution, size_bytes: int) -> bool:
        """Count an execution as under way, or refuse it if there is no room for it."""
        if not self.has_room(size_bytes):
            self.reached = MAX_BYTES
            return False
        with self._lock:
            self._under_way[execution.id] = size_bytes
        return True

    def end(self, execution: Execution) -> None:
        """From now on, count only what was really sent of an execution."""
        with self._lock:
            self._under_way.pop(execution.id, None)

    @contextlib.contextmanager
    def enforced(self, stop: threading.Event) -> Iterator[None]:
        """Within the block, set `stop` once the extra time for work under way is over too."""
        if self._max_duration_seconds is None:
            yield
            return
        timer = threading.Timer(self.seconds_until_cut_off(self._max_duration_seconds), self._cut_off, [stop])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def seconds_until_cut_off(self, max_duration_seconds: float) -> float:
        """How much longer what has begun may take, within a limit of this length and the grace after it."""
        grace_seconds = min(max_duration_seconds * GRACE_SHARE, LONGEST_GRACE_SECONDS)
        return max(0.0, self._started + max_duration_seconds + grace_seconds - self._clock())

    def _cut_off(self, stop: threading.Event) -> None:
        self.reached = MAX_DURATION
        stop.set()


def has_room_for(size_bytes: int, used_bytes: int, max_bytes: int) -> bool:
    """Whether an execution of this size may begin in a run that has used that many bytes: the first one always may."""
    return used_bytes == 0 or used_bytes + size_bytes <= max_bytes


def size_on_disk(judge: DirectoryJudge, execution: Execution) -> int:
    """The size of an execution's files; 0 if it cannot be read, which is reported when it is taken up."""
    try:
        with judge.open(execution) as directory:
            return walk_tree(directory.descriptor).size_bytes
    except MigrationError:
        return 0
