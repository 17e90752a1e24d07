"""Removes entries of a local copy one by one, each only if it still is what was compared."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
from collections.abc import Callable, Iterator

from config.errors import SourceChanged
from config.logs import one_line
from config.models import Entry, EntryKind, FileIdentity
from files.descriptors import FILE_FLAGS, closing_descriptor, open_directory_beneath
from files.tree import Tree
from files.walk import identity_of
from files.writers import Answer, FileInUse, lease_is_whole, release_lease, take_lease
from jobs.migration.removal.errors import LocalCopyInUse

SET_ASIDE = ".janitor-removing-"
"""The prefix of a file's name, in its own directory, in the moment before it is removed."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)

LINK_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


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
