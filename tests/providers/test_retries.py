"""Steps that fail are repeated while it is worth it, at the pace that the provider bears, and not for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from config.errors import MigrationError, RunInterrupted, SourceChanged, UnsafeSource
from providers import retries
from providers.errors import (
    AccessDenied,
    DestinationMissing,
    IntegrityError,
    InvalidKey,
    InvalidProviderSettings,
    ObjectNotFound,
    ProviderUnavailable,
    SlowDown,
    StorageFull,
)
from providers.progress import ALIVE_SECONDS, LONGEST_OBEYED_PAUSE_SECONDS, Progress
from providers.retries import (
    LONGEST_PAUSE_SECONDS,
    LONGEST_STEP_SECONDS,
    LONGEST_STEP_WITH_WAITS_SECONDS,
    with_retries,
)

NEVER = threading.Event()
PATIENCE_SECONDS = 20.0


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time that retries go by; pauses let it pass."""
    clock = Clock()

    def pause(seconds: float) -> None:
        clock.seconds += seconds

    monkeypatch.setattr(retries, "sleep_using_event", lambda _event: pause)
    monkeypatch.setattr(retries, "now", clock)
    return clock


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


@pytest.fixture
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the pauses between tries take no time; `Event.wait` itself is used in the tests of interruption."""
    monkeypatch.setattr(retries, "sleep_using_event", lambda _event: lambda _seconds: None)


def failing(error: BaseException, failures: int = 1000) -> tuple[Callable[[], str], list[int]]:
    """A step that fails so often before it succeeds, and how often it was done."""
    calls: list[int] = []

    def step() -> str:
        calls.append(len(calls))
        if len(calls) <= failures:
            raise error
        return "done"

    return step, calls


@pytest.mark.usefixtures("without_pauses")
@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (ProviderUnavailable("x"), 5),
        (IntegrityError("x"), 2),
        (SourceChanged("x"), 2),
        *((error("x"), 1) for error in (AccessDenied, DestinationMissing, StorageFull, ObjectNotFound, InvalidKey)),
        *((error("x"), 1) for error in (InvalidProviderSettings, UnsafeSource, RunInterrupted, MigrationError)),
        (ValueError("x"), 1),
        (KeyboardInterrupt(), 1),
    ],
)
def test_a_step_is_tried_as_often_as_its_error_is_worth(error: BaseException, tries: int) -> None:
    step, calls = failing(error)
    with pytest.raises(type(error)) as caught:
        with_retries(step, NEVER, Progress())
    assert caught.value is error
    assert len(calls) == tries


def test_a_step_that_succeeds_at_once_needs_no_retrier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "Retrying", lambda **_options: pytest.fail("made a retrier"))
    step, calls = failing(ProviderUnavailable("x"), failures=0)
    assert with_retries(step, NEVER, Progress()) == "done"
    assert len(calls) == 1


@pytest.mark.usefixtures("without_pauses")
def test_a_step_that_succeeds_at_last_has_succeeded() -> None:
    step, calls = failing(ProviderUnavailable("x"), failures=2)
    assert with_retries(step, NEVER, Progress()) == "done"
    assert len(calls) == 3


@pytest.mark.usefixtures("without_pauses")
def test_a_step_that_took_long_to_fail_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "RETRY_BUDGET_SECONDS", -1.0)
    step, calls = failing(ProviderUnavailable("x"))
    with pytest.raises(ProviderUnavailable):
        with_retries(step, NEVER, Progress())
    assert len(calls) == 1


@pytest.mark.usefixtures("without_pauses")
def test_time_that_a_step_waited_of_its_own_will_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "RETRY_BUDGET_SECONDS", -1.0)
    step, calls = failing(ProviderUnavailable("x"), failures=2)
    assert with_retries(step, NEVER, Progress(), lambda: 30.0) == "done"
    assert len(calls) == 3


def test_there_are_pauses_between_tries() -> None:
    step, _ = failing(ProviderUnavailable("x"))
    waits: list[float] = []

    class Watched(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0.0)
            return False

    with pytest.raises(ProviderUnavailable):
        with_retries(step, Watched(), Progress())
    assert len(waits) == 4
    assert all(0 <= seconds <= 3 for seconds in waits)
    assert sum(waits) > 0


def test_a_request_to_stop_ends_the_tries() -> None:
    interruption = threading.Event()
    step, calls = failing(ProviderUnavailable("x"))

    def step_and_stop() -> str:
        interruption.set()
        return step()

    with pytest.raises(ProviderUnavailable):
        with_retries(step_and_stop, interruption, Progress())
    assert len(calls) == 1


def test_a_request_to_stop_ends_a_pause(callers: ThreadPoolExecutor) -> None:
    interruption = threading.Event()
    in_pause = threading.Event()

    class Watched(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            in_pause.set()
            return interruption.wait(PATIENCE_SECONDS)  # far longer than any pause

        def is_set(self) -> bool:
            return interruption.is_set()

    step, calls = failing(ProviderUnavailable("x"))
    call = callers.submit(with_retries, step, Watched(), Progress())
    assert in_pause.wait(PATIENCE_SECONDS)
    interruption.set()
    with pytest.raises(ProviderUnavailable):
        call.result(PATIENCE_SECONDS)
    assert len(calls) <= 2


def test_a_provider_that_is_alive_is_asked_until_it_is_not(clock: Clock) -> None:
    """Not for a number of errors: a server that restarts refuses as often as it is asked."""
    progress = Progress(clock=clock)
    progress.note_success()
    started = clock.seconds
    step, calls = failing(ProviderUnavailable("x"))
    with pytest.raises(ProviderUnavailable) as caught:
        with_retries(step, NEVER, progress)
    assert len(calls) > 5
    assert ALIVE_SECONDS < clock.seconds - started < ALIVE_SECONDS + 2 * LONGEST_PAUSE_SECONDS
    assert caught.value.given_up


def test_what_others_get_done_keeps_a_step_going_for_a_bounded_time(clock: Clock) -> None:
    """One object that alone is refused with 503 does not hold its execution up for ever."""
    progress = Progress(clock=clock)
    started = clock.seconds

    def step() -> None:
        progress.note_success()  # by another thread
        raise ProviderUnavailable("x")

    with pytest.raises(ProviderUnavailable):
        with_retries(step, NEVER, progress)
    assert LONGEST_STEP_SECONDS < clock.seconds - started < LONGEST_STEP_SECONDS + 2 * LONGEST_PAUSE_SECONDS


def test_a_silence_is_repeated_once_and_more_often_only_while_others_get_answers(clock: Clock) -> None:
    progress = Progress(clock=clock)
    calls: list[float] = []

    def step() -> None:
        calls.append(clock.seconds)
        clock.seconds += 6
        if len(calls) == 2:
            progress.note_success()  # by another thread, which is answered meanwhile
        raise ProviderUnavailable("x")

    progress.note_success()
    with pytest.raises(ProviderUnavailable):
        with_retries(step, NEVER, progress)
    assert len(calls) == 3


def test_what_was_given_up_is_not_repeated_by_those_around_it(clock: Clock) -> None:
    """There is one retrier, not two stacked."""
    progress = Progress(clock=clock)
    progress.note_success()
    step, calls = failing(ProviderUnavailable("x"))
    calls_of_outer: list[int] = []

    def outer() -> None:
        calls_of_outer.append(len(calls))
        progress.note_success()
        with_retries(step, NEVER, progress)

    with pytest.raises(ProviderUnavailable):
        with_retries(outer, NEVER, progress)
    assert len(calls_of_outer) == 1


# The rate of requests


def answered(progress: Progress, clock: Clock, requests: int, per_second: float) -> None:
    """Requests that are answered well, at a rate."""
    for _ in range(requests):
        clock.seconds += 1 / per_second
        progress.note_success()


def test_a_server_that_does_not_complain_is_not_held_back(clock: Clock) -> None:
    progress = Progress(clock=clock)
    answered(progress, clock, requests=1000, per_second=500)
    assert progress.take_turn() == 0
    assert progress.requests_per_second is None


def test_a_server_that_asks_for_it_gets_fewer_requests_and_then_more_again(clock: Clock) -> None:
    progress = Progress(clock=clock)
    answered(progress, clock, requests=90, per_second=60)
    progress.note_slow_down()
    lowered = progress.requests_per_second or 0
    assert lowered == pytest.approx(60 * 0.6, rel=0.1)
    progress.note_slow_down()  # a request that was under way at the same time
    assert progress.requests_per_second == lowered
    clock.seconds += 2
    progress.note_slow_down()
    twice = progress.requests_per_second or 0
    assert twice == pytest.approx(60 * 0.36, rel=0.1)
    answered(progress, clock, requests=20, per_second=20)
    assert twice < (progress.requests_per_second or 0) < lowered


def test_turns_come_at_the_rate_for_all_together(clock: Clock) -> None:
    progress = Progress(clock=clock)
    answered(progress, clock, requests=40, per_second=20)
    progress.note_slow_down()
    rate = progress.requests_per_second or 0
    waits = [progress.take_turn() for _ in range(10)]
    assert waits == pytest.approx([number / rate for number in range(10)])


def test_a_rate_is_free_again_when_the_server_has_borne_it(clock: Clock) -> None:
    progress = Progress(clock=clock)
    progress.note_slow_down()
    answered(progress, clock, requests=61, per_second=1)
    assert progress.requests_per_second is None


def test_a_pause_that_a_server_asks_for_is_kept_by_all(clock: Clock) -> None:
    progress = Progress(clock=clock)
    error = SlowDown("x", pause_seconds=7)
    step, calls = failing(error, failures=1)

    class Waiting(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            clock.seconds += timeout or 0
            return False

    started = clock.seconds
    assert with_retries(step, Waiting(), progress) == "done"
    assert clock.seconds - started >= 7
    assert len(calls) == 2
    progress.note_slow_down(10_000)
    assert progress.take_turn() <= LONGEST_OBEYED_PAUSE_SECONDS


def test_a_request_to_stop_ends_the_wait_for_a_turn(clock: Clock) -> None:
    progress = Progress(clock=clock)
    progress.note_slow_down(30)
    step, calls = failing(ProviderUnavailable("x"), failures=0)
    interruption = threading.Event()
    interruption.set()
    with pytest.raises(RunInterrupted):
        with_retries(step, interruption, progress)
    assert not calls


def test_a_pause_requested_of_one_step_delays_no_other(clock: Clock) -> None:
    """And not for ever itself: one object that a server always calls too much is left after a while."""
    progress = Progress(clock=clock)
    pauses: list[float] = []

    class Waiting(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            clock.seconds += timeout or 0
            return False

    def step() -> None:
        clock.seconds += 0.1
        progress.note_success()  # by another thread
        before = clock.seconds
        pauses.append(before)
        raise SlowDown("x", pause_seconds=30)

    started = clock.seconds
    with pytest.raises(SlowDown) as caught:
        with_retries(step, Waiting(), progress)
    assert caught.value.given_up
    assert clock.seconds - started < LONGEST_STEP_WITH_WAITS_SECONDS + 100
    assert len(pauses) > 5
    assert progress.take_turn() < 5
