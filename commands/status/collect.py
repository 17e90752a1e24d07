"""Collects what `status` shows. Every statement only reads, and none grows with the number of migrated executions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

from commands.jobs import list_jobs, status_of_jobs
from commands.status.disks import look_at_disks
from commands.status.facts import (
    Attention,
    BadCopies,
    Disk,
    Facts,
    FailureGroup,
    Host,
    MigrationState,
    OldestDue,
    Pending,
    Provider,
)
from commands.status.own_log import unrecorded_failure
from commands.status.providers import Known, Stored, known_providers, leftovers, providers
from commands.status.runs import hosts, runs_under_way
from config.fields import FieldError
from config.logs import one_line
from config.models import MigrationPolicy
from config.settings import Settings
from config.text.clocks import difference
from jobs.temp_files.guard import faults_of_every_run
from sql.database import Database, DatabaseReadOnly, SchemaError
from sql.large_tables import HUGE_TABLE_BYTES, LARGE_TABLE_BYTES
from sql.memory.outlook import WHOLE_TABLE

FAILURES_SHOWN = 20
DIRECTORIES_LOOKED_FOR = 5000
"""A look at one takes some microseconds on a disk, and milliseconds on a network file system."""

SAMPLED_ROWS = 20_000
SAMPLED_DIGITS = 2
LONGEST_RETENTION_HOURS = 876_000.0
"""A century: dates further back cannot be shown."""

NO_USABLE_PROVIDER = "ningún proveedor de los configurados se puede usar"

STATES = (
    *("due", "under_way", "not_due", "put_off", "held", "quarantined", "refused", "directory_absent", "without_date"),
)
AGES = ("up_to_a_day", "up_to_a_week", "up_to_a_month", "older")
COUNTS = ("count", "failed", "old_enough", *AGES)


def collect(database: Database, settings: Settings) -> Facts:
    """All facts. Raises `DatabaseError` where the database cannot be read."""
    database.connect()
    database.require_current_schema()
    database.require_whole_schema()
    jobs = tuple(list_jobs(database, settings))
    asked_at = datetime.now(UTC)
    tables = _tables(database)
    now: datetime = tables["now"]
    off = difference(asked_at, now, datetime.now(UTC))
    known = known_providers(database)
    disks = look_at_disks(settings)
    migration = with_roots(migration_state(database, known), disks)
    stored, is_exact = _stored(database, tables)
    found = providers(database, known, migration, stored)
    host_rows = hosts(database, now)
    last_runs = [dict(row) for row in database.ask("last_run")]
    of_jobs = tuple(status_of_jobs(database, settings))
    return Facts(
        now=now,
        migration=with_providers(migration, found),
        pending=_pending(database, migration.retention_hours, tables),
        migrated=sum(each.migrated for each in stored.values()),
        is_exact=is_exact,
        providers=found,
        failures=tuple(_failures(database, known)),
        latest_failures=tuple(map(dict, database.ask("list_failures", {"page_size": FAILURES_SHOWN}))),
        deletions_unfinished=tables["deletions_unfinished"],
        leftovers=leftovers(database, known),
        bad_copies=tuple(bad_copies(database, known)),
        runs=runs_under_way(database, settings),
        hosts=host_rows,
        jobs=jobs,
        disks=disks,
        freed=dict(database.ask("status_freed")[0]),
        host=settings.host,
        broken_since=_broken_since(database, jobs),
        last_run=last_runs[0] if last_runs else None,
        faults_of_every_run=tuple(faults_of_every_run(settings)),
        clock_fault=off,
        database_faults=tuple(database_faults(database)),
        unrecorded=_unrecorded(settings, host_rows),
        notes=tuple(f"{finding.subject}: {finding.text}" for _, finding in of_jobs if finding.in_order),
        own_attention=tuple(
            Attention(f"job_{job.name}", finding.subject, finding.text, "")
            for job, finding in of_jobs
            if not finding.in_order
        ),
    )


def _broken_since(database: Database, jobs: Iterable[Mapping[str, Any]]) -> Mapping[str, datetime]:
    """Since when each cause lasts, which is known where operators get notices: only then a run needs its table."""
    if not any(entry["name"] == "notify" and entry["on"] for entry in jobs):
        return {}
    return {row["cause"]: row["broken_since"] for row in database.ask("status_causes")}


def _unrecorded(settings: Settings, found: Sequence[Host]) -> tuple[datetime, str] | None:
    own = next((host for host in found if host.host == settings.host), None)
    line = unrecorded_failure(settings.log_directory, own)
    return None if line is None else (line.at, one_line(line.message))


def database_faults(database: Database) -> Iterator[str]:
    """Why a run could not work with a database that can be read."""
    try:
        database.require_rights()
    except (DatabaseReadOnly, SchemaError) as error:
        yield one_line(error)


def migration_state(database: Database, known: Mapping[int, Known]) -> MigrationState:
    """Whether anything will be migrated, as far as the database tells."""
    try:
        policy = database.load_policy()
    except FieldError as error:
        return _state_of(MigrationPolicy(), "unreadable_configuration", one_line(error))
    if policy is None:
        text = "ejecuciones_config no tiene ninguna fila: no se migra nada"
        return _state_of(MigrationPolicy(), "no_configuration", text)
    if not policy.migrate_automatically:
        return _state_of(policy, "switched_off", "desactivada (ejecuciones_config.migrar_automaticamente)")
    if policy.primary_provider_id is None:
        return _state_of(policy, "no_provider", "sin proveedor (ejecuciones_config.nube_primaria_id está vacía)")
    if not any(each in known and known[each].active and not known[each].fault for each in policy.provider_ids):
        return _state_of(policy, "no_usable_provider", NO_USABLE_PROVIDER)
    return _state_of(policy, None, "activada")


def with_providers(migration: MigrationState, found: Sequence[Provider]) -> MigrationState:
    """The same, but off if the last runs could use none of the providers."""
    wanted = [each for each in found if each.role is not None]
    if migration.is_on and wanted and not any(_takes_something(each) for each in wanted):
        return replace(migration, is_on=False, reason="no_usable_provider", text=NO_USABLE_PROVIDER)
    return migration


def _takes_something(provider: Provider) -> bool:
    """One without room for a large execution may have room for a small one."""
    return provider.state in ("usable", "unknown") or provider.error_code == "storage_full"


def with_roots(migration: MigrationState, disks: Sequence[Disk]) -> MigrationState:
    """The same, but off if none of the roots is there."""
    roots = [disk for disk in disks if disk.purpose == "root"]
    if migration.is_on and roots and all(disk.fault for disk in roots):
        text = "no está ninguna de las raíces de JANITOR_ROOTS"
        return replace(migration, is_on=False, reason="roots_missing", text=text)
    return migration


def _state_of(policy: MigrationPolicy, reason: str | None, text: str) -> MigrationState:
    return MigrationState(
        reason is None,
        reason,
        text,
        policy.retention_hours,
        policy.primary_provider_id,
        policy.provider_ids,
        policy.delete_after_migration,
    )


# Executions


def waiting(database: Database, retention_hours: float) -> tuple[Pending, datetime]:
    """What is still to be migrated, and when that was read. Raises `DatabaseError`."""
    tables = _tables(database)
    return _pending(database, retention_hours, tables), tables["now"]


def _tables(database: Database) -> Mapping[str, Any]:
    sizes = {"large_table_bytes": LARGE_TABLE_BYTES, "huge_table_bytes": HUGE_TABLE_BYTES}
    return database.ask("status_tables", sizes)[0]


def _pending(database: Database, retention_hours: float, tables: Mapping[str, Any]) -> Pending:
    source = database.outlook.pending_source(is_huge=tables["is_huge"]) if tables["is_large"] else WHOLE_TABLE
    found, due = database.outlook.pending_by_state(retention_hours, source, DIRECTORIES_LOOKED_FOR)
    digits = SAMPLED_DIGITS if source.basis == "sample" else None
    rows = {kind: {name: _whole(row[name], digits) for name in COUNTS} for kind, row in found.items()}
    without_directory = rows.pop("without_directory", None)
    counts = {state: rows[state]["count"] if state in rows else 0 for state in STATES}
    present = [row for row in due if os.path.lexists(_path(row["directory"]))]
    counts["directory_absent"] = len(due) - len(present)
    counts["due"] -= counts["directory_absent"]
    oldest = next((_oldest(row, retention_hours) for row in chain(present, due)), None)
    counted = without_directory["count"] if without_directory else 0
    return Pending(
        total=sum(row["count"] for row in rows.values()),
        old_enough=sum(row["old_enough"] for row in rows.values()),
        failed=sum(row["failed"] for row in rows.values()),
        without_directory=counted if source.is_exact else None,
        by_state=counts,
        by_age={name: sum(row[name] for row in rows.values()) for name in AGES},
        oldest_due=oldest,
        directories_looked_for=len(due),
        counted_at=tables["now"],
        is_exact=source.is_exact,
        basis=source.basis,
    )


def _path(directory: str) -> str:
    return directory.partition("\0")[0]


def _oldest(row: Mapping[str, Any], retention_hours: float) -> OldestDue:
    due_since = row["executed_at"] + timedelta(hours=min(retention_hours, LONGEST_RETENTION_HOURS))
    return OldestDue(row["uuid"], row["directory"], row["executed_at"], due_since)


def _failures(database: Database, known: Mapping[int, Known]) -> Iterator[FailureGroup]:
    for row in database.ask("status_failures"):
        provider = known.get(row["provider_id"])
        _, uuid, error = row["last"]
        yield FailureGroup(
            row["kind"], row["state"], row["error_code"], row["provider_id"],
            None if provider is None else provider.name,
            row["count"], row["oldest_at"], row["newest_at"], uuid, one_line(error), row["quarantined"],
        )  # fmt: skip


def bad_copies(database: Database, known: Mapping[int, Known]) -> Iterator[BadCopies]:
    """Copies that an audit found lost or damaged. None where this role may not read what audits found."""
    if database.missing_job_rights({"janitor_audits": "SELECT"}):
        return
    for row in database.ask("count_bad_copies"):
        provider = known.get(row["provider_id"])
        name = None if provider is None else provider.name
        detail = one_line(row["detail"])
        yield BadCopies(row["provider_id"], name, row["count"], row["since"], one_line(row["uuid"]), detail)


def _stored(database: Database, tables: Mapping[str, Any]) -> tuple[dict[int | None, Stored], bool]:
    """What each provider holds, and whether it was counted: large tables are sampled."""
    if tables["is_large"]:
        percent = min(100.0, 100.0 * SAMPLED_ROWS / max(tables["estimated_rows"], 1))
        return {
            row["provider_id"]: Stored(*(_whole(row[name], SAMPLED_DIGITS) for name in Stored._fields))
            for row in database.ask("status_stored_sample", {"percent": percent})
        }, False
    rows = database.ask("summarize_providers")
    return {row["provider_id"]: Stored(*(row[name] for name in Stored._fields)) for row in rows}, True


def _whole(number: float, digits: int | None) -> int:
    """A count, and an estimate to the digits that a sample is good for."""
    whole = round(number)
    return whole if digits is None else round(whole, -max(0, len(str(whole)) - digits))
