"""Uses existing backups: proves one, hands out its files, restores it."""

from __future__ import annotations

import contextlib
import filecmp
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from config.logs import one_line, redactor
from jobs.backups.errors import (
    BackupError,
    BackupInterrupted,
    DamagedBackup,
    DiskError,
    EndUnknown,
    FullBackupNeeded,
    NoFittingProgram,
    NotProven,
    RestoreFailed,
    require_no_interruption,
)
from jobs.backups.files.description import Description, read_description
from jobs.backups.files.directory import disk_errors, reading_errors, sync_directory
from jobs.backups.files.drafts import Draft
from jobs.backups.files.hashes import require_hash
from jobs.backups.files.names import description_name
from jobs.backups.keeping.damage import described, require_undamaged
from jobs.backups.keeping.shelf import Shelf, files_of
from jobs.backups.reading.programs import Programs, find_programs
from jobs.backups.reading.source import facts_of
from jobs.backups.records import Backup, Records
from jobs.backups.templates import QUERIES
from jobs.backups.verification.progress import shown_progress
from jobs.backups.verification.proof import Proof, prove
from jobs.backups.verification.restoring import restore_at_once
from jobs.backups.verification.restricted import Unrestricted, can_restrict, restraint_by
from jobs.backups.verification.scratch_server import scratch_database, scratch_database_on
from sql.connection import database_identity, database_password
from sql.snapshots import SnapshotSession

COPY_BYTES = 1024 * 1024
AGAINST_THE_BACKUP = (DamagedBackup, NotProven, RestoreFailed)
"""What a proof finds wrong with a backup; any other error says something of the host or of the server."""

AS_BEFORE = "nada de la copia quedó en la base de datos: está como antes"
ALL_OR_NOTHING = "la copia entró entera o no entró nada de ella; antes de repetir, mire si está en la base de datos"


class DatabaseNotEmpty(BackupError):
    """The database that a backup was to be restored into is not empty."""


def verify(
    backup: Backup,
    shelf: Shelf,
    records: Records,
    programs: Path | None,
    interruption: threading.Event,
    server_url: str = "",
) -> Proof:
    """Restore a backup into a server of its own, or into a new database of a given one, and compare; record the result.

    Raises `BackupError`. That there was no server to try it in, no room, or a fault of this host, says nothing against
    the backup, and is not recorded.
    """
    chain = shelf.chain(backup)
    started = time.monotonic()
    try:
        proof = _proof(chain, programs, interruption, server_url)
    except AGAINST_THE_BACKUP as error:
        records.note_verified(backup, time.monotonic() - started, str(error))
        raise
    records.note_verified(backup, proof.seconds)
    return proof


def _proof(chain: Sequence[Backup], programs: Path | None, interruption: threading.Event, server_url: str) -> Proof:
    _require_hashes(chain)
    description = _description(chain[0])
    differential = chain[1].path if len(chain) > 1 else None
    with contextlib.ExitStack() as stack:
        if server_url:
            found = programs_for(server_url, programs)
            scratch = scratch_database_on(server_url, found, description, interruption)
        else:
            found = find_programs(description.server_major, str(description.server_major), programs)
            scratch = scratch_database(found, description, interruption)
        _require_restraint(chain, found)
        url = stack.enter_context(scratch)
        stack.enter_context(reading_errors(chain[0].path.parent))
        note = stack.enter_context(shown_progress("Comprobando", [item.path for item in chain]))
        return prove(found, url, description, chain[0].path, differential, interruption, note)


def _description(full: Backup) -> Description:
    described(full)
    try:
        return read_description(full.path.parent / description_name(full.name))
    except FullBackupNeeded as error:
        raise DamagedBackup(str(error)) from error


def download(chain: Sequence[Backup], directory: Path, interruption: threading.Event) -> list[Path]:
    """Copy the files of a chain into a directory, unless they are there already; return their paths there.

    Each backup is read again and has its hash before it has its name. Raises `DiskError`, `DamagedBackup`,
    `BackupInterrupted`.
    """
    written = []
    with disk_errors(directory):
        directory.mkdir(mode=0o700, exist_ok=True)
        for backup in chain:
            require_undamaged(backup)
            for path in files_of(backup):
                if path == backup.path or path.exists():
                    written.append(_copied(path, directory, interruption))
            require_hash(directory / backup.name, backup.sha256, backup.md5)
        sync_directory(directory)
    return written


def _require_hashes(chain: Sequence[Backup]) -> None:
    """Raise `DamagedBackup` unless every file has its recorded hash."""
    for backup in chain:
        require_undamaged(backup)


def _copied(path: Path, directory: Path, interruption: threading.Event) -> Path:
    target = directory / path.name
    if target.exists():
        if is_equal_elsewhere(path, target):
            return target
        raise DiskError(f"ya existe {one_line(target)}; bórrelo o indique otro directorio")
    with path.open("rb") as source, Draft(directory, path.name) as draft:
        while block := source.read(COPY_BYTES):
            require_no_interruption(interruption)
            draft.write(block)
        draft.sync()
        if not is_equal_elsewhere(path, draft.path):
            raise DamagedBackup(f"{path.name}: lo que se lee en {one_line(directory)} no es lo que se copió allí")
        draft.publish()
    return target


def is_equal_elsewhere(path: Path, other: Path) -> bool:
    """Whether another file holds the same bytes. Raises `OSError`."""
    return not path.samefile(other) and filecmp.cmp(path, other, shallow=False)


def require_empty(database_url: str) -> None:
    """Raise `DatabaseNotEmpty` unless a database holds nothing, and `DatabaseError`."""
    redactor.add(database_password(database_url))
    with SnapshotSession(database_url, QUERIES) as session:
        ((count,),) = session.query("count_contents")
    if count:
        where = one_line(database_identity(database_url))
        raise DatabaseNotEmpty(
            f"la base de datos {where} no está vacía; cree otra con createdb, o añada --force si nada de lo que hay en "
            "ella se llama como lo de la copia: no reemplaza nada"
        )


def restore_chain(
    chain: Sequence[Backup], database_url: str, programs: Path | None, interruption: threading.Event
) -> None:
    """Load a full backup, and perhaps a differential, into a database, after their hashes were checked.

    All of it in one transaction: whatever fails, also when this process is killed, the database is what it was before,
    or holds everything where it is not known whether the COMMIT was carried out.
    Raises `BackupError` and `DatabaseError`.
    """
    redactor.add(database_password(database_url))
    _require_hashes(chain)
    paths = [backup.path for backup in chain]
    found = programs_for(database_url, programs)
    _require_restraint(chain, found)
    is_of_another_program = any(backup.attempt is None for backup in chain)
    restraint = Unrestricted() if is_of_another_program else restraint_by(found)
    try:
        with reading_errors(chain[0].path.parent), shown_progress("Restaurando", paths) as note:
            restore_at_once(found, restraint, database_url, paths, interruption, note)
    except BackupInterrupted:
        raise
    except EndUnknown as error:
        raise RestoreFailed(f"{error}; {ALL_OR_NOTHING}") from error
    except BackupError as error:
        raise RestoreFailed(f"{error}; {AS_BEFORE}") from error


def _require_restraint(chain: Sequence[Backup], programs: Programs) -> None:
    """Raise `NoFittingProgram` where nothing proves who wrote a file, and `psql` would run the programs it names."""
    found = next((backup for backup in chain if backup.was_found_at_provider), None)
    if found is not None and not can_restrict(programs.psql):
        raise NoFittingProgram(
            f"la copia {found.id} ({found.name}) la encontró 'backup rebuild', y nada demuestra quién la escribió: "
            f"{one_line(programs.psql)} {programs.version} es anterior a \\restrict y ejecutaría los programas que "
            "nombrara; actualice el paquete postgresql-client (versiones desde agosto de 2025)"
        )


def programs_for(database_url: str, directory: Path | None) -> Programs:
    """The programs that fit a server. Raises `NoFittingProgram`, `DatabaseError`."""
    facts = facts_of(database_url)
    return find_programs(facts.server_major, facts.server_version, directory)
