"""How much memory the uploads of one process may take: its share of what a run may take."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_processes_of_the_run = 1


def split_memory_budget(processes: int) -> None:
    """Limit this process, one of `processes` of a run, to its share of the run's memory budget."""
    global _processes_of_the_run  # noqa: PLW0603 a property of the process
    _processes_of_the_run = processes


def memory_share(size_bytes: int) -> int:
    """This process's share of a number of bytes that a run may use."""
    return size_bytes // _processes_of_the_run


class MemoryBudget:
    """A semaphore that counts bytes. More than the whole budget counts as the whole budget."""

    def __init__(self, total_bytes: int) -> None:
        self._total_bytes = total_bytes
        self._free_bytes = total_bytes
        self._freed = threading.Condition()
        self._lock = threading.Lock()

    @contextmanager
    def reserved(self, wanted_bytes: int) -> Iterator[None]:
        """Wait until this many bytes are free, and hold them. Only one caller waits inside, so small requests do not
        overtake a large one.
        """
        size_bytes = min(wanted_bytes, self._total_bytes)
        with self._lock, self._freed:
            self._freed.wait_for(lambda: self._free_bytes >= size_bytes)
            self._free_bytes -= size_bytes
        try:
            yield
        finally:
            with self._freed:
                self._free_bytes += size_bytes
                self._freed.notify()
