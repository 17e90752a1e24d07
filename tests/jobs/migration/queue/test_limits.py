"""When a run may begin one more execution: the arithmetic of `--max-duration` and `--max-bytes`."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from config.models import Execution
from jobs.migration.directories import DirectoryJudge
from jobs.migration.queue.limits import GRACE_SHARE, LONGEST_GRACE_SECONDS, RunLimits, size_on_disk
from jobs.signals import Interruption
from storage.traffic.pace import Traffic


class Clock:
    """A clock that a test sets."""

    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def execution(number: int, directory: Path | None = None) -> Execution:
    """One of several executions."""
    return Execution(number, f"uuid-{number}", str(directory))


def test_without_limits_everything_may_begin() -> None:
    limits = RunLimits(None, None, Traffic())
    assert not limits.any
    assert limits.has_time()
    assert limits.begin(execution(1), 10**18)
    assert limits.begin(execution(2), 10**18)
    assert limits.reached is None


def test_time_runs_from_the_start() -> None:
    clock = Clock()
    limits = RunLimits(3600, None, Traffic(), clock)
    clock.seconds += 3599
    assert limits.has_time()
    assert limits.reached is None
    clock.seconds += 1
    assert not limits.has_time()
    assert limits.reached == "--max-duration"


def test_what_is_under_way_counts_whole_and_what_has_ended_by_what_it_sent() -> None:
    traffic = Traffic()
    limits = RunLimits(None, 100, traffic)
    assert limits.begin(execution(1), 60)
    assert limits.begin(execution(2), 40)
    assert limits.has_room(0)
    assert not limits.has_room(1)
    limits.end(execution(1))  # refused, and nothing sent
    assert limits.begin(execution(3), 60)
    traffic.pass_bytes(99)
    limits.end(execution(2))
    limits.end(execution(3))
    assert limits.begin(execution(4), 1)
    assert not limits.begin(execution(5), 1)
    assert limits.reached == "--max-bytes"


def test_what_is_larger_than_the_limit_goes_first_and_alone() -> None:
    traffic = Traffic()
    limits = RunLimits(None, 100, traffic)
    assert limits.begin(execution(1), 1000)
    assert not limits.begin(execution(2), 0)
    traffic.pass_bytes(1000)
    limits.end(execution(1))
    assert not limits.begin(execution(2), 1)


@pytest.mark.parametrize(("max_seconds", "grace_seconds"), [(10, 10 * GRACE_SHARE), (5 * 3600, LONGEST_GRACE_SECONDS)])
def test_what_is_under_way_gets_some_time_more(max_seconds: float, grace_seconds: float) -> None:
    clock = Clock()
    limits = RunLimits(max_seconds, None, Traffic(), clock)
    clock.seconds += max_seconds - 1
    assert limits.seconds_until_cut_off(max_seconds) == pytest.approx(1 + grace_seconds)
    clock.seconds += 10**6
    assert limits.seconds_until_cut_off(max_seconds) == 0


def test_when_that_is_over_it_is_asked_to_stop() -> None:
    clock = Clock()
    limits = RunLimits(10, None, Traffic(), clock)
    clock.seconds += 11
    stop = threading.Event()
    with limits.enforced(stop):
        assert stop.wait(10)
    assert limits.reached == "--max-duration"


def test_what_ends_in_time_is_not_asked_to_stop() -> None:
    stop = threading.Event()
    limits = RunLimits(3600, None, Traffic())
    before = threading.active_count()
    with limits.enforced(stop):
        assert threading.active_count() == before + 1
    assert not stop.is_set()
    assert limits.reached is None


def test_a_request_to_stop_the_run_stops_its_migrations_and_not_the_other_way_round() -> None:
    interruption = Interruption()
    interruption.migrations.set()
    assert not interruption.is_set()
    interruption = Interruption()
    interruption.set()
    assert interruption.is_set()
    assert interruption.migrations.is_set()


def test_the_size_of_an_execution_is_that_of_its_files(tmp_path: Path) -> None:
    judge = DirectoryJudge((str(tmp_path),))
    directory = tmp_path / "uuid-1"
    (directory / "a").mkdir(parents=True)
    (directory / "a" / "b").write_bytes(bytes(1000))
    (directory / "c").write_bytes(bytes(24))
    assert size_on_disk(judge, execution(1, directory)) == 1024
    os.mkfifo(directory / "tubería")
    assert size_on_disk(judge, execution(1, directory)) == 0
    assert size_on_disk(judge, execution(1, tmp_path / "nada")) == 0
