"""What the database, the disks and the run itself say, as samples."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from config.models import MigrationPolicy
from config.settings import Settings
from jobs.context import EndOfRun
from jobs.job import Job
from jobs.metrics.samples import Sample, Samples, sample
from sql.connection import Row

KINDS = {"COMPLETO": "full", "DIFERENCIAL": "differential"}
"""How backups are called in the file, by `historial_backup.tipo`."""


def of_program(version: str) -> Iterator[Sample]:
    """The build."""
    yield sample("janitor_build_info", 1, version=version, python=platform.python_version())


def of_run(end: EndOfRun, now: float) -> Iterator[Sample]:
    """The state after the run that has just ended."""
    yield sample("janitor_database_up", end.database is not None)
    yield sample("janitor_run_last_timestamp_seconds", now)
    yield sample("janitor_run_duration_seconds", end.elapsed_seconds)
    yield sample("janitor_run_exit_code", end.exit_code)
    yield sample("janitor_run_problems", len(end.problems))


def counted_by_run(end: EndOfRun) -> Iterator[Sample]:
    """What is added to the counters."""
    yield sample("janitor_runs_total", 1, exit_code=end.exit_code)
    for kind, count in end.counts.items():
        yield sample("janitor_work_total", count, kind=kind)


def of_enabled_tasks(jobs: Iterable[tuple[Job, bool]]) -> Iterator[Sample]:
    """Which tasks are on."""
    for job, is_on in jobs:
        yield sample("janitor_task_enabled", is_on, task=job.name)


def of_recorded_tasks(rows: Iterable[Row], names: Iterable[str]) -> Iterator[Sample]:
    """What the database knows of the runs of each task."""
    known = set(names)
    for row in rows:
        if row["job"] not in known:
            continue
        task = row["job"]
        yield sample("janitor_task_last_run_timestamp_seconds", row["started"], task=task)
        yield sample("janitor_task_failed_runs", row["tries"], task=task)
        if row["good"] is not None:
            yield sample("janitor_task_last_success_timestamp_seconds", row["good"], task=task)
        if row["seconds"] is not None:
            yield sample("janitor_task_duration_seconds", row["seconds"], task=task)
            yield sample("janitor_task_success", row["last_outcome"] == "done", task=task)


def of_tasks_of_run(end: EndOfRun, now: float) -> Iterator[Sample]:
    """The same of the tasks that this run did, when the database cannot be asked."""
    for job in end.jobs:
        yield sample("janitor_task_last_run_timestamp_seconds", now - job.seconds, task=job.name)
        yield sample("janitor_task_duration_seconds", job.seconds, task=job.name)
        yield sample("janitor_task_success", job.outcome == "done", task=job.name)


def of_attempts(counted: str) -> tuple[list[Sample], list[Sample]]:
    """What is added to the counters, and the gauges of the providers to which this run sent something."""
    rows: list[dict[str, Any]] = json.loads(counted)
    added = []
    for row in rows:
        labels = {**_provider(row), "outcome": row["outcome"]}
        added.append(sample("janitor_executions_total", row["executions"], **labels))
        added.append(sample("janitor_execution_bytes_total", row["bytes"], **labels))
        added.append(sample("janitor_execution_seconds_total", row["seconds"], **labels))
    by_provider: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        provider = _provider(row)
        by_provider.setdefault((provider["provider"], provider["provider_id"]), {})[row["outcome"]] = row
    gauges = [
        each
        for (name, number), outcomes in by_provider.items()
        for each in _of_last_migration(outcomes, {"provider": name, "provider_id": number})
    ]
    return added, gauges


def _of_last_migration(outcomes: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str]) -> Iterator[Sample]:
    migrated, failed = outcomes.get("migrated"), outcomes.get("failed")
    if migrated is not None and migrated["seconds"] > 0:
        rate = migrated["bytes"] / migrated["seconds"]
        yield sample("janitor_migration_throughput_bytes_per_second", rate, **labels)
        each = migrated["seconds"] / migrated["executions"]
        yield sample("janitor_migration_seconds_per_execution", each, **labels)
    counts = [row["executions"] if row else 0 for row in (migrated, failed)]
    if sum(counts):
        yield sample("janitor_migration_error_ratio", counts[1] / sum(counts), **labels)


def of_executions(row: Row, retention_seconds: float) -> Iterator[Sample]:
    """What waits."""
    yield sample("janitor_executions_pending", row["pending"])
    yield sample("janitor_executions_due", row["due"])
    yield sample("janitor_executions_failed", row["failed"])
    yield sample("janitor_executions_quarantined", row["quarantined"])
    yield sample("janitor_executions_held", row["held"])
    if row["without_directory"] is not None:
        yield sample("janitor_executions_without_directory", row["without_directory"])
    yield sample("janitor_inventory_timestamp_seconds", row["now"])
    oldest = row["oldest_due"]
    if oldest is not None:
        yield sample("janitor_oldest_due_timestamp_seconds", oldest)
    age_seconds = 0.0 if oldest is None else max(0.0, row["now"] - oldest)
    yield sample("janitor_oldest_due_age_seconds", age_seconds)
    yield sample("janitor_oldest_due_overdue_seconds", max(0.0, age_seconds - retention_seconds))


def of_stored(rows: Sequence[Row], policy: MigrationPolicy) -> Iterator[Sample]:
    """What is stored where. Debt is what is not at home: at any provider but the primary."""
    for row in rows:
        labels = {**_provider(row), "role": _role(row["provider_id"], policy)}
        yield sample("janitor_stored_executions", row["executions"], **labels)
        yield sample("janitor_stored_bytes", row["bytes"], **labels)
        is_debt = policy.primary_provider_id not in (None, row["provider_id"])
        yield sample("janitor_debt_executions", row["executions"] if is_debt else 0, **_provider(row))
        yield sample("janitor_debt_bytes", row["bytes"] if is_debt else 0, **_provider(row))
    yield sample("janitor_deletions_unfinished", sum(row["deletions_unfinished"] for row in rows))


def _role(provider_id: int | None, policy: MigrationPolicy) -> str:
    if provider_id is not None and provider_id == policy.primary_provider_id:
        return "primary"
    return "alternate" if provider_id in policy.alternate_provider_ids else "other"


def _provider(row: Mapping[str, Any]) -> dict[str, str]:
    """Two providers may have one name, so their ids tell them apart."""
    number = row["provider_id"]
    return {"provider": row["provider"], "provider_id": "" if number is None else str(number)}


def of_providers(rows: Iterable[Row]) -> Iterator[Sample]:
    """Which providers fail as a whole."""
    for row in rows:
        yield sample("janitor_provider_up", row["since"] is None, **_provider(row))
        if row["since"] is not None:
            yield sample("janitor_provider_down_since_timestamp_seconds", row["since"], **_provider(row))


def of_disks(settings: Settings) -> Iterator[Sample]:
    """The directories that the program works in."""
    directories = [("root", Path(root)) for root in settings.roots]
    directories += [("temp", settings.temp_directory), ("logs", settings.log_directory)]
    if settings.backup_directory.is_dir():  # made by the first backup
        directories.append(("backups", settings.backup_directory))
    for purpose, path in directories:
        labels = {"path": path.absolute(), "purpose": purpose}
        found = None
        with suppress(OSError):
            found = os.statvfs(path)
        yield sample("janitor_directory_up", found is not None, **labels)
        if found is not None:
            yield sample("janitor_disk_size_bytes", found.f_frsize * found.f_blocks, **labels)
            yield sample("janitor_disk_free_bytes", found.f_frsize * found.f_bavail, **labels)
            yield sample("janitor_disk_free_inodes", found.f_favail, **labels)


def free_bytes(roots: Iterable[str]) -> dict[str, int]:
    """What is free at each root, recorded with the run: `report` says from that when a disk will be full."""
    found = {}
    for root in roots:
        with suppress(OSError):
            status = os.statvfs(root)
            found[root] = status.f_frsize * status.f_bavail
    return found


def of_backups(rows: Iterable[Row]) -> Iterator[Sample]:
    """The newest good backup of each kind."""
    for row in rows:
        kind = KINDS.get(row["kind"])
        if kind is None:
            continue
        yield sample("janitor_backup_last_success_timestamp_seconds", row["made"], kind=kind)
        yield sample("janitor_backup_age_seconds", max(0.0, row["age"]), kind=kind)
        if row["size_bytes"] is not None:
            yield sample("janitor_backup_size_bytes", row["size_bytes"], kind=kind)
        if row["verified"] is not None:
            yield sample("janitor_backup_last_verified_timestamp_seconds", row["verified"])


def last_success(samples: Samples) -> float | None:
    """What the file knows of the last good run."""
    return samples.value("janitor_run_last_success_timestamp_seconds")
