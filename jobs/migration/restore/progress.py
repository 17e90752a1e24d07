"""Shows a restore's progress: in the last line of the terminal or, where nobody is looking, in the log each minute."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator

from config.logs import emit, one_line
from config.process.last_line import Above, Rate, in_time, in_units, is_watched, shown_on_terminal
from config.text.plurals import files

TOLD_EVERY_SECONDS = 60.0


class RestoreProgress:
    """What has been fetched of one execution, or existed and is proven. Safe to use from several threads."""

    def __init__(
        self,
        uuid: str,
        file_count: int,
        size_bytes: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        heading: str = "Restaurando",
    ) -> None:
        """`heading` is what the line begins with."""
        self._heading = heading
        self._uuid = uuid
        self._file_count = file_count
        self._size_bytes = size_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._files = 0
        self._bytes = 0
        self._rate = Rate(clock)

    def note_file(self) -> None:
        """Count a complete file."""
        with self._lock:
            self._files += 1

    def note_bytes(self, size_bytes: int) -> None:
        """Count bytes; a negative number for those that have to come again."""
        with self._lock:
            self._bytes += size_bytes

    @contextlib.contextmanager
    def counted(self) -> Iterator[Callable[[int], None]]:
        """Yield a function that counts bytes; after an error in the block none of them counts."""
        noted_bytes = 0

        def note(size_bytes: int) -> None:
            nonlocal noted_bytes
            noted_bytes += size_bytes
            self.note_bytes(size_bytes)

        try:
            yield note
        except BaseException:
            self.note_bytes(-noted_bytes)
            raise

    @property
    def bytes_so_far(self) -> int:
        """How much has come."""
        return self._bytes

    def text(self) -> str:
        """The line as of now."""
        per_second = self._rate.per_second(self._bytes)
        share = 100 * self._bytes // self._size_bytes if self._size_bytes else 100
        parts = [
            f"{self._heading}: {self._files} de {files(self._file_count)}",
            f"{in_units(self._bytes)} de {in_units(self._size_bytes)} ({share} %)",
            f"{in_units(per_second)}/s",
        ]
        if per_second >= 1:
            parts.append(f"faltan unos {in_time((self._size_bytes - self._bytes) / per_second)}")
        return ", ".join(parts)

    def tell(self) -> None:
        """Write the line to the log."""
        message = f"{self.text()}: ejecución {one_line(self._uuid)}"
        emit(logging.INFO, "restore_progress", message, execution=self._uuid, files=self._files, bytes=self._bytes)


class SharedProgress:
    """What has come of several executions, some of them at once: one line for all. Safe to use from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._running: list[RestoreProgress] = []
        self._earlier_bytes = 0
        self._rate = Rate(clock)

    @contextlib.contextmanager
    def including(self, progress: RestoreProgress) -> Iterator[None]:
        """Count that of one execution, which is under way within the block."""
        with self._lock:
            self._running.append(progress)
        try:
            yield
        finally:
            with self._lock:
                self._running.remove(progress)
                self._earlier_bytes += progress.bytes_so_far

    def text(self) -> str:
        """The line of the only execution under way, or the sums and the line of the first one."""
        with self._lock:
            running = tuple(self._running)
            size_bytes = self._earlier_bytes + sum(progress.bytes_so_far for progress in running)
        per_second = self._rate.per_second(size_bytes)
        if len(running) == 1:
            return running[0].text()
        sums = f"{len(running)} a la vez, {in_units(size_bytes)}, {in_units(per_second)}/s"
        return f"{sums}; {running[0].text()}" if running else sums

    def tell(self) -> None:
        """Write the line of each execution under way to the log."""
        with self._lock:
            running = tuple(self._running)
        for progress in running:
            progress.tell()


Show = Callable[[RestoreProgress], contextlib.AbstractContextManager[object]]
"""Shows the progress of one execution within a block."""


@contextlib.contextmanager
def showing(progress: RestoreProgress | SharedProgress) -> Iterator[Above]:
    """Show the progress within the block. Give the function that this yields what else is written to the terminal."""
    with shown_on_terminal(progress.text) if is_watched() else _told_now_and_then(progress.tell) as above:
        yield above


@contextlib.contextmanager
def _told_now_and_then(tell: Callable[[], None]) -> Iterator[Above]:
    over = threading.Event()

    def show_until_over() -> None:
        while not over.wait(TOLD_EVERY_SECONDS):
            tell()

    teller = threading.Thread(target=show_until_over, name="progress", daemon=True)
    teller.start()
    try:
        yield _at_once
    finally:
        over.set()
        teller.join()


def _at_once(write: Callable[[], object]) -> None:
    write()
