"""Closes the rows of runs that were killed. A backup whose file was finished before is a good one, and is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jobs.backups.errors import DamagedBackup, FullBackupNeeded
from jobs.backups.files.description import read_description
from jobs.backups.files.hashes import hash_beside, hashes_of
from jobs.backups.files.names import description_name
from jobs.backups.keeping.shelf import Shelf
from jobs.backups.records import UNDER_WAY, Backup, End, Records

FAILED = "ERROR"
CUT_OFF = (
    "el proceso que la hacía no llegó a acabarla: se cortó (kill, corte de luz) o perdió la base de datos; el registro "
    "de entonces dice cuál; la siguiente copia lo suple"
)
"""The row does not tell one from the other: without its database a run records nothing."""


def close_cut_off(shelf: Shelf, records: Records) -> int:
    """Close the rows that killed runs left open; return how many of their backups are whole.

    Only for who holds the job: nobody else is making a backup then, and whatever is under way is not any more.
    """
    recovered = 0
    owners = _owners(shelf)
    for backup in shelf.backups:
        if backup.attempt is None or backup.state not in (UNDER_WAY, FAILED):
            continue
        end = _end(backup) if backup.host == shelf.host and owners[backup.path] == backup.id else None
        if end is not None:
            records.finish(end, f"{backup.name}: estaba completa, aunque el proceso que la hizo no llegó a anotarlo")
            recovered += 1
        elif backup.state == UNDER_WAY:
            records.fail(backup.attempt, backup.kind, CUT_OFF)
    return recovered


def _owners(shelf: Shelf) -> Mapping[Path, int]:
    """Whose file has each path: the good backup's, else that of the newest row. Runs that begin within one second name
    the same path, unless its file was already there: all of them but the newest were killed before they made it.
    """
    return {backup.path: backup.id for backup in sorted(shelf.backups, key=lambda backup: (backup.is_good, backup.id))}


def _end(backup: Backup) -> End | None:
    """The backup that was made, if its file has its final name, which it gets only after its hash file is there."""
    try:
        contents = hashes_of(backup.path)
        if contents.sha256 != hash_beside(backup.path):
            return None
    except (OSError, DamagedBackup):
        return None
    tables = rows = described = None
    if backup.is_full:
        beside = backup.path.parent / description_name(backup.name)
        try:
            description, described = read_description(beside), hashes_of(beside).sha256
        except (FullBackupNeeded, OSError):
            return None
        if description.sha256 != contents.sha256:
            return None
        tables, rows = description.tables, description.rows
    return End(backup.attempt or "", backup.kind, backup.path, contents, tables, rows, None, described)
