"""Writes the file of metrics at the end of each run, with what is known however it ended."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from config.errors import ConfigurationError
from config.exit_codes import EXIT_DONE
from config.fields import FieldError
from config.logs import emit, one_line
from config.models import MigrationPolicy
from config.text.wording import reason_of
from jobs.context import Context, EndOfRun, ObservedRun
from jobs.findings import Finding, advised, bad, good
from jobs.job import Job, Outcome
from jobs.metrics import collecting
from jobs.metrics.families import BACKUPS, BUILD, DISKS, PROVIDERS, QUEUE, RUN, TASKS
from jobs.metrics.file import MetricsFileError, update_file
from jobs.metrics.samples import Sample, Samples, sample
from jobs.registry import all_jobs
from jobs.tick import plan_of
from sql.connection import Row
from sql.database import Database, DatabaseError, DatabaseUnavailable
from sql.large_tables import LARGE_TABLE_BYTES, SAMPLE_OF_STORED

FOLDER = "jobs/metrics"
SLOW_COUNT_SECONDS = 1.0
SHARE_OF_COUNTING = 0.01
"""Counting that takes longer is done for at most this share of the time: a tick may come every minute."""

ENABLED = tuple(family for family in TASKS if family.name == "janitor_task_enabled")
RECORDED_TASKS = tuple(family for family in TASKS if family not in ENABLED)


class MetricsObserver:
    """Writes the file when a run has ended."""

    def __init__(self, run: ObservedRun) -> None:
        self._run = run
        self._file: Path = run.own_settings.file

    def started(self) -> None:
        """Nothing is known yet."""

    def ended(self, end: EndOfRun) -> Outcome:
        """Replace the file. What cannot be asked now stays as the earlier file has it."""
        try:
            update_file(self._file, lambda earlier: _Collection(self._run, end, earlier).updated())
        except MetricsFileError as error:
            return Outcome(failures=(one_line(error),))
        except OSError as error:
            return Outcome(failures=(one_line(_why_not_written(self._file, error)),))
        return Outcome(collecting.free_bytes(self._run.settings.roots))


class _Collection:
    """The samples of one run, gathered into those of the earlier file."""

    def __init__(self, run: ObservedRun, end: EndOfRun, samples: Samples) -> None:
        self._run = run
        self._end = end
        self._samples = samples
        self._now = time.time()
        self._database = end.database

    def updated(self) -> Samples:
        """Each group is gathered by itself: what one lacks does not keep the others from being known."""
        last_success = collecting.last_success(self._samples)
        self._samples.replace(BUILD, collecting.of_program(self._run.version))
        counters = tuple(family for family in RUN if family.kind == "counter")
        self._samples.replace((f for f in RUN if f not in counters), collecting.of_run(self._end, self._now))
        self._samples.add(collecting.counted_by_run(self._end))
        self._samples.replace(ENABLED, collecting.of_enabled_tasks(_jobs_on(self._run)))
        self._samples.replace(DISKS, collecting.of_disks(self._run.settings))
        for gather in (self._tasks, self._attempts, self._providers, self._backups, self._executions):
            self._ask(gather)
        if self._database is None:
            self._samples.update(collecting.of_tasks_of_run(self._end, self._now))
        self._samples.update(self._last_success(last_success))
        return self._samples

    def _ask(self, gather: Callable[[Database], None]) -> None:
        """Gather what the database knows, unless it is lost."""
        if self._database is None:
            return
        try:
            gather(self._database)
        except DatabaseUnavailable as error:
            self._database = None
            self._samples.update([sample("janitor_database_up", 0)])
            self._tell(error)
        except (DatabaseError, FieldError) as error:
            self._tell(error)

    def _tell(self, error: Exception) -> None:
        message = f"Faltan métricas: {one_line(error)}"
        emit(logging.WARNING, "metrics_incomplete", message, cause=error, job=self._run.job.name)

    def _last_success(self, known: float | None) -> Iterator[Sample]:
        name = "janitor_run_last_success_timestamp_seconds"
        if self._end.exit_code == EXIT_DONE:
            known = self._now
        elif known is None and self._database is not None:
            rows = self._rows(self._database, "last_success", {"host": self._run.settings.host})
            known = rows[0]["finished"] if rows else None
        if known is not None:
            yield sample(name, known)

    def _rows(self, database: Database, name: str, parameters: Mapping[str, object]) -> list[Row]:
        return database.job_query_once(FOLDER, name, parameters)

    def _tasks(self, database: Database) -> None:
        rows = self._rows(database, "list_tasks", {"host": self._run.settings.host})
        names = [job.name for job in all_jobs()]
        self._samples.replace(RECORDED_TASKS, collecting.of_recorded_tasks(rows, names))

    def _attempts(self, database: Database) -> None:
        state = self._samples.state
        parameters = {
            "host": self._run.settings.host,
            "next_id": state.get("next_attempt"),
            "open_ids": state.get("open_attempts") or [],
            "run_seconds": self._end.elapsed_seconds + 1,
        }
        (row,) = self._rows(database, "count_attempts", parameters)
        added, gauges = collecting.of_attempts(row["counted"])
        self._samples.add(added)
        self._samples.update(gauges)
        self._samples.state = {**state, "next_attempt": row["next_id"], "open_attempts": row["open_ids"]}

    def _providers(self, database: Database) -> None:
        rows = self._rows(database, "list_providers", {})
        self._samples.replace(PROVIDERS, collecting.of_providers(rows))

    def _backups(self, database: Database) -> None:
        rows = self._rows(database, "last_backups", {})
        self._samples.replace(BACKUPS, collecting.of_backups(rows))

    def _executions(self, database: Database) -> None:
        """Count the executions, which may read whole tables: not in every run if it takes long, nor after a signal."""
        state = self._samples.state
        took, counted_at = state.get("counting_seconds", 0.0), state.get("counted_at", 0.0)
        is_soon = counted_at <= self._now < counted_at + took / SHARE_OF_COUNTING
        if self._end.is_interrupted or (took > SLOW_COUNT_SECONDS and is_soon):
            return
        began = time.monotonic()
        try:
            self._samples.replace(QUEUE, list(self._counted(database, began)))
        finally:
            took = time.monotonic() - began
            self._samples.state = {**self._samples.state, "counting_seconds": took, "counted_at": self._now}

    def _counted(self, database: Database, began: float) -> Iterator[Sample]:
        policy = database.load_policy() or MigrationPolicy()
        retention_seconds = min(policy.retention_hours * 3600, LONGEST_RETENTION_SECONDS)
        parameters = {"retention_seconds": retention_seconds, "large_table_bytes": LARGE_TABLE_BYTES}
        (row,) = self._rows(database, "count_executions", parameters)
        yield from collecting.of_executions(row, retention_seconds)
        yield from collecting.of_stored(self._rows(database, "count_stored", SAMPLE_OF_STORED), policy)
        yield sample("janitor_inventory_duration_seconds", time.monotonic() - began)


LONGEST_RETENTION_SECONDS = 100 * 365 * 86400.0


def _jobs_on(run: ObservedRun) -> Iterable[tuple[Job, bool]]:
    return [(job, _is_on(job, run)) for job in all_jobs()]


def _is_on(job: Job, run: ObservedRun) -> bool:
    try:
        return plan_of(job, run.settings) is not None
    except ConfigurationError:
        return False


def _why_not_written(file: Path, error: OSError) -> str:
    advice = "corrija JANITOR_METRICS_FILE, o cree el directorio y dé permiso de escribir en él"
    return f"no se puede escribir {file}: {reason_of(error)}; {advice}"


def preview(context: Context) -> None:
    """Say which file a run would write."""
    context.say("metrics_previewed", f"[simulación] Métricas: se escribiría {one_line(context.own_settings.file)}")


def check(context: Context) -> Iterator[Finding]:
    """Whether the file can be replaced, and whether node_exporter would read it."""
    file: Path = context.own_settings.file.absolute()
    subject = f"métricas {one_line(file)}"
    if not file.parent.is_dir():
        yield bad(subject, "no existe su directorio: créelo o corrija JANITOR_METRICS_FILE")
    elif not os.access(file.parent, os.W_OK | os.X_OK):
        yield bad(subject, "este usuario no puede escribir en su directorio: dele el permiso")
    elif file.is_symlink() or (file.exists() and not stat.S_ISREG(file.stat().st_mode)):
        yield bad(subject, "no es un fichero normal: indique otro en JANITOR_METRICS_FILE")
    elif file.suffix != ".prom":
        yield advised(subject, "node_exporter solo lee nombres que acaban en .prom")
    else:
        yield good(subject, "se puede escribir")
