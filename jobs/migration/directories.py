"""Decides whether a row's directory may be touched, by its path, by what is on the disk and by other rows, and opens it
without following a symbolic link.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from config.errors import SourceChanged, SourceError, SourceUnreadable, UnsafeSource
from config.logs import one_line
from config.models import Execution
from config.process.system_paths import is_of_system
from config.text.wording import reason_of
from files.descriptors import closing_descriptor, open_directory_beneath, open_directory_path
from files.mounts import has_no_mount
from sql.database import Database
from sql.migration.executions import Conflicts
from storage.keys import MANIFEST_SUFFIX

GOOD_FOR_SECONDS = 30.0
GOOD_FOR_TIMES_ITS_COST = 20.0
"""A look reads a large table, so looks take no more than a twentieth of a run."""


class DirectoryMissing(SourceError):
    """The execution's directory does not exist: not on this host, or no longer."""

    code = "directory_missing"


class OpenDirectory(NamedTuple):
    """An execution's directory, held open: everything done through it stays inside, whatever moves."""

    descriptor: int
    path: str

    def require_in_place(self) -> None:
        """Raises `SourceError` unless its path still leads to it."""
        try:
            descriptor = open_directory_path(self.path)
        except OSError as error:
            raise _judge_failure(error, self.path) from error
        with closing_descriptor(descriptor):
            if not os.path.samestat(os.fstat(descriptor), os.fstat(self.descriptor)):
                raise SourceChanged(f"{one_line(self.path)} fue sustituido por otro directorio")


class DirectoryJudge:
    """Applies the configured roots to the paths in rows."""

    def __init__(self, roots: Sequence[str]) -> None:
        self._roots = tuple(roots)
        self._copies: tuple[str, ...] = ()
        self._missing_roots: tuple[str, ...] = ()

    @property
    def may_delete(self) -> bool:
        """Whether any local copy may be removed at all."""
        return bool(self._roots)

    def keep_out_of(self, directories: Iterable[str]) -> None:
        """From now on, refuse every path that is, contains or is in one of these directories of copies.

        A row that names a copy would allow its removal as if it were an original.
        """
        self._copies = tuple({os.path.realpath(directory) for directory in directories if "\0" not in directory})

    def look_for_roots(self) -> tuple[str, ...]:
        """Check which roots exist; return those that are missing for the first time.

        A root that comes back still counts as missing: what was skipped meanwhile is left for the next run.
        """
        missing = tuple(root for root in self._roots if root not in self._missing_roots and _is_missing(root))
        self._missing_roots += missing
        return missing

    def is_in_missing_root(self, execution: Execution) -> bool:
        """Whether an execution's path, as written, is in a missing root and in no other one."""
        if not self._missing_roots:
            return False
        normal = f"/{'/'.join(part for part in (execution.directory or '').split('/') if part)}"
        containing = [root for root in self._roots if normal.startswith(f"{root}/")]
        return bool(containing) and set(containing) <= set(self._missing_roots)

    def is_acceptable(self, execution: Execution) -> bool:
        """Judge the path as written, without a look at the disk."""
        try:
            self._place(execution)
        except UnsafeSource:
            return False
        return True

    def accepted_path(self, execution: Execution) -> str:
        """The path as written, without doubled slashes, judged without a look at the disk. Raises `UnsafeSource`."""
        _, parts = self._place(execution)
        return "/" + "/".join(parts)

    def exists(self, execution: Execution) -> bool:
        """Whether anything exists at an acceptable path. Only opening it shows whether it may be touched.

        Opening it also shows why its existence is unknown: a failing disk or a forbidden parent is not a missing path.
        """
        _, parts = self._place(execution)
        try:
            os.lstat("/" + "/".join(parts))
        except OSError as error:
            return error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
        return True

    @contextlib.contextmanager
    def open(self, execution: Execution) -> Iterator[OpenDirectory]:
        """Open an execution's directory. Raises `DirectoryMissing`, `UnsafeSource`, `SourceUnreadable`."""
        path, parts = self._place(execution)
        _require_no_copy(parts)
        with contextlib.ExitStack() as stack:
            try:
                parent = open_directory_path("/" + "/".join(parts[:-1]))
                stack.callback(os.close, parent)
                descriptor = open_directory_beneath(parent, parts[-1:])
                stack.callback(os.close, descriptor)
            except OSError as error:
                raise _judge_failure(error, path) from error
            if os.fstat(descriptor).st_dev != os.fstat(parent).st_dev and not has_no_mount(descriptor):
                raise UnsafeSource(f"{one_line(path)} es un punto de montaje")
            yield OpenDirectory(descriptor, "/" + "/".join(parts))

    @contextlib.contextmanager
    def open_parent(self, execution: Execution) -> Iterator[tuple[int, str]]:
        """Open the parent of an execution's directory, which may be gone; yield it with the name. Raises as `open`."""
        path, parts = self._place(execution)
        try:
            parent = open_directory_path("/" + "/".join(parts[:-1]))
        except OSError as error:
            raise _judge_failure(error, path) from error
        try:
            yield parent, parts[-1]
        finally:
            os.close(parent)

    def _place(self, execution: Execution) -> tuple[str, list[str]]:
        path = execution.directory
        if not path:
            raise UnsafeSource("ruta_directorio está vacía")
        if not path.startswith("/"):
            raise UnsafeSource(f"ruta_directorio no es absoluta: {one_line(path)}")
        parts = [part for part in path.split("/") if part]
        if "\0" in path or any(part in (".", "..") for part in parts):
            raise UnsafeSource(f"ruta_directorio contiene '.', '..' o un carácter nulo: {one_line(path)}")
        if not _is_text(path):  # a database in SQL_ASCII can hold such text; no manifest could name it
            raise UnsafeSource(f"ruta_directorio tiene bytes que no son un texto: {one_line(path)}")
        normal = "/" + "/".join(parts)
        if self._roots:
            self._require_beneath_root(normal)
        elif is_of_system(normal):
            raise UnsafeSource(f"ruta_directorio es un directorio del sistema: {one_line(path)}")
        for copies in self._copies:
            if f"{normal}/".startswith(f"{copies}/") or f"{copies}/".startswith(f"{normal}/"):
                raise UnsafeSource(f"ruta_directorio lleva a donde se guardan las copias: {one_line(normal)}")
        return path, parts

    def _require_beneath_root(self, normal: str) -> None:
        if any(f"{root}/".startswith(f"{normal}/") for root in self._roots):
            raise UnsafeSource(f"ruta_directorio es o contiene una de las raíces de JANITOR_ROOTS: {one_line(normal)}")
        if not any(normal.startswith(f"{root}/") for root in self._roots):
            raise UnsafeSource(f"ruta_directorio está fuera de JANITOR_ROOTS: {one_line(normal)}")


class KnownConflicts:
    """What keeps an execution from being migrated, or its local copy from being removed. Safe to use from several
    threads.
    """

    def __init__(self, database: Database, judge: DirectoryJudge, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._judge = judge
        self._clock = clock
        self._lock = threading.Lock()
        self._shared_prefix = ""
        self._good_until = 0.0
        self._in_the_way: dict[int, Execution] = {}
        self.present = Conflicts()
        """Conflicts among the rows that were still to be migrated at the last look."""

    def look(self, shared_prefix: str) -> None:
        """Look at all rows; `shared_prefix` is the common prefix of places in the cloud. Raises `DatabaseError`."""
        with self._lock:
            self._shared_prefix = shared_prefix
            self._look()

    def of_removal(self, execution: Execution) -> str | None:
        """Why another row forbids the removal of a local copy, in Spanish; `None` if there is no such reason.

        Based on a look no older than `GOOD_FOR_SECONDS`, or than its cost justifies. Raises `DatabaseError`.
        """
        with self._lock:
            if self._clock() >= self._good_until:
                self._look()
        other = self._in_the_way.get(execution.id)
        if other is not None:
            return (
                f"la ejecución {one_line(other.uuid)} (id {other.id}), sin migrar, tiene un directorio que es el suyo, "
                f"lo contiene o está dentro: {one_line(other.directory)}"
            )
        return self.present.reason(execution)

    def _look(self) -> None:
        began = self._clock()
        self.present = self._database.conflicts(self._judge.is_acceptable, self._shared_prefix)
        self._in_the_way = {
            execution_id: other
            for execution_id, other in self._database.rows_in_the_way()
            if self._judge.is_acceptable(other)  # refused for its own sake, it stands in nobody's way
        }
        ended = self._clock()
        self._good_until = ended + max(GOOD_FOR_SECONDS, (ended - began) * GOOD_FOR_TIMES_ITS_COST)


def _is_missing(root: str) -> bool:
    """Whether there is no such directory, or none that answers, for example because a file server is gone."""
    try:
        status = Path(root).stat()
    except PermissionError:  # it exists; each execution in it reports its own missing permission
        return False
    except OSError:
        return True
    return not stat.S_ISDIR(status.st_mode)


def _require_no_copy(parts: Sequence[str]) -> None:
    """A manifest next to a directory, or next to a parent of it, shows a copy, wherever and by whomever it was made."""
    for depth in range(len(parts), 0, -1):
        path = "/" + "/".join(parts[:depth])
        if os.path.lexists(path + MANIFEST_SUFFIX):
            raise UnsafeSource(f"ruta_directorio es o está en una copia, con su manifiesto al lado: {one_line(path)}")


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _judge_failure(error: OSError, path: str) -> SourceError:
    where = one_line(path)
    if error.errno == errno.ENOENT:
        return DirectoryMissing(f"no existe el directorio {where}")
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return UnsafeSource(f"{where} es o atraviesa un enlace simbólico, o no es un directorio")
    if error.errno == errno.ENAMETOOLONG:
        return UnsafeSource("ruta_directorio es demasiado larga")
    return SourceUnreadable(f"no se puede abrir {where}: {reason_of(error)}")
