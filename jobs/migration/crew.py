"""Several processes for a run with much to do: the threads of one share an interpreter, and so one processor.

The run's own process finds the due executions and hands them out, a few at a time. Each member of the crew claims,
stores, proves, commits and removes its share, with its own connections, in the name of the same run. Its log records
and counts go to the run's process, which alone writes logs, renews leases and reports. Members end with that process,
however it ends.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from typing import NoReturn, cast

from config.exit_codes import EXIT_DONE, EXIT_SOMETHING_FAILED
from config.logs import emit
from config.models import Execution
from config.process.early_signals import leave_signals_to_others
from config.process.log_output import forward_logs, write_forwarded
from config.text.wording import reason_of
from jobs.report import Observations, TickReport
from storage.optional_steps import TOLD_ONCE
from storage.process_messages import PROGRESS_SECONDS, fit_to_be_sent
from storage.traffic.pace import Traffic

MOST_HANDED_OUT = 8
POLL_SECONDS = 0.5
Work = Callable[[Iterator[list[Execution]]], None]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A member has nothing left to begin."""


@dataclass(frozen=True, slots=True)
class _Progress:
    """What a member has done since its last report."""

    counts: Mapping[str, int]
    passed_bytes: int
    passed_files: int
    named: Mapping[str, tuple[str, ...]]
    """All that it has named in its report so far."""
    observed: Observations
    """All that it has seen of providers so far."""


@dataclass(frozen=True, slots=True)
class _Failed:
    """The error that a member's work raised."""

    error: Exception


@dataclass(frozen=True, slots=True)
class _Stop:
    """The run was asked to stop."""


class Crew:
    """The processes of one run, as its own process sees them. Used once, from one thread."""

    def __init__(self, report: TickReport, traffic: Traffic, interruption: threading.Event) -> None:
        self._report = report
        self._traffic = traffic
        self._interruption = interruption
        self._members: dict[Connection, int] = {}
        self._stopping = False
        self._error: Exception | None = None
        self._told_once: set[tuple[str, str]] = set()

    def start(self, size: int, work: Work) -> int:
        """Fork this many processes, each of which does `work` on its batches; return how many were started.

        Meanwhile no other thread may hold a lock that a member needs.
        """
        try:
            for _ in range(size):
                self._fork(work)
        except OSError as error:  # a limit on processes, or on memory
            emit(logging.WARNING, "crew_too_small", f"No se pueden usar más procesos: {reason_of(error)}", cause=error)
        return len(self._members)

    def run(self, pages: Iterable[list[Execution]]) -> None:
        """Share out all pages. Raises what `pages` and the first `work` raise, once every member has ended."""
        self._batches = _batches(pages, len(self._members))
        try:
            while self._members:
                self._listen()
        finally:
            self._kill_remaining()
        if self._error is not None:
            raise self._error

    def _fork(self, work: Work) -> None:
        ours, theirs = Pipe()
        with theirs:
            process_id = _fork()
            if process_id == 0:
                for connection in (*self._members, ours):  # else nobody would notice when the run's process has ended
                    connection.close()
                _Member(theirs, self._report, self._traffic, self._interruption).serve(work)
        self._members[ours] = process_id

    def _listen(self) -> None:
        if self._interruption.is_set() and not self._stopping:
            self._stopping = True
            for member in self._members:
                _tell(member, _Stop())
        for member in cast("list[Connection]", wait(list(self._members), POLL_SECONDS)):
            try:
                self._receive(member, member.recv())
            except (EOFError, OSError):
                self._reap(member)

    def _receive(self, member: Connection, message: object) -> None:
        match message:
            case _Wanted():
                _tell(member, self._next_batch())
            case _Progress():
                self._report.count(**message.counts)
                for kind, names in message.named.items():
                    for name in names:
                        self._report.name(kind, name)
                for kind, by_provider in message.observed.items():
                    for provider_id, text in by_provider.items():
                        self._report.observe(kind, provider_id, text)
                self._traffic.note_passed(message.passed_bytes, message.passed_files)
            case _Failed():
                self._error = self._error or message.error
            case logging.LogRecord():
                if not self._was_told(message):
                    write_forwarded(message)

    def _was_told(self, record: logging.LogRecord) -> bool:
        """Whether another member has already logged this record, for events that are logged once."""
        event = getattr(record, "event", "")
        if event not in TOLD_ONCE:
            return False
        said = (event, str(getattr(record, "fields", {}).get("provider")))
        was_told = said in self._told_once
        self._told_once.add(said)
        return was_told

    def _next_batch(self) -> list[Execution]:
        """A member's next batch; empty once the run is stopping or an error has stopped it."""
        if self._interruption.is_set() or self._error is not None:
            return []
        try:
            return next(self._batches, [])
        except Exception as error:
            self._error = error
            return []

    def _reap(self, member: Connection) -> None:
        """Reap a member that has ended. If it ended abnormally, its claims are freed when the run ends."""
        member.close()
        _, status = os.waitpid(self._members.pop(member), 0)
        exit_code = os.waitstatus_to_exitcode(status)
        if exit_code != EXIT_DONE and self._error is None and not self._stopping:
            self._report.note_problem(EXIT_SOMETHING_FAILED)
            emit(
                logging.ERROR,
                "crew_member_lost",
                f"Un proceso de esta ejecución terminó antes de tiempo (código {exit_code}; -9 suele ser falta de "
                "memoria): lo que tenía a medias se retoma la próxima vez",
            )

    def _kill_remaining(self) -> None:
        """Kill the members that are left: there are none unless an unforeseen error was raised here."""
        for member, process_id in self._members.items():
            os.kill(process_id, signal.SIGKILL)
            os.waitpid(process_id, 0)
            member.close()


def _batches(pages: Iterable[list[Execution]], size: int) -> Iterator[list[Execution]]:
    """Small batches, and smaller ones towards the end of a page, so that all members end at about the same time."""
    for page in pages:
        start = 0
        while start < len(page):
            count = min(MOST_HANDED_OUT, max(1, (len(page) - start) // (2 * size)))
            yield page[start : start + count]
            start += count


def _fork() -> int:
    """Fork. Python warns of forks with threads, because those may hold locks: see `Crew.start`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _tell(member: Connection, message: object) -> None:
    with contextlib.suppress(OSError):  # it has ended, which is noticed where messages are received
        member.send(message)


class _Member:
    """One of the processes, as it sees itself."""

    def __init__(
        self, connection: Connection, report: TickReport, traffic: Traffic, interruption: threading.Event
    ) -> None:
        self._connection = connection
        self._report = report
        self._traffic = traffic
        self._interruption = interruption
        self._lock = threading.Lock()
        self._batches: queue.SimpleQueue[list[Execution]] = queue.SimpleQueue()
        self._told = self._done_so_far()

    def serve(self, work: Work) -> NoReturn:
        """Do the work and end this process: nothing of its parent's may be undone here."""
        exit_code = EXIT_SOMETHING_FAILED
        try:
            leave_signals_to_others()
            forward_logs(self._send)
            for task in (self._hear, self._send_progress_regularly):
                threading.Thread(target=task, name=task.__name__, daemon=True).start()
            work(self._given())
            exit_code = EXIT_DONE
        except Exception as error:
            emit(logging.DEBUG, "crew_member_failed", f"El trabajo se interrumpe: {error}", cause=error)
            self._send(_Failed(fit_to_be_sent(error)))
        finally:
            self._send_progress()
            os._exit(exit_code)

    def _given(self) -> Iterator[list[Execution]]:
        while True:
            self._send(_Wanted())
            batch = self._batches.get()
            if not batch:
                return
            yield batch

    def _hear(self) -> None:
        """Receive messages from the run's process; once that is gone, this one must not continue."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                match self._connection.recv():
                    case _Stop():
                        self._interruption.set()
                    case batch:
                        self._batches.put(batch)
        os._exit(EXIT_SOMETHING_FAILED)

    def _send_progress_regularly(self) -> None:
        pause = threading.Event()
        while not pause.wait(PROGRESS_SECONDS):
            self._send_progress()

    def _send_progress(self) -> None:
        with self._lock:
            now = self._done_so_far()
            progress = now.since(self._told)
            self._told = now
            if progress is not None:
                _tell(self._connection, progress)

    def _done_so_far(self) -> _Told:
        counts = self._report.counts
        passed = self._traffic.passed_bytes, self._traffic.passed_files
        return _Told(counts, *passed, self._report.named, self._report.observed)

    def _send(self, message: object) -> None:
        with self._lock:
            _tell(self._connection, message)


@dataclass(frozen=True, slots=True)
class _Told:
    """A member's progress at its last report."""

    counts: Mapping[str, int]
    passed_bytes: int
    passed_files: int
    named: Mapping[str, tuple[str, ...]]
    observed: Observations

    def since(self, earlier: _Told) -> _Progress | None:
        """The progress since an earlier moment, if any."""
        counts = {name: count - earlier.counts.get(name, 0) for name, count in self.counts.items()}
        changed = {name: count for name, count in counts.items() if count}
        passed_bytes = self.passed_bytes - earlier.passed_bytes
        passed_files = self.passed_files - earlier.passed_files
        is_news = self.named != earlier.named or self.observed != earlier.observed
        if not (changed or passed_bytes or passed_files or is_news):
            return None
        return _Progress(changed, passed_bytes, passed_files, self.named, self.observed)
