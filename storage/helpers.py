"""Helpers: processes that a run starts for an execution with very many files, or with large files whose bytes all pass
through the interpreter, because the threads of one process share it.

The run's process walks, decides, proves and commits. It gives a helper a few hundred small files or a few large ones,
with their open directory. The helper sends or removes them and reports the result. It does not know the database; the
run's process tells it how long the lease holds and when to stop. Unlike the crew of a run (`jobs.migration.crew`),
helpers are new programs, not forks: by the time the size of an execution is known, the run has threads and connections
that would not survive a fork. Helpers end with the run's process, however it ends.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import queue
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from multiprocessing.reduction import recv_handle, send_handle
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar, cast

from config.errors import MigrationError, RunInterrupted
from config.exit_codes import EXIT_SOMETHING_FAILED
from config.logs import emit, learn_secrets
from config.models import ProviderRow
from config.process.early_signals import leave_signals_to_others
from config.process.log_output import forward_logs, log_debug, logs_debug, write_forwarded
from config.text.wording import reason_of
from providers import build_provider
from providers.base import Provider
from providers.memory_budget import split_memory_budget
from storage.lease import FRESH_SECONDS, Lease, now
from storage.process_messages import PROGRESS_SECONDS, fit_to_be_sent
from storage.traffic.pace import Traffic
from storage.traffic.transfers import TransferPool

FILES_WORTH_HELP = 10_000
"""For one execution. A helper takes half a second to start, and handing over each file costs some time."""

FILES_HANDED_OVER = 1024
BYTES_HANDED_OVER = 16 * 1024 * 1024
POLL_SECONDS = 0.2
SECONDS_TO_END = 5.0
WORD_IS_GOOD_FOR_SECONDS = 2 * FRESH_SECONDS

NOT_FOR_HELPERS = ("DATABASE_URL", "BACKUP_DATABASE_URL", "JANITOR_SECRET_KEYS")
LIBPQ_PREFIX = "PG"
"""Variables that a helper does not need: it does not know the database and receives secrets decrypted. A process's
variables can be read by its user. Helpers keep those of the SDKs' default chains and `HTTPS_PROXY`.
"""

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from config.process.early_signals import leave_signals_to_others
leave_signals_to_others()
from storage.helpers import serve
serve(int(sys.argv[2]))
"""
PROJECT = Path(__file__).parents[1]

Answer = TypeVar("Answer")
Answer_co = TypeVar("Answer_co", covariant=True)
Item = TypeVar("Item")


class HelperLost(MigrationError):
    """A helper ended before it answered, or none could be started. Part of its task may be done."""

    code = "helper_lost"


class Task(ABC, Generic[Answer_co]):
    """Work for a helper. Both the task and its answer can be sent to another process."""

    @abstractmethod
    def carry_out(self, worker_state: WorkerState, directory_descriptor: int) -> Answer_co:
        """Do the work, in the helper. Raises `MigrationError`."""


class WorkerState:
    """What a helper keeps across its tasks."""

    def __init__(self, transfers: int) -> None:
        self.pool = TransferPool(transfers)
        self.accept(_Terms(_HeldUntil(math.inf, math.inf), threading.Event()))
        self._providers: dict[int, Provider] = {}

    def accept(self, terms: _Terms) -> None:
        """Set `interruption` and `lease` to those of another task."""
        self.interruption = terms.interruption
        self.lease = Lease.until(lambda: terms.held.ends_at)
        self._terms = terms

    def require_word(self) -> None:
        """Wait until the run's process has confirmed within the last second that the task may continue. For steps that
        cannot be undone: a process that was stopped may not know yet that another run holds its execution.

        Raises `ClaimLost`, `RunInterrupted`.
        """
        self.lease.require_held()
        while now() - self._terms.held.said_at > WORD_IS_GOOD_FOR_SECONDS:
            if self.interruption.wait(FRESH_SECONDS / 10):
                raise RunInterrupted("interrumpido")

    def provider(self, row: ProviderRow) -> Provider:
        """A provider with this process's own connections. Raises `InvalidProviderSettings`."""
        if row.id not in self._providers:
            learn_secrets(row.credentials)
            self._providers[row.id] = build_provider(row)
        self._providers[row.id].progress.interruption = self.interruption
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
        """Use no helpers in this process from now on: the helpers of the run's process do not serve its forks."""
        self._most = 0

    @property
    def are_there(self) -> bool:
        """Whether there are any helpers, or can be."""
        return self._most > 1 and self._lost < self._most

    def are_worth_while(self, files: int) -> bool:
        """Whether an execution with this number of files finishes sooner with helpers."""
        return self.are_there and files >= FILES_WORTH_HELP

    def share_of(self, files: int) -> int:
        """How many of this number of large files to give a helper at a time: as many as it sends at once, unless that
        leaves none for the others.
        """
        return max(1, min(self._transfers // self._size, -(-files // self._size)))

    def for_each(self, function: Callable[[Item], None], items: Sequence[Item], interruption: threading.Event) -> None:
        """Like `TransferPool.for_each`, with one call at a time for each helper."""
        self._pool.for_each(function, items, interruption)

    def ask(
        self,
        task: Task[Answer],
        directory_descriptor: int,
        interruption: threading.Event,
        held_until: Callable[[], float] = lambda: math.inf,
    ) -> Answer:
        """Have a helper carry out a task in an open directory; return its answer or raise its error.

        `held_until` is called repeatedly, see `Lease.held_until`; an error that it raises ends the task and is raised
        here. Raises `HelperLost`. Call it only from within `for_each`.
        """
        helper = self._take()
        try:
            answer = helper.ask(task, directory_descriptor, interruption, held_until)
        except HelperLost:
            self._note_lost(helper, interruption)
            raise
        except BaseException:
            self._give_back(helper)
            raise
        self._give_back(helper)
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
            helper = _Helper(max(1, self._transfers // self._size), self._size, self._traffic)
        except OSError as error:  # a limit on processes, or on memory
            self._most = len(self._started)
            message = f"No se pueden usar más procesos auxiliares: {reason_of(error)}"
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
        """Stop all helpers."""
        self._pool.close()
        for helper in self._started:
            helper.close()


@dataclass(frozen=True, slots=True)
class _Answered:
    """The result of a task."""

    result: object = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class _Passed:
    """What a helper has transferred since its last report."""

    size_bytes: int
    files: int


@dataclass(frozen=True, slots=True)
class _Stop:
    """Tells a helper to give up the current task."""


@dataclass(frozen=True, slots=True)
class _HeldUntil:
    """The earliest time at which the lease of the current task can end, and when that was asked, by the clock of `now`,
    which all processes of a host share.
    """

    ends_at: float
    said_at: float

    @classmethod
    def ask(cls, held_until: Callable[[], float]) -> _HeldUntil:
        """Ask `held_until` now. Raises what it raises."""
        said_at = now()
        return cls(held_until(), said_at)

    def is_worth_telling(self, told: _HeldUntil) -> bool:
        """Whether this extends what was last reported."""
        return self.ends_at != told.ends_at or self.said_at - told.said_at >= POLL_SECONDS


def environment_for_helpers(environment: Mapping[str, str]) -> dict[str, str]:
    """The part of the run's environment that its helpers get; see `NOT_FOR_HELPERS`."""
    return {
        name: value
        for name, value in environment.items()
        if name not in NOT_FOR_HELPERS and not name.startswith(LIBPQ_PREFIX)
    }


class _Helper:
    """One helper, as the run's process sees it. Used by one thread at a time."""

    def __init__(self, transfers: int, helpers: int, traffic: Traffic) -> None:
        self._traffic = traffic
        self._connection, theirs = Pipe()
        with theirs:
            number = str(theirs.fileno())
            # -P: never import from the directory in which cron started the run. -X utf8: encode file names the same way
            # in both processes, see `require_utf8_names`.
            self._process = subprocess.Popen(  # noqa: S603 this program
                [sys.executable, "-P", "-X", "utf8", "-c", PROGRAM, str(PROJECT), number],
                pass_fds=[theirs.fileno()],
                env=environment_for_helpers(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        with contextlib.suppress(OSError):  # it has ended; the next request notices
            self._connection.send((transfers, helpers, logs_debug()))

    def ask(
        self,
        task: Task[Any],
        directory_descriptor: int,
        interruption: threading.Event,
        held_until: Callable[[], float],
    ) -> _Answered:
        """Raises `HelperLost` and what `held_until` raises."""
        held = _HeldUntil.ask(held_until)
        try:
            self._connection.send((task, held))
            send_handle(self._connection, directory_descriptor, self._process.pid)
            return self._answer(interruption, held_until, held)
        except (EOFError, OSError) as error:
            raise HelperLost("un proceso auxiliar terminó antes de tiempo") from error

    def _answer(self, interruption: threading.Event, held_until: Callable[[], float], told: _HeldUntil) -> _Answered:
        """Return the answer. The lease outlasts the task, however long it takes; otherwise the task is given up
        first.
        """
        answer = None
        while answer is None and not interruption.is_set():
            answer = self._listen()
            try:
                held = _HeldUntil.ask(held_until)
            except MigrationError as error:
                self._answer_to_stop(answer)
                return _Answered(error=error)
            if held.is_worth_telling(told):
                self._connection.send(held)
                told = held
        return self._answer_to_stop(answer)

    def _answer_to_stop(self, answer: _Answered | None) -> _Answered:
        """Return the answer; wait for it if it has not come before the helper was told to give up the task."""
        if answer is None:
            self._connection.send(_Stop())
        while answer is None:
            answer = self._listen()
        return answer

    def _listen(self) -> _Answered | None:
        """Wait for a message from the helper and take it in; return it if it is the answer."""
        if self._connection.poll(POLL_SECONDS):
            match self._connection.recv():
                case _Answered() as answer:
                    return answer
                case _Passed() as passed:
                    self._traffic.note_passed(passed.size_bytes, passed.files)
                case logging.LogRecord() as record:
                    write_forwarded(record)
        return None

    def close(self) -> int:
        """Stop the helper and return its exit code."""
        self._connection.close()
        try:
            return self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


@dataclass(slots=True)
class _Terms:
    """How long a task may run; the run's process updates this meanwhile."""

    held: _HeldUntil
    interruption: threading.Event


class _Served:
    """The run's process, as a helper sees it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._turn = threading.Lock()
        self._tasks: queue.SimpleQueue[tuple[Task[Any], int, _Terms]] = queue.SimpleQueue()
        self._told = _Passed(0, 0)

    def serve(self) -> NoReturn:
        """Carry out the requested tasks one by one until the run's process is gone."""
        with contextlib.suppress(EOFError):
            self._obey(*self._connection.recv())
        os._exit(EXIT_SOMETHING_FAILED)

    def _obey(self, transfers: int, helpers: int, debug: bool) -> NoReturn:
        forward_logs(self._send)
        log_debug(debug)
        split_memory_budget(helpers)
        worker_state = WorkerState(transfers)
        traffic = worker_state.pool.traffic
        threading.Thread(target=self._hear, name="tasks", daemon=True).start()
        threading.Thread(target=self._tell_passed, args=(traffic,), name="progress", daemon=True).start()
        while True:
            task, descriptor, terms = self._tasks.get()
            worker_state.accept(terms)
            try:
                answer = _carried_out(task, worker_state, descriptor)
                self._send_passed(traffic)
                self._send(answer)
            finally:
                os.close(descriptor)

    def _hear(self) -> None:
        """Receive messages. Once the run's process is gone, no work here may continue without it."""
        terms = _Terms(_HeldUntil(0.0, 0.0), threading.Event())
        try:
            while True:
                match self._connection.recv():
                    case _Stop():
                        terms.interruption.set()
                    case _HeldUntil() as held:
                        terms.held = held
                    case (task, held):
                        terms = _Terms(held, threading.Event())
                        self._tasks.put((task, recv_handle(self._connection), terms))
        finally:
            os._exit(EXIT_SOMETHING_FAILED)

    def _tell_passed(self, traffic: Traffic) -> None:
        """Report progress while a large file is on its way."""
        pause = threading.Event()
        while not pause.wait(PROGRESS_SECONDS):
            self._send_passed(traffic)

    def _send_passed(self, traffic: Traffic) -> None:
        with self._turn:
            now = _Passed(traffic.passed_bytes, traffic.passed_files)
            new = _Passed(now.size_bytes - self._told.size_bytes, now.files - self._told.files)
            self._told = now
            if new != _Passed(0, 0):
                self._tell(new)

    def _send(self, message: object) -> None:
        with self._turn:
            self._tell(message)

    def _tell(self, message: object) -> None:
        with contextlib.suppress(OSError):  # `_hear` notices
            self._connection.send(message)


def _carried_out(task: Task[Any], worker_state: WorkerState, directory_descriptor: int) -> _Answered:
    try:
        return _Answered(task.carry_out(worker_state, directory_descriptor))
    except Exception as error:
        emit(logging.DEBUG, "helper_failed", f"Un proceso auxiliar lo deja: {error}", cause=error)
        return _Answered(error=fit_to_be_sent(error))


def serve(descriptor: int) -> NoReturn:
    """The whole life of a helper: see `PROGRAM`."""
    leave_signals_to_others()
    _Served(Connection(descriptor)).serve()
