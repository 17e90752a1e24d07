"""Shows the jobs, which of them are on, how their last runs ended, and when each is due."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from config.errors import ConfigurationError, unexpected
from config.logs import one_line
from config.models import JobState
from config.settings import Settings
from config.text.times import Clock
from jobs.context import Context
from jobs.findings import Finding, bad
from jobs.job import Job, Ref
from jobs.registry import all_jobs
from jobs.schedule import NEVER_RUN, EveryTick
from jobs.tick import KNOWN_ERRORS, Plan, plan_of
from sql.database import Database, DatabaseError
from sql.job_records import JobsSeen
from sql.rights import described

OUTCOMES = {"done": "bien", "failed": "con error", "interrupted": "interrumpido", "put_off": "a medias"}


def list_jobs(database: Database, settings: Settings) -> list[dict[str, Any]]:
    """One entry for each job, in the order of a tick, as `jobs --json` shows it."""
    database.connect()
    database.require_current_schema()
    seen = database.jobs_seen()
    return [_entry(job, settings, seen) for job in all_jobs()]


def _entry(job: Job, settings: Settings, seen: JobsSeen) -> dict[str, Any]:
    plan, reason = _plan(job, settings)
    state = NEVER_RUN if plan is None else plan.state(seen)
    return {
        "name": job.name,
        "title": job.title,
        "scope": job.scope,
        "on": plan is not None,
        "reason": reason,
        "misconfigured": plan is None and reason != job.when_off,
        **_last_run(state, settings),
        "every_tick": plan is not None and isinstance(plan.schedule, EveryTick),
        "next_due": None if plan is None else _shown(plan.next_due(seen, settings), settings),
        "due": plan is not None and plan.is_due(seen, settings),
    }


def check_jobs(database: Database, settings: Settings) -> Iterator[Finding]:
    """What each job that is on lacks: rights on tables, and its own findings."""
    now = database.jobs_seen().now
    for job in all_jobs():
        plan, reason = _plan(job, settings)
        if plan is None:
            yield from _refused(job, settings, reason)
            continue
        if missing := database.missing_job_rights(job.rights):
            text = f"al usuario de la base de datos le falta permiso de {described(missing)}"
            yield bad(f"trabajo {job.name}", text)
        if job.check is not None:
            context = Context(job, settings, plan.own_settings, database, now, threading.Event(), dry_run=True)
            yield from whole(f"trabajo {job.name}", partial(_findings, job.check, context))


def check_jobs_without_database(settings: Settings) -> Iterator[Finding]:
    """What each job that is on can say while the database cannot be used."""
    for job in all_jobs():
        plan, reason = _plan(job, settings)
        if plan is None:
            yield from _refused(job, settings, reason)
        if plan is None or job.check_without_database is None:
            continue
        check = partial(job.check_without_database.load(), settings, plan.own_settings)
        yield from whole(f"trabajo {job.name}", check)


def _refused(job: Job, settings: Settings, reason: str | None) -> Iterator[Finding]:
    """What a job refuses of settings that can be read. Wrong variables, and `TEMP_DIR`, are checked elsewhere."""
    if job.settings is None or reason in (None, job.when_off):
        return
    try:
        settings.of(job.settings.load())
    except ConfigurationError:
        return
    yield bad(f"trabajo {job.name}", f"{reason}; hasta entonces el trabajo no se hace")


def _findings(check: Ref, context: Context) -> Iterator[Finding]:
    yield from check.load()(context)


def whole(subject: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of one check. One that fails says why, and stops none of the others; a lost database stops all."""
    try:
        yield from check()
    except DatabaseError:
        raise
    except KNOWN_ERRORS as error:
        yield bad(subject, f"no se pudo comprobar: {one_line(error)}")
    except Exception as error:
        yield bad(subject, f"no se pudo comprobar: {one_line(unexpected(error))}")


def status_of_jobs(database: Database, settings: Settings) -> Iterator[tuple[Job, Finding]]:
    """What jobs that are on have to say of their own; one that fails says why, and stops none of the others."""
    now = database.jobs_seen().now
    for job in all_jobs():
        plan, _ = _plan(job, settings)
        if plan is None or job.status is None:
            continue
        context = Context(job, settings, plan.own_settings, database, now, threading.Event(), dry_run=True)
        try:
            yield from ((job, finding) for finding in job.status.load()(context))
        except KNOWN_ERRORS as error:
            yield job, bad(f"trabajo {job.name}", one_line(error))
        except Exception as error:
            yield job, bad(f"trabajo {job.name}", one_line(unexpected(error)))


def _plan(job: Job, settings: Settings) -> tuple[Plan | None, str | None]:
    """The plan, or why there is none."""
    try:
        plan = plan_of(job, settings)
    except ConfigurationError as error:
        return None, one_line(error)
    return plan, None if plan is not None else job.when_off


def _last_run(state: JobState, settings: Settings) -> dict[str, Any]:
    return {
        "last_started_at": _shown(state.last_started_at, settings),
        "last_outcome": None if state.was_cut_off else state.last_outcome,
        "last_error": None if state.was_cut_off else state.last_error,
        "last_good_at": _shown(state.last_good_at, settings),
        "last_host": state.held_by,
        "failed_runs": state.tries if state.last_outcome == "failed" and not state.was_cut_off else 0,
    }


def _shown(instant: datetime | None, settings: Settings) -> str | None:
    """In the zone of the schedules, so that four o'clock reads as four o'clock."""
    return None if instant is None else instant.astimezone(settings.time_zone).isoformat(timespec="seconds")


def describe_jobs(entries: Iterable[Mapping[str, Any]], clock: Clock) -> Iterator[str]:
    """The lines of `jobs`, one for each."""
    for entry in entries:
        if not entry["on"]:
            state = "mal configurado, no se hará" if entry["misconfigured"] else "desactivado"
            yield f"{entry['name']} ({entry['title']}): {state}: {one_line(entry['reason'])}"
            continue
        due = "ahora" if entry["due"] else clock.when_written(entry["next_due"])
        due = "en cada ciclo" if entry["every_tick"] else due
        yield f"{entry['name']} ({entry['title']}): toca {due}; {_describe_last_run(entry, clock)}"


def _describe_last_run(entry: Mapping[str, Any], clock: Clock) -> str:
    if entry["last_started_at"] is None:
        return "ningún ciclo lo ha hecho"
    end = OUTCOMES.get(entry["last_outcome"], "sin terminar: en marcha, o se cortó")
    why = f": {one_line(entry['last_error'])}" if entry["last_error"] else ""
    last = f"{clock.when_written(entry['last_started_at'])} en {one_line(entry['last_host'])}"
    return f"última vez {last}, {end}{why}"
