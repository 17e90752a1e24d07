"""Why a backup was not made. Each message is in Spanish, one line, without secrets."""

from __future__ import annotations

import threading


class BackupError(Exception):
    """A backup, or a restore, failed, and left nothing that looks whole and is not."""


class NoFittingProgram(BackupError):
    """There is no `pg_dump` or `psql` that is new enough for the server."""


class DumpFailed(BackupError):
    """`pg_dump` failed, or what it wrote is not whole."""


class TooManyLocks(DumpFailed):
    """The server has no room for another lock."""


class TablesBusy(BackupError):
    """Other sessions change tables and hold their locks: a later try may succeed."""


class NotEnoughSpace(BackupError):
    """The disk is full, or too full to begin."""


class DiskError(BackupError):
    """The directory of the backups cannot be used, or lost what was written into it."""


class DamagedBackup(BackupError):
    """A file does not have the contents that were recorded."""


class ColumnsDiffer(DamagedBackup):
    """Portions of one table have other columns than its first one."""


class BackupInterrupted(BackupError):
    """Somebody asked the program to stop."""


class RestoreFailed(BackupError):
    """`psql` failed."""


class NotProven(BackupError):
    """What was restored differs from what was backed up."""


class NoScratchServer(BackupError):
    """There is no server in which a restore could be tried."""


class EndUnknown(NoScratchServer):
    """`psql` lost its server, or was killed: nobody said whether its last statement, a COMMIT, was carried out."""


class FullBackupNeeded(Exception):
    """A differential could not be exact, or would not pay. The message says why, in Spanish."""


def require_no_interruption(interruption: threading.Event) -> None:
    """Raise `BackupInterrupted` when somebody asked the program to stop."""
    if interruption.is_set():
        raise BackupInterrupted("se interrumpió; no queda nada a medias")
