"""Whether the files of a backup on this host still hold what was written."""

from __future__ import annotations

from jobs.backups.errors import DamagedBackup
from jobs.backups.keeping.shelf import files_of
from jobs.backups.records import Backup
from jobs.backups.verification.verify import require_hash


def require_undamaged(backup: Backup) -> None:
    """Raise `DamagedBackup` unless its file has the recorded hash, and that written beside it. Reads the whole file."""
    try:
        require_hash(backup.path, backup.sha256, backup.md5)
    except (OSError, IndexError) as error:
        raise DamagedBackup(f"no se puede leer {backup.name} o su .sha256, que debe estar a su lado") from error


def damage_of(backup: Backup) -> str:
    """What is wrong with the files that restore a backup; empty if nothing is."""
    try:
        require_undamaged(backup)
    except DamagedBackup as error:
        return str(error)
    missing = [
        path.name for path in files_of(backup) if not path.exists() and (backup.is_full or path.suffix != ".json")
    ]
    return f"falta {missing[0]}" if missing else ""
