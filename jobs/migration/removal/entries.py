"""The entries of a local copy: all are compared with the proven copy before anything is removed, then each is removed
only if it still is what was compared.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
import threading
from collections.abc import Callable, Iterator

from config.errors import SourceChanged, SourceError
from config.logs import one_line
from config.models import Entry, EntryKind, FileIdentity
from files.descriptors import FILE_FLAGS, closing_descriptor, open_directory_beneath
from files.open_files import OpenFiles, look_at_open_files
from files.tree import Tree
from files.walk import hash_file, identity_of
from files.writers import Answer, FileInUse, lease_is_whole, release_lease, take_lease

SET_ASIDE = ".janitor-removing-"
"""The prefix of a file's name, in its own directory, in the moment before it is removed."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)

LINK_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


class LocalCopyDiffers(SourceError):
    """The local directory has something that the proven copy does not: it stays, and a person has to look."""

    code = "local_copy_differs"


class LocalCopyInUse(SourceError):
    """A program has a file open for writing: no copy has what it may still write, so the local one stays."""

    code = "local_copy_in_use"


class WritersUnknown(SourceError):
    """Nobody can tell whether a program has a file open for writing, so the local copy stays."""

    code = "writers_unknown"


# Comparison


def require_proven(
    descriptor: int, parents: Parents, present: Tree, proven: Tree, interruption: threading.Event
) -> int:
    """Require every local entry to be proven and without writers. Return how many proven entries have their
    names here.
    """
    position = None
    found = 0
    writers = _Writers()
    for entry in present:
        position = proven.find(entry.path, 0 if position is None else position + 1)
        counterpart = None if position is None else proven.entry(position)
        if counterpart is None and name_of(entry).startswith(SET_ASIDE):
            writers.require_none(parents, entry)
            _require_proven_somewhere(descriptor, entry, proven, interruption)
            continue
        if counterpart is None or counterpart.kind is not entry.kind:
            raise LocalCopyDiffers(f"{one_line(entry.path)} no está en la copia de la nube")
        if entry.kind is EntryKind.LINK and entry.link_target != counterpart.link_target:
            raise LocalCopyDiffers(f"el enlace {one_line(entry.path)} difiere de la copia de la nube")
        writers.require_none(parents, entry)
        if entry.kind is EntryKind.FILE and not _same_bytes(descriptor, entry, counterpart, interruption):
            raise LocalCopyDiffers(f"{one_line(entry.path)} difiere de la copia de la nube")
        found += 1
    return found


class Parents:
    """Opens the parents of entries. The last one stays open, because most entries share it with the next."""

    def __init__(self, top: int) -> None:
        self._top = top
        self._path = ""
        self._descriptor: int | None = None

    def of(self, entry: Entry) -> tuple[int, str]:
        """A descriptor, valid until the next call, and the entry's name in it. Raises `OSError`."""
        path, _, name = entry.path.rpartition("/")
        if self._descriptor is None or path != self._path:
            self.close()
            self._descriptor = open_directory_beneath(self._top, path.split("/") if path else [])
            self._path = path
        return self._descriptor, name

    def close(self) -> None:
        """Close the descriptor."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class _Writers:
    """Finds out whether a file is open for writing: by a lease or, where there is none, in `/proc`."""

    def __init__(self) -> None:
        self._open_files: OpenFiles | None = None

    def require_none(self, parents: Parents, entry: Entry) -> None:
        """Raises `LocalCopyInUse`, `WritersUnknown`, `OSError`."""
        if entry.kind is not EntryKind.FILE:
            return
        opened = open_entry(*parents.of(entry), entry.kind)
        try:
            answer = hold_lease(opened, entry)
            if answer is not Answer.TAKEN:
                self._require_none_in_proc(opened, entry, answer)
        finally:
            os.close(opened)

    def _require_none_in_proc(self, opened: int, entry: Entry, answer: Answer) -> None:
        if self._open_files is None:
            self._open_files = look_at_open_files()
        if self._open_files.has_writer(opened):
            raise LocalCopyInUse(f"otro programa tiene abierto para escribir {one_line(entry.path)}")
        if answer is Answer.NO_RIGHT and not self._open_files.is_complete:
            raise WritersUnknown(
                f"no se puede saber si otro programa tiene abierto para escribir {one_line(entry.path)}, que es del "
                f"usuario {os.fstat(opened).st_uid}: ejecute este programa como ese usuario o dele CAP_LEASE"
            )


def _require_proven_somewhere(descriptor: int, entry: Entry, proven: Tree, interruption: threading.Event) -> None:
    """An entry that an interrupted removal had set aside lost its name: the copy must hold it under any name."""
    content = entry.link_target
    if entry.kind is EntryKind.FILE:
        content = hash_file(descriptor, entry, interruption)
    held = ((other.kind, other.link_target or other.sha256) for other in proven)
    if content is None or (entry.kind, content) not in held:
        raise LocalCopyDiffers(f"{one_line(entry.path)} no está en la copia de la nube")


def _same_bytes(descriptor: int, entry: Entry, proven: Entry, interruption: threading.Event) -> bool:
    """An unchanged inode proves the bytes that were read and sent; otherwise they are read again."""
    if proven.identity is not None and entry.identity == proven.identity:
        return True
    return entry.size_bytes == proven.size_bytes and hash_file(descriptor, entry, interruption) == proven.sha256


# Removal


class EntryRemoval:
    """Removes the entries of one tree, each only if it still is what was compared a moment ago.

    A name may come to stand for something else between a look and `unlink`. So an entry is first renamed to `aside`, a
    name that nobody else knows, then checked through the descriptor that was compared, and then removed. If it is
    another file by now, it gets its name back.
    """

    def __init__(self, top: int, aside: str, require_held: Callable[[], None]) -> None:
        self._top = top
        self._aside = aside
        self._require_held = require_held
        self._compared: dict[int, FileIdentity] = {}
        """By inode, the status of hard links after another link was removed, which changes their ctime."""

    def remove(self, entry: Entry) -> None:
        """Raises `SourceChanged`, `LocalCopyInUse`, `OSError`, what `require_held` raises; then the entry stays.

        The parent is looked up again each time, so that one that somebody has moved away meanwhile is kept.
        """
        self._require_held()
        *parents, name = entry.path.split("/")
        if not parents:
            self._remove(self._top, name, entry)
            return
        with closing_descriptor(open_directory_beneath(self._top, parents)) as parent:
            self._remove(parent, name, entry)

    def _remove(self, parent: int, name: str, entry: Entry) -> None:
        if entry.kind is EntryKind.DIRECTORY:
            os.rmdir(name, dir_fd=parent)
            return
        opened = open_entry(parent, name, entry.kind)
        try:
            self._remove_opened(parent, name, opened, entry)
        finally:
            os.close(opened)

    def _remove_opened(self, parent: int, name: str, opened: int, entry: Entry) -> None:
        leased = entry.kind is EntryKind.FILE and hold_lease(opened, entry) is Answer.TAKEN
        identity = self._require_as_compared(opened, entry)
        present_name = self._set_aside(parent, name)
        try:
            _require_still_the_same(os.stat(present_name, dir_fd=parent, follow_symlinks=False), identity, entry)
            if leased:
                _end_lease(opened, entry)
            os.unlink(present_name, dir_fd=parent)
        except BaseException:
            self._give_back(parent, name)
            raise
        status = os.fstat(opened)
        if status.st_nlink:
            self._compared[identity.inode] = identity._replace(ctime_ns=status.st_ctime_ns)

    def _require_as_compared(self, opened: int, entry: Entry) -> FileIdentity:
        identity = identity_of(os.fstat(opened))
        if identity != self._compared.get(identity.inode, entry.identity):
            raise SourceChanged(f"cambió {one_line(entry.path)} mientras se borraba")
        return identity

    def _set_aside(self, parent: int, name: str) -> str:
        """Return the entry's new name: its own where a full disk has no room for another one."""
        try:
            os.rename(name, self._aside, src_dir_fd=parent, dst_dir_fd=parent)
        except OSError as error:
            if error.errno in NO_ROOM:
                return name
            raise
        return self._aside

    def _give_back(self, parent: int, name: str) -> None:
        """Rename, but never over another entry: then it stays set aside, in a directory that stays too."""
        with contextlib.suppress(OSError):
            if stat.S_ISDIR(os.stat(self._aside, dir_fd=parent, follow_symlinks=False).st_mode):
                os.rename(self._aside, name, src_dir_fd=parent, dst_dir_fd=parent)
            else:
                os.link(self._aside, name, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
                os.unlink(self._aside, dir_fd=parent)


def free_names(*trees: Tree) -> Iterator[str]:
    """Names that no entry has."""
    taken = {name_of(entry) for tree in trees if tree.may_mention(SET_ASIDE) for entry in tree}
    return (name for number in itertools.count() if (name := f"{SET_ASIDE}{number}") not in taken)


def name_of(entry: Entry) -> str:
    return entry.path.rpartition("/")[2]


def _require_still_the_same(status: os.stat_result, identity: FileIdentity, entry: Entry) -> None:
    """The same status, except for its ctime, which renaming has changed."""
    if identity_of(status)._replace(ctime_ns=identity.ctime_ns) != identity:
        raise SourceChanged(f"cambió {one_line(entry.path)} mientras se borraba")


def hold_lease(opened: int, entry: Entry) -> Answer:
    """Hold a lease until the descriptor is closed; see `take_lease`."""
    try:
        return take_lease(opened)
    except FileInUse as error:
        raise LocalCopyInUse(f"otro programa tiene abierto para escribir {one_line(entry.path)}") from error


def _end_lease(opened: int, entry: Entry) -> None:
    if not lease_is_whole(opened):
        raise LocalCopyInUse(f"otro programa quiso escribir en {one_line(entry.path)}")
    release_lease(opened)


def open_entry(parent: int, name: str, kind: EntryKind) -> int:
    """A descriptor of the inode that has the name, a link's or a file's. A lease needs one opened for reading."""
    return os.open(name, FILE_FLAGS if kind is EntryKind.FILE else LINK_FLAGS, dir_fd=parent)
