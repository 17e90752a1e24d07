"""Refuses settings with which no backup is to be made, and tells whether this user can write where they go."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from config.errors import ConfigurationError
from config.logs import one_line
from config.process.write_advice import advice_to_write, is_to_be_left_alone
from config.settings import Settings
from config.text.wording import reason_of
from files.private import is_closed_to_others
from jobs.backups.settings import BackupSettings
from sql.database import SchemaError, require_database_uri


def require_settings(settings: Settings) -> None:
    """Raise `ConfigurationError` for an address that cannot be read, and for a directory in a root."""
    if address := settings.of(BackupSettings).database_url:
        try:
            require_database_uri(address, "BACKUP_DATABASE_URL")
        except SchemaError as error:
            raise ConfigurationError(str(error)) from None
    require_outside_roots(settings)


def require_outside_roots(settings: Settings) -> None:
    """Raise `ConfigurationError` if `BACKUP_PATH` is in a root.

    An execution that is there, or holds it, would take the backups along: to a provider that is not to have them, or
    not unencrypted, and away from here.
    """
    try:
        directory = Path(os.path.realpath(settings.backup_directory))
    except FileNotFoundError:  # the working directory is gone, so a relative path leads nowhere
        return
    for root in settings.roots:
        if any(_is_same(each, os.path.realpath(root)) for each in (directory, *directory.parents)):
            raise ConfigurationError(
                f"BACKUP_PATH: {one_line(directory)} está en la raíz {one_line(root)} de JANITOR_ROOTS y se migraría "
                "con una ejecución; indique un directorio fuera de las raíces; las copias que haya valen donde están, "
                "y si las lleva allí, corrija su ruta_archivo en historial_backup (docs/backups.md)"
            )


def _is_same(path: Path, root: str) -> bool:
    """Whether both lead to one directory: a bind mount has another path."""
    try:
        return str(path) == root or path.samefile(root)
    except OSError:
        return False


def why_not_writable(directory: Path) -> str | None:
    """Why this user can make no backup there, and what to do, in Spanish; `None` if nothing is in the way.

    Nothing is made to find out: what does not exist is judged by what is above it.
    """
    existing = next(path for path in (directory, *directory.parents) if os.path.lexists(path))
    if not os.path.isdir(existing):  # noqa: PTH112 the other one raises where it may not look
        code = errno.ENOTDIR
    elif os.access(existing, os.W_OK | os.X_OK, effective_ids=True):
        return None
    else:
        code = errno.EROFS if os.statvfs(existing).f_flag & os.ST_RDONLY else errno.EACCES
    error = OSError(code, os.strerror(code))
    return f"{reason_of(error)}; {advice_to_write(directory, error, 'BACKUP_PATH')}"


def open_to_others(directory: Path) -> str | None:
    """What operators read where others than its owner can enter it; `None` where they cannot, or nobody can tell."""
    try:
        status = directory.stat()
        if is_closed_to_others(status):
            return None
        is_of_others = status.st_uid != os.geteuid() or is_to_be_left_alone(directory)
    except OSError:
        return None
    advice = "indique uno solo para ellas, de este usuario" if is_of_others else "ejecute chmod 700 en él"
    return f"otros usuarios pueden entrar en {one_line(directory)} (BACKUP_PATH); {advice}"
