"""What a person can do so that this process may write somewhere."""

from __future__ import annotations

import errno
import os
import pwd
from pathlib import Path

from config.logs import one_line
from config.process.system_paths import is_of_system


def advice_to_write(path: Path, error: OSError, variable: str) -> str:
    """How to let this process write to `path`, an existing directory or a file, after `error` prevented it; or which
    variable can name another directory.

    Never advises changing the owner of a system directory or a home, nor of a directory's contents.
    """
    elsewhere = f"indique otro directorio en {variable}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "libere espacio en ese disco"
    existing = next(candidate for candidate in (path, *path.parents) if os.path.lexists(candidate))
    if existing != path and not os.path.isdir(existing):  # noqa: PTH112 the other one raises where it may not look
        return f"{one_line(existing)} no es un directorio: quítelo, o {elsewhere}"
    if error.errno not in (errno.EACCES, errno.EPERM) or _is_writable_directory(existing):
        return elsewhere
    return f"{_advice_of_rights(path, existing)}{elsewhere}"


def _advice_of_rights(path: Path, existing: Path) -> str:
    """How this user gets the right to write to `path`, whose part `existing` exists; the caller adds an alternative."""
    where, owner, user = one_line(existing), user_name(existing.stat().st_uid), user_name(os.geteuid())
    if owner == user:
        return f"{where} es de {owner}, sin permiso de escritura: ejecute chmod u+rwX {where}, o "
    if existing not in (path, path.parent) and os.access(existing, os.X_OK):
        return f"cree el directorio {one_line(path.parent)} para el usuario {user}, o "
    whose = f"{where} es de {owner} y el programa corre como {user}"
    if is_to_be_left_alone(existing):
        return f"{whose}: "
    return f"{whose}: ejecute chown {user} {where}, o "


def _is_writable_directory(path: Path) -> bool:
    return path.is_dir() and os.access(path, os.W_OK | os.X_OK)


def is_to_be_left_alone(path: Path) -> bool:
    """Whether it is a system directory or a user's home."""
    real_path = os.path.realpath(path)
    try:
        home = pwd.getpwuid(path.stat().st_uid).pw_dir
    except KeyError:
        home = None
    return is_of_system(real_path) or os.path.dirname(real_path) == "/home" or real_path == home  # noqa: PTH120


def user_name(user_id: int) -> str:
    """The name of a user, or the number if the user has no name."""
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return str(user_id)
