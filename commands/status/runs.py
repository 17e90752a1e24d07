"""The runs of all hosts: under way, killed, hung, and how the last ones of each host ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from commands.status.facts import Host, RunUnderWay
from config.logs import one_line
from config.models import LEASE_SECONDS
from config.settings import Settings
from jobs.locks import is_at_work
from sql.database import Database, database_identity

SILENT_AFTER = timedelta(hours=26)
"""A host that cron starts at least once a day is silent after this time, unless it usually pauses for longer."""

PAUSES_UNTIL_SILENT = 3
RETIRED_AFTER = timedelta(days=30)
"""Nobody waits any more for a host that has been silent for so long."""


def runs_under_way(database: Database, settings: Settings) -> tuple[RunUnderWay, ...]:
    """Runs without an end that are at work, or were the last to do their job; the oldest first.

    A killed run whose jobs later runs have done is over, though its lease may have minutes to go.
    """
    runs = (_run(row, settings) for row in database.ask("status_runs"))
    return tuple(run for run in runs if run.state != "killed" or run.job is not None)


def _run(row: Mapping[str, Any], settings: Settings) -> RunUnderWay:
    lease = row["lease_expires_at"]
    return RunUnderWay(
        row["id"],
        row["host"],
        row["process_id"],
        row["mode"],
        row["started_at"],
        row["job"],
        row["job_started_at"],
        _state(row, settings),
        None if lease is None else lease - timedelta(seconds=LEASE_SECONDS),
    )


def _state(row: Mapping[str, Any], settings: Settings) -> str:
    """By the lease; on this host also by the process, which is known at once. Earlier versions have no lease."""
    seems_alive = row["is_leased"] or row["lease_expires_at"] is None
    if row["host"] != settings.host:
        return "running" if seems_alive else "silent"
    if not _is_alive(row, settings):
        return "killed"
    return "running" if seems_alive else "hung"


def _is_alive(row: Mapping[str, Any], settings: Settings) -> bool:
    return is_at_work(settings.host, database_identity(settings.database_url), row["job"], row["process_id"])


def hosts(database: Database, now: datetime) -> tuple[Host, ...]:
    """Every host that has ever run."""
    return tuple(_host(row, now) for row in database.ask("status_hosts"))


def _host(row: Mapping[str, Any], now: datetime) -> Host:
    silence = now - row["last_started_at"]
    usual = timedelta(seconds=row["longest_seconds"] or 0)
    is_retired = silence > RETIRED_AFTER
    return Host(
        row["host"],
        row["last_started_at"],
        row["ended_at"],
        row["exit_code"],
        row["mode"],
        tuple(_problems((row["report"] or {}).get("problems"))),
        row["last_good_at"],
        row["last_bad_at"],
        row["bad_exit_code"],
        tuple(_problems(row["bad_problems"])),
        silence > max(SILENT_AFTER, PAUSES_UNTIL_SILENT * usual) and not is_retired,
        is_retired,
    )


def _problems(recorded: object) -> Iterator[str]:
    if isinstance(recorded, list):
        yield from map(one_line, recorded)
