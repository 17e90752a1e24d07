"""The bound on simultaneous transfers: one thread pool for the whole run, shared by the executions in flight."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Generic, TypeVar

from config.errors import RunInterrupted
from storage.traffic.pace import Traffic

Item = TypeVar("Item")


class TransferPool:
    """Runs a function over many items, at most `size` at a time across all callers.

    `traffic` counts and limits the bytes of all these transfers.
    """

    def __init__(self, size: int, traffic: Traffic | None = None) -> None:
        self.size = size
        self.traffic = traffic or Traffic()
        self._executor = ThreadPoolExecutor(size, thread_name_prefix="transfer")

    def for_each(self, function: Callable[[Item], None], items: Sequence[Item], interruption: threading.Event) -> None:
        """Call `function` on every item. When a call raises, start no further one and raise the first error.

        Returns or raises only when none of its calls is running; raises `RunInterrupted` when items are left because
        the run was asked to stop. May be called from several threads, but not from within a transfer.
        """
        feed = _Feed(items, interruption)
        futures = [self._executor.submit(feed.drain, function) for _ in range(min(self.size, len(items)))]
        wait(futures)
        for future in futures:
            future.result()
        if not feed.exhausted:
            raise RunInterrupted("interrumpido")

    def close(self) -> None:
        """End the threads and drop what is queued."""
        self._executor.shutdown(wait=False, cancel_futures=True)


class _Feed(Generic[Item]):
    """Hands out items to several threads until there are none, one fails, or the run is asked to stop."""

    def __init__(self, items: Sequence[Item], interruption: threading.Event) -> None:
        self._iterator = iter(items)
        self._interruption = interruption
        self._turn = threading.Lock()
        self._failed = False
        self.exhausted = not items

    def drain(self, function: Callable[[Item], None]) -> None:
        """Call `function` on one item after the other, in the calling thread."""
        for item in self._remaining():
            try:
                function(item)
            except BaseException:
                self._failed = True
                raise

    def _remaining(self) -> Iterator[Item]:
        while not self._failed and not self._interruption.is_set():
            with self._turn:
                try:
                    item = next(self._iterator)
                except StopIteration:
                    self.exhausted = True
                    return
            yield item
