"""What the frame knows of the job of the logs."""

from __future__ import annotations

from dataclasses import asdict
from datetime import time
from typing import TYPE_CHECKING

from config.text.plurals import counted
from jobs.job import Job, Outcome, Ref, Scope
from jobs.logs.settings import LogsSettings
from jobs.schedule import Daily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobs.context import Context
    from jobs.findings import Finding


def due(settings: LogsSettings) -> Daily:
    """Once a day."""
    return Daily(at=time(settings.hour, settings.minute))


def run(context: Context) -> Outcome:
    """Compress and delete what is due. Raises `ConfigurationError` for a directory that is refused."""
    from jobs.logs.guard import kept_apart_from_logs
    from jobs.logs.run import clean_logs

    apart = kept_apart_from_logs(context.settings)
    report = clean_logs(context.own_settings, apart, context.interruption, dry_run=context.dry_run)
    count = counted(report.failures, "fallo", "fallos")
    failures = (f"{count} con los registros: las líneas de antes dicen cuáles y por qué",) if report.failures else ()
    return Outcome(counts={**asdict(report), "freed_bytes": report.freed_bytes}, failures=failures)


def preview(context: Context) -> None:
    """Say what a run would do."""
    run(context)


def check(context: Context) -> Iterator[Finding]:
    """Whether a run could work in each directory."""
    from jobs.logs.check import check_directories
    from jobs.logs.guard import kept_apart_from_logs

    yield from check_directories(context.own_settings, kept_apart_from_logs(context.settings))


JOB = Job(
    name="logs",
    title="registros",
    scope=Scope.HOST,
    due=due,
    run=Ref("jobs.logs.job:run"),
    preview=Ref("jobs.logs.job:preview"),
    check=Ref("jobs.logs.job:check"),
    settings=LogsSettings,
    when_off="indique en LOGS_PATH los directorios de los registros",
)
