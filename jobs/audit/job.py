"""What the frame knows of the job `audit`: the rolling audit. The order `audit` is in `commands/audit/`."""

from __future__ import annotations

from jobs.job import Job, Ref, Scope
from jobs.schedule import Every

JOB = Job(
    name="audit",
    title="comprobación de lo guardado",
    scope=Scope.PLATFORM,
    due=Every(1),
    run=Ref("jobs.audit.run:run"),
    preview=Ref("jobs.audit.run:preview"),
    settings=Ref("jobs.audit.settings:AuditSettings"),
    switches=("JANITOR_AUDIT_DAYS",),
    when_off="indique JANITOR_AUDIT_DAYS, por ejemplo 90",
    rights={
        "ejecuciones_yaml": "SELECT, UPDATE",
        "janitor_attempts": "SELECT, UPDATE",
        "janitor_audit": "INSERT",
        "janitor_audits": "SELECT, INSERT, UPDATE",
        "janitor_holds": "SELECT",
        "janitor_jobs": "SELECT",
        "janitor_migrations": "SELECT",
    },
    counts={
        "audited": ("copia leída", "copias leídas"),
        "audited_bytes": "leídos",
        "bad": ("copia que no está entera", "copias que no están enteras"),
        "unread": ("copia que no se pudo leer", "copias que no se pudieron leer"),
    },
)
