"""What the frame knows of the job of the backups."""

from __future__ import annotations

from jobs.backups.settings import BackupSettings
from jobs.job import Job, Ref, Scope
from jobs.schedule import Daily


def due(settings: BackupSettings) -> Daily:
    """Once a day."""
    return Daily(at=settings.at)


JOB = Job(
    name="backup",
    title="copias de seguridad",
    scope=Scope.PLATFORM,
    due=due,
    run=Ref("jobs.backups.run:run"),
    preview=Ref("jobs.backups.run:preview"),
    check=Ref("jobs.backups.check:check"),
    commands=Ref("jobs.backups.commands:backup"),
    settings=BackupSettings,
    when_off="indique BACKUP_ENABLED=true",
    rights={
        "historial_backup": "SELECT, INSERT, UPDATE",
        "notificaciones": "INSERT",
        "janitor_backups": "SELECT, INSERT, UPDATE",
        "janitor_backup_copies": "SELECT, INSERT, UPDATE",
        "janitor_jobs": "SELECT",
    },
)
