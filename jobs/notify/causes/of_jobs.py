"""Causes that concern a job: it fails, its settings are wrong, or it is late."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from config.errors import ConfigurationError
from config.logs import one_line
from config.text.causes import BAD_COPIES, COPIES_OF_BACKUPS, NOT_WHOLE, SAID_OF_COPIES
from jobs.job import Job, Phase, Scope
from jobs.notify.causes.of_providers import providers
from jobs.notify.causes.seen import Seen, open_causes
from jobs.registry import all_jobs
from jobs.report import Named
from jobs.schedule import EveryTick, Schedule
from jobs.tick import plan_of
from sql.memory.notices import Cause, State

CUT_OFF_TRIES = 3
"""A job that was begun so often without a good end, and is not ended now, is killed each time."""

LEVELS_OF_ERRORS = 2
SHORTEST_REASON = 20
"""An error says what failed, and then why. Shorter than this, two reasons are equal by chance."""

FOLDED_INTO = {"verify": "backup"}
"""A job that one cause, such as a missing program, stops together with another job: the notice of that one is enough.

No others: two full disks have the same reason, and mending one of them mends one of the jobs.
"""

SLACK_HOURS = 2


def failing_jobs(seen: Seen) -> Iterator[Cause]:
    """A job whose last run failed, or whose runs are killed. What a job cannot end for a provider or a root that is
    told by itself is not told twice.
    """
    own = {_key_of_failing(seen, job): job for job, _ in _jobs_on(seen)}
    told: dict[str, list[str]] = {}
    for key in open_causes(seen, "job:"):
        if key.endswith(":failing") and key not in own and _is_of_host(key, seen.host):
            yield Cause(key, State.OK, f"El trabajo {key.split(':')[1]} ya no está activado")
    for key, job in own.items():
        row = _row_of(seen, job)
        if row is None or (job.name == "migration" and _is_explained(seen)):
            continue
        if not row["is_ended"]:
            if row["tries"] > CUT_OFF_TRIES:
                advice = f"janitor-daemon history {job.name} dice cuándo, y dmesg si fue por memoria"
                text = f"El trabajo de {job.title} se corta cada vez a medias; {advice}"
                yield Cause(key, State.FAILED, text)
        elif row["outcome"] == "failed":
            yield from _failed(seen, job, row, told)
        elif row["outcome"] == "done" and not (job.name == "migration" and _any_still_fails(seen)):
            yield Cause(key, State.OK, f"El trabajo de {job.title} vuelve a ir bien")


def _failed(seen: Seen, job: Job, row: Mapping[str, Any], told: dict[str, list[str]]) -> Iterator[Cause]:
    """The cause of a job whose last run failed, unless others say it; `told` notes why, for the jobs after it."""
    key, error = _key_of_failing(seen, job), str(row["error"])
    if _is_told_already(seen, job, error, told):
        return
    told[job.name] = _reasons(error)
    if job.name == "backup" and _is_of_providers_alone(seen, error):
        yield Cause(key, State.OK, f"El trabajo de {job.title} ya solo falla por sus proveedores, de los que se avisa")
    else:
        text = f"El trabajo de {job.title} falla{_since_good(seen, row)}: {error}{_why(seen, job)}"
        yield Cause(key, State.FAILED, text)


def _is_told_already(seen: Seen, job: Job, error: str, told: Mapping[str, Sequence[str]]) -> bool:
    """Whether another cause says it: copies that an audit found bad, or a job that fails for the same reason."""
    if job.name == "audit" and BAD_COPIES in seen.open_causes and error.endswith(NOT_WHOLE):
        return True
    return any(reason in error for reason in told.get(FOLDED_INTO.get(job.name, ""), ()))


def _is_of_providers_alone(seen: Seen, error: str) -> bool:
    """Whether an error says only what the causes of providers that lack copies of backups report."""
    for key in open_causes(seen, COPIES_OF_BACKUPS):
        error = error.replace(seen.open_causes[key].removeprefix(SAID_OF_COPIES), "", 1)
    return not error.strip("; ")


def _why(seen: Seen, job: Job) -> str:
    """Why the first of the executions failed that the migration of this tick names."""
    report = seen.context.report
    failed = () if report is None else report.named.get(Named.FAILED, ())
    if job.name != "migration" or not failed:
        return ""
    rows = seen.context.query("find_failure", {"uuid": failed[0]})
    return f"; {one_line(failed[0])}: {rows[0]['error']}" if rows else ""


def _any_still_fails(seen: Seen) -> bool:
    """Whether executions that failed were not tried in this run."""
    return bool(seen.quarantined) or seen.any_waits_after_failures


def _reasons(error: str) -> list[str]:
    """The parts of an error that another job's may end with, too: what follows what it was about."""
    parts = error.split(": ", LEVELS_OF_ERRORS)
    found = [": ".join(parts[start:]) for start in range(len(parts))]
    return [reason for reason in found if len(reason) >= SHORTEST_REASON]


def _since_good(seen: Seen, row: Mapping[str, Any]) -> str:
    """The day of the last good run, where that is not today: a text that changes at every tick would not be one."""
    hours = row["hours_since_good"]
    if hours is None or hours < 24:
        return ""
    day = (seen.context.now - timedelta(hours=hours)).astimezone(seen.context.settings.time_zone)
    return f" (la última vez bien, el {day:%d/%m/%Y})"


def _is_of_host(key: str, host: str) -> bool:
    """Whether the cause of a failing job is everybody's or this host's. The name of a host may contain colons."""
    return key.split(":", 2)[2] in ("failing", f"{host}:failing")


def _key_of_failing(seen: Seen, job: Job) -> str:
    return f"job:{job.name}:failing" if job.scope == Scope.PLATFORM else f"job:{job.name}:{seen.host}:failing"


def _is_explained(seen: Seen) -> bool:
    """Whether a provider, a root or executions in quarantine are at fault, each a cause of its own."""
    report = seen.context.report
    is_root = report is not None and bool(report.named.get(Named.ROOT))
    failed = () if report is None else report.named.get(Named.FAILED, ())
    quarantined = {row["uuid"] for row in seen.quarantined}
    is_quarantine = bool(failed) and set(failed) <= quarantined
    return is_root or is_quarantine or any(cause.state != State.OK for cause in providers(seen))


def misconfigured_jobs(seen: Seen) -> Iterator[Cause]:
    """A job that no run does, as its settings are wrong. Also of those that only accompany the others."""
    for job in all_jobs():
        key = f"job:{job.name}:{seen.host}:misconfigured"
        try:
            plan_of(job, seen.context.settings)
        except ConfigurationError as error:
            text = f"El trabajo de {job.title} está mal configurado y no se hace: {one_line(error)}"
            yield Cause(key, State.NEEDS_PERSON, text)
        else:
            yield Cause(key, State.OK, f"El trabajo de {job.title} ya no está mal configurado")


def late_jobs(seen: Seen) -> Iterator[Cause]:
    """A job of the platform that is on and has not had a good run for two of its periods: a backup that is too old."""
    keys = []
    for job, schedule in _jobs_on(seen):
        if isinstance(schedule, EveryTick) or job.scope != Scope.PLATFORM:
            continue
        row = _row_of(seen, job)
        hours = None if row is None else row["hours_since_good"]
        longest_hours = 2 * schedule.period.total_seconds() / 3600 + SLACK_HOURS
        key = "backup:too_old" if job.name == "backup" else f"job:{job.name}:late"
        keys.append(key)
        if row is None or hours is None or _has_failed(row):
            continue  # a failure is reported with its reason, and is why it is late
        if hours > longest_hours:
            text = (
                f"El trabajo de {job.title} no acaba bien desde hace {hours / 24:.0f} días; mire 'janitor-daemon jobs'"
            )
            yield Cause(key, State.FAILED, text)
        else:
            yield Cause(key, State.OK, f"El trabajo de {job.title} está al día")
    for key in seen.open_causes:
        if (key == "backup:too_old" or (key.startswith("job:") and key.endswith(":late"))) and key not in keys:
            yield Cause(key, State.OK, f"El trabajo {key.removeprefix('job:').split(':')[0]} ya no está activado")


def _has_failed(row: Mapping[str, Any]) -> bool:
    return bool(row["outcome"] == "failed" if row["is_ended"] else row["tries"] > CUT_OFF_TRIES)


def _jobs_on(seen: Seen) -> Iterator[tuple[Job, Schedule]]:
    """The jobs that are on here, without those that only accompany the others."""
    for job in all_jobs():
        if job.phase == Phase.AFTER:
            continue
        try:
            plan = plan_of(job, seen.context.settings)
        except ConfigurationError:  # the tick has said so
            continue
        if plan is not None:
            yield job, plan.schedule


def _row_of(seen: Seen, job: Job) -> Mapping[str, Any] | None:
    host = "" if job.scope == Scope.PLATFORM else seen.host
    return next((row for row in seen.jobs if row["job"] == job.name and row["host"] == host), None)
