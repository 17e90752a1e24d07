"""Runs of the daemon in threads, which a history stops, kills and lets go on between any two of their steps.

A step is a statement to the database, a request to a store, or a system call that changes the file system. One run
moves at a time, and only when it is told to: the others stand still before their next step. What a dead run asks for
is refused, so it can clear nothing up: it is as dead as after SIGKILL, but that its lock is freed in order.
"""

from __future__ import annotations

import enum
import fnmatch
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from config.errors import MigrationError
from providers.errors import ProviderUnavailable
from sql.connection import Connection
from tests.model.stores import Request, Wire

CHANGING_CALLS = ("rename", "unlink", "rmdir", "link", "mkdir")
LONGEST_STEP_SECONDS = 60

LONGEST_LATE_SECONDS = 3600
"""For how long a request without a condition may be on its way."""


class Killed(BaseException):
    """The process is dead. No `except Exception` may see it."""


class Unanswered(ProviderUnavailable):
    """A request had no answer in time. Not repeated within the run: that would only take time."""

    tries = 1


class Fate(enum.StrEnum):
    """What happens to a run at the step at which it is cut."""

    KILL = "killed before"
    KILL_SENT = "killed, the request on its way"
    STOP = "stopped before"
    STOP_SENT = "stopped, the request on its way"
    NO_ANSWER = "gets no answer, the request on its way"
    REFUSED = "is refused"


ON_THIS_HOST: Mapping[Fate, Fate | None] = {
    Fate.KILL_SENT: Fate.KILL,
    Fate.STOP_SENT: Fate.STOP,
    Fate.NO_ANSWER: None,
    Fate.REFUSED: None,
}


@dataclass(frozen=True)
class Cut:
    """At the `nth` step whose name matches `step`, something happens to the run."""

    fate: Fate
    step: str
    nth: int = 1

    def __repr__(self) -> str:
        return f"Cut(Fate.{self.fate.name}, {self.step!r}, {self.nth})"


@dataclass
class Late:
    """A request on its way, and what came of it."""

    request: Request
    sent_at_seconds: float
    arrived: bool = False
    answer: object = None
    error: MigrationError | None = None

    def arrive(self) -> None:
        """Carry it out, once."""
        if self.arrived:
            return
        self.arrived = True
        try:
            self.answer = self.request.carry_out()
        except MigrationError as error:  # the caller is to get it, if it still listens
            self.error = error


@dataclass
class Run:
    """One run of the daemon on one host."""

    host: str
    body: Callable[[], int]
    cut: Cut | None
    steps: list[str] = field(default_factory=list)
    exit_code: int | None = None
    error: BaseException | None = None
    is_dead: bool = False
    is_over: bool = False
    buckets: dict[int, str] = field(default_factory=dict)
    """Where the rows of providers led when it began."""

    def __post_init__(self) -> None:
        self.matches = 0
        self.may_go_on = threading.Event()
        self.stands_still = threading.Event()


class Runs(Wire):
    """All runs of one history. `late` are the requests on their way, oldest first."""

    def __init__(self) -> None:
        self.parked: list[Run] = []
        self.late: list[Late] = []
        self.clock_seconds = 0.0
        """How much time has passed in this history."""
        self._moving: Run | None = None

    def start(self, run: Run) -> None:
        """Let a run go until its end, or until it is stopped."""
        thread = threading.Thread(target=self._live, args=(run,), name=f"run on {run.host}", daemon=True)
        self._moving = run
        thread.start()
        self._wait_for(run)
        if not run.is_over:
            self.parked.append(run)

    def resume(self, run: Run) -> None:
        """Let a stopped run go on until its end. Its request arrives now, if it has not yet."""
        self.parked.remove(run)
        self._moving = run
        run.may_go_on.set()
        self._wait_for(run)

    def kill(self, run: Run) -> None:
        """Kill a stopped run."""
        run.is_dead = True
        self.resume(run)

    def deliver(self, late: Late) -> None:
        """Let a request arrive, unless it was on its way for too long."""
        self.late.remove(late)
        if late.request.has_condition or self.clock_seconds - late.sent_at_seconds < LONGEST_LATE_SECONDS:
            late.arrive()
        else:
            late.error = Unanswered("el proveedor no respondió a tiempo")

    def _wait_for(self, run: Run) -> None:
        assert run.stands_still.wait(LONGEST_STEP_SECONDS), f"the run on {run.host} hangs after {run.steps[-1:]}"
        run.stands_still.clear()
        self._moving = None

    def _live(self, run: Run) -> None:
        try:
            run.exit_code = run.body()
        except BaseException as error:
            run.error = error
        run.is_over = True
        run.stands_still.set()

    def reach(self, step: str, detail: str) -> None:
        """Before a question to a store. Raises `Killed`, `Unanswered`."""
        self._come_to(f"{step} {detail}", {})

    def reach_own_step(self, step: str, detail: str) -> None:
        """Before a statement or a system call, which has no answer that could be lost. Raises `Killed`."""
        self._come_to(f"{step} {detail}", ON_THIS_HOST)

    def _come_to(self, name: str, fates: Mapping[Fate, Fate | None]) -> None:
        run = self._moving
        cut = None if run is None else self._struck(run, name)
        if run is not None and cut is not None:
            fate = fates.get(cut.fate, cut.fate)
            if fate is not None:
                self._befall(run, fate)

    def send(self, request: Request) -> object:
        """Before and after a request that changes a store, it may be cut off."""
        run = self._moving
        if run is None:
            return request.carry_out()
        cut = self._struck(run, request.name)
        if cut is None:
            return request.carry_out()
        if cut.fate not in (Fate.KILL_SENT, Fate.STOP_SENT, Fate.NO_ANSWER):
            self._befall(run, cut.fate)
            return request.carry_out()
        late = Late(request, self.clock_seconds)
        self.late.append(late)
        self._befall(run, cut.fate)
        if late in self.late:
            self.deliver(late)
        if late.error is not None:
            raise late.error
        return late.answer

    def _struck(self, run: Run, name: str) -> Cut | None:
        if run.is_dead:
            raise Killed
        run.steps.append(name)
        cut = run.cut
        if cut is None or not fnmatch.fnmatchcase(name, cut.step):
            return None
        run.matches += 1
        return cut if run.matches == cut.nth else None

    def _befall(self, run: Run, fate: Fate) -> None:
        if fate in (Fate.KILL, Fate.KILL_SENT):
            run.is_dead = True
            raise Killed
        if fate in (Fate.NO_ANSWER, Fate.REFUSED):
            raise Unanswered("el proveedor no respondió a tiempo")
        run.stands_still.set()
        assert run.may_go_on.wait(LONGEST_STEP_SECONDS), "nobody lets this run go on"
        run.may_go_on.clear()
        if run.is_dead:
            raise Killed


def watch(monkeypatch: pytest.MonkeyPatch, reach: Callable[[str, str], None]) -> None:
    """Call `reach` before each statement and each system call that changes the file system."""

    def before(owner: Any, attribute: str, step: Callable[..., tuple[str, str]]) -> None:
        original = getattr(owner, attribute)

        def watched(*arguments: Any, **named: Any) -> Any:
            reach(*step(*arguments))
            return original(*arguments, **named)

        monkeypatch.setattr(owner, attribute, watched)

    before(Connection, "query_once", lambda _connection, name, *_rest: ("sql", name))
    for call in CHANGING_CALLS:
        before(os, call, lambda target, *_rest, call=call: (call, _shown(target)))


def _shown(target: object) -> str:
    return os.fsdecode(target).rpartition("/")[2] if isinstance(target, (str, bytes, os.PathLike)) else "descriptor"
