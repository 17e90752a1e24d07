"""Throws away what is too old, as `retention` allows it.

Only the files of this host are deleted, so this host's lock of the job is all that must be held. What is being deleted
is noted before, so that what vanished by another hand can be told from it. The next run judges it again: by then it may
be all there is.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime

from config.logs import emit, one_line
from jobs.backups.errors import DiskError, require_no_interruption
from jobs.backups.files.directory import disk_errors, sync_directory
from jobs.backups.files.names import NAME
from jobs.backups.keeping.retention import deletable
from jobs.backups.keeping.shelf import Shelf, files_of, is_there
from jobs.backups.records import Backup, Records


def to_delete(shelf: Shelf, days: int, now: datetime) -> list[Backup]:
    """The backups of this host that retention lets go, in the order in which they must. Raises `RetentionError`.

    Whether their deletion was begun by another run changes nothing.
    """
    return [shelf.named(known.id) for known in deletable(shelf.known(), days, now)]


def kept_after_all(shelf: Shelf, gone: Sequence[Backup]) -> list[Backup]:
    """Backups whose deletion has begun, but which are to be kept now and are still whole somewhere.

    What a provider that did not answer may have is left as it is.
    """
    going = {backup.id for backup in gone}
    seen = {known.id for known in shelf.known() if known.copies and not known.may_be_unseen}
    return [backup for backup in half_deleted(shelf) if backup.id in seen and backup.id not in going]


def keep(backups: Sequence[Backup], records: Records) -> None:
    """Give up deletions that were begun, and say so."""
    for backup in backups:
        records.note_kept(backup, is_here=is_there(backup))
        text = f"La copia {backup.id} ({backup.name}) no se termina de borrar: ahora hace falta, o ya no es antigua"
        emit(logging.WARNING, "backup_deletion_given_up", one_line(text))


def half_deleted(shelf: Shelf) -> list[Backup]:
    """Backups that a run was deleting when it was killed, differentials first."""
    begun = [backup for backup in shelf.here() if backup.is_being_deleted and backup.is_standing]
    return sorted(begun, key=lambda backup: (backup.is_full, backup.id))


def _nowhere_else(_backup: Backup) -> bool:
    return True


def delete(
    backups: Sequence[Backup],
    records: Records,
    before_each: Callable[[], None],
    remove_elsewhere: Callable[[Backup], bool] = _nowhere_else,
) -> list[Backup]:
    """Delete backups; return those that are gone everywhere. Raises `DiskError` and what the functions raise.

    `remove_elsewhere` removes the copies at providers, and says whether they are gone. Where they are not, the deletion
    is not finished, and the next run continues it. A full backup waits for its differentials; what cannot be deleted
    keeps no other chain. A file that another good backup names is left to it, and so is one that is not what was
    recorded.
    """
    deleted: list[Backup] = []
    needed: set[int | None] = set()
    fault = None
    going = {backup.id for backup in backups}
    paths_in_use = {other.path for other in records.all() if other.is_good and other.id not in going} if going else ()
    for backup in backups:
        if backup.id in needed:
            continue
        before_each()
        records.note_deletion(backup)
        try:
            if backup.path in paths_in_use or _is_of_another_backup(backup):
                _tell_left(backup)
            else:
                _remove_files(backup)
            is_gone = remove_elsewhere(backup)
        except DiskError as error:
            fault, is_gone = error, False
        if is_gone:
            records.finish_deletion(backup)
            deleted.append(backup)
        else:
            needed.add(backup.base_id)
    if fault is not None:
        if deleted:
            _tell_deleted(deleted)  # else who calls tells it
        raise fault
    return deleted


def clean(
    shelf: Shelf,
    records: Records,
    days: int,
    interruption: threading.Event,
    remove_elsewhere: Callable[[Backup], bool] = _nowhere_else,
    *,
    dry_run: bool,
) -> list[Backup]:
    """Delete what is too old, and finish deletions that were begun; return what is gone. What is needed now is kept.

    Raises `DiskError`, `BackupInterrupted`, `RetentionError`.
    """
    gone = to_delete(shelf, days, records.now())
    if dry_run:
        return gone
    keep(kept_after_all(shelf, gone), records)
    return delete(gone, records, lambda: require_no_interruption(interruption), remove_elsewhere)


def _is_of_another_backup(backup: Backup) -> bool:
    """Whether the hash beside the file is not the recorded one. The file is not read: it may have any size."""
    beside = backup.path.with_name(f"{backup.path.name}.sha256")
    try:
        return backup.sha256 is not None and beside.read_text().split()[:1] != [backup.sha256]
    except (OSError, UnicodeDecodeError):
        return False


def _tell_deleted(backups: Sequence[Backup]) -> None:
    names = ", ".join(backup.name for backup in backups)
    emit(logging.INFO, "backups_deleted", f"Copias de seguridad antiguas borradas: {one_line(names)}")


def _tell_left(backup: Backup) -> None:
    text = (
        f"La copia {backup.id} se borra, pero no el archivo {backup.path}: es de otra copia; "
        "si no lo es ('backup list'), bórrelo a mano"
    )
    emit(logging.WARNING, "backup_file_left", one_line(text))


def _remove_files(backup: Backup) -> None:
    """A row that was changed to name something other than a backup causes no deletion."""
    if NAME.fullmatch(backup.path.name) is None or backup.path.name != backup.name:
        return
    with disk_errors(backup.path.parent):
        for path in files_of(backup):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        with contextlib.suppress(FileNotFoundError):
            sync_directory(backup.path.parent)
