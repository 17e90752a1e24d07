"""What one tick did: counted while it works, kept in `janitor_runs`, and turned into the exit code."""

from __future__ import annotations

import dataclasses
import threading
import time
from dataclasses import dataclass

EXIT_DONE = 0
EXIT_SOMETHING_FAILED = 1
EXIT_CONFIGURATION = 2
EXIT_DATABASE = 3
EXIT_LOCKED = 75
EXIT_SIGNAL_BASE = 128

MAX_DURATION = "--max-duration"
MAX_BYTES = "--max-bytes"

DUE_COUNTED_TO = 10_000
"""Up to how many executions that are left to be begun are counted; beyond that, nobody waits for the number."""


@dataclass(frozen=True, slots=True)
class Counts:
    """The counted outcomes of a tick."""

    migrated: int = 0
    migrated_files: int = 0
    migrated_bytes: int = 0
    failed: int = 0
    unsafe_destinations: int = 0
    missing_directories: int = 0
    put_off: int = 0
    left_due: int = 0
    local_copies_deleted: int = 0
    deletions_failed: int = 0
    leftovers_removed: int = 0
    temp_files_deleted: int = 0
    temp_bytes_deleted: int = 0
    temp_failures: int = 0


class TickReport:
    """Counts from several threads, and the worst thing that happened to the tick as a whole."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._turn = threading.Lock()
        self._counts = Counts()
        self._problem_exit_code = EXIT_DONE
        self.limit_reached: str | None = None
        """The option that has kept something from being begun or from being finished."""

    def count(self, **increments: int) -> None:
        """Add to counts, by their names."""
        with self._turn:
            sums = {name: getattr(self._counts, name) + number for name, number in increments.items()}
            self._counts = dataclasses.replace(self._counts, **sums)

    def note_problem(self, exit_code: int) -> None:
        """Remember that a whole job could not be done, by the exit code that stands for the reason."""
        with self._turn:
            self._problem_exit_code = max(self._problem_exit_code, exit_code)

    @property
    def elapsed_seconds(self) -> float:
        """How long the tick has taken so far."""
        return time.monotonic() - self._started

    @property
    def counts(self) -> Counts:
        """The counts so far."""
        return self._counts

    @property
    def exit_code(self) -> int:
        """0 when everything that was begun was done, else what the command line promises for the worst problem."""
        if self._problem_exit_code != EXIT_DONE:
            return self._problem_exit_code
        counts = self._counts
        undone = counts.failed + counts.unsafe_destinations + counts.deletions_failed + counts.temp_failures
        return EXIT_SOMETHING_FAILED if undone else EXIT_DONE
