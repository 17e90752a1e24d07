"""What a signal does while the program is not ready for one: while it is imported, and when its work is done.

This module imports next to nothing, as it comes before all others.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Those that ask a program to end: Ctrl-C, `kill` and `systemctl stop`, a terminal that was closed."""

EXIT_SIGNAL_BASE = 128


def ending_signals() -> tuple[signal.Signals, ...]:
    """Those of them that end this process: not the closing of a terminal under `nohup`."""
    return tuple(
        number for number in ENDING_SIGNALS if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
    )


def end_at_once_on_signal() -> None:
    """Let each of these signals end the process with its exit code, without a traceback, until others handle it."""
    for number in ending_signals():
        signal.signal(number, _end)


def leave_signals_to_others() -> None:
    """Ignore them in a process that a run has started: the run gets them, too, and passes on what they mean."""
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _end(signal_number: int, _frame: FrameType | None) -> None:
    os._exit(EXIT_SIGNAL_BASE + signal_number)
