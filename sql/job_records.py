"""The database's records of jobs: which run may claim one, how runs ended, the last success."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from config.logs import one_line, redactor
from config.models import JobState
from sql.connection import Connection
from sql.texts import Told, ToldJson

PLATFORM = ""
"""The host's name in a row that all hosts share."""


class JobsSeen(NamedTuple):
    """What was known of all jobs at one time, by the database's clock."""

    now: datetime
    of_host: Mapping[str, JobState]
    of_platform: Mapping[str, JobState]


class JobEnd(NamedTuple):
    """How one job of a run ended: `done`, `failed`, `interrupted`, or `put_off` as a limit of the run was reached."""

    job: str
    is_platform: bool
    outcome: str
    counts: Mapping[str, int]
    error: str | None = None


class JobRecords:
    """The jobs of one run, in the database.

    All methods raise as `Connection.query`.
    """

    def __init__(self, connection: Connection, host: Told, run_id: int, lease_seconds: float) -> None:
        self._connection = connection
        self._host = host
        self._run_id = run_id
        self._lease_seconds = lease_seconds
        self._end: JobEnd | None = None

    def claim(self, job: str, *, is_platform: bool, seen_token: int | None) -> int | None:
        """Claim a job for this run: returns the fencing token, or `None` if another run was quicker.

        `seen_token` is the token read when the job was found due; `None` claims the job regardless of other runs since.
        The same statement records jobs that have ended.
        """
        parameters = {
            **self._ended(),
            "job": job,
            "job_host": PLATFORM if is_platform else self._host,
            "held_by": self._host,
            "lease_seconds": self._lease_seconds if is_platform else None,
            "seen_token": seen_token,
        }
        rows = self._connection.query(self._with_end("claim_job"), parameters)
        self._end = None
        return int(rows[0]["fencing_token"]) if rows else None

    def end(self, end: JobEnd) -> None:
        """Note how a job ended. The next claim or the end of the run records it: both follow at once, and an idle tick
        sends no extra statement.
        """
        self._end = end

    def finish(self, name: str, parameters: Mapping[str, object]) -> None:
        """Run the statement that ends the run, together with the one that records the end of its last job."""
        self._connection.query(self._with_end(name), {**self._ended(), **parameters})
        self._end = None

    def record(self, end: JobEnd, seconds: float) -> None:
        """Record a job of this host that nobody claims: that it was done just now, and how long it took."""
        parameters = {
            "run_id": self._run_id,
            "job": end.job,
            "host": self._host,
            "seconds": seconds,
            "outcome": end.outcome,
            "counts": ToldJson(redactor.redact_all(end.counts)),
            "error": None if end.error is None else Told(one_line(end.error)),
        }
        self._connection.query_once("record_observer", parameters)

    def lease_seconds_left(self, job: str, fencing_token: int) -> float | None:
        """How long a platform job still belongs to this run, by the database's clock; `None` if it no longer does."""
        rows = self._connection.query_once("job_lease_seconds_left", {"job": job, "fencing_token": fencing_token})
        return float(rows[0]["seconds_left"]) if rows else None

    def _with_end(self, name: str) -> str:
        return name if self._end is None else f"end_job, {name}"

    def _ended(self) -> dict[str, object]:
        run: dict[str, object] = {"run_id": self._run_id}
        if self._end is None:
            return run
        return {
            **run,
            "ended_job": self._end.job,
            "ended_host": PLATFORM if self._end.is_platform else self._host,
            "outcome": self._end.outcome,
            "counts": ToldJson(redactor.redact_all(self._end.counts)),
            "error": None if self._end.error is None else Told(one_line(self._end.error)),
        }


def jobs_seen(row: Mapping[str, Any]) -> JobsSeen:
    """The result of `list_jobs` or `start_run` as an object."""
    rows: Iterable[Mapping[str, Any]] = json.loads(row["jobs"] or "[]")
    of_host: dict[str, JobState] = {}
    of_platform: dict[str, JobState] = {}
    for job in rows:
        states = of_platform if job["host"] == PLATFORM else of_host
        states[job["job"]] = _state(job)
    return JobsSeen(row["now"], of_host, of_platform)


def _state(row: Mapping[str, Any]) -> JobState:
    return JobState(
        last_started_at=_instant(row["last_started_at"]),
        last_good_at=_instant(row["last_good_at"]),
        tries=row["tries"],
        fencing_token=row["fencing_token"],
        was_cut_off=row["finished_at"] is None,
        last_outcome=row["last_outcome"],
        last_error=row["last_error"],
        held_by=row["held_by"],
    )


def _instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
