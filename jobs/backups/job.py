"""What the frame knows of the jobs of the backups: one makes them, the other proves them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.job import Job, Ref, Scope
from jobs.schedule import Daily

if TYPE_CHECKING:
    from jobs.backups.settings import BackupSettings


def due(settings: BackupSettings) -> Daily:
    """Once a day."""
    return Daily(at=settings.at)


def verifies(settings: BackupSettings) -> bool:
    """Whether backups are made, and proven by the ticks."""
    return settings.is_on() and settings.verify_days > 0


RIGHTS = {
    "cloud_providers": "SELECT",
    "historial_backup": "SELECT, INSERT, UPDATE",
    "notificaciones": "INSERT",
    "janitor_backups": "SELECT, INSERT, UPDATE",
    "janitor_backup_copies": "SELECT, INSERT, UPDATE",
    "janitor_jobs": "SELECT",
    "janitor_runs": "SELECT",
}

JOB = Job(
    name="backup",
    title="copias de seguridad",
    scope=Scope.PLATFORM,
    due=due,
    run=Ref("jobs.backups.run:run"),
    preview=Ref("jobs.backups.run:preview"),
    check=Ref("jobs.backups.check:check"),
    check_without_database=Ref("jobs.backups.check:check_programs"),
    status=Ref("jobs.backups.check:status"),
    commands=Ref("jobs.backups.commands:backup"),
    settings=Ref("jobs.backups.settings:BackupSettings"),
    switches=("BACKUP_ENABLED",),
    required=Ref("jobs.backups.keeping.place:require_settings"),
    when_off="indique BACKUP_ENABLED=true",
    rights=RIGHTS,
    counts={
        "recovered": ("copia cortada y resuelta", "copias cortadas y resueltas"),
        "full": ("copia COMPLETA hecha", "copias COMPLETAS hechas"),
        "differential": ("copia DIFERENCIAL hecha", "copias DIFERENCIALES hechas"),
        "size_bytes": "en su fichero",
        "tables": ("tabla", "tablas"),
        "rows": ("fila", "filas"),
        "copies": ("copia guardada en proveedores", "copias guardadas en proveedores"),
        "failed": ("con error", "con error"),
        "deleted": ("copia antigua borrada", "copias antiguas borradas"),
        "freed_bytes": "liberados",
        "missing": ("copia que falta", "copias que faltan"),
    },
)

VERIFY = Job(
    name="verify",
    title="comprobación de las copias de seguridad",
    scope=Scope.PLATFORM,
    due=due,
    run=Ref("jobs.backups.verification.run:run"),
    preview=Ref("jobs.backups.verification.run:preview"),
    settings=Ref("jobs.backups.settings:BackupSettings"),
    switches=("BACKUP_ENABLED",),
    is_on=verifies,
    when_off="indique BACKUP_ENABLED=true y que BACKUP_VERIFY_DAYS no sea 0",
    rights=RIGHTS,
    counts={
        "verified": ("copia probada", "copias probadas"),
        "without_server": ("prueba sin servidor donde hacerla", "pruebas sin servidor donde hacerlas"),
        "failed": ("con error", "con error"),
        "tables": ("tabla", "tablas"),
        "rows": ("fila", "filas"),
    },
)
"""A job of its own, right after the other one: it delays no backup, and when it fails, no backup is made again."""
