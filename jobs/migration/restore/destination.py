"""The directory that a restore fills: empty at first, marked while it fills, locked against a second restore."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from config.logs import one_line
from config.text.wording import reason_of
from files.descriptors import (
    PASSAGE_FLAGS,
    closing_descriptor,
    open_directory_beneath,
    open_directory_path,
)
from files.directory_names import sorted_names
from files.file_systems import can_be_synced, sync_file_system
from files.tree import Tree
from jobs.migration.restore.errors import DestinationUnusable, NotOfTheRestore
from storage.keys import INCOMPLETE_MARK, Place

PROBE_SUFFIX = ".probe"
FOREIGN_NAMED_AT_MOST = 1000

NEW_FILE_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
MARK_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
OWN_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
LONGEST_MARK_BYTES = 64 * 1024

NO_LOCKS = frozenset((errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL))
"""The errors of a file system without locks."""


class Target(NamedTuple):
    """Where to restore: the directory as operators know it, and the path of its parent, which holds no link."""

    path: Path
    parent: str

    @property
    def parts(self) -> list[str]:
        """Its name in the parent; none for "." and "/"."""
        return [self.path.name] if self.path.name else []


def target_at(path: Path) -> Target:
    """The target at a path that an operator has given, whose links are followed once, now."""
    return Target(path, os.path.realpath(path.parent))


@dataclass(frozen=True, slots=True)
class OpenDestination:
    """A destination that is marked and locked."""

    descriptor: int
    mark: str
    owner: int | None
    """For a resumed restore: the owner of what this process makes, as the file system reports it. On some file systems
    that is not this process's user.
    """

    @property
    def is_resumed(self) -> bool:
        """Whether an earlier restore of the same copy may have left something."""
        return self.owner is not None

    @property
    def own_names(self) -> tuple[str, str]:
        """The restore's own files in it."""
        return self.mark, self.mark + PROBE_SUFFIX


@contextlib.contextmanager
def opened_destination(
    target: Target, place: Place, manifest_sha256: str, tree: Tree, include: Sequence[str] = ()
) -> Iterator[OpenDestination]:
    """Open the destination of one copy's restore, creating it if it does not exist. `include` are the patterns to which
    the tree is limited.

    Raises `DestinationUnusable` unless it is an empty directory, or one that a restore of the very same copy, with the
    same patterns, left unfinished; and `OSError`.
    """
    path = target.path
    content = _mark_content(place, manifest_sha256, include)
    with closing_descriptor(_open_or_make(target)) as descriptor:
        names = os.listdir(descriptor)
        mark = _mark_beside(tree)
        if names and mark not in names:
            raise DestinationUnusable(_told_not_empty(path, _told_of_marks(descriptor, names)))
        with closing_descriptor(_open_mark(path, descriptor, mark, is_new=not names)) as mark_descriptor:
            is_resumed = False
            owner = None
            if names:
                is_resumed = _is_left_whole(path, mark_descriptor, mark, content, names)
                owner = _owner_of_what_is_made(path, descriptor, mark + PROBE_SUFFIX)
                _require_owner(path, mark_descriptor, mark, owner)
            if not is_resumed:
                _write_mark(descriptor, mark_descriptor, content)
            yield OpenDestination(descriptor, mark, owner if is_resumed else None)


def _open_or_make(target: Target) -> int:
    try:
        with closing_descriptor(open_directory_path(target.parent)) as parent:
            for name in target.parts:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, dir_fd=parent)
            return open_directory_beneath(parent, target.parts)
    except OSError as error:
        raise DestinationUnusable(f"no se puede usar {target.path}: {reason_of(error)}") from error


def _mark_content(place: Place, manifest_sha256: str, include: Sequence[str]) -> bytes:
    named: dict[str, object] = {
        "execution": place.name,
        "place": place.key_prefix,
        "manifest_sha256": manifest_sha256,
    }
    if include:
        named["include"] = list(include)
    return json.dumps(named).encode() + b"\n"


def _mark_beside(tree: Tree) -> str:
    """A name for the mark that no entry of the tree has."""
    names = itertools.chain([INCOMPLETE_MARK], (f"{INCOMPLETE_MARK}-{number}" for number in itertools.count(2)))
    return next(name for name in names if tree.find(name) is None and tree.find(name + PROBE_SUFFIX) is None)


def _open_mark(path: Path, descriptor: int, mark: str, *, is_new: bool) -> int:
    """Open the mark and lock it until it is closed. Two restores in one directory would take each other's files."""
    flags = NEW_FILE_FLAGS if is_new else MARK_FLAGS
    opened = os.open(mark, flags, 0o600, dir_fd=descriptor)
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DestinationUnusable(f"otra restauración está escribiendo en {path}: espere a que termine") from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        _require_still_there(path, descriptor, mark, opened)
    except BaseException:
        os.close(opened)
        raise
    return opened


def _require_still_there(path: Path, descriptor: int, mark: str, opened: int) -> None:
    status = os.fstat(opened)
    try:
        is_there = os.path.samestat(status, os.stat(mark, dir_fd=descriptor, follow_symlinks=False))
    except FileNotFoundError:
        is_there = False
    if not (is_there and stat.S_ISREG(status.st_mode)):
        raise DestinationUnusable(f"el destino {path} cambió mientras se abría")


def _is_left_whole(path: Path, mark: int, name: str, content: bytes, names: Sequence[str]) -> bool:
    """Whether the mark is that of an earlier restore of the same copy, and complete.

    A restore that was killed may have written any beginning of it. Raises `DestinationUnusable` for everything else:
    somebody's own file can have that name, or be hard-linked to the mark.
    """
    found = os.pread(mark, LONGEST_MARK_BYTES, 0)
    if os.fstat(mark).st_nlink != 1:
        raise _foreign(path, name)
    if found == content:
        return True
    if len(names) > 1 or _place_named_by(found):
        raise DestinationUnusable(_told_not_empty(path, _told_of(found, content)))
    if not content.startswith(found):
        raise _foreign(path, name)
    return False


def _require_owner(path: Path, mark: int, name: str, owner: int) -> None:
    if os.fstat(mark).st_uid != owner:
        raise _foreign(path, name)


def _foreign(path: Path, name: str) -> DestinationUnusable:
    return DestinationUnusable(
        f"el destino {path} no está vacío: su fichero {name} no es de una restauración de esta copia (tiene otro "
        "contenido, otro dueño u otro nombre más); use otro directorio, o saque de ahí ese fichero"
    )


def _write_mark(descriptor: int, mark: int, content: bytes) -> None:
    """Write the copy's name into the mark. It is on the disk before anything else is."""
    os.pwrite(mark, content, 0)
    os.fsync(mark)
    sync_directory(descriptor)


def _told_not_empty(path: Path, told_of_mark: str) -> str:
    """Explain a destination without a mark: it may be one that an earlier restore has finished."""
    may_be_done = "; si una restauración anterior terminó bien en él, ya está hecho; si no, indique uno vacío o nuevo"
    return f"el destino {one_line(path)} no está vacío{told_of_mark or may_be_done}"


def _told_of_marks(descriptor: int, names: Sequence[str]) -> str:
    """What the marks of other copies say, for an error."""
    for name in names:
        if name.startswith(INCOMPLETE_MARK) and not name.endswith(PROBE_SUFFIX):
            with contextlib.suppress(OSError), closing_descriptor(os.open(name, MARK_FLAGS, dir_fd=descriptor)) as mark:
                return _told_of(os.pread(mark, LONGEST_MARK_BYTES, 0))
    return ""


def _told_of(mark: bytes, expected: bytes = b"") -> str:
    place = _place_named_by(mark)
    of = f"de otra copia, {one_line(place)}," if place else "anterior"
    if place and _without_patterns(mark) == _without_patterns(expected):
        of = "de esta copia, con otros --include,"
    return f": una restauración {of} quedó ahí a medias; use otro directorio, o vacíelo si no lo necesita"


def _without_patterns(mark: bytes) -> object:
    """What a mark says except for its patterns; `None` for no mark."""
    try:
        return {**json.loads(mark), "include": None}
    except (ValueError, TypeError, RecursionError):
        return None


def _place_named_by(mark: bytes) -> str:
    """The place that a mark names, '' if it names none."""
    try:
        return str(json.loads(mark)["place"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _owner_of_what_is_made(path: Path, descriptor: int, name: str) -> int:
    with contextlib.suppress(FileNotFoundError):
        _require_probe(path, name, os.stat(name, dir_fd=descriptor, follow_symlinks=False))
        os.unlink(name, dir_fd=descriptor)  # left by a killed restore
    with closing_descriptor(os.open(name, NEW_FILE_FLAGS, 0o600, dir_fd=descriptor)) as probe:
        owner = os.fstat(probe).st_uid
    os.unlink(name, dir_fd=descriptor)
    return owner


def _require_probe(path: Path, name: str, status: os.stat_result) -> None:
    """Require a probe to be untouched: nothing is ever written to it."""
    if not stat.S_ISREG(status.st_mode) or status.st_size > 0 or status.st_nlink > 1:
        raise _foreign(path, name)


def sync_directory(descriptor: int) -> None:
    """Sync a directory, where its file system supports that. Raises `OSError`."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # how the kernel reports that there is no such operation
            raise


# What an earlier restore has left


def open_own_directory(descriptor: int, parts: Sequence[str], owner: int | None) -> int:
    """Open a directory that an earlier restore made, with permission to fill it. The caller closes it.

    Raises `NotOfTheRestore` for anything else, and `OSError`.
    """
    with _own(descriptor, parts, PASSAGE_FLAGS, owner) as (path, status):
        if not stat.S_ISDIR(status.st_mode):
            raise NotOfTheRestore
        _allow(path, status, stat.S_IRWXU)
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def open_own_file(parent: int, name: str, owner: int | None) -> int:
    """Open a file that an earlier restore made, for reading and writing. The caller closes it.

    Raises `NotOfTheRestore` for anything else, such as a file with a second name, and `OSError`.
    """
    with _own(parent, [name], OWN_FLAGS, owner) as (path, status):
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise NotOfTheRestore
        _allow(path, status, stat.S_IRUSR | stat.S_IWUSR)
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


@contextlib.contextmanager
def _own(descriptor: int, parts: Sequence[str], flags: int, owner: int | None) -> Iterator[tuple[str, os.stat_result]]:
    """A path to the current object, even if its name later leads elsewhere, and its status."""
    *directories, name = parts
    with closing_descriptor(open_directory_beneath(descriptor, directories)) as parent:
        try:
            opened = os.open(name, flags, dir_fd=parent)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise NotOfTheRestore from error
            raise
    with closing_descriptor(opened):
        status = os.fstat(opened)
        if status.st_uid != owner:
            raise NotOfTheRestore
        yield f"/proc/self/fd/{opened}", status


def _allow(path: str, status: os.stat_result, bits: int) -> None:
    """Add permissions that the execution's own modes may deny their owner. The modes are set again at the end."""
    if status.st_mode & bits != bits:
        os.chmod(path, bits)  # noqa: PTH101 through a descriptor


# Its contents


@dataclass(frozen=True, slots=True)
class Listing:
    """The entries of a tree found in a destination. `present` tells for each position whether the entry is listed under
    exactly its name. `foreign` are paths that the tree does not have, the first thousand of them.
    """

    present: bytearray
    foreign: tuple[str, ...]


def list_destination(destination: OpenDestination, tree: Tree, open_directory: Callable[[str], int | None]) -> Listing:
    """List each directory of a tree once. `open_directory` opens one by its path; if it returns `None`, that one is
    skipped. Raises `OSError`.
    """
    present = bytearray(len(tree))
    present[0] = 1
    foreign: list[str] = []
    pending = [0]
    while pending:
        position = pending.pop()
        path = tree.path(position)
        opened = open_directory(path)
        if opened is None:
            continue
        with closing_descriptor(opened):
            likely = position + 1
            for name in _names_in(opened):
                below = f"{path}/{name}" if path else name
                found = tree.find(below, likely)
                if found is not None:
                    likely = found + 1
                    present[found] = 1
                    if tree.is_directory(found):
                        pending.append(found)
                elif below not in destination.own_names and len(foreign) < FOREIGN_NAMED_AT_MOST:
                    foreign.append(below)
    return Listing(present, tuple(foreign))


def _names_in(directory: int) -> Iterator[str]:
    return (name for name in sorted_names(directory) if not name.endswith("/"))


class Disk:
    """Syncs what is restored: a whole file system at once where that is as good, else one object at a time.

    Open it before anything is written: a write error is only reported to descriptors opened before it.
    """

    def __init__(self, file_system_descriptor: int) -> None:
        self._file_system = file_system_descriptor
        self._is_synced_as_a_whole = can_be_synced(file_system_descriptor)

    def bring(self, file: int) -> None:
        """Sync one file, unless `bring_all` will. Raises `OSError`."""
        if not self._is_synced_as_a_whole:
            os.fsync(file)

    def read_from_disk(self, file: int) -> None:
        """Read a file that existed before this restore from the disk from now on, not from the kernel's memory.

        After a disk error the kernel behaves as if it had written the lost data, and has reported the error to the
        earlier restore. Unwritten data stays in memory, so it must be synced first. Raises `OSError`.
        """
        self.bring(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)

    def bring_directory(self, directory: int) -> None:
        """Sync one directory, unless `bring_all` will. Raises `OSError`."""
        if not self._is_synced_as_a_whole:
            sync_directory(directory)

    def bring_all(self) -> None:
        """Sync everything that was written. Raises `OSError`."""
        if self._is_synced_as_a_whole:
            sync_file_system(self._file_system)
