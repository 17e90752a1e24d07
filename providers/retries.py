"""The one retrier: repeats a step, at the step's own size, while the provider makes progress."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic as now
from typing import Any, Generic, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, sleep_using_event, wait_random_exponential

from config.errors import MigrationError, RunInterrupted
from providers.errors import ProviderUnavailable, SlowDown
from providers.progress import LONGEST_OBEYED_PAUSE_SECONDS, Progress

Result = TypeVar("Result")

Repeated = Callable[[Callable[[], Any]], Any]
"""Runs one request of several, with retries, and returns its result. Raises `ProviderError`."""

RETRY_BUDGET_SECONDS = 5.0
"""A step that took longer to fail is not repeated unless the provider is alive: a hanging provider must not delay the
alternate."""

LONGEST_PAUSE_SECONDS = 3.0

LONGEST_STEP_SECONDS = 30.0
"""How long a failing step is repeated while others succeed: after that, the step itself is at fault."""

LONGEST_WAIT_IN_VAIN_SECONDS = 30.0
"""How long a step waits for turns at a provider without a recent success."""

SLOW_DOWNS_OF_ALL = 2
"""How often a pause requested of one step applies to all."""

LONGEST_STEP_WITH_WAITS_SECONDS = 600.0
"""The same limit including the waits for turns, at a server that asks for pauses."""


def _never_idle() -> float:
    return 0.0


def with_retries(
    step: Callable[[], Result],
    interruption: threading.Event,
    progress: Progress,
    idle_seconds: Callable[[], float] = _never_idle,
) -> Result:
    """Run a step, retry it after growing pauses while its error allows, and return its result or raise its last error.

    Retries while `progress` shows that the provider is alive; without a recent success, as often as the error allows.
    A step of several requests calls this for each of them; an error given up there (`MigrationError.given_up`) is not
    retried here.
    `idle_seconds` returns how long the step has paused deliberately, which is no sign of a hanging provider.
    """
    started = now()
    waited_seconds = _wait_for_turn(progress, interruption)
    try:
        result = step()
    except MigrationError as error:
        first_error = error
    else:
        progress.note_success()
        return result
    return _Repetition(step, interruption, progress, idle_seconds, started, waited_seconds).after(first_error)


def _wait_for_turn(progress: Progress, interruption: threading.Event) -> float:
    """Wait until a request may be sent; return the seconds waited. Raises `RunInterrupted`."""
    wait_seconds = progress.take_turn()
    if wait_seconds > 0 and interruption.wait(wait_seconds):
        raise RunInterrupted("interrumpido")
    return wait_seconds


class _Repetition(Generic[Result]):
    """One step that has failed once, and its further tries."""

    def __init__(
        self,
        step: Callable[[], Result],
        interruption: threading.Event,
        progress: Progress,
        idle_seconds: Callable[[], float],
        started: float,
        waited_seconds: float,
    ) -> None:
        """`started` is when the first try began, `waited_seconds` how long it had waited for its turn."""
        self._step = step
        self._interruption = interruption
        self._progress = progress
        self._idle_seconds = idle_seconds
        self._started = started
        self._waited_seconds = waited_seconds
        self._try_started = started + waited_seconds
        self._silences = 0
        self._slow_downs = 0
        self._own_pause_seconds = 0.0

    def after(self, first_error: MigrationError) -> Result:
        """Continue after the first try has failed. Only then is the retrier made, which counts that try: making
        one takes as long as much of the other work on a small file.
        """
        failures = [first_error]

        def attempt() -> Result:
            if failures:
                raise failures.pop()
            return self._again()

        retrying = Retrying(
            retry=retry_if_exception_type(MigrationError),
            stop=self._gives_up,
            wait=wait_random_exponential(multiplier=0.3, max=LONGEST_PAUSE_SECONDS),
            sleep=sleep_using_event(self._interruption),
            reraise=True,
        )
        return retrying(attempt)

    def _again(self) -> Result:
        if self._own_pause_seconds > 0 and self._interruption.wait(self._own_pause_seconds):
            raise RunInterrupted("interrumpido")
        self._waited_seconds += self._own_pause_seconds + _wait_for_turn(self._progress, self._interruption)
        self._try_started = now()
        result = self._step()
        self._progress.note_success()
        return result

    def _gives_up(self, state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, SlowDown):
            self._note_slow_down(error)
        if not isinstance(error, MigrationError) or error.given_up or self._interruption.is_set():
            return True
        error.given_up = not self._is_worth_another_try(error, state.attempt_number)
        return error.given_up

    def _note_slow_down(self, error: SlowDown) -> None:
        """Make all requests wait, or only this step if the server keeps refusing it while it answers others."""
        self._slow_downs += 1
        is_this_step = self._slow_downs > SLOW_DOWNS_OF_ALL and self._progress.has_succeeded_since(self._try_started)
        if error.pause_seconds > 0 and is_this_step:
            self._own_pause_seconds = min(error.pause_seconds, LONGEST_OBEYED_PAUSE_SECONDS)
        else:
            self._progress.note_slow_down(error.pause_seconds)

    def _is_worth_another_try(self, error: MigrationError, tries: int) -> bool:
        if isinstance(error, SlowDown) and error.pause_seconds > LONGEST_OBEYED_PAUSE_SECONDS:
            return False
        if now() - self._started - self._idle_seconds() > LONGEST_STEP_WITH_WAITS_SECONDS:
            return False
        busy_seconds = now() - self._started - self._waited_seconds - self._idle_seconds()
        if error.tries > 1 and isinstance(error, ProviderUnavailable) and self._progress.is_alive:
            return busy_seconds <= LONGEST_STEP_SECONDS and self._is_no_repeated_silence()
        # Otherwise the run would wait for a provider that refuses all until every step had several turns.
        is_waited_for_in_vain = self._waited_seconds > LONGEST_WAIT_IN_VAIN_SECONDS
        return tries < error.tries and busy_seconds <= RETRY_BUDGET_SECONDS and not is_waited_for_in_vain

    def _is_no_repeated_silence(self) -> bool:
        """Whether another try is allowed after a silence: once, and more often only while other requests get
        answers.
        """
        if now() - self._try_started <= RETRY_BUDGET_SECONDS:
            return True
        self._silences += 1
        return self._silences == 1 or self._progress.has_succeeded_since(self._try_started)
