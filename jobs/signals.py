"""Turns SIGINT, SIGTERM and SIGHUP into a request to stop, and the end of the work into the exit code of each."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

from config.errors import RunInterrupted
from config.logs import emit
from config.process.early_signals import EXIT_SIGNAL_BASE, end_at_once_on_signal, ending_signals

LONGEST_SECONDS_TO_END = 4.5


class Interrupted(Exception):
    """A signal ended the work; everything is left consistent."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.exit_code = EXIT_SIGNAL_BASE + signal_number


class Interruption(threading.Event):
    """A request to stop the run. One to stop only its migrations is `migrations`, which is part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.migrations = threading.Event()

    def set(self) -> None:
        """Ask the whole run to stop."""
        self.migrations.set()
        super().set()


class Stopped(KeyboardInterrupt):
    """A signal that nothing of the work waits for; it goes past whatever takes errors for a fault of its own."""

    def __init__(self, signal_number: int) -> None:
        super().__init__()
        self.exit_code = EXIT_SIGNAL_BASE + signal_number


@contextlib.contextmanager
def raising_on_signal() -> Iterator[None]:
    """Within, a signal raises `Stopped`, so that what has to be cleared away is; afterwards it ends the process."""

    def handle(signal_number: int, _frame: FrameType | None) -> None:
        raise Stopped(signal_number)

    numbers = ending_signals()
    for number in numbers:
        signal.signal(number, handle)
    try:
        yield
    finally:
        end_at_once_on_signal()


@contextlib.contextmanager
def stopping_on_signal(
    interruption: threading.Event, note_signal: Callable[[int], object] | None = None
) -> Iterator[None]:
    """Within, a first signal sets `interruption`, a second one ends the process at once. Raises `Interrupted` after.

    `note_signal` is told the number of the first one before that.

    Where the work has not ended some seconds after the first one (it may wait for a provider, a lock in the database, a
    disk), the process ends without it: any moment may be the last, and the next run goes on from there.
    """
    received: list[int] = []
    over = threading.Event()
    signalled_or_over = threading.Event()

    def handle(signal_number: int, _frame: FrameType | None) -> None:
        if received:
            os._exit(EXIT_SIGNAL_BASE + signal_number)
        received.append(signal_number)
        if note_signal is not None:
            note_signal(signal_number)
        interruption.set()
        signalled_or_over.set()

    def end_in_time() -> None:
        signalled_or_over.wait()
        if received and not over.wait(LONGEST_SECONDS_TO_END):
            end_now(EXIT_SIGNAL_BASE + received[0])

    previous = {number: signal.signal(number, handle) for number in ending_signals()}
    threading.Thread(target=end_in_time, name="signals", daemon=True).start()
    try:
        with contextlib.suppress(RunInterrupted):
            yield
    finally:
        over.set()
        signalled_or_over.set()
        for number, handler in previous.items():
            signal.signal(number, handler)
    if received:
        raise Interrupted(received[0])


def end_now(exit_code: int) -> NoReturn:
    """Say so, and end the process without waiting for threads, which may be waiting for a provider."""
    name = signal.Signals(exit_code - EXIT_SIGNAL_BASE).name
    message = f"Interrumpido por {name}: todo queda en orden; el siguiente ciclo, o la misma orden otra vez, continúa"
    emit(logging.WARNING, "interrupted", message, signal=name)
    logging.shutdown()
    os._exit(exit_code)
