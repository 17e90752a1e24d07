"""Runs several tasks at once, and hands their results out in the order in which the tasks came."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Protocol, TypeVar

from config.errors import RunInterrupted

MOST_AT_ONCE = 8
MOST_WAITING_RESULTS = 10_000
"""A task that takes hours keeps back the results of those after it: at most this many; then nothing new begins."""

POLL_SECONDS = 0.5

Result_co = TypeVar("Result_co", covariant=True)


class Task(Protocol[Result_co]):
    """Something to do. What it raises ends everything."""

    def begin(self) -> Callable[[], Result_co]:
        """Prepare it, in the thread that asks for the results; give what another thread then does."""


Result = TypeVar("Result")


def results_in_order(
    tasks: Iterable[Task[Result]],
    may_begin: Callable[[Task[Result], Sequence[Task[Result]]], bool],
    stop: threading.Event,
) -> Generator[Result]:
    """The results of all tasks. `may_begin` says whether a task may run beside those that run now; alone each may.

    Raises what a task raises, once the others have ended, which `stop` asks them to do; and `RunInterrupted` if
    something else has set it. Close it if not all results are taken.
    """
    given: deque[tuple[Task[Result], Future[Result]]] = deque()
    executor = ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="execution")
    try:
        for task in tasks:
            while not _has_room(task, given, may_begin):
                _wait_for_one(given, stop)
                yield from _ended(given)
            _require_going_on(stop)
            given.append((task, executor.submit(task.begin())))
            yield from _ended(given)
        while given:
            _wait_for_one(given, stop)
            yield from _ended(given)
        _require_going_on(stop)
    except BaseException:
        stop.set()
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _has_room(
    task: Task[Result],
    given: Sequence[tuple[Task[Result], Future[Result]]],
    may_begin: Callable[[Task[Result], Sequence[Task[Result]]], bool],
) -> bool:
    running = [other for other, future in given if not future.done()]
    if not running:
        return True
    return len(running) < MOST_AT_ONCE and len(given) < MOST_WAITING_RESULTS and may_begin(task, running)


def _wait_for_one(given: Iterable[tuple[Task[Result], Future[Result]]], stop: threading.Event) -> None:
    """Until one more ends. Raises what ended ones have raised, and `RunInterrupted`."""
    running = [future for _, future in given if not future.done()]
    while running and not wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED).done:
        _require_going_on(stop)
    for _, future in given:
        if future.done():
            future.result()


def _ended(given: deque[tuple[Task[Result], Future[Result]]]) -> Iterator[Result]:
    """The results of the first tasks that have ended."""
    while given and given[0][1].done():
        yield given.popleft()[1].result()


def _require_going_on(stop: threading.Event) -> None:
    if stop.is_set():
        raise RunInterrupted("interrumpido")
