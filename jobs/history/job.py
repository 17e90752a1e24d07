"""What the frame knows of the job `history`."""

from __future__ import annotations

from jobs.job import Job, Ref, Scope
from jobs.schedule import Every

JOB = Job(
    name="history",
    title="historial",
    scope=Scope.PLATFORM,
    due=Every(24),
    run=Ref("jobs.history.run:run"),
    preview=Ref("jobs.history.run:preview"),
    settings=Ref("jobs.history.settings:HistorySettings"),
    when_off="JANITOR_HISTORY_DAYS es 0: los registros se guardan siempre",
    rights={
        "janitor_runs": "SELECT, DELETE",
        "janitor_job_runs": "SELECT, DELETE",
        "janitor_attempts": "SELECT, DELETE",
        "janitor_jobs": "SELECT",
        "janitor_migrations": "SELECT",
        "janitor_audit": "SELECT",
        "janitor_prune_audit(INTEGER, TEXT)": "EXECUTE",
    },
    optional_rights={"janitor_jobs": "DELETE"},
    counts={
        "jobs": ("trabajo de otra máquina borrado", "trabajos de otras máquinas borrados"),
        "runs": ("ciclo borrado del historial", "ciclos borrados del historial"),
        "job_runs": ("trabajo borrado del historial", "trabajos borrados del historial"),
        "attempts": ("intento borrado del historial", "intentos borrados del historial"),
        "audit": ("anotación de auditoría borrada", "anotaciones de auditoría borradas"),
    },
)
