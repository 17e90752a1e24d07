"""Several executions on their way at once, so that the walk and the commit of one overlap the transfers of another."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")


class Flights:
    """At most `size` calls at a time, submitted from one thread. A call's error comes out of the next step."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._executor = ThreadPoolExecutor(size, thread_name_prefix="execution")
        self._running: set[Future[None]] = set()

    @property
    def size(self) -> int:
        """How many calls run at a time."""
        return self._size

    def launch(self, function: Callable[[Item], None], item: Item) -> None:
        """Call `function(item)` in another thread, once fewer than `size` others run. Raises what earlier ones did."""
        while len(self._running) >= self._size:
            self._land(wait(self._running, return_when=FIRST_COMPLETED).done)
        self._running.add(self._executor.submit(function, item))

    def land_all(self, timeout_seconds: float | None = None) -> bool:
        """Wait for every call; `False` when some still run after the timeout. Raises what they did."""
        done, running = wait(self._running, timeout=timeout_seconds)
        self._land(done)
        return not running

    def _land(self, done: set[Future[None]]) -> None:
        self._running -= done
        for future in done:
            future.result()

    def close(self) -> None:
        """Let the threads end; what is queued is dropped."""
        self._executor.shutdown(wait=False, cancel_futures=True)
