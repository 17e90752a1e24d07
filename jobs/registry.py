"""The jobs of the program, in the order of a tick. To add one, add its folder and one line here.

The list is explicit: nothing is looked for, and neither the database nor the environment names code, as cron may run as
root. Importing this imports no job; `all_jobs` imports their definitions, which are small, and `run` and the like only
when they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from config.text.names import unknown
from jobs.job import Job, Ref

DEFINITIONS = (
    Ref("jobs.migration.job:JOB"),
    Ref("jobs.temp_files.job:JOB"),
    Ref("jobs.logs.job:JOB"),
    Ref("jobs.history.job:JOB"),
)


class UnknownJob(Exception):
    """No job has this name. The message is in Spanish, and names the nearest one and all that there are."""


@cache
def all_jobs() -> tuple[Job, ...]:
    """Every job, in the order of a tick."""
    jobs: tuple[Job, ...] = tuple(reference.load() for reference in DEFINITIONS)
    return tuple(sorted(jobs, key=lambda job: job.phase))


def job_named(name: str) -> Job:
    """Raises `UnknownJob`."""
    for job in all_jobs():
        if job.name == name:
            return job
    names = [job.name for job in all_jobs()]
    raise UnknownJob(f"{unknown(name, names)}; los trabajos son {', '.join(names)}")


def jobs_named(names: Iterable[str]) -> frozenset[str]:
    """The names in texts that may each hold several with commas between them. Raises `UnknownJob`."""
    return frozenset(job_named(name.strip()).name for text in names for name in text.split(",") if name.strip())
