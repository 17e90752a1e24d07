"""What the frame gives to a job that it runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from config.errors import RunInterrupted
from config.logs import emit, one_line
from config.settings import Settings
from jobs.job import Job, Outcome
from jobs.report import JobDone, TickReport
from sql.connection import Row
from sql.database import Database, DatabaseError
from sql.memory.notices import Cause, Held

Judgment = Callable[[Database, Settings], Iterable[str]]
"""Returns what needs a person now, in Spanish, one line each."""


class LeaseLost(Exception):
    """Another host has taken the job over. The message is in Spanish."""


class Context(NamedTuple):
    """One run of one job, or one look at it."""

    job: Job
    settings: Settings
    """The settings of the whole program."""
    own_settings: Any
    """The job's own settings: an instance of `Job.settings`, or `None`."""
    database: Database
    now: datetime
    """When the job was found due, by the database's clock."""
    interruption: threading.Event
    """Set when the run must stop: work in flight is abandoned and nothing new begins."""
    dry_run: bool = False
    is_asked_for: bool = False
    """Whether somebody requested this job by its name, due or not."""
    wish: object = None
    """What that request says in the job's own terms; `None` for a job that is simply due."""
    fencing_token: int = 0
    """A platform job puts it into everything that it writes, so that a run that was overtaken writes nothing."""
    report: TickReport | None = None
    """What the tick has done so far; `None` for a mere look at a job."""
    judgment: Judgment | None = None
    """Says what needs a person, as `status` does. No job may import that, so it is passed in; `None` as above."""

    def query(self, name: str, parameters: Mapping[str, object] | None = None) -> list[Row]:
        """Run `queries/{name}.sql` of the job's folder, which must do no harm when it runs twice.

        `job` and `fencing_token` are among the parameters. Raises what `Connection.query` does.
        """
        own = {"job": self.job.name, "fencing_token": self.fencing_token}
        return self.database.job_query(self.job.folder, name, {**own, **(parameters or {})})

    def require_going_on(self) -> None:
        """Call before each bounded step. Raises `RunInterrupted`, or `LeaseLost` if another host has taken over."""
        if self.interruption.is_set():
            raise RunInterrupted("se pidió parar")
        if self.fencing_token and self.seconds_left() is None:
            raise LeaseLost("otra máquina lo ha tomado, porque esta tardó demasiado en dar señales; sigue ella")

    def seconds_left(self) -> float | None:
        """How long this run still holds a platform job if nothing renews its lease; `None` if it no longer does."""
        return self.database.job_records.lease_seconds_left(self.job.name, self.fencing_token)

    @property
    def held(self) -> Held:
        """The job of the platform that this run holds, if it is one."""
        return Held(self.job.name, self.fencing_token)

    def say(self, event: str, text: str, level: int = logging.INFO) -> None:
        """Report to operators, in Spanish and on one line. `event` is its stable English name."""
        emit(level, event, text, job=self.job.name)

    def notify(self, key: str, state: str, text: str) -> None:
        """Note the state of a cause; operators get a notice only when that changes. A dry run notes nothing.

        `key` is the cause's stable English name, such as `backup:too_old`; `state` is one of `STATES` in
        `sql.memory.notices`; `text` is Spanish and one line. Costs one statement. A run that was overtaken notes
        nothing. An error of the database is logged and does not stop the job. Raises `ValueError` for an unknown state.
        """
        if self.dry_run:
            return
        try:
            self.database.notices.note((Cause(key, state, text),), self.held)
        except DatabaseError as error:
            self.say("notice_not_noted", f"No se pudo anotar el aviso {key}: {one_line(error)}", logging.WARNING)


class ObservedRun(NamedTuple):
    """What an observer knows of a run from its beginning."""

    job: Job
    """The observer's own."""
    settings: Settings
    own_settings: Any
    mode: str
    version: str
    is_asked_for: bool
    """Whether the run is one of all jobs, or names this one. Otherwise somebody asks only for others."""


class EndOfRun(NamedTuple):
    """How a run ended."""

    exit_code: int
    elapsed_seconds: float
    counts: Mapping[str, int]
    """What was counted for the run as a whole, by name."""
    jobs: tuple[JobDone, ...]
    problems: tuple[str, ...]
    """What was not done and why, in Spanish, one line each."""
    database: Database | None
    """`None` when it could not be reached, or was lost."""
    is_interrupted: bool = False
    """Whether a signal ended the run. Some seconds later the process ends, with or without its observers."""


class Observer(Protocol):
    """A job that concerns the whole run: it sees every end of one, except where another run does all the work.

    What it raises and returns is logged as a warning and recorded, and never changes the result of a run that does
    other jobs.
    """

    def __init__(self, run: ObservedRun) -> None: ...

    def started(self) -> None:
        """The run has begun to work. Must not delay it."""

    def ended(self, end: EndOfRun) -> Outcome | None:
        """The run is over and recorded. Ends in a bounded time. Returns `None` if there was nothing to do."""
