"""What the frame gives to a job that it runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from config.errors import RunInterrupted
from config.logs import emit
from config.settings import Settings
from jobs.job import Job
from sql.connection import Row
from sql.database import Database


class LeaseLost(Exception):
    """Another host has taken the job over. The message is in Spanish."""


class Context(NamedTuple):
    """One run of one job, or one look at it."""

    job: Job
    settings: Settings
    """Those of the whole program."""
    own_settings: Any
    """The job's own: an instance of `Job.settings`, or `None`."""
    database: Database
    now: datetime
    """When it was found due, by the database's clock."""
    interruption: threading.Event
    """Set when the run is asked to stop: what is in flight is given up, nothing new is begun."""
    dry_run: bool = False
    is_asked_for: bool = False
    """Whether somebody asks for this job by its name, and now."""
    wish: object = None
    """What such a one wants of it, in the job's own terms; `None` for what is due."""
    fencing_token: int = 0
    """A job of the platform names it in all that it writes, so that one that was overtaken writes nothing."""

    def query(self, name: str, parameters: Mapping[str, object] | None = None) -> list[Row]:
        """Run `queries/{name}.sql` of the job's folder, which must do no harm if it is run twice.

        `job` and `fencing_token` are among the parameters. Raises what `Connection.query` does.
        """
        own = {"job": self.job.name, "fencing_token": self.fencing_token}
        return self.database.job_query(self.job.folder, name, {**own, **(parameters or {})})

    def require_going_on(self) -> None:
        """To be asked before each bounded step. Raises `RunInterrupted`, or `LeaseLost` where another host is at it."""
        if self.interruption.is_set():
            raise RunInterrupted("se pidió parar")
        if self.fencing_token and self.seconds_left() is None:
            raise LeaseLost("otra máquina lo ha tomado, porque esta tardó demasiado en dar señales; sigue ella")

    def seconds_left(self) -> float | None:
        """For how long a job of the platform is this run's, if nothing renews it; `None`: not any more."""
        return self.database.job_records.lease_seconds_left(self.job.name, self.fencing_token)

    def say(self, event: str, text: str, level: int = logging.INFO) -> None:
        """Tell operators, in Spanish and in one line. `event` is its stable English name."""
        emit(level, event, text, job=self.job.name)
