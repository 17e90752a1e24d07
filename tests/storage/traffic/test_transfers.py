"""Work in threads: never more at once than allowed, no error lost, and an end soon after one is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from config.errors import RunInterrupted
from jobs.migration.queue import task_pool as flights_module
from jobs.migration.queue.task_pool import TaskPool
from providers.errors import AccessDenied, StorageFull
from storage.traffic.transfers import TransferPool
from tests.processes import wait_until

NEVER = threading.Event()
PATIENCE_SECONDS = 20.0


class Meter:
    """Counts how many are inside at once, and lets them out when told."""

    def __init__(self) -> None:
        self.most = 0
        self.entered: list[object] = []
        self._inside = 0
        self._changed = threading.Condition()
        self._open = threading.Event()

    def pass_through(self, item: object) -> None:
        with self._changed:
            self.entered.append(item)
            self._inside += 1
            self.most = max(self.most, self._inside)
            self._changed.notify_all()
        assert self._open.wait(PATIENCE_SECONDS)
        with self._changed:
            self._inside -= 1

    def wait_until_inside(self, number: int) -> None:
        """Wait until this many are inside."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._inside >= number, PATIENCE_SECONDS), self._inside

    def open(self) -> None:
        """Let everybody pass from now on."""
        self._open.set()


@pytest.fixture
def pool() -> Iterator[TransferPool]:
    """Three transfers at a time."""
    with closing(TransferPool(3)) as made:
        yield made


@pytest.fixture
def meter() -> Iterator[Meter]:
    """Opened at the end, so that a test which fails leaves no thread waiting."""
    made = Meter()
    yield made
    made.open()


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    """Threads that use what is tested."""
    with ThreadPoolExecutor(8) as executor:
        yield executor


# Transfers


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 100])
def test_every_item_is_done_once(pool: TransferPool, count: int) -> None:
    done: list[int] = []
    pool.for_each(done.append, list(range(count)), NEVER)
    assert sorted(done) == list(range(count))


def test_items_are_begun_in_order() -> None:
    with closing(TransferPool(1)) as one_by_one:
        done: list[int] = []
        one_by_one.for_each(done.append, [3, 1, 2], NEVER)
        assert done == [3, 1, 2]


def test_callers_share_the_bound(pool: TransferPool, meter: Meter, callers: ThreadPoolExecutor) -> None:
    calls = [callers.submit(pool.for_each, meter.pass_through, list(range(10)), NEVER) for _ in range(4)]
    meter.wait_until_inside(3)
    meter.open()
    for call in calls:
        call.result(PATIENCE_SECONDS)
    assert meter.most == 3
    assert len(meter.entered) == 40


def test_the_first_error_stops_the_rest_and_comes_out(pool: TransferPool, callers: ThreadPoolExecutor) -> None:
    """The two other threads wait in their items until the third, which failed, has taken up something else."""
    error = AccessDenied("denegado")
    begun: list[int] = []
    is_over = threading.Event()

    def fail_at_two(item: int) -> None:
        begun.append(item)
        if item == 2:
            raise error
        assert is_over.wait(PATIENCE_SECONDS)

    call = callers.submit(pool.for_each, fail_at_two, list(range(1000)), NEVER)
    wait_until(lambda: len(begun) == 3, PATIENCE_SECONDS)
    pool.for_each(lambda _: is_over.set(), [None], NEVER)
    with pytest.raises(AccessDenied) as caught:
        call.result(PATIENCE_SECONDS)
    assert caught.value is error
    assert sorted(begun) == [0, 1, 2]


def test_for_each_does_not_return_before_its_last_call(
    pool: TransferPool, meter: Meter, callers: ThreadPoolExecutor
) -> None:
    """What an attempt began must have ended when the next one begins."""

    def fail_or_wait(item: int) -> None:
        if item == 0:
            meter.wait_until_inside(2)
            raise StorageFull("lleno")
        meter.pass_through(item)

    call = callers.submit(pool.for_each, fail_or_wait, list(range(10)), NEVER)
    meter.wait_until_inside(2)
    with pytest.raises(TimeoutError):
        call.result(0.1)
    meter.open()
    with pytest.raises(StorageFull):
        call.result(PATIENCE_SECONDS)


def test_an_error_of_one_caller_is_not_anothers(pool: TransferPool, callers: ThreadPoolExecutor) -> None:
    def fail(_item: int) -> None:
        raise StorageFull("lleno")

    done: list[int] = []
    failing = [callers.submit(pool.for_each, fail, list(range(10)), NEVER) for _ in range(3)]
    working = callers.submit(pool.for_each, done.append, list(range(100)), NEVER)
    working.result(PATIENCE_SECONDS)
    assert len(done) == 100
    assert all(isinstance(call.exception(PATIENCE_SECONDS), StorageFull) for call in failing)


def test_a_request_to_stop_begins_nothing_more(pool: TransferPool) -> None:
    interruption = threading.Event()
    begun: list[int] = []

    def work(item: int) -> None:
        begun.append(item)
        interruption.set()

    with pytest.raises(RunInterrupted):
        pool.for_each(work, list(range(100)), interruption)
    assert 1 <= len(begun) <= 3
    with pytest.raises(RunInterrupted):
        pool.for_each(begun.append, [1], interruption)


def test_the_pool_can_be_used_after_an_error(pool: TransferPool) -> None:
    def fail(_item: int) -> None:
        raise StorageFull("lleno")

    for _ in range(5):
        with pytest.raises(StorageFull):
            pool.for_each(fail, list(range(10)), NEVER)
    done: list[int] = []
    pool.for_each(done.append, [1], NEVER)
    assert done == [1]


# TaskPool


@pytest.fixture
def make_flights() -> Iterator[Callable[[int, threading.Event], TaskPool]]:
    """Make some, and close them at the end."""
    made: list[TaskPool] = []

    def make(size: int, interruption: threading.Event) -> TaskPool:
        made.append(TaskPool(size, interruption))
        return made[-1]

    yield make
    for task_pool in made:
        task_pool.close()


MakeFlights = Callable[[int, threading.Event], TaskPool]


def test_at_most_so_many_fly_at_once(make_flights: MakeFlights, meter: Meter, callers: ThreadPoolExecutor) -> None:
    task_pool = make_flights(2, NEVER)

    def launch_all() -> None:
        for number in range(6):
            task_pool.submit(meter.pass_through, number)
        task_pool.drain()

    call = callers.submit(launch_all)
    meter.wait_until_inside(2)
    meter.open()
    call.result(PATIENCE_SECONDS)
    assert meter.most == 2
    assert sorted(map(str, meter.entered)) == list("012345")


def test_an_error_comes_out_of_the_next_step(make_flights: MakeFlights) -> None:
    def fail(_item: int) -> None:
        raise StorageFull("lleno")

    task_pool = make_flights(1, NEVER)
    task_pool.submit(fail, 1)
    with pytest.raises(StorageFull):
        task_pool.submit(fail, 2)
    task_pool.submit(fail, 3)
    with pytest.raises(StorageFull):
        task_pool.drain()


def test_after_a_request_to_stop_nothing_is_launched_and_the_wait_is_bounded(
    make_flights: MakeFlights, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flights_module, "SECONDS_TO_END_AFTER_SIGNAL", 0.2)
    interruption = threading.Event()
    task_pool = make_flights(2, interruption)
    task_pool.submit(meter.pass_through, 1)
    meter.wait_until_inside(1)
    interruption.set()
    task_pool.submit(meter.pass_through, 2)
    task_pool.drain()  # an error of the one inside, who waits in vain to be let out, would be raised here
    assert meter.entered == [1]


def test_a_request_to_stop_ends_the_wait_for_room(
    make_flights: MakeFlights, meter: Meter, callers: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flights_module, "POLL_SECONDS", 0.01)
    interruption = threading.Event()
    task_pool = make_flights(1, interruption)
    task_pool.submit(meter.pass_through, 1)
    waiting = callers.submit(task_pool.submit, meter.pass_through, 2)
    meter.wait_until_inside(1)
    interruption.set()
    waiting.result(PATIENCE_SECONDS)
    assert meter.entered == [1]
