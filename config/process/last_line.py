"""One line on the terminal that shows the progress of something long. In cron or in a pipe, where nobody is looking,
there is none.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TextIO, TypeGuard, cast

from config.logs import logger

REFRESH_SECONDS = 0.4
RATE_OVER_SECONDS = 10.0
"""The rate shown covers this many of the last seconds."""

USUAL_COLUMNS = 80
CLEAR_LINE = "\r\x1b[K"


class Rate:
    """How fast a number grows, over the last seconds in which it was asked."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque([(clock(), 0)])

    def per_second(self, number: int) -> float:
        """The current rate, given the current number."""
        now = self._clock()
        self._samples.append((now, number))
        while len(self._samples) > 2 and self._samples[1][0] <= now - RATE_OVER_SECONDS:
            self._samples.popleft()
        since, number_then = self._samples[0]
        return (number - number_then) / max(now - since, 0.001)


def in_units(size_bytes: float) -> str:
    """A number of bytes for readers: three digits and a unit."""
    for unit in ("B", "KB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" or size_bytes >= 100 else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} TB"


def in_time(seconds: float) -> str:
    """A time for readers, to the nearest unit that matters."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def is_watched() -> bool:
    """Whether somebody can see a line that changes in place; a debug log leaves no room for it."""
    able = os.environ.get("TERM", "dumb") not in ("", "dumb")
    return able and sys.stderr.isatty() and not logger.isEnabledFor(logging.DEBUG)


Above = Callable[[Callable[[], object]], None]
"""Calls what writes to the terminal while the last line is out of the way."""


@contextlib.contextmanager
def shown_on_terminal(text: Callable[[], str]) -> Iterator[Above]:
    """Show `text` in the terminal's last line within the block; each log line appears whole above it.

    Give what else is written to the terminal to the function that this yields.
    """
    handlers = [handler for handler in logging.getLogger().handlers if _writes_to(handler, sys.stderr)]
    line = LastLine(sys.stderr, text)
    for handler in handlers:
        handler.setStream(cast("TextIO", line))
    over = threading.Event()
    painter = threading.Thread(target=line.repaint_until, args=(over,), name="progress", daemon=True)
    painter.start()
    try:
        yield line.above
    finally:
        over.set()
        painter.join()
        for handler in handlers:
            handler.setStream(sys.stderr)
        line.clear()


def _writes_to(handler: logging.Handler, stream: TextIO) -> TypeGuard[logging.StreamHandler[TextIO]]:
    return isinstance(handler, logging.StreamHandler) and handler.stream is stream


class LastLine(io.TextIOBase):
    """A terminal whose last line is reserved for the progress: all other output goes above it."""

    def __init__(self, terminal: TextIO, text: Callable[[], str]) -> None:
        self._terminal = terminal
        self._text = text
        self._lock = threading.RLock()
        self._painted = False

    def write(self, text: str) -> int:
        """Write above the last line."""
        with self._lock:
            self._clear()
            return self._terminal.write(text)

    def flush(self) -> None:
        """See `io.IOBase`."""
        self._terminal.flush()

    def clear(self) -> None:
        """Leave an empty line."""
        with self._lock, contextlib.suppress(OSError):
            self._clear()
            self._terminal.flush()

    def above(self, write: Callable[[], object]) -> None:
        """See `Above`."""
        with self._lock:
            with contextlib.suppress(OSError):
                self._clear()
                self._terminal.flush()
            write()

    def repaint_until(self, over: threading.Event) -> None:
        """Keep the line up to date. A terminal that is gone does not stop the run."""
        with contextlib.suppress(OSError):
            while not over.wait(REFRESH_SECONDS):
                self._paint()

    def _paint(self) -> None:
        text = self._text()[: self._columns() - 1]
        with self._lock:
            self._terminal.write(CLEAR_LINE + text)
            self._terminal.flush()
            self._painted = True

    def _clear(self) -> None:
        if self._painted:
            self._terminal.write(CLEAR_LINE)
            self._painted = False

    def _columns(self) -> int:
        return os.get_terminal_size(self._terminal.fileno()).columns or USUAL_COLUMNS
