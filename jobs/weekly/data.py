"""What a report says, gathered from the database and the disks of this host."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from config.errors import ConfigurationError
from config.models import MigrationPolicy
from config.settings import Settings
from jobs.context import Judgment
from jobs.registry import all_jobs
from jobs.tick import plan_of
from jobs.weekly.forecast import UNMEASURED, Forecast, Measurement, forecast
from sql.connection import Row
from sql.database import Database
from sql.large_tables import LARGE_TABLE_BYTES, SAMPLE_OF_STORED

METRICS = "jobs/metrics"
"""Its statements count the executions; here they are asked for once, by a person."""


@dataclass(frozen=True, slots=True)
class Day:
    """What happened on one day."""

    day: str
    executed: int = 0
    migrated: int = 0
    failed: int = 0
    bytes: int = 0
    seconds: float = 0.0
    freed_bytes: int = 0

    @property
    def bytes_per_second(self) -> float | None:
        """The throughput of the attempts that migrated something."""
        return self.bytes / self.seconds if self.seconds > 0 else None


@dataclass(frozen=True, slots=True)
class Store:
    """What a provider holds, and what it received in the time of the report."""

    name: str
    role: str
    executions: int
    bytes: int
    new_bytes: int
    failed: int


@dataclass(frozen=True, slots=True)
class Cause:
    """Executions that failed for one reason."""

    code: str
    executions: int
    uuid: str
    error: str


@dataclass(frozen=True, slots=True)
class JobLine:
    """The runs of one job on one host."""

    name: str
    host: str
    runs: int
    failed: int
    seconds: float
    last_good: datetime | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system of a root, on the host on which the report is made."""

    path: str
    size_bytes: int
    free_bytes: int
    forecast: Forecast


@dataclass(frozen=True, slots=True)
class BackupLine:
    """The newest good backup of a kind."""

    kind: str
    made: datetime
    size_bytes: int | None
    verified: datetime | None


@dataclass(frozen=True, slots=True)
class Report:
    """All of it."""

    host: str
    made: datetime
    days: Sequence[Day]
    pending: int
    due: int
    oldest_due: datetime | None
    quarantined: int
    stores: Sequence[Store]
    causes: Sequence[Cause]
    runs: Mapping[str, Mapping[int, int]]
    """How many runs, by host and exit code."""
    jobs: Sequence[JobLine]
    disks: Sequence[Disk]
    backups: Sequence[BackupLine]
    is_backup_on: bool
    needs_person: Sequence[str]
    """What `status` says now that needs a person, a line for each."""
    is_estimated: bool = False
    """Whether what was sent, or what the providers hold, is estimated from a sample of a large table."""

    @property
    def migrated(self) -> int:
        """Executions migrated in these days."""
        return sum(day.migrated for day in self.days)

    @property
    def bytes(self) -> int:
        """The bytes of the executions migrated in these days."""
        return sum(day.bytes for day in self.days)

    @property
    def failed(self) -> int:
        """Attempts that failed in these days."""
        return sum(day.failed for day in self.days)


def gather(database: Database, settings: Settings, days: int, judgment: Judgment) -> Report:
    """Ask for everything; `judgment` says what needs a person.

    Raises as `Database` does, and `FieldError` for a policy that is not understood.
    """
    database.connect()
    database.require_current_schema()
    zone = getattr(settings.time_zone, "key", None) or "UTC"  # a zone file of the host's need not have a name
    policy = database.load_policy() or MigrationPolicy()
    retention_seconds = min(policy.retention_hours, 1e6) * 3600
    parameters = {"retention_seconds": retention_seconds, "large_table_bytes": LARGE_TABLE_BYTES}
    (queue,) = database.job_query(METRICS, "count_executions", parameters)
    made = _instant(queue["now"], settings)
    attempts = database.report_rows("attempts", days, zone)
    stored = database.job_query(METRICS, "count_stored", SAMPLE_OF_STORED)
    return Report(
        host=settings.host,
        made=made,
        days=_days(attempts, database.report_rows("executions", days, zone), made, days),
        pending=queue["pending"],
        due=queue["due"],
        oldest_due=None if queue["oldest_due"] is None else _instant(queue["oldest_due"], settings),
        quarantined=queue["quarantined"],
        stores=_stores(stored, attempts, policy),
        causes=[Cause(**_renamed(row)) for row in database.report_rows("failures", days, zone)],
        runs=_runs(database.report_rows("runs", days, zone)),
        jobs=_jobs(database.report_rows("jobs", days, zone), settings),
        disks=_disks(settings, database.report_rows("disks", days, zone)),
        backups=_backups(database.job_query(METRICS, "last_backups", {}), settings),
        is_backup_on=_is_on("backup", settings),
        needs_person=tuple(judgment(database, settings)),
        is_estimated=any(row["is_estimated"] for row in (*attempts, *stored)),
    )


def _instant(seconds: float, settings: Settings) -> datetime:
    return datetime.fromtimestamp(seconds, settings.time_zone)


def _days(attempts: Sequence[Row], executions: Sequence[Row], made: datetime, count: int) -> list[Day]:
    """One for each day, also for those on which nothing happened; the first one may have begun before the report."""
    sums: dict[str, dict[str, Any]] = defaultdict(lambda: defaultdict(int))
    for row in attempts:
        day = sums[row["day"]]
        day["migrated" if row["is_migrated"] else "failed"] += row["executions"]
        day["bytes"] += row["bytes"]
        day["seconds"] += row["seconds"]
    for row in executions:
        sums[row["day"]]["executed"] += row["executed"]
        sums[row["day"]]["freed_bytes"] += row["freed_bytes"]
    names = [(made.date() - timedelta(days=back)).isoformat() for back in range(count, -1, -1)]
    return [Day(name, **sums[name]) for name in names]


def _stores(rows: Sequence[Row], attempts: Sequence[Row], policy: MigrationPolicy) -> list[Store]:
    stored = {row["provider_id"]: row for row in rows}
    tried = {row["provider_id"]: row["provider"] for row in attempts}
    found = []
    for number in dict.fromkeys([*stored, *tried]):
        row = stored.get(number, {})
        own = [each for each in attempts if each["provider_id"] == number]
        name = row.get("provider") or tried.get(number) or "proveedor borrado"
        new_bytes = sum(each["bytes"] for each in own)
        failed = sum(each["executions"] for each in own if not each["is_migrated"])
        sizes = row.get("executions", 0), row.get("bytes", 0)
        found.append(Store(name, _role(number, policy), *sizes, new_bytes, failed))
    return sorted(found, key=lambda store: -store.bytes)


def _role(provider_id: int | None, policy: MigrationPolicy) -> str:
    if provider_id is not None and provider_id == policy.primary_provider_id:
        return "primario"
    return "alternativo" if provider_id in policy.alternate_provider_ids else "sin uso"


def _renamed(row: Row) -> dict[str, Any]:
    return {"code": row["error_code"], **{name: row[name] for name in ("executions", "uuid", "error")}}


def _runs(rows: Sequence[Row]) -> dict[str, dict[int, int]]:
    found: dict[str, dict[int, int]] = {}
    for row in rows:
        found.setdefault(row["host"], {})[row["exit_code"]] = row["runs"]
    return found


def _jobs(rows: Sequence[Row], settings: Settings) -> list[JobLine]:
    return [
        JobLine(
            row["job"], row["host"], row["runs"], row["failed"], row["seconds"],
            None if row["last_good_at"] is None else row["last_good_at"].astimezone(settings.time_zone), row["error"],
        )
        for row in rows
    ]  # fmt: skip


def _disks(settings: Settings, rows: Sequence[Row]) -> list[Disk]:
    found = []
    for root in settings.roots:
        try:
            status = os.statvfs(root)
        except OSError:  # each run and the notices name a missing root
            continue
        known = [
            Measurement(row["at"], row["free_bytes"])
            for row in rows
            if (row["host"], row["path"]) == (settings.host, root)
        ]
        size_bytes, free_bytes = status.f_frsize * status.f_blocks, status.f_frsize * status.f_bavail
        expected = forecast(known) if known or _is_on("metrics", settings) else UNMEASURED
        found.append(Disk(root, size_bytes, free_bytes, expected))
    return found


def _backups(rows: Sequence[Row], settings: Settings) -> list[BackupLine]:
    return [
        BackupLine(
            row["kind"], _instant(row["made"], settings), row["size_bytes"],
            None if row["verified"] is None else _instant(row["verified"], settings),
        )
        for row in rows
    ]  # fmt: skip


def _is_on(name: str, settings: Settings) -> bool:
    try:
        return any(plan_of(job, settings) is not None for job in all_jobs() if job.name == name)
    except ConfigurationError:
        return False
