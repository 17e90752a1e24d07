"""Several processes do the work of one run, and one tells of it: if one ends, nobody waits and nothing is lost."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.exit_codes import EXIT_DONE, EXIT_SOMETHING_FAILED
from config.logs import emit, logger
from config.models import Execution
from jobs.migration.crew import Crew, Work
from jobs.report import Observed, TickReport
from sql.database import DatabaseUnavailable
from storage.traffic.pace import Traffic
from tests.processes import children_of, is_alive, wait_until
from tests.repository import REPOSITORY

PAGES = [[Execution(number, f"uuid-{number}", None) for number in range(first, first + 20)] for first in (0, 20)]
ALL = {execution.uuid for page in PAGES for execution in page}


class Bench:
    """A crew of two, what it reports to, and a directory in which its members leave signs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.report = TickReport()
        self.traffic = Traffic()
        self.interruption = threading.Event()

    def run(self, work: Work, pages: Iterator[list[Execution]] | None = None) -> None:
        """Have it done by two."""
        crew = Crew(self.report, self.traffic, self.interruption)
        assert crew.start(2, work) == 2
        crew.run(iter(PAGES) if pages is None else pages)

    def sign(self, name: str) -> None:
        """Leave a sign of this process, all at once."""
        unfinished = self.directory / f".{os.getpid()}"
        unfinished.write_text(str(os.getpid()))
        unfinished.rename(self.directory / name)

    def signs(self, pattern: str) -> dict[str, int]:
        """The signs that there are, and who left them."""
        return {path.name: int(path.read_text() or 0) for path in self.directory.glob(pattern)}

    def do_together(self, batches: Iterator[list[Execution]]) -> None:
        """Sign for each execution, but not before two processes have got some."""
        for batch in batches:
            self.sign(f"member-{os.getpid()}")
            wait_until(lambda: len(self.signs("member-*")) == 2, 30)
            for execution in batch:
                assert not (self.directory / execution.uuid).exists()
                self.sign(execution.uuid)

    def members(self) -> set[int]:
        """Who has signed as a member."""
        return set(self.signs("member-*").values())


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A bench, after which no process is left."""
    before = children_of(os.getpid())
    yield Bench(tmp_path)
    assert children_of(os.getpid()) == before


def test_each_execution_goes_to_one_of_the_processes(bench: Bench) -> None:
    bench.run(bench.do_together)
    signs = bench.signs("uuid-*")
    assert signs.keys() == ALL
    assert set(signs.values()) == bench.members()
    assert len(bench.members()) == 2
    assert os.getpid() not in bench.members()


def test_what_members_count_and_say_is_reported_by_the_process_of_the_run(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.report.count(missing_directories=1)

    def work(batches: Iterator[list[Execution]]) -> None:
        for batch in batches:
            for execution in batch:
                bench.report.count(migrated=1, migrated_bytes=10)
                bench.report.observe(Observed.WORKED, 7, "nas")
                bench.traffic.note_file()
                bench.traffic.pass_bytes(100)
                try:
                    raise ValueError("the cause")
                except ValueError as error:
                    emit(logging.INFO, "migrated", f"hecho {execution.uuid}", cause=error, execution=execution.uuid)

    logger.propagate = True
    logger.setLevel(logging.INFO)
    bench.run(work)
    counts = bench.report.counts
    assert (counts["missing_directories"], counts["migrated"], counts["migrated_bytes"]) == (1, 40, 400)
    assert (bench.traffic.passed_bytes, bench.traffic.passed_files) == (4000, 40)
    assert bench.report.observed == {Observed.WORKED: {7: "nas"}}
    told = [record for record in caplog.records if record.name == logger.name]
    assert {record.getMessage() for record in told} == {f"hecho {uuid}" for uuid in ALL}
    assert {record.__dict__["fields"]["execution"] for record in told} == ALL
    assert all("the cause" in (record.exc_text or "") for record in told)
    assert bench.report.exit_code == EXIT_DONE


def test_progress_is_reported_before_the_end(bench: Bench) -> None:
    """Even if all files are empty so far."""

    def work(batches: Iterator[list[Execution]]) -> None:
        for _ in batches:
            bench.traffic.note_file()
            wait_until((bench.directory / "seen").exists, 30)

    def watch() -> None:
        wait_until(lambda: bench.traffic.passed_files > 0, 30)
        bench.sign("seen")

    watcher = threading.Thread(target=watch)
    watcher.start()
    bench.run(work)
    watcher.join()


def test_what_the_work_of_one_raises_ends_the_run_once_the_other_has_ended(bench: Bench) -> None:
    def work(batches: Iterator[list[Execution]]) -> None:
        next(batches)
        bench.sign(f"member-{os.getpid()}")
        wait_until(lambda: len(bench.signs("member-*")) == 2, 30)
        raising = min(bench.members())
        if os.getpid() == raising:
            raise DatabaseUnavailable("no se puede usar la base de datos")
        wait_until(lambda: not is_alive(raising), 30)
        bench.sign("the other ended")
        assert list(batches) == []

    with pytest.raises(DatabaseUnavailable, match="no se puede usar"):
        bench.run(work)
    assert (bench.directory / "the other ended").exists()


class Strange(Exception):
    """What cannot be sent."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")
        self.lock = threading.Lock()


def test_even_an_error_that_cannot_be_sent_is_reported(bench: Bench) -> None:
    def work(_batches: Iterator[list[Execution]]) -> None:
        raise Strange("one", "two")

    with pytest.raises(RuntimeError, match="Strange: one two"):
        bench.run(work)


def test_what_the_pages_raise_ends_the_run_once_all_is_done_that_was_handed_out(bench: Bench) -> None:
    def pages() -> Iterator[list[Execution]]:
        yield PAGES[0]
        raise DatabaseUnavailable("no se puede usar la base de datos")

    with pytest.raises(DatabaseUnavailable):
        bench.run(bench.do_together, pages())
    assert bench.signs("uuid-*").keys() == {execution.uuid for execution in PAGES[0]}


def test_a_member_that_is_killed_costs_what_it_had_and_the_other_continues(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    def work(batches: Iterator[list[Execution]]) -> None:
        for batch in batches:
            bench.sign(f"member-{os.getpid()}")
            wait_until(lambda: len(bench.signs("member-*")) == 2, 30)
            if os.getpid() == min(bench.members()):
                os.kill(os.getpid(), signal.SIGKILL)
            for execution in batch:
                bench.sign(execution.uuid)

    logger.propagate = True
    bench.run(work)
    lost = ALL - bench.signs("uuid-*").keys()
    assert 1 <= len(lost) <= 8
    assert bench.report.exit_code == EXIT_SOMETHING_FAILED
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert "código -9" in line
    assert "se retoma la próxima vez" in line


def test_members_stop_when_the_run_is_to_stop(bench: Bench) -> None:
    def work(batches: Iterator[list[Execution]]) -> None:
        next(batches)
        bench.sign(f"member-{os.getpid()}")
        assert bench.interruption.wait(30)
        assert list(batches) == []
        bench.sign(f"ended-{os.getpid()}")

    def interrupt() -> None:
        wait_until(lambda: len(bench.signs("member-*")) == 2, 30)
        bench.interruption.set()

    watcher = threading.Thread(target=interrupt)
    watcher.start()
    bench.run(work)
    watcher.join()
    assert set(bench.signs("ended-*").values()) == bench.members()
    assert bench.report.exit_code == EXIT_DONE


def test_a_signal_to_all_processes_of_the_terminal_ends_none_of_the_members(bench: Bench) -> None:
    """The run's own process decides what it means, and says so."""

    def work(batches: Iterator[list[Execution]]) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        bench.do_together(batches)

    bench.run(work)
    assert bench.signs("uuid-*").keys() == ALL


PROGRAM = """
import os, sys, threading, time
from pathlib import Path
from config.models import Execution
from jobs.migration.crew import Crew
from storage.traffic.pace import Traffic
from jobs.report import Observed, TickReport
directory = Path(sys.argv[1])
def work(batches):
    for batch in batches:
        (directory / f"member-{os.getpid()}").write_text(str(os.getpid()))
        time.sleep(3600)
crew = Crew(TickReport(), Traffic(), threading.Event())
crew.start(3, work)
crew.run([[Execution(number, str(number), None) for number in range(9)]])
"""


def test_no_member_outlives_the_process_of_the_run(bench: Bench) -> None:
    run = subprocess.Popen([sys.executable, "-c", PROGRAM, str(bench.directory)], cwd=REPOSITORY)
    wait_until(lambda: len(bench.members() - {0}) == 3, 30)
    members = bench.members()
    run.kill()
    run.wait()
    wait_until(lambda: not any(map(is_alive, members)), 10)


@pytest.mark.parametrize("possible", [0, 1])
def test_where_no_more_processes_can_be_had_fewer_do_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, possible: int
) -> None:
    real_fork: Callable[[], int] = os.fork
    forks = iter(range(possible))

    def fork() -> int:
        if next(forks, None) is None:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        return real_fork()

    def work(batches: Iterator[list[Execution]]) -> None:
        for batch in batches:
            for execution in batch:
                bench.sign(execution.uuid)

    monkeypatch.setattr(os, "fork", fork)
    logger.propagate = True
    crew = Crew(bench.report, bench.traffic, bench.interruption)
    assert crew.start(2, work) == possible
    if possible:
        crew.run(PAGES)
        assert bench.signs("uuid-*").keys() == ALL
    assert "No se pueden usar más procesos" in caplog.text
