"""Refuses directories in `LOGS_PATH` whose files are not logs alone: what is there would be compressed and deleted."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from config.logs import one_line
from config.process.system_paths import SYSTEM_DIRECTORIES, SYSTEM_TREES
from config.settings import ConfigurationError, Settings
from storage.keys import MANIFEST_SUFFIX

LOGS_OF_THE_SYSTEM = "/var/log"
"""Programs have directories of their own in it, which are as good as any; it is the system's own itself."""

Identity = tuple[int, int]


@dataclass(frozen=True, slots=True)
class KeptApart:
    """A directory in which no logs are, and what it is called."""

    title: str
    path: str


def kept_apart_from_logs(settings: Settings) -> tuple[KeptApart, ...]:
    """The directories of the program in which nothing is a log, whatever its name."""
    roots = (KeptApart("una de las raíces de JANITOR_ROOTS", root) for root in settings.roots)
    apart = [*roots, KeptApart("el directorio temporal (TEMP_DIR)", str(settings.temp_directory))]
    if settings.backup_directory is not None:
        title = "el directorio de las copias de seguridad (BACKUP_PATH)"
        apart.append(KeptApart(title, str(settings.backup_directory)))
    return tuple(apart)


def require_directories_of_logs(directories: Iterable[Path], kept_apart: Iterable[KeptApart]) -> None:
    """Raises `ConfigurationError` for the first directory that is refused. Whether each is there is another question.

    Whoever mounts a directory a second time elsewhere gives it another path: directories above are told by what they
    are, not by their names.
    """
    apart = tuple(kept_apart)
    for directory in directories:
        path = absolute(directory)
        reason = next(_reasons(path, apart), None)
        if reason is not None:
            raise ConfigurationError(
                f"LOGS_PATH: {one_line(path)} {reason}; indique directorios en los que solo haya registros"
            )


def absolute(directory: Path) -> str:
    """The path from the root, without following links."""
    path = os.path.normpath(directory if directory.is_absolute() else Path.cwd() / directory)
    return f"/{path.lstrip('/')}"  # POSIX lets two slashes at the beginning be something else


def _reasons(path: str, kept_apart: Iterable[KeptApart]) -> Iterator[str]:
    above = (path, *map(str, Path(path).parents))
    identities = {identity for each in above[:-1] if (identity := _identity(each)) is not None}
    if _is_same(path, (*SYSTEM_DIRECTORIES, LOGS_OF_THE_SYSTEM)):
        yield "es un directorio del sistema"
    for tree in SYSTEM_TREES:
        if tree != LOGS_OF_THE_SYSTEM and _lies_in(above, identities, tree):
            yield "es un directorio del sistema, o está en uno"
    for apart in kept_apart:
        if _lies_in(above, identities, apart.path):
            yield f"es o está en {apart.title}"
    if any(os.path.lexists(f"{each}{MANIFEST_SUFFIX}") for each in above):
        yield "es o está en una copia, con su manifiesto al lado"


def _is_same(path: str, others: Iterable[str]) -> bool:
    own = _identity(path)
    return any(path == other or (own is not None and own == _identity(other)) for other in others)


def _lies_in(above: tuple[str, ...], identities: set[Identity], tree: str) -> bool:
    real_path = os.path.realpath(tree)
    return absolute(Path(tree)) in above or real_path in above or _identity(real_path) in identities


def _identity(path: str) -> Identity | None:
    try:
        status = os.stat(path)  # noqa: PTH116 as in the refusal of temporary directories
    except OSError:
        return None
    return status.st_dev, status.st_ino
