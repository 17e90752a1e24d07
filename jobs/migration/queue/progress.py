"""What the last line of the terminal says of a run's migrations."""

from __future__ import annotations

import time
from collections.abc import Callable

from config.process.last_line import Rate, in_time, in_units
from config.text.plurals import files
from jobs.report import TickReport
from storage.traffic.pace import Traffic


class Progress:
    """The contents of the line: executions, files, bytes, rate, and the time left where `total` is known."""

    def __init__(
        self, report: TickReport, traffic: Traffic, total: int | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._report = report
        self._traffic = traffic
        self._total = total
        self._clock = clock
        self._started = clock()
        self._rate = Rate(clock)

    def text(self) -> str:
        """The line as of now."""
        counts = self._report.counts
        of_total = "" if self._total is None else f" de {self._total}"
        parts = [
            f"Migradas {counts['migrated']}{of_total}",
            files(self._traffic.passed_files),
            in_units(self._traffic.passed_bytes),
            f"{in_units(self._rate.per_second(self._traffic.passed_bytes))}/s",
        ]
        seconds_left = self._seconds_left(counts["migrated"] + counts["failed"] + counts["missing_directories"])
        if seconds_left is not None:
            parts.append(f"faltan unos {in_time(seconds_left)}")
        return ", ".join(parts)

    def _seconds_left(self, done: int) -> float | None:
        if self._total is None or done == 0:
            return None
        return (self._clock() - self._started) / done * max(0, self._total - done)
