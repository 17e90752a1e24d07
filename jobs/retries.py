"""The one retrier: repeats a step as often as the error's class says that it is worth."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, sleep_using_event, wait_random_exponential

from providers.base import MigrationError

Result = TypeVar("Result")

RETRY_BUDGET_SECONDS = 5.0
"""A step that took longer to fail is not repeated: a provider that hangs must not hold up the alternate."""


def _never_idle() -> float:
    return 0.0


def with_retries(
    step: Callable[[], Result], interruption: threading.Event, idle_seconds: Callable[[], float] = _never_idle
) -> Result:
    """Do a step, again after a growing pause while its error is worth it, and give its result or its last error.

    `idle_seconds` says for how long the step has waited so far of its own will: no sign of a provider that hangs.
    """
    started = time.monotonic()
    try:
        return step()
    except MigrationError as error:
        first_error = error
    return _repeated(step, first_error, started, interruption, idle_seconds)


def _repeated(
    step: Callable[[], Result],
    first_error: MigrationError,
    started: float,
    interruption: threading.Event,
    idle_seconds: Callable[[], float],
) -> Result:
    """What `with_retries` does once the first try has failed: the retrier, which counts that try, is made only then.

    Making one takes as long as much of what else is done for a small file.
    """
    failures = [first_error]

    def attempt() -> Result:
        if failures:
            raise failures.pop()
        return step()

    def give_up(state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        tries = error.tries if isinstance(error, MigrationError) else 1
        elapsed_seconds = time.monotonic() - started - idle_seconds()
        return interruption.is_set() or state.attempt_number >= tries or elapsed_seconds > RETRY_BUDGET_SECONDS

    retrying = Retrying(
        retry=retry_if_exception_type(MigrationError),
        stop=give_up,
        wait=wait_random_exponential(multiplier=0.3, max=3),
        sleep=sleep_using_event(interruption),
        reraise=True,
    )
    return retrying(attempt)
