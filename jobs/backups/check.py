"""What `check` says of the backups: whether the next one could be made, and how old the last ones are."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from config.text.wording import reason_of
from jobs.backups.creation.programs import find_programs
from jobs.backups.creation.source import VERSIONS_PER_MAJOR
from jobs.backups.creation.statements import QUERIES
from jobs.backups.errors import BackupError
from jobs.backups.files import SPACE_MARGIN
from jobs.backups.keeping.disposal import is_open_to_others
from jobs.backups.keeping.shelf import Shelf, is_there
from jobs.backups.offsite.check import check as check_providers
from jobs.backups.records import Backup, Records, readable_size
from jobs.context import Context
from jobs.findings import Finding, advised, bad, good
from sql.errors import DatabaseError, SchemaError
from sql.snapshots import SnapshotSession

SUBJECT = "copias de seguridad"
LONGEST_DAYS_WITHOUT = 8
"""A week, and a day to make up for what was missed."""


def check(context: Context) -> Iterator[Finding]:
    """Look at the programs, the directory and the rows. Raises `DatabaseError` for the daemon's own database."""
    yield _programs(context.own_settings.database_url or context.settings.database_url, context.own_settings.programs)
    try:
        shelf = Shelf(tuple(Records(context.query, context.settings.host).all()), context.settings.host)
    except SchemaError:  # rights or tables that are missing are told by others
        return
    yield from _directory(context.settings.backup_directory.absolute(), shelf)
    yield _last_ones(shelf, context.now)
    yield from check_providers(context)


def _programs(database_url: str, directory: Path | None) -> Finding:
    try:
        with SnapshotSession(database_url, QUERIES) as session:
            ((_name, _oid, _encoding, number, version),) = session.query("describe_database")
        found = find_programs(number // VERSIONS_PER_MAJOR, version, directory)
    except (BackupError, DatabaseError) as error:
        return bad(SUBJECT, str(error))
    return good(SUBJECT, f"servidor {version}, {found.pg_dump} {found.version}")


def _directory(directory: Path, shelf: Shelf) -> Iterator[Finding]:
    if not directory.exists():
        yield good(SUBJECT, f"{directory} (BACKUP_PATH) no existe aún; la primera copia lo crea")
        return
    if is_open_to_others(directory):
        yield advised(SUBJECT, f"otros usuarios pueden entrar en {directory} (BACKUP_PATH); ejecute chmod 700 en él")
    try:
        free_bytes = shutil.disk_usage(directory).free
    except OSError as error:
        yield bad(SUBJECT, f"no se puede usar {directory} (BACKUP_PATH): {reason_of(error)}")
        return
    sizes = [backup.size_bytes or 0 for backup in shelf.good_here() if backup.is_full]
    needed_bytes = int(sizes[-1] * SPACE_MARGIN) if sizes else 0
    text = (
        f"quedan {readable_size(free_bytes)} en {directory}; la próxima completa ocupará {readable_size(needed_bytes)}"
    )
    yield good(SUBJECT, text) if free_bytes >= needed_bytes else bad(SUBJECT, f"{text}: libere espacio")


def _last_ones(shelf: Shelf, now: datetime) -> Finding:
    usable = [backup for backup in shelf.backups if backup.is_good and (backup.host != shelf.host or is_there(backup))]
    full = _newest(backup for backup in usable if backup.is_full)
    if full is None:
        return advised(SUBJECT, "todavía no hay ninguna completa")
    differential = _newest(backup for backup in usable if not backup.is_full)
    verified = [backup.verified for backup in usable if backup.verified is not None]
    text = (
        f"última completa {_shown(full.made)}, última diferencial "
        f"{_shown(None if differential is None else differential.made)}, última comprobada "
        f"{_shown(max(verified, default=None))}"
    )
    if (now - full.made).days > LONGEST_DAYS_WITHOUT:
        return bad(SUBJECT, f"{text}: hace más de una semana que no se hace una completa; mire el registro")
    return good(SUBJECT, text) if verified else advised(SUBJECT, f"{text}; compruebe una con 'backup verify'")


def _newest(backups: Iterator[Backup]) -> Backup | None:
    return max(backups, key=lambda backup: (backup.made, backup.id), default=None)


def _shown(instant: datetime | None) -> str:
    return "ninguna" if instant is None else instant.astimezone().isoformat(timespec="minutes")
