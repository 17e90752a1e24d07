"""Turns SIGINT and SIGTERM into a request to stop, and the end of the work into the exit code that they stand for."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from jobs.report import EXIT_SIGNAL_BASE
from providers.base import RunInterrupted


class Interrupted(Exception):
    """A signal ended the work; everything is left consistent."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.exit_code = EXIT_SIGNAL_BASE + signal_number


@contextlib.contextmanager
def stopping_on_signal(interruption: threading.Event) -> Iterator[None]:
    """Within, a first signal sets `interruption`, a second one ends the process at once. Raises `Interrupted` after."""
    received: list[int] = []

    def handle(signal_number: int, _frame: FrameType | None) -> None:
        if received:
            os._exit(EXIT_SIGNAL_BASE + signal_number)
        received.append(signal_number)
        interruption.set()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with contextlib.suppress(RunInterrupted):
            yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if received:
        raise Interrupted(received[0])
