"""Several executions under way at once, so that the walk and commit of one overlap the transfers of another."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")

POLL_SECONDS = 0.5
SECONDS_TO_END_AFTER_SIGNAL = 1.5


class TaskPool:
    """At most `size` calls at a time, submitted from one thread. A call's error is raised by the next step."""

    def __init__(self, size: int, interruption: threading.Event) -> None:
        self._size = size
        self._interruption = interruption
        self._executor = ThreadPoolExecutor(size, thread_name_prefix="execution")
        self._running: set[Future[None]] = set()

    def submit(self, function: Callable[[Item], None], item: Item) -> None:
        """Call `function(item)` in another thread once fewer than `size` others run. Raises what earlier ones raised.

        Does nothing once the run is asked to stop: the others may take long to notice.
        """
        self.wait_for_room()
        if not self._interruption.is_set():
            self._running.add(self._executor.submit(function, item))

    def wait_for_room(self) -> None:
        """Wait until another call could begin, or the run is asked to stop. Raises what earlier ones raised."""
        while len(self._running) >= self._size and not self._interruption.is_set():
            self._collect(wait(self._running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED).done)

    def drain(self) -> None:
        """Wait for every call; after a request to stop only for some seconds. Raises what they raised.

        Calls that do not end in time die with the process; the next tick picks up their work.
        """
        while self._running and not self._interruption.is_set():
            self._collect(wait(self._running, timeout=POLL_SECONDS).done)
        self._collect(wait(self._running, timeout=SECONDS_TO_END_AFTER_SIGNAL).done)

    def _collect(self, done: set[Future[None]]) -> None:
        self._running -= done
        for future in done:
            future.result()

    def close(self) -> None:
        """End the threads and drop what is queued."""
        self._executor.shutdown(wait=False, cancel_futures=True)
