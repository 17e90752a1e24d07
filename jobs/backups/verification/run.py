"""One run of the job `verify`: proves the newest backup when the last proof of one is too old.

A proof by hand counts like one of the job. Nothing is proven twice in a day.
"""

from __future__ import annotations

import contextlib
import logging
from datetime import timedelta
from functools import partial

from config.errors import RunInterrupted
from config.text.plurals import counted
from jobs.backups.errors import BackupError, BackupInterrupted, NoScratchServer, NotEnoughSpace
from jobs.backups.keeping.shelf import Shelf
from jobs.backups.offsite.copies import Copies
from jobs.backups.offsite.encryption import identities_of
from jobs.backups.offsite.fetching import BackupLost, Fetcher, NotFetched, fetched
from jobs.backups.offsite.stores import Stores, rows_in
from jobs.backups.records import Backup, Records
from jobs.backups.verification.proof import Proof
from jobs.backups.verification.using import AGAINST_THE_BACKUP, verify
from jobs.context import Context
from jobs.job import Outcome

SLACK = timedelta(hours=12)
"""The job comes once a day, never at the same second: so a proof is due when the day begins in which it gets old."""

LEFT_TO_ITS_HOST = timedelta(days=1)
"""How long a proof is left to the host that made the backup, which has the file on its disk."""

NOT_VERIFIED = "backup:not_verified"
"""The cause of a notice. A job that fails is one by itself."""

NOTHING_TO_PROVE = Outcome({"verified": 0})


def run(context: Context) -> Outcome:
    """Prove the newest backup if that is due, or if somebody asks for it; what is not on this host is fetched.

    What is wrong with the backup is recorded, notified and told as the run's failure. A host without PostgreSQL's
    server programs, or without room, warns instead. Raises `RunInterrupted`, `LeaseLost`, and `DatabaseError`.
    """
    records = Records(context.query, context.settings.host)
    shelf = Shelf(tuple(records.all()), context.settings.host)
    backup = _due(context, shelf)
    if backup is None:
        return NOTHING_TO_PROVE
    if _is_left_to_its_host(context, shelf, backup):
        raise RunInterrupted(f"la última copia está en el equipo {backup.host}, que es quien puede comprobarla")
    context.require_going_on()
    try:
        proof = _proven(context, shelf, backup, records)
    except BackupInterrupted as error:
        raise RunInterrupted(str(error)) from error
    except (NoScratchServer, NotEnoughSpace) as error:
        text = f"No se pudo comprobar la copia {backup.id}: {error}; o ponga BACKUP_VERIFY_DAYS=0"
        context.say("backup_not_verified", text, logging.WARNING)
        context.notify(NOT_VERIFIED, "degraded", text)
        return Outcome({"verified": 0, "without_server": 1})
    except BackupError as error:
        text = f"la copia {backup.id} ({backup.name}) no se pudo comprobar: {error}{_advice(error)}"
        context.say("backup_verification_failed", f"Comprobación: {text}", logging.ERROR)
        return Outcome({"failed": 1}, (text,))
    context.notify(NOT_VERIFIED, "ok", f"La copia {backup.id} está comprobada")
    what = f"{counted(proof.tables, 'tabla', 'tablas')}, {counted(proof.rows, 'registro', 'registros')}"
    context.say("backup_verified", f"Copia {backup.id} comprobada: {backup.name}, {what}, en {proof.seconds:.1f} s")
    return Outcome({"verified": 1, "tables": proof.tables, "rows": proof.rows})


def _advice(error: BackupError) -> str:
    if isinstance(error, (*AGAINST_THE_BACKUP, BackupLost)):
        return "; haga una completa: backup run --full"
    return "; mire ese proveedor" if isinstance(error, NotFetched) else ""


def _proven(context: Context, shelf: Shelf, backup: Backup, records: Records) -> Proof:
    """Prove a backup, fetched first where it is not on this host, or damaged there. Raises `BackupError`."""
    own = context.own_settings
    read_rows = partial(rows_in, context.database)
    with contextlib.closing(Stores(read_rows, context.interruption, bandwidth=context.settings.bandwidth)) as stores:
        fetcher = Fetcher(stores, Copies(context.query).all(), identities_of(own.identity))
        with fetched(shelf, backup, fetcher, records) as at_hand:
            context.require_going_on()
            return verify(at_hand.named(backup.id), at_hand, records, own.programs, context.interruption)


def _is_left_to_its_host(context: Context, shelf: Shelf, backup: Backup) -> bool:
    """Whether the host that made a backup proves it: others fetch it only if that host has not done so for a day."""
    if backup.host == shelf.host:
        return False
    is_late = backup.is_dated_ahead or context.now - backup.made > LEFT_TO_ITS_HOST
    return not (is_late and shelf.is_readable_elsewhere(backup, has_key=_has_key(context)))


def _has_key(context: Context) -> bool:
    return context.own_settings.identity is not None


def preview(context: Context) -> None:
    """Say which backup a run would prove."""
    records = Records(context.query, context.settings.host)
    backup = _due(context, Shelf(tuple(records.all()), context.settings.host))
    what = (
        "no toca comprobar ninguna copia" if backup is None else f"se comprobaría la copia {backup.id}, {backup.name}"
    )
    context.say("backup_verification_previewed", f"[simulación] {what}")


def _due(context: Context, shelf: Shelf) -> Backup | None:
    """The backup to prove now: of all hosts' the newest good one that can be read."""
    newest = shelf.newest_provable(has_key=_has_key(context))
    if newest is None or context.is_asked_for:
        return newest
    proven = [backup.verified for backup in shelf.backups if backup.is_good and backup.verified is not None]
    oldest_allowed = context.now - timedelta(days=context.own_settings.verify_days) + SLACK
    return None if any(oldest_allowed < proof < context.now + SLACK for proof in proven) else newest
