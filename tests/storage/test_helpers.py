"""Helpers do a part of one execution's work in processes of their own: if one ends, nobody waits for it."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from config.errors import RunInterrupted, SourceChanged
from config.logs import emit, logger
from storage.helpers import FILES_WORTH_HELP, WORD_IS_GOOD_FOR_SECONDS, HelperLost, Helpers, Task, WorkerState
from storage.lease import ClaimLost, now
from storage.traffic.pace import Traffic
from tests.processes import children_of, is_alive, wait_until
from tests.repository import REPOSITORY

NEVER = threading.Event()


@dataclass(frozen=True)
class Look(Task[tuple[int, list[str]]]):
    """Who does it, and what is in the directory."""

    def carry_out(self, worker_state: WorkerState, directory_descriptor: int) -> tuple[int, list[str]]:
        worker_state.pool.traffic.note_passed(5, 2)
        return os.getpid(), os.listdir(directory_descriptor)


@dataclass(frozen=True)
class Meet(Task[None]):
    """Sign with one's number, and wait until this many have."""

    number: int

    def carry_out(self, worker_state: WorkerState, directory_descriptor: int) -> None:
        os.close(os.open(f"{os.getpid()}", os.O_CREAT, dir_fd=directory_descriptor))
        wait_until(lambda: len(os.listdir(directory_descriptor)) >= self.number, 30)


@dataclass(frozen=True)
class Die(Task[None]):
    """End as by the kernel, short of memory; while others wait, too."""

    def carry_out(self, worker_state: WorkerState, directory_descriptor: int) -> None:
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Fail(Task[None]):
    """What is wrong with the source is told to the caller."""

    def carry_out(self, worker_state: WorkerState, directory_descriptor: int) -> None:
        raise SourceChanged("cambió x.txt")


@dataclass(frozen=True)
class Tell(Task[None]):
    """Log something."""

    def carry_out(self, worker_state: WorkerState, directory_descriptor: int) -> None:
        emit(logging.DEBUG, "told_quietly", "en voz baja")
        emit(logging.WARNING, "told", "en voz alta", execution="e1")


@dataclass(frozen=True)
class Wait(Task[bool]):
    """Wait until it is to be given up."""

    def carry_out(self, worker_state: WorkerState, directory_descriptor: int) -> bool:
        os.close(os.open("waiting", os.O_CREAT, dir_fd=directory_descriptor))
        if not worker_state.interruption.wait(30):
            raise AssertionError("nobody said so")
        raise RunInterrupted("interrumpido")


@dataclass(frozen=True)
class IsInterrupted(Task[bool]):
    """Whether it is to be given up already."""

    def carry_out(self, worker_state: WorkerState, directory_descriptor: int) -> bool:
        return worker_state.interruption.is_set()


@dataclass(frozen=True)
class Survive(Task[int]):
    """Get the signals that a terminal sends to all."""

    def carry_out(self, worker_state: WorkerState, directory_descriptor: int) -> int:
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        return os.getpid()


@dataclass(frozen=True)
class Last(Task[None]):
    """Tell of some bytes, and work until somebody has seen them; then until the lease holds longer than it did."""

    def carry_out(self, worker_state: WorkerState, directory_descriptor: int) -> None:
        held_until = worker_state.lease.held_until()
        worker_state.pool.traffic.note_passed(5, 2)
        wait_until(lambda: "seen" in os.listdir(directory_descriptor), 30)
        wait_until(lambda: worker_state.lease.held_until() > held_until + 100, 30)


@dataclass(frozen=True)
class StopAndGoOn(Task[None]):
    """Be stopped, as by SIGSTOP or with the whole machine; then do what cannot be undone."""

    def carry_out(self, worker_state: WorkerState, directory_descriptor: int) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)
        worker_state.require_word()
        os.close(os.open("went on", os.O_CREAT, dir_fd=directory_descriptor))


@dataclass(frozen=True)
class Surroundings(Task[tuple[dict[str, str], tuple[int, int]]]):
    """The environment, and the limits of a core dump."""

    def carry_out(self, worker_state: WorkerState, directory_descriptor: int) -> tuple[dict[str, str], tuple[int, int]]:
        return dict(os.environ), resource.getrlimit(resource.RLIMIT_CORE)


class Office:
    """Two helpers, and a directory for them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.descriptor = os.open(directory, os.O_RDONLY)
        self.traffic = Traffic()
        self.helpers = Helpers(2, 4, self.traffic)
        self._others = children_of(os.getpid())

    def processes(self) -> set[int]:
        """Those that were started and have not ended."""
        return children_of(os.getpid()) - self._others

    def ask(self, *tasks: Task[object], interruption: threading.Event = NEVER) -> list[object]:
        """Have all of them carried out; their answers and errors."""
        answers: list[object] = [None] * len(tasks)

        def ask_one(index: int) -> None:
            try:
                answers[index] = self.helpers.ask(tasks[index], self.descriptor, interruption)
            except Exception as error:
                answers[index] = error

        self.helpers.for_each(ask_one, range(len(tasks)), NEVER)
        return answers

    def close(self) -> None:
        """End all."""
        self.helpers.close()
        os.close(self.descriptor)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with contextlib.closing(Office(tmp_path)) as office:
        yield office


def test_what_is_asked_is_done_by_another_process_in_the_open_directory_and_counted(office: Office) -> None:
    (office.directory / "a.txt").touch()
    moved = office.directory.rename(office.directory.with_name("moved"))
    (answer,) = office.ask(Look())
    moved.rename(office.directory)
    (process,) = office.processes()
    assert answer == (process, ["a.txt"])
    assert (office.traffic.passed_bytes, office.traffic.passed_files) == (5, 2)


def test_names_are_the_same_for_a_helper_whatever_the_locale(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}.items():
        monkeypatch.setenv(name, value)
    (office.directory / "ñ\udcff.txt").touch()
    (answer,) = office.ask(Look())
    (process,) = office.processes()
    assert answer == (process, ["ñ\udcff.txt"])


def test_they_work_at_the_same_time_and_never_more_of_them_than_asked_for(office: Office) -> None:
    assert office.ask(*[Meet(2)] * 6) == [None] * 6
    assert len(os.listdir(office.directory)) == 2


def test_errors_are_raised_where_it_was_asked_for_and_the_helper_continues(office: Office) -> None:
    errors = office.ask(*[Fail()] * 5)
    assert {(type(error), str(error)) for error in errors} == {(SourceChanged, "cambió x.txt")}
    assert 1 <= len(office.processes()) <= 2


def test_what_they_log_is_written_here(
    office: Office, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(logger, "level", logging.INFO)
    office.ask(Tell())
    assert [(record.getMessage(), record.event) for record in caplog.records] == [("en voz alta", "told")]  # type: ignore[attr-defined]


def test_a_killed_member_is_reported_and_the_others_continue(
    office: Office, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logger, "propagate", True)
    office.ask(Meet(2), Meet(2))
    lost, *others = office.ask(Die(), *[Look()] * 20)
    assert isinstance(lost, HelperLost)
    assert all(isinstance(answer, tuple) for answer in others)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "código -9" in warning
    assert office.helpers.are_worth_while(FILES_WORTH_HELP)


def test_once_all_are_lost_nobody_waits_for_one(office: Office) -> None:
    answers = office.ask(*[Die()] * 8)
    assert all(isinstance(answer, HelperLost) for answer in answers)
    assert not office.helpers.are_worth_while(FILES_WORTH_HELP)


def test_where_no_process_starts_that_is_reported_once_and_the_caller_does_all(
    office: Office, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def popen(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(subprocess, "Popen", popen)
    answers = office.ask(*[Look()] * 8)
    assert all(isinstance(answer, HelperLost) for answer in answers)
    assert len([record for record in caplog.records if "No se pueden usar más procesos" in record.getMessage()]) == 1
    assert not office.helpers.are_worth_while(FILES_WORTH_HELP)


def test_an_order_is_given_up_when_the_run_is_to_stop_and_the_next_one_is_not(office: Office) -> None:
    interruption = threading.Event()

    def interrupt() -> None:
        wait_until((office.directory / "waiting").exists, 30)
        interruption.set()

    watcher = threading.Thread(target=interrupt)
    watcher.start()
    (error,) = office.ask(Wait(), interruption=interruption)
    watcher.join()
    assert isinstance(error, RunInterrupted)
    assert office.ask(IsInterrupted()) == [False]


def test_what_a_helper_does_for_long_is_seen_meanwhile_and_the_lease_is_kept_up(office: Office) -> None:
    ends_at = [now() + 100]

    def see() -> None:
        wait_until(lambda: (office.traffic.passed_bytes, office.traffic.passed_files) == (5, 2), 30)
        (office.directory / "seen").touch()
        ends_at[0] += 200

    watcher = threading.Thread(target=see)
    watcher.start()
    office.helpers.ask(Last(), office.descriptor, NEVER, lambda: ends_at[0])
    watcher.join()
    assert (office.traffic.passed_bytes, office.traffic.passed_files) == (5, 2)


def test_an_order_is_given_up_when_the_lease_is_lost_and_nothing_is_begun_then(office: Office) -> None:
    def held_until() -> float:
        if (office.directory / "waiting").exists():
            raise ClaimLost("otra ejecución se hizo cargo")
        return now() + 100

    for task in (Wait(), Survive()):
        with pytest.raises(ClaimLost, match="se hizo cargo"):
            office.helpers.ask(task, office.descriptor, NEVER, held_until)
    assert office.ask(IsInterrupted()) == [False]


def test_large_files_are_shared_out_so_that_all_have_some_and_none_waits(office: Office) -> None:
    assert [office.helpers.share_of(files) for files in (1, 2, 3, 4, 5, 100)] == [1, 1, 2, 2, 2, 2]


def test_a_signal_to_all_processes_of_the_terminal_ends_no_helper(office: Office) -> None:
    (process,) = office.ask(Survive())
    assert office.ask(Survive()) == [process]


def test_no_helper_is_left_once_they_are_closed(office: Office) -> None:
    office.ask(Meet(2), Meet(2))
    assert len(office.processes()) == 2
    office.helpers.close()
    assert office.processes() == set()


def test_none_is_worth_while_for_few_files_or_where_a_run_is_to_be_one_process(office: Office) -> None:
    assert office.helpers.are_worth_while(FILES_WORTH_HELP)
    assert not office.helpers.are_worth_while(FILES_WORTH_HELP - 1)
    assert not Helpers(1, 16, Traffic()).are_worth_while(1_000_000)
    office.helpers.employ_none()
    assert not office.helpers.are_worth_while(1_000_000)


PROGRAM = """
import os, sys, threading
from storage.helpers import Helpers
from storage.traffic.pace import Traffic
from tests.storage.test_helpers import Wait, Look
helpers = Helpers(2, 4, Traffic())
descriptor = os.open(sys.argv[1], os.O_RDONLY)
never = threading.Event()
tasks = [Look(), Wait(), Wait()]
helpers.for_each(lambda task: helpers.ask(task, descriptor, never), tasks, never)
"""


def test_no_helper_outlives_the_process_of_the_run_nor_believes_what_lies_where_it_started(tmp_path: Path) -> None:
    (tmp_path / "queue.py").write_text("raise SystemExit('nobody should read this')")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        [sys.executable, "-P", "-c", PROGRAM, str(tmp_path)], cwd=tmp_path, env=environment, stderr=subprocess.PIPE
    ) as run:
        wait_until((tmp_path / "waiting").exists, 30)
        started = children_of(run.pid)
        assert len(started) == 2
        run.kill()
        _, errors = run.communicate(timeout=30)  # once nobody can write to it any more
    assert errors == b""
    wait_until(lambda: not any(map(is_alive, started)), 5)


def state_of(process_id: int) -> str:
    """Its letter in `/proc`."""
    return Path(f"/proc/{process_id}/stat").read_text().rpartition(") ")[2][0]


@pytest.mark.parametrize("is_lost", [True, False])
def test_whoever_was_stopped_waits_for_word_before_he_does_what_cannot_be_undone(office: Office, is_lost: bool) -> None:
    """The lease that he knew of lasts for minutes yet; that it was lost meanwhile only the run's process can know."""
    held = threading.Event()
    held.set()
    outcome: list[object] = []

    def held_until() -> float:
        if not held.is_set():
            raise ClaimLost("perdida")
        return now() + 600

    def ask() -> None:
        try:
            outcome.append(office.helpers.ask(StopAndGoOn(), office.descriptor, NEVER, held_until))
        except ClaimLost as error:
            outcome.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    wait_until(lambda: [state_of(process) for process in office.processes()] == ["T"], 30)
    stopped_at = now()
    if is_lost:
        held.clear()
    wait_until(lambda: now() > stopped_at + 2 * WORD_IS_GOOD_FOR_SECONDS, 30)
    (process,) = office.processes()
    os.kill(process, signal.SIGCONT)
    thread.join(30)
    assert [type(item) for item in outcome] == [ClaimLost if is_lost else type(None)]
    assert (office.directory / "went on").exists() != is_lost


def test_helpers_see_no_secret_of_the_database_and_no_key(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """They need what the SDKs' default chains and proxies are told."""
    secret = dict.fromkeys(("DATABASE_URL", "BACKUP_DATABASE_URL", "PGPASSWORD", "PGHOST", "JANITOR_SECRET_KEYS"), "a")
    needed = {"AWS_PROFILE": "f", "AZURE_CLIENT_ID": "g", "GOOGLE_APPLICATION_CREDENTIALS": "h", "HTTPS_PROXY": "i"}
    for name, value in (secret | needed).items():
        monkeypatch.setenv(name, value)
    environment, _ = office.helpers.ask(Surroundings(), office.descriptor, NEVER)
    assert not secret.keys() & environment.keys()
    assert needed.items() <= environment.items()


def test_no_process_of_a_run_leaves_an_image_of_its_memory_behind() -> None:
    program = (
        "import resource, subprocess, sys, janitor_daemon\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (1, resource.RLIM_INFINITY))\n"
        "child = [sys.executable, '-c', 'import resource; print(resource.getrlimit(resource.RLIMIT_CORE))']\n"
        "janitor_daemon.run_command_line = lambda _arguments: subprocess.run(child).returncode\n"
        "janitor_daemon.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout == "(0, 0)\n", done.stderr
