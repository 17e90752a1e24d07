"""The functions that the frame calls for the job of the logs: a run, its preview and its check."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from config.text.plurals import counted
from jobs.context import Context
from jobs.findings import Finding
from jobs.job import Outcome
from jobs.logs.check import check_directories
from jobs.logs.cleaning import clean_logs
from jobs.logs.guard import kept_apart_from_logs
from jobs.logs.report import LogsReport


def run(context: Context) -> Outcome:
    """Compress and delete what is due. Raises `ConfigurationError` for a refused directory."""
    apart = kept_apart_from_logs(context.settings)
    report = clean_logs(context.own_settings, apart, context.interruption, dry_run=context.dry_run)
    counts = {**asdict(report), "freed_bytes": report.freed_bytes}
    return Outcome(counts=counts, failures=tuple(_failures(report)))


def _failures(report: LogsReport) -> Iterator[str]:
    if report.missing_directories:
        count = counted(report.missing_directories, "directorio que no existe", "directorios que no existen")
        yield f"LOGS_PATH nombra {count}: monte su disco, créelo o corrija LOGS_PATH; check dice cuál"
    if report.failures:
        count = counted(report.failures, "fallo", "fallos")
        yield f"{count} con los registros: janitor_daemon.log dice a esa hora cuáles y por qué"


def preview(context: Context) -> Outcome:
    """Report what a run would do, and what it could not look at."""
    return run(context)


def check(context: Context) -> Iterator[Finding]:
    """Whether a run could work in each directory."""
    yield from check_directories(context.own_settings, kept_apart_from_logs(context.settings))
