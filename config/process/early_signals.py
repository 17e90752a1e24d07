"""Handles signals while the program itself does not: during imports, and after the work is done.

This module imports next to nothing, because it loads before all others.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that ask a program to end: Ctrl-C, `kill` and `systemctl stop`, a closed terminal."""

EXIT_SIGNAL_BASE = 128


def ending_signals() -> tuple[signal.Signals, ...]:
    """The signals that end this process: under `nohup`, not the closing of the terminal."""
    return tuple(
        number for number in ENDING_SIGNALS if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
    )


def end_at_once_on_signal() -> None:
    """End the process on each of these signals, with its exit code and one line, until the program handles them."""
    for number in ending_signals():
        signal.signal(number, _end)


def leave_signals_to_others() -> None:
    """Ignore the signals in a process started by a run: the run receives them too, and tells its processes."""
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def interrupted_by(signal_number: int) -> str:
    """What a person who presses Ctrl-C reads of a program that has not begun its work, or has ended it."""
    return f"Interrumpido por {signal.Signals(signal_number).name}: todo queda en orden"


def _end(signal_number: int, _frame: FrameType | None) -> None:
    try:
        os.write(2, f"{interrupted_by(signal_number)}\n".encode())
    finally:  # the terminal may be gone
        os._exit(EXIT_SIGNAL_BASE + signal_number)
