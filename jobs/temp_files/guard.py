"""Refuses a `TEMP_DIR` in which others keep files, as old files directly in it are deleted.

Also refuses a log or lock directory in a root, as it would be migrated with an execution.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from config.errors import ConfigurationError
from config.logs import one_line
from config.process.system_paths import SYSTEM_DIRECTORIES, SYSTEM_TREES
from config.settings import Settings
from files.mounts import MountedPart
from jobs.locks import lock_fault
from sql.database import database_identity
from storage.keys import MANIFEST_SUFFIX

PROGRAM = Path(__file__).resolve().parents[2]
PYTHON = Path(os.__file__).resolve().parent
PARTS_OF_THE_PROGRAM = (
    *("commands", "config", "demo", "files", "jobs", "providers", "sql", "storage"),
    *("docs", "tests", "benchmarks", "tools"),
    *(".git", ".venv"),
)
"""The program's own entries in its directory. Other directories there, such as `tmp`, are as good as any."""

HOMES = "/home"

TREES_OF_SERVICES = ("/var/backups", "/var/lib", "/var/mail", "/var/spool")
"""Mail, queued jobs, databases: files there belong to a service, however old they are."""

SIGNS_OF_OTHER_USE = (".git", ".env", "PG_VERSION", "janitor_daemon.py")
"""Contents that no directory of temporary files has: they mark sources, settings, a database or a program."""

ADVICE = "ponga en TEMP_DIR un directorio propio, solo para archivos temporales"


Identity = tuple[int, int]


class _Place:
    """A directory by its real path, and by its identity and those above it: a bind mount has another path.

    A missing directory is known by its path alone. Every tick makes some of these, so they inspect little.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = _real_path(path)
        self._identity = _identity(self.path)
        parts = self.path.split("/")
        above = ("/".join(parts[:depth]) for depth in range(len(parts) - 1, 1, -1))  # the root says nothing
        self._identities = {self._identity, *map(_identity, above)} - {None}
        self._part = MountedPart(self.path)

    def is_same_as(self, path: str) -> bool:
        """Whether this is the directory to which a path leads."""
        return self.path == path or (self._identity is not None and self._identity == _identity(path))

    def lies_in(self, path: str) -> bool:
        """Whether this is the directory to which a path leads, or anywhere below it."""
        is_below = f"{self.path}/".startswith(f"{path.rstrip('/')}/") or _identity(path) in self._identities
        return is_below or self._part.is_in(path)


def require_temp_directory_apart(settings: Settings) -> None:
    """Raises `ConfigurationError` if `TEMP_DIR` is no place for temporary files alone."""
    fault = temp_directory_fault(settings)
    if fault is not None:
        raise ConfigurationError(fault)


def temp_directory_fault(settings: Settings) -> str | None:
    """Why `TEMP_DIR` is refused, in Spanish; `None` if it is not. It does not check whether the directory exists and is
    usable.
    """
    temporary = _Place(settings.temp_directory)
    reason = next(_reasons(temporary, settings), None)
    if reason is None:
        return None
    return f"TEMP_DIR: {one_line(temporary.path)} {reason}; {ADVICE}"


def copies_fault(settings: Settings, directories: Iterable[str]) -> str | None:
    """Like `temp_directory_fault`, for the `ruta` of each provider of kind `local`."""
    temporary = _Place(settings.temp_directory)
    for directory in directories:
        copies = _Place(directory)
        if temporary.lies_in(copies.path) or copies.lies_in(temporary.path):
            reason = f"es, contiene o está en {one_line(copies.path)}, donde un proveedor local guarda copias"
            return f"TEMP_DIR: {one_line(temporary.path)} {reason}; {ADVICE}"
    return None


def require_outside_roots(settings: Settings) -> None:
    """Raises `ConfigurationError` if the log or lock directory is in a root.

    A log that grows while its execution is migrated would keep that from ever being deleted.
    """
    for fault in _faults_in_roots(settings):
        raise ConfigurationError(fault)


def faults_of_every_run(settings: Settings) -> Iterator[str]:
    """What ends each run before it has done anything, in Spanish: a log or lock directory that cannot be used."""
    yield from _faults_in_roots(settings)
    if (fault := lock_fault(settings.lock_directory, database_identity(settings.database_url))) is not None:
        yield f"JANITOR_LOCK_DIR: {fault}"


def _faults_in_roots(settings: Settings) -> Iterator[str]:
    faults = (log_directory_fault(settings), lock_directory_fault(settings))
    yield from (fault for fault in faults if fault is not None)


def log_directory_fault(settings: Settings) -> str | None:
    """Why `JANITOR_LOG_DIR` is refused, in Spanish; `None` if it is not."""
    return _fault_in_root("JANITOR_LOG_DIR", settings.log_directory, settings)


def lock_directory_fault(settings: Settings) -> str | None:
    """Why `JANITOR_LOCK_DIR` is refused, in Spanish; `None` if it is not."""
    return _fault_in_root("JANITOR_LOCK_DIR", settings.lock_directory, settings)


def _fault_in_root(variable: str, directory: Path, settings: Settings) -> str | None:
    place = _Place(directory)
    for root in settings.roots:
        if place.lies_in(_real_path(root)):
            where = f"está en la raíz {one_line(root)} de JANITOR_ROOTS y se migraría con una ejecución"
            return f"{variable}: {one_line(place.path)} {where}; indique un directorio fuera de las raíces"
    return None


def _reasons(temporary: _Place, settings: Settings) -> Iterator[str]:
    if _is_of_the_system(temporary):
        yield "es un directorio del sistema o de un usuario, o está en uno"
    for what, path in _kept_with_all_above(settings):
        if _Place(path).lies_in(temporary.path):
            yield f"es o contiene {what}"
    for what, path in _kept_with_all_below(settings):
        if temporary.lies_in(os.fspath(path)):
            yield f"está en {what}"
    if ".git" in temporary.path.split("/"):
        yield "está en un repositorio de git"
    for name in SIGNS_OF_OTHER_USE:
        if os.path.lexists(f"{temporary.path}/{name}"):
            yield f"contiene {name}, así que no es solo para archivos temporales"
    if any(os.path.lexists(f"{path}{MANIFEST_SUFFIX}") for path in (temporary.path, *Path(temporary.path).parents)):
        yield "es o está en una copia, con su manifiesto al lado"


def _kept_with_all_above(settings: Settings) -> Iterator[tuple[str, str | Path]]:
    """Directories that must neither be `TEMP_DIR` nor be in it, each with its Spanish name."""
    yield "el directorio de trabajo", "."
    yield "el directorio del programa", PROGRAM
    yield "los módulos de Python", PYTHON
    yield "el directorio del registro (JANITOR_LOG_DIR)", settings.log_directory
    yield "el directorio del bloqueo (JANITOR_LOCK_DIR)", settings.lock_directory
    for root in settings.roots:
        yield "una de las raíces de JANITOR_ROOTS", root
    yield "el directorio de las copias de seguridad (BACKUP_PATH)", settings.backup_directory


def _kept_with_all_below(settings: Settings) -> Iterator[tuple[str, str | Path]]:
    """Directories that must not contain `TEMP_DIR`."""
    for part in PARTS_OF_THE_PROGRAM:
        yield "el directorio del programa", PROGRAM / part
    yield "los módulos de Python", PYTHON
    if sys.prefix != sys.base_prefix:
        yield "el entorno virtual de Python", sys.prefix
    for what, path in (
        ("el directorio del registro (JANITOR_LOG_DIR)", settings.log_directory),
        ("el directorio del bloqueo (JANITOR_LOCK_DIR)", settings.lock_directory),
    ):
        if not _holds_much_else(path):
            yield what, _real_path(path)
    for root in settings.roots:
        yield "una de las raíces de JANITOR_ROOTS", root
    yield "el directorio de las copias de seguridad (BACKUP_PATH)", _real_path(settings.backup_directory)


def _is_of_the_system(temporary: _Place) -> bool:
    """As for the directories of rows. `/tmp` and `/var/tmp` are shared by everybody; a directory in them is not."""
    return (
        temporary.path.rpartition("/")[0] == HOMES
        or any(map(temporary.is_same_as, (*SYSTEM_DIRECTORIES, *_homes())))
        or any(map(temporary.lies_in, (*SYSTEM_TREES, *TREES_OF_SERVICES)))
    )


def _homes() -> Iterator[str]:
    """The home directories, with the user's own files and `.profile`."""
    if home := os.environ.get("HOME"):
        yield home
    with contextlib.suppress(KeyError):  # in a container the user may have a number but no account
        yield pwd.getpwuid(os.geteuid()).pw_dir


def _holds_much_else(directory: Path) -> bool:
    """Whether much else is expected in it, as in `/tmp` or the working directory."""
    return str(directory) in SYSTEM_DIRECTORIES or _Place(".").lies_in(_real_path(directory))


def _real_path(path: str | Path) -> str:
    try:
        return os.path.realpath(path)
    except FileNotFoundError:  # the working directory is gone, so a relative path leads nowhere
        return os.fspath(path)


def _identity(path: str) -> Identity | None:
    try:
        status = os.stat(path)  # noqa: PTH116 a third of the time
    except OSError:
        return None
    return status.st_dev, status.st_ino
