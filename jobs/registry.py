"""The jobs of the program, in the order of a tick. To add one, add its folder and one line here.

The list is explicit: jobs are not discovered, and neither the database nor the environment names code, because cron may
run as root. Importing this imports no job. `all_jobs` imports their definitions, which are small; `run` and the like
are imported only when they are needed.
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
    Ref("jobs.backups.job:JOB"),
    Ref("jobs.backups.job:VERIFY"),
    Ref("jobs.rehome.job:JOB"),
    Ref("jobs.audit.job:JOB"),
    Ref("jobs.drill.job:JOB"),
    Ref("jobs.history.job:JOB"),
    Ref("jobs.notify.job:JOB"),
    Ref("jobs.weekly.job:JOB"),
    Ref("jobs.metrics.job:JOB"),
    Ref("jobs.ping.job:JOB"),
)


class UnknownJob(Exception):
    """No job has this name. The message, in Spanish, suggests the nearest one and lists all of them."""


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
    """Parse names from texts that may each hold several, separated by commas. Raises `UnknownJob`."""
    return frozenset(job_named(name.strip()).name for text in names for name in text.split(",") if name.strip())
