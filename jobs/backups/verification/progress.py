"""One line on the terminal: how much of the files was read, and how fast. Nothing where nobody is looking."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from config.process.last_line import Rate, in_time, in_units, is_watched, shown_on_terminal
from jobs.backups.files.compression import NoteBytes, note_nothing


class ReadProgress:
    """How much of a gzip file of a known size was read."""

    def __init__(self, verb: str, total_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._verb = verb
        self._total_bytes = total_bytes
        self._read_bytes = 0
        self._rate = Rate(clock)

    def note(self, size_bytes: int) -> None:
        """Count what was read."""
        self._read_bytes += size_bytes

    def text(self) -> str:
        """The line as of now."""
        per_second = self._rate.per_second(self._read_bytes)
        share = 100 * self._read_bytes // self._total_bytes if self._total_bytes else 100
        parts = [
            f"{self._verb}: {in_units(self._read_bytes)} de {in_units(self._total_bytes)} ({share} %)",
            f"{in_units(per_second)}/s",
        ]
        if self._read_bytes == self._total_bytes:
            parts.append("leído; falta que el servidor termine")
        elif per_second >= 1:
            parts.append(f"faltan unos {in_time((self._total_bytes - self._read_bytes) / per_second)}")
        return ", ".join(parts)


@contextlib.contextmanager
def shown_progress(verb: str, files: Sequence[Path]) -> Iterator[NoteBytes]:
    """Show the progress within the block; yields the function that counts the bytes. Raises `OSError`."""
    if not is_watched():
        yield note_nothing
        return
    progress = ReadProgress(verb, sum(file.stat().st_size for file in files))
    with shown_on_terminal(progress.text):
        yield progress.note
