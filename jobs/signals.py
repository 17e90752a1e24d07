"""Turns SIGINT, SIGTERM and SIGHUP into a request to stop, and the end of the work into the exit code of each."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

from config.errors import RunInterrupted
from config.logs import emit
from config.process.early_signals import EXIT_SIGNAL_BASE, end_at_once_on_signal, ending_signals

LONGEST_SECONDS_TO_END = 4.5

LEFT_IN_ORDER = "todo queda en orden; el siguiente ciclo, o la misma orden otra vez, continúa"
"""How interrupted work is left, and what to do, unless the work says otherwise."""

OVER = b"\0"
"""What is read instead of a signal when the work is over: a forked process may keep the other end open."""


class Interrupted(Exception):
    """A signal ended the work; everything is left consistent. `left` says so to operators, and what to do."""

    def __init__(self, signal_number: int, left: str = LEFT_IN_ORDER) -> None:
        super().__init__(signal_number)
        self.exit_code = EXIT_SIGNAL_BASE + signal_number
        self.left = left


class Interruption(threading.Event):
    """A request to stop the run. `migrations` is the part that stops only its migrations."""

    def __init__(self) -> None:
        super().__init__()
        self.migrations = threading.Event()

    def set(self) -> None:
        """Ask the whole run to stop."""
        self.migrations.set()
        super().set()


class Stopped(KeyboardInterrupt):
    """A signal outside the work. It passes every handler that takes errors for faults of its own."""

    def __init__(self, signal_number: int) -> None:
        super().__init__()
        self.exit_code = EXIT_SIGNAL_BASE + signal_number


@contextlib.contextmanager
def raising_on_signal() -> Iterator[None]:
    """Raise `Stopped` on a signal within the block, so that cleanup runs; afterwards the signal ends the process."""

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
    interruption: threading.Event, note_signal: Callable[[int], object] | None = None, left: str = LEFT_IN_ORDER
) -> Iterator[None]:
    """Within, the first signal sets `interruption`, the second ends the process. Raises `Interrupted` afterwards.

    `note_signal` receives the number of the first signal before that. `left` says in Spanish how the work is left, and
    what to do.

    If the work has not ended some seconds after the first signal (it may wait for a provider, a database lock or a
    disk), the process ends without it: any moment may be the last, and the next run continues from there. A thread
    learns of the signal from the kernel, because Python calls no handler while the main thread waits inside a library,
    possibly for a database lock.
    """
    received: list[int] = []
    seen = {"handler": 0, "watcher": 0}
    turn = threading.RLock()
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    def see(by: str, signal_number: int) -> None:
        """Note a signal. Both observers see each signal; the first one acts on it."""
        with turn:
            seen[by] += 1
            if seen[by] > 1:
                os._exit(EXIT_SIGNAL_BASE + signal_number)
            if not received:
                received.append(signal_number)
                if note_signal is not None:
                    note_signal(signal_number)
                interruption.set()

    def handle(signal_number: int, _frame: FrameType | None) -> None:
        see("handler", signal_number)

    def watch() -> None:
        with reader:
            for signal_number in _signals_read_from(reader, received, left):
                see("watcher", signal_number)

    previous = {number: signal.signal(number, handle) for number in ending_signals()}
    previous_descriptor = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=watch, name="signals", daemon=True).start()
    try:
        with contextlib.suppress(RunInterrupted):
            yield
    finally:
        signal.set_wakeup_fd(previous_descriptor)
        with contextlib.suppress(BlockingIOError):  # full of signals: then closing it gives the notice
            writer.send(OVER)
        writer.close()
        for number, handler in previous.items():
            signal.signal(number, handler)
    if received:
        raise Interrupted(received[0], left)


def _signals_read_from(reader: socket.socket, received: list[int], left: str) -> Iterator[int]:
    """Each ending signal until the other end is closed; ends the process if that is too long after the first one."""
    numbers = frozenset(ending_signals())
    while True:
        reader.settimeout(LONGEST_SECONDS_TO_END if received else None)
        try:
            read = reader.recv(1)
        except TimeoutError:
            end_now(EXIT_SIGNAL_BASE + received[0], left)
        if not read or read == OVER:
            return
        if read[0] in numbers:
            yield read[0]


def end_now(exit_code: int, left: str) -> NoReturn:
    """Report it and end the process without waiting for threads, which may be waiting for a provider."""
    name = signal.Signals(exit_code - EXIT_SIGNAL_BASE).name
    emit(logging.WARNING, "interrupted", f"Interrumpido por {name}: {left}", signal=name)
    logging.shutdown()
    os._exit(exit_code)
