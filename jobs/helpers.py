"""Helpers: processes that a run starts for an execution of very many files, as the threads of one share an interpreter.

The run's process walks, decides, proves and commits. A helper is given a few hundred files at a time, with the open
directory that they are in, sends them to the provider or removes them, and answers how they fared; it knows no
database. Unlike the crew of a run (`jobs.crew`), helpers are new programs and no forks: when it is known how many files
an execution has, the run has threads and connections that would not survive a fork. They end with the run's process,
however it ends.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from multiprocessing.reduction import recv_handle, send_handle
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar, cast

from config.logs import emit, forward_logs, learn_secrets, log_debug, logs_debug, write_forwarded
from config.models import ProviderRow
from jobs.crew import fit_to_be_sent
from jobs.pace import Traffic
from jobs.report import EXIT_SOMETHING_FAILED
from jobs.transfers import TransferPool
from providers import build_provider
from providers.base import MigrationError, Provider, share_memory

FILES_WORTH_HELP = 10_000
"""In one execution. A helper needs half a second to begin, and every file costs some time to hand over."""

FILES_HANDED_OVER = 1024
BYTES_HANDED_OVER = 16 * 1024 * 1024
POLL_SECONDS = 0.2
SECONDS_TO_END = 5.0

PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); from jobs.helpers import serve; serve(int(sys.argv[2]))"
PROJECT = Path(__file__).parents[1]

Answer = TypeVar("Answer")
Answer_co = TypeVar("Answer_co", covariant=True)
Item = TypeVar("Item")


class HelperLost(MigrationError):
    """A helper ended before it answered, or none could be started: what it was to do may be done in part."""

    code = "helper_lost"


class Order(ABC, Generic[Answer_co]):
    """Something to be done by a helper. Can be sent to another process, as its answer can."""

    @abstractmethod
    def carry_out(self, workplace: Workplace, directory_descriptor: int) -> Answer_co:
        """Do it, in the helper. Raises `MigrationError`."""


class Workplace:
    """What a helper has for the orders that it is given."""

    def __init__(self, transfers: int) -> None:
        self.pool = TransferPool(transfers)
        self.interruption = threading.Event()
        """Of the present order."""
        self._providers: dict[int, Provider] = {}

    def provider(self, row: ProviderRow) -> Provider:
        """A provider, with connections of this process's own. Raises `InvalidProviderSettings`."""
        if row.id not in self._providers:
            learn_secrets(row.credentials)
            self._providers[row.id] = build_provider(row)
        return self._providers[row.id]


class Helpers:
    """The helpers of one run: at most `size`, started when they are first needed. Safe to use from several threads."""

    def __init__(self, size: int, transfers: int, traffic: Traffic) -> None:
        self._size = size
        self._transfers = transfers
        self._traffic = traffic
        self._pool = TransferPool(size)
        self._changed = threading.Condition()
        self._most = size
        self._started: list[_Helper] = []
        self._idle: list[_Helper] = []
        self._lost = 0

    def employ_none(self) -> None:
        """From now on, in this process: those of the run's own process are not for others that were forked from it."""
        self._most = 0

    def are_worth_while(self, files: int) -> bool:
        """Whether an execution of so many files is done sooner with them."""
        return self._most > 1 and files >= FILES_WORTH_HELP and self._lost < self._most

    def for_each(self, function: Callable[[Item], None], items: Sequence[Item], interruption: threading.Event) -> None:
        """See `TransferPool.for_each`: as many calls at a time as there are helpers to be asked by them."""
        self._pool.for_each(function, items, interruption)

    def ask(self, order: Order[Answer], directory_descriptor: int, interruption: threading.Event) -> Answer:
        """Have one of them carry out an order in an open directory, and give its answer or raise its error.

        Raises `HelperLost`. To be called from within `for_each`.
        """
        helper = self._take()
        try:
            answer = helper.ask(order, directory_descriptor, interruption)
        except HelperLost:
            self._note_lost(helper, interruption)
            raise
        except BaseException:
            self._give_back(helper)
            raise
        self._give_back(helper)
        self._traffic.note_passed(answer.passed_bytes, answer.passed_files)
        if answer.error is not None:
            raise answer.error
        return cast("Answer", answer.result)

    def _take(self) -> _Helper:
        with self._changed:
            while not self._idle:
                if len(self._started) < self._most:
                    return self._start()
                if self._lost == self._most:
                    raise HelperLost("no queda ningún proceso auxiliar")
                self._changed.wait()
            return self._idle.pop()

    def _start(self) -> _Helper:
        try:
            helper = _Helper(max(1, self._transfers // self._size), self._size)
        except OSError as error:  # a limit on processes, or on memory
            self._most = len(self._started)
            message = f"No se pueden usar más procesos auxiliares: {error.strerror}"
            emit(logging.WARNING, "helper_not_started", message, cause=error)
            raise HelperLost(message) from error
        self._started.append(helper)
        return helper

    def _give_back(self, helper: _Helper) -> None:
        with self._changed:
            self._idle.append(helper)
            self._changed.notify_all()

    def _note_lost(self, helper: _Helper, interruption: threading.Event) -> None:
        exit_code = helper.close()
        with self._changed:
            self._lost += 1
            self._changed.notify_all()
        if not interruption.is_set():
            emit(
                logging.WARNING,
                "helper_lost",
                f"Un proceso auxiliar terminó antes de tiempo (código {exit_code}; -9 suele ser falta de memoria): "
                "se sigue sin él",
            )

    def close(self) -> None:
        """End them."""
        self._pool.close()
        for helper in self._started:
            helper.close()


@dataclass(frozen=True, slots=True)
class _Answered:
    """What became of an order."""

    passed_bytes: int
    passed_files: int
    result: object = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class _Stop:
    """The present order is to be given up."""


class _Helper:
    """One helper, as the run's process sees it. For one thread at a time."""

    def __init__(self, transfers: int, helpers: int) -> None:
        self._connection, theirs = Pipe()
        with theirs:
            number = str(theirs.fileno())
            # -P: what lies in the directory in which cron started the run is none of ours. -X utf8: names of files are
            # the same in both, see `require_utf8_names`.
            self._process = subprocess.Popen(  # noqa: S603 this program
                [sys.executable, "-P", "-X", "utf8", "-c", PROGRAM, str(PROJECT), number],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        with contextlib.suppress(OSError):  # it has ended, which is noticed when it is asked something
            self._connection.send((transfers, helpers, logs_debug()))

    def ask(self, order: Order[Any], directory_descriptor: int, interruption: threading.Event) -> _Answered:
        """Raises `HelperLost`."""
        try:
            self._connection.send(order)
            send_handle(self._connection, directory_descriptor, self._process.pid)
            return self._answer(interruption)
        except (EOFError, OSError) as error:
            raise HelperLost("un proceso auxiliar terminó antes de tiempo") from error

    def _answer(self, interruption: threading.Event) -> _Answered:
        told_to_stop = False
        while True:
            if interruption.is_set() and not told_to_stop:
                self._connection.send(_Stop())
                told_to_stop = True
            if self._connection.poll(POLL_SECONDS):
                match self._connection.recv():
                    case _Answered() as answer:
                        return answer
                    case logging.LogRecord() as record:
                        write_forwarded(record)

    def close(self) -> int:
        """End it, and give its exit code."""
        self._connection.close()
        try:
            return self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


class _Served:
    """The run's process, as a helper sees it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._turn = threading.Lock()
        self._orders: queue.SimpleQueue[tuple[Order[Any], int, threading.Event]] = queue.SimpleQueue()

    def serve(self) -> NoReturn:
        """Carry out what it asks for, one order after the other, until it is gone."""
        with contextlib.suppress(EOFError):
            self._obey(*self._connection.recv())
        os._exit(EXIT_SOMETHING_FAILED)

    def _obey(self, transfers: int, helpers: int, debug: bool) -> NoReturn:
        forward_logs(self._send)
        log_debug(debug)
        share_memory(helpers)
        threading.Thread(target=self._hear, name="orders", daemon=True).start()
        workplace = Workplace(transfers)
        while True:
            order, descriptor, workplace.interruption = self._orders.get()
            try:
                self._send(_carried_out(order, workplace, descriptor))
            finally:
                os.close(descriptor)

    def _hear(self) -> None:
        """When the run's process is gone, whatever is under way here must not go on without it."""
        interruption = threading.Event()
        try:
            while True:
                match self._connection.recv():
                    case _Stop():
                        interruption.set()
                    case order:
                        interruption = threading.Event()
                        self._orders.put((order, recv_handle(self._connection), interruption))
        finally:
            os._exit(EXIT_SOMETHING_FAILED)

    def _send(self, message: object) -> None:
        with self._turn, contextlib.suppress(OSError):  # `_hear` notices
            self._connection.send(message)


def _carried_out(order: Order[Any], workplace: Workplace, directory_descriptor: int) -> _Answered:
    workplace.pool.traffic = traffic = Traffic()
    try:
        result = order.carry_out(workplace, directory_descriptor)
    except Exception as error:
        emit(logging.DEBUG, "helper_failed", f"Un proceso auxiliar lo deja: {error}", cause=error)
        return _Answered(traffic.passed_bytes, traffic.passed_files, error=fit_to_be_sent(error))
    return _Answered(traffic.passed_bytes, traffic.passed_files, result)


def serve(descriptor: int) -> NoReturn:
    """What a helper is from its start to its end: see `PROGRAM`."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the run's process gets them, too, and passes on what they mean
    _Served(Connection(descriptor)).serve()
