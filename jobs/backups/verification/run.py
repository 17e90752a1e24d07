"""One run of the job `verify`: proves the newest backup when the last proof of one is too old.

A proof by hand counts like one of the job. Nothing is proven twice in a day.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from config.errors import RunInterrupted
from config.text.plurals import counted
from jobs.backups.errors import BackupError, BackupInterrupted, NoScratchServer
from jobs.backups.keeping.shelf import Shelf
from jobs.backups.records import Backup, Records
from jobs.backups.verification.proving import AGAINST_THE_BACKUP, verify
from jobs.context import Context
from jobs.job import Outcome

SLACK = timedelta(hours=12)
"""The job comes once a day, never at the same second: so a proof is due when the day begins in which it gets old."""

NOT_VERIFIED = "backup:not_verified"
"""The cause of a notice. A job that fails is one by itself."""

NOTHING_TO_PROVE = Outcome({"verified": 0})


def run(context: Context) -> Outcome:
    """Prove the newest backup if that is due, or if somebody asks for it.

    What is wrong with the backup is recorded, notified and told as the run's failure. A host without PostgreSQL's
    server programs warns instead. Raises `RunInterrupted`, `LeaseLost`, and `DatabaseError`.
    """
    records = Records(context.query, context.settings.host)
    shelf = Shelf(tuple(records.all()), context.settings.host)
    backup = _due(context, shelf)
    if backup is None:
        return NOTHING_TO_PROVE
    if backup.host != shelf.host:
        raise RunInterrupted(f"la última copia está en el equipo {backup.host}, que es quien puede comprobarla")
    context.require_going_on()
    try:
        proof = verify(backup, shelf, records, context.own_settings.programs, context.interruption)
    except BackupInterrupted as error:
        raise RunInterrupted(str(error)) from error
    except NoScratchServer as error:
        text = f"No se pudo comprobar la copia {backup.id}: {error}; o ponga BACKUP_VERIFY_DAYS=0"
        context.say("backup_not_verified", text, logging.WARNING)
        context.notify(NOT_VERIFIED, "degraded", text)
        return Outcome({"verified": 0, "without_server": 1})
    except BackupError as error:
        advice = "; haga una completa: backup run --full" if isinstance(error, AGAINST_THE_BACKUP) else ""
        text = f"la copia {backup.id} ({backup.name}) no se pudo comprobar: {error}{advice}"
        context.say("backup_verification_failed", f"Comprobación: {text}", logging.ERROR)
        return Outcome({"failed": 1}, (text,))
    context.notify(NOT_VERIFIED, "ok", f"La copia {backup.id} está comprobada")
    what = f"{counted(proof.tables, 'tabla', 'tablas')}, {counted(proof.rows, 'registro', 'registros')}"
    context.say("backup_verified", f"Copia {backup.id} comprobada: {backup.name}, {what}, en {proof.seconds:.1f} s")
    return Outcome({"verified": 1, "tables": proof.tables, "rows": proof.rows})


def preview(context: Context) -> None:
    """Say which backup a run would prove."""
    records = Records(context.query, context.settings.host)
    backup = _due(context, Shelf(tuple(records.all()), context.settings.host))
    if backup is not None:
        context.say("backup_verification_previewed", f"[simulación] se comprobaría la copia {backup.id}, {backup.name}")


def _due(context: Context, shelf: Shelf) -> Backup | None:
    """The backup to prove now: of all hosts' the newest good one."""
    newest = shelf.newest_anywhere()
    if newest is None or context.is_asked_for:
        return newest
    proven = [backup.verified for backup in shelf.backups if backup.is_good and backup.verified is not None]
    oldest_allowed = context.now - timedelta(days=context.own_settings.verify_days) + SLACK
    return None if proven and max(proven) > oldest_allowed else newest
