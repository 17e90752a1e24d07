"""What the frame knows of the job `report`."""

from __future__ import annotations

from datetime import time
from typing import TYPE_CHECKING

from jobs.job import Job, Phase, Ref, Scope
from jobs.schedule import Weekly

if TYPE_CHECKING:
    from jobs.weekly.settings import WeeklySettings


def _schedule(own: WeeklySettings) -> Weekly:
    return Weekly(own.day or 0, time(6))


JOB = Job(
    name="report",
    title="informe semanal",
    scope=Scope.PLATFORM,
    due=_schedule,
    run=Ref("jobs.weekly.run:run"),
    preview=Ref("jobs.weekly.run:preview"),
    check=Ref("jobs.weekly.run:check"),
    settings=Ref("jobs.weekly.settings:WeeklySettings"),
    switches=("JANITOR_REPORT_DAY",),
    when_off="indique JANITOR_REPORT_DAY (el lunes es 0) y una dirección de correo en JANITOR_NOTIFY_URLS",
    rights={
        "janitor_weekly_reports": "SELECT, INSERT, UPDATE",
        "janitor_jobs": "SELECT",
        "janitor_runs": "SELECT",
        "janitor_job_runs": "SELECT",
        "janitor_attempts": "SELECT",
        "janitor_causes": "SELECT",
        "janitor_looks": "SELECT",
        "janitor_migrations": "SELECT",
        "janitor_holds": "SELECT",
        "janitor_backups": "SELECT",
        "historial_backup": "SELECT",
        "cloud_providers": "SELECT",
        "ejecuciones_config": "SELECT",
        "ejecuciones_yaml": "SELECT",
    },
    phase=Phase.AFTER,
    counts={
        "sent": ("aviso enviado", "avisos enviados"),
    },
)
