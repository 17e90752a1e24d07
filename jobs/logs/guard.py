"""Refuses directories in `LOGS_PATH` that hold more than logs: their files would be compressed and deleted."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from config.errors import ConfigurationError
from config.logs import one_line
from config.process.system_paths import SYSTEM_DIRECTORIES, SYSTEM_TREES
from config.settings import Settings
from config.text.wording import reason_of
from files.mounts import MountedPart
from storage.keys import MANIFEST_SUFFIX

LOGS_OF_THE_SYSTEM = "/var/log"
"""Only the system's own directory itself is refused. Programs' directories in it are as good as any."""

Identity = tuple[int, int]


@dataclass(frozen=True, slots=True)
class KeptApart:
    """A directory that contains no logs, and its Spanish name."""

    title: str
    path: str


def kept_apart_from_logs(settings: Settings) -> tuple[KeptApart, ...]:
    """The program's directories in which no file is a log, whatever its name."""
    roots = (KeptApart("una de las raíces de JANITOR_ROOTS", root) for root in settings.roots)
    temporary = KeptApart("el directorio temporal (TEMP_DIR)", str(settings.temp_directory.absolute()))
    backups = "el directorio de las copias de seguridad (BACKUP_PATH)"
    return (*roots, temporary, KeptApart(backups, str(settings.backup_directory.absolute())))


def require_directories_of_logs(paths: Iterable[str], kept_apart: Iterable[KeptApart]) -> None:
    """Raises `ConfigurationError` for the first directory, by its absolute path, that is refused.

    It does not check whether each exists. A directory mounted a second time has another path, so the directories above
    it are also compared by identity, not only by name, and what it is a part of is looked up.
    """
    apart = tuple(kept_apart)
    for path in paths:
        reason = next(_reasons(path, apart), None)
        if reason is not None:
            raise ConfigurationError(
                f"LOGS_PATH: {one_line(path)} {reason}; indique directorios en los que solo haya registros"
            )


def why_not_opened(error: OSError) -> str:
    """Why a directory of logs could not be opened, in Spanish, and what to do."""
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return "es o atraviesa un enlace simbólico, o no es un directorio; ponga en LOGS_PATH la ruta real"
    if isinstance(error, PermissionError):
        return f"{reason_of(error)}: este usuario necesita leerlo, entrar y escribir en él (rwx)"
    return reason_of(error)


def _reasons(path: str, kept_apart: Iterable[KeptApart]) -> Iterator[str]:
    above = (path, *map(str, Path(path).parents))
    identities = {identity for each in above[:-1] if (identity := _identity(each)) is not None}
    part = MountedPart(path)
    if _is_same(path, (*SYSTEM_DIRECTORIES, LOGS_OF_THE_SYSTEM)):
        yield "es un directorio del sistema"
    for tree in SYSTEM_TREES:
        if tree != LOGS_OF_THE_SYSTEM and _lies_in(above, identities, part, tree):
            yield "es un directorio del sistema, o está en uno"
    for apart in kept_apart:
        if _lies_in(above, identities, part, apart.path):
            yield f"es o está en {apart.title}"
    if any(os.path.lexists(f"{each}{MANIFEST_SUFFIX}") for each in above):
        yield "es o está en una copia, con su manifiesto al lado"


def _is_same(path: str, others: Iterable[str]) -> bool:
    own = _identity(path)
    return any(path == other or (own is not None and own == _identity(other)) for other in others)


def _lies_in(above: tuple[str, ...], identities: set[Identity], part: MountedPart, tree: str) -> bool:
    real_path = os.path.realpath(tree)
    lies_below = tree in above or real_path in above or _identity(real_path) in identities
    return lies_below or part.is_in(real_path)


def _identity(path: str) -> Identity | None:
    try:
        status = os.stat(path)  # noqa: PTH116 as in the refusal of temporary directories
    except OSError:
        return None
    return status.st_dev, status.st_ino
