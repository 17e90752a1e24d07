"""Uses backups again: proves one, gives its files out, restores it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from config.logs import one_line, redactor
from jobs.backups.creation.description import Description, read_description
from jobs.backups.creation.dump import require_no_interruption
from jobs.backups.creation.programs import Programs, find_programs
from jobs.backups.creation.source import VERSIONS_PER_MAJOR
from jobs.backups.creation.statements import QUERIES
from jobs.backups.errors import (
    BackupError,
    BackupInterrupted,
    DamagedBackup,
    DiskError,
    FullBackupNeeded,
    NoScratchServer,
    RestoreFailed,
)
from jobs.backups.files import Draft, description_name, disk_errors, sync_directory
from jobs.backups.keeping.shelf import Shelf, files_of
from jobs.backups.records import Backup, Records
from jobs.backups.verification.restoring import restore
from jobs.backups.verification.scratch_server import scratch_database
from jobs.backups.verification.verify import Proof, prove, require_hash
from sql.connection import database_password
from sql.snapshots import SnapshotSession

COPY_BYTES = 1024 * 1024


class DatabaseNotEmpty(BackupError):
    """Something is in the database into which a backup was to be restored."""


def verify(
    backup: Backup, shelf: Shelf, records: Records, programs: Path | None, interruption: threading.Event
) -> Proof:
    """Restore a backup into a server of its own and compare; record what came of it.

    Raises `BackupError`. That there was no server to try it in says nothing against the backup.
    """
    chain = shelf.chain(backup)
    started = time.monotonic()
    try:
        proof = _proof(chain, programs, interruption)
    except (BackupInterrupted, NoScratchServer):
        raise
    except BackupError as error:
        records.note_verified(backup, time.monotonic() - started, str(error))
        raise
    records.note_verified(backup, proof.seconds)
    return proof


def _proof(chain: Sequence[Backup], programs: Path | None, interruption: threading.Event) -> Proof:
    description = _description(chain[0])
    found = find_programs(description.server_major, str(description.server_major), programs)
    differential = chain[1].path if len(chain) > 1 else None
    with disk_errors(chain[0].path.parent), scratch_database(found, description) as url:
        return prove(found, url, description, chain[0].path, differential, interruption)


def _description(full: Backup) -> Description:
    try:
        return read_description(full.path.parent / description_name(full.name))
    except FullBackupNeeded as error:
        raise DamagedBackup(str(error)) from error


def download(chain: Sequence[Backup], directory: Path, interruption: threading.Event) -> list[Path]:
    """Copy the files of a chain into a directory, where none of them may be; give the new paths.

    Each backup is read again and has its hash before it has its name. Raises `DiskError`, `DamagedBackup`,
    `BackupInterrupted`.
    """
    written = []
    with disk_errors(directory):
        directory.mkdir(mode=0o700, exist_ok=True)
        for backup in chain:
            _require_hash(backup)
            for path in files_of(backup):
                if path == backup.path or path.exists():
                    written.append(_copied(path, directory, interruption))
            require_hash(directory / backup.name)
        sync_directory(directory)
    return written


def _require_hash(backup: Backup) -> None:
    try:
        require_hash(backup.path)
    except (OSError, IndexError) as error:
        raise DamagedBackup(f"no se puede leer {backup.name} o su .sha256, que debe estar a su lado") from error


def _copied(path: Path, directory: Path, interruption: threading.Event) -> Path:
    target = directory / path.name
    if target.exists():
        raise DiskError(f"ya existe {one_line(target)}; bórrelo o indique otro directorio")
    with path.open("rb") as source, Draft(directory, path.name) as draft:
        while block := source.read(COPY_BYTES):
            require_no_interruption(interruption)
            draft.write(block)
        draft.sync()
        draft.publish()
    return target


def require_empty(database_url: str) -> None:
    """Raise `DatabaseNotEmpty` unless a database holds nothing, and `DatabaseError`."""
    redactor.add(database_password(database_url))
    with SnapshotSession(database_url, QUERIES) as session:
        ((count,),) = session.query("count_contents")
    if count:
        raise DatabaseNotEmpty("la base de datos no está vacía; cree una con createdb, o añada --force")


def restore_chain(
    chain: Sequence[Backup], database_url: str, programs: Path | None, interruption: threading.Event
) -> None:
    """Load a full backup, and perhaps a differential, into a database, after their hashes were checked.

    Raises `BackupError`, whose message says in which state the database is then, and `DatabaseError`.
    """
    redactor.add(database_password(database_url))
    for backup in chain:
        _require_hash(backup)
    with SnapshotSession(database_url, QUERIES) as session:
        ((_name, _oid, _encoding, number, version),) = session.query("describe_database")
    found = find_programs(number // VERSIONS_PER_MAJOR, version, programs)
    for backup in chain:
        with disk_errors(backup.path.parent):
            _restore_one(found, database_url, backup, interruption)


def _restore_one(found: Programs, database_url: str, backup: Backup, interruption: threading.Event) -> None:
    try:
        restore(found, database_url, backup.path, interruption)
    except BackupError as error:
        half = "la base de datos quedó a medias: bórrela (dropdb) y créela otra vez"
        raise RestoreFailed(f"{error}; {half}") from error
