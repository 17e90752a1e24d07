"""The words of the progress, and what it takes to be shown any."""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
from collections.abc import Iterator

import pytest

from config.logs import logger
from config.process.last_line import CLEAR_LINE, LastLine, in_time, in_units, is_watched
from jobs.migration.queue.progress import Progress
from jobs.report import TickReport
from storage.traffic.pace import Traffic

MEBIBYTE = 1024 * 1024


class Clock:
    """A clock that a test sets."""

    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_the_line_of_a_run_whose_total_is_known() -> None:
    clock, report, traffic = Clock(), TickReport(), Traffic()
    progress = Progress(report, traffic, 40, clock)
    assert progress.text() == "Migradas 0 de 40, 0 ficheros, 0 B, 0 B/s"
    clock.seconds += 5
    traffic.pass_bytes(125 * MEBIBYTE)
    traffic.note_file()
    report.count(migrated=8, failed=1, missing_directories=1)
    assert progress.text() == "Migradas 8 de 40, 1 fichero, 125 MB, 25.0 MB/s, faltan unos 15 s"


def test_the_line_of_a_run_whose_total_is_not_known() -> None:
    clock, report, traffic = Clock(), TickReport(), Traffic()
    report.count(migrated=12)
    assert Progress(report, traffic, None, clock).text() == "Migradas 12, 0 ficheros, 0 B, 0 B/s"


def test_the_rate_is_that_of_the_last_seconds() -> None:
    clock, traffic = Clock(), Traffic()
    progress = Progress(TickReport(), traffic, None, clock)
    for _ in range(20):
        clock.seconds += 1
        traffic.pass_bytes(10 * MEBIBYTE)
        progress.text()
    assert progress.text().endswith(", 10.0 MB/s")
    for _ in range(12):
        clock.seconds += 1
        progress.text()
    assert progress.text().endswith(", 0 B/s")


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KB"),
        (340 * MEBIBYTE, "340 MB"),
        (25.4 * MEBIBYTE, "25.4 MB"),
        (3 * 1024 * MEBIBYTE, "3.0 GB"),
        (5000 * 1024 * MEBIBYTE, "4.9 TB"),
    ],
)
def test_bytes_are_shown_in_the_largest_unit_that_fits(size_bytes: float, text: str) -> None:
    assert in_units(size_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59, "59 s"), (61, "1 min"), (3599, "1 h 0 min"), (9000, "2 h 30 min")]
)
def test_time_left_is_shown_in_seconds_minutes_or_hours(seconds: float, text: str) -> None:
    assert in_time(seconds) == text


class Terminal(io.StringIO):
    """What takes itself for a terminal, as long as it is there."""

    gone = False

    def isatty(self) -> bool:
        """It does."""
        return True

    def write(self, text: str) -> int:
        """Fails once the terminal is gone."""
        if self.gone:
            raise OSError(5, "Input/output error")
        return super().write(text)

    def fileno(self) -> int:
        """That of some terminal."""
        return 2


class OverAfterOneLook(threading.Event):
    """Whoever waits for it does what he does once."""

    def wait(self, timeout: float | None = None) -> bool:
        """Not over, at the first time."""
        was_over = self.is_set()
        self.set()
        return was_over


@pytest.fixture
def _level_kept() -> Iterator[None]:
    before = logger.level
    yield
    logger.setLevel(before)


@pytest.mark.parametrize(
    ("terminal", "level", "watched"),
    [
        ("xterm", logging.INFO, True),
        ("xterm", logging.DEBUG, False),
        ("dumb", logging.INFO, False),
        ("", logging.INFO, False),
        (None, logging.INFO, False),
    ],
)
@pytest.mark.usefixtures("_level_kept")
def test_progress_is_watched_on_a_terminal_unless_debugging(
    monkeypatch: pytest.MonkeyPatch, terminal: str | None, level: int, watched: bool
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    logger.setLevel(level)
    if terminal is None:
        monkeypatch.delenv("TERM", raising=False)
    else:
        monkeypatch.setenv("TERM", terminal)
    assert is_watched() == watched
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not is_watched()


def test_a_log_line_takes_the_place_of_the_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    line = LastLine(terminal, lambda: "Migradas 12")
    monkeypatch.setattr(os, "get_terminal_size", lambda _descriptor: os.terminal_size((9, 24)))
    line.write("uno\n")
    line.repaint_until(OverAfterOneLook())
    line.write("dos\n")
    line.write("tres\n")
    line.clear()
    assert terminal.getvalue() == f"uno\n{CLEAR_LINE}Migradas{CLEAR_LINE}dos\ntres\n"


def test_what_else_is_written_appears_whole_above_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "get_terminal_size", lambda _descriptor: os.terminal_size((80, 24)))
    terminal = Terminal()
    line = LastLine(terminal, lambda: "Restaurando")
    line.repaint_until(OverAfterOneLook())
    line.above(lambda: terminal.write("Ejecución uno restaurada\n"))
    assert terminal.getvalue() == f"{CLEAR_LINE}Restaurando{CLEAR_LINE}Ejecución uno restaurada\n"


def test_a_terminal_that_is_gone_ends_the_display_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "get_terminal_size", lambda _descriptor: os.terminal_size((80, 24)))
    terminal = Terminal()
    line = LastLine(terminal, lambda: "Migradas 12")
    line.repaint_until(OverAfterOneLook())
    terminal.gone = True
    monkeypatch.setattr("config.process.last_line.REFRESH_SECONDS", 0.01)
    painter = threading.Thread(target=line.repaint_until, args=(threading.Event(),), daemon=True)
    painter.start()
    painter.join(10)
    assert not painter.is_alive()
    line.clear()
