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


def run(context: Context) -> Outcome:
    """Compress and delete what is due. Raises `ConfigurationError` for a refused directory."""
    apart = kept_apart_from_logs(context.settings)
    report = clean_logs(context.own_settings, apart, context.interruption, dry_run=context.dry_run)
    count = counted(report.failures, "fallo", "fallos")
    told = f"{count} con los registros: janitor_daemon.log dice a esa hora cuáles y por qué"
    counts = {**asdict(report), "freed_bytes": report.freed_bytes}
    return Outcome(counts=counts, failures=(told,) if report.failures else ())


def preview(context: Context) -> Outcome:
    """Report what a run would do, and what it could not look at."""
    return run(context)


def check(context: Context) -> Iterator[Finding]:
    """Whether a run could work in each directory."""
    yield from check_directories(context.own_settings, kept_apart_from_logs(context.settings))
