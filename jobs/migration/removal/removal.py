"""Removes a local copy: only through descriptors, and only what is, byte for byte, in the proven copy."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import stat
import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

from config.errors import RunInterrupted, SourceChanged, SourceError, SourceUnreadable, UnsafeSource
from config.logs import one_line
from config.models import Entry, EntryKind, Execution, FileIdentity
from config.text.wording import reason_of
from files.descriptors import FILE_FLAGS, closing_descriptor, open_directory_beneath
from files.open_files import OpenFiles, look_at_open_files
from files.tree import Tree
from files.walk import hash_file, identity_of, walk_quiet_tree
from files.writers import Answer, FileInUse, lease_is_whole, release_lease, take_lease
from jobs.migration.directories import DirectoryJudge, DirectoryMissing
from sql.migration.removals import RemovalRecord
from storage import lease as lease_module
from storage.helpers import FILES_HANDED_OVER, HelperLost, Helpers, Task, WorkerState

SET_ASIDE = ".janitor-removing-"
"""The prefix of a file's name, in its own directory, in the moment before it is removed."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
NOT_TO_BE_SYNCED = (errno.EINVAL, errno.ENOTSUP)
"""The errors of a file system that cannot sync a directory."""

LONGEST_NAME_BYTES = 255

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


class LocalCopyAbsent(SourceError):
    """There is nothing to remove, and nothing shows that this program has removed it."""

    code = "local_copy_absent"


class Permission(Protocol):
    """The right to remove one local copy, and the record of what was seen of it, for later runs."""

    @property
    def record(self) -> RemovalRecord:
        """The record of earlier runs."""

    def begin(self, inode: str) -> None:
        """Record which directory is about to be set aside, and ask whether it may still be removed.

        Raises `MigrationError` when it may not, and `DatabaseError`.
        """

    def require_held(self) -> None:
        """Raises `MigrationError` when the directory may no longer be removed. Cheap, unless some time has passed."""

    def held_until(self) -> float:
        """The earliest time at which the right can end, by the clock of `storage.lease.now`. Raises as
        `require_held`.
        """

    def note_emptied(self, parent: str) -> None:
        """Record that the directory is empty and about to be removed from its parent. Raises as `begin`."""


def trash_name(execution: Execution) -> str:
    """The name that a directory gets, next to its own, before anything in it is removed. The next tick knows it too.

    It ends in the uuid, or in its hash where that is too long for a name: 64 characters may be 256 bytes.
    """
    name = f".janitor-trash-{execution.id}-{execution.uuid}"
    if len(os.fsencode(name)) <= LONGEST_NAME_BYTES:
        return name
    return f".janitor-trash-{execution.id}-{hashlib.sha256(os.fsencode(execution.uuid)).hexdigest()}"


def remove_local_copy(
    judge: DirectoryJudge,
    execution: Execution,
    load_proven: Callable[[], Tree],
    interruption: threading.Event,
    permission: Permission,
    helpers: Helpers | None = None,
) -> None:
    """Remove an execution's directory, or what an interrupted removal left of it. When this returns, it is gone for
    good, even after a power failure, and its removal was seen, now or by an earlier run.

    `load_proven` gives the tree of the proven copy; it is called only when there is something to remove. `helpers`
    remove the files of a large one. `permission` is asked before each entry is removed. Raises `LocalCopyDiffers`,
    `LocalCopyInUse`, `WritersUnknown`, `LocalCopyAbsent`, `UnsafeSource`, `SourceUnreadable`, `SourceChanged`,
    `RunInterrupted`, what `permission` raises; then everything that is left has its own name again.
    """
    if not judge.may_delete:
        raise UnsafeSource("sin JANITOR_ROOTS no se borra nada")
    trash = trash_name(execution)
    with _absence_told(execution), judge.open_parent(execution) as (parent, name), _translated("borrar"):
        found = _find(parent, name, trash, permission.record)
        if found is not None:
            try:
                permission.begin(str(found.inode))
                present_name = trash
                if not found.is_set_aside:
                    with judge.open(execution) as directory:
                        _require_inode(directory.descriptor, found.inode)
                        present_name = _set_aside(parent, name, trash, directory.descriptor)
                hold = _Hold(permission, interruption, parent, present_name, found.inode)
                _remove_set_aside(hold, load_proven, found, helpers)
            except BaseException:
                _give_name_back(parent, trash, name, str(found.inode))
                raise
        _bring_to_disk(parent)


def keep_local_copy(judge: DirectoryJudge, execution: Execution, record: RemovalRecord) -> None:
    """Undo the beginning of a removal: the directory gets its name back. Raises as `remove_local_copy`."""
    with judge.open_parent(execution) as (parent, name), _translated("devolver su nombre a"):
        _give_name_back(parent, trash_name(execution), name, record.inode)


def is_set_aside(parent: int, execution: Execution) -> bool:
    """Whether the directory of a removal that was cut off still has the name that the removal gave it."""
    return _status(parent, trash_name(execution)) is not None


@dataclass(frozen=True, slots=True)
class _Found:
    """The directory to remove. If its removal `was_begun`, a part of it may be gone."""

    inode: int
    is_set_aside: bool
    was_begun: bool


def _find(parent: int, name: str, trash: str, record: RemovalRecord) -> _Found | None:
    """What there is to remove; `None` if an earlier run removed it and was killed before it could record that.

    Raises `UnsafeSource`, `LocalCopyAbsent`, `OSError`.
    """
    aside = _status(parent, trash)
    if aside is not None:
        # Earlier versions did not record the inode. An empty directory could be anybody's.
        is_of_old_version = record.inode is None and bool(_names_in(parent, trash))
        if str(aside.st_ino) != record.inode and not is_of_old_version:
            raise UnsafeSource(f"{trash} no es el directorio que este programa apartó: mire qué es y quítelo de ahí")
        return _Found(aside.st_ino, is_set_aside=True, was_begun=True)
    present = _status(parent, name)
    was_begun = present is not None and str(present.st_ino) == record.inode
    if record.emptied_in == _place_of(parent) and not was_begun:
        return None
    if present is None:
        raise LocalCopyAbsent(_told_absent(name))
    return _Found(present.st_ino, is_set_aside=False, was_begun=was_begun)


def _told_absent(name: str) -> str:
    return (
        f"{one_line(name)} no está, y no consta que lo borrara este programa; móntelo o devuélvalo a su sitio, o, si "
        "lo borró alguien a propósito, ponga local_copy = 'kept' en su fila de janitor_migrations"
    )


def _remove_set_aside(hold: _Hold, load_proven: Callable[[], Tree], found: _Found, helpers: Helpers | None) -> None:
    """Remove the directory that was set aside, with all its contents, if it is the one that was found."""
    with closing_descriptor(open_directory_beneath(hold.parent, [hold.trash])) as descriptor:
        _require_inode(descriptor, found.inode)
        hold.require_in_place()
        proven = load_proven()
        hold.require_held()
        _remove_contents(descriptor, proven, hold, helpers, may_lack_some=found.was_begun)
        hold.require_held()
        hold.require_in_place()
        hold.permission.note_emptied(_place_of(hold.parent))
        hold.require_in_place()
        os.rmdir(hold.trash, dir_fd=hold.parent)


def _require_inode(descriptor: int, inode: int) -> None:
    if os.fstat(descriptor).st_ino != inode:
        raise UnsafeSource("el directorio fue sustituido mientras se apartaba")


class _Hold:
    """The right to continue one removal: asked before each entry, because a process may be stopped at any moment.

    After some time it is also checked that the removed directory still has its name: a person may have given it its own
    name back.
    """

    def __init__(
        self, permission: Permission, interruption: threading.Event, parent: int, trash: str, inode: int
    ) -> None:
        self.permission = permission
        self.interruption = interruption
        self.parent = parent
        self.trash = trash
        self._inode = inode
        self._looked_until = 0.0

    def require_held(self) -> None:
        """Raises `RunInterrupted`, `SourceChanged`, and what the permission raises."""
        if self.interruption.is_set():
            raise RunInterrupted("interrumpido")
        self.permission.require_held()
        if lease_module.now() >= self._looked_until:
            self.require_in_place()

    def held_until(self) -> float:
        """See `Permission`. Raises as `require_held`."""
        self.require_held()
        return self.permission.held_until()

    def require_in_place(self) -> None:
        """Raises `SourceChanged` unless the directory has that name now."""
        looked_at = lease_module.now()
        status = _status(self.parent, self.trash)
        if status is None or status.st_ino != self._inode:
            raise SourceChanged("alguien movió el directorio mientras se borraba; lo que queda sigue donde lo puso")
        self._looked_until = looked_at + lease_module.FRESH_SECONDS


@contextlib.contextmanager
def _absence_told(execution: Execution) -> Iterator[None]:
    try:
        yield
    except DirectoryMissing as error:
        raise LocalCopyAbsent(_told_absent(execution.directory or "")) from error


@contextlib.contextmanager
def _translated(action: str) -> Iterator[None]:
    """Translate a refusal by the file system: it concerns one execution and must not stop the others."""
    try:
        yield
    except OSError as error:
        where = f" ({one_line(error.filename)})" if isinstance(error.filename, str) else ""
        raise SourceUnreadable(f"no se pudo {action} el directorio: {reason_of(error)}{where}") from error


def _status(parent: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _names_in(parent: int, name: str) -> list[str]:
    with closing_descriptor(open_directory_beneath(parent, [name])) as descriptor:
        return os.listdir(descriptor)


def _place_of(directory: int) -> str:
    """Identifies a directory: while its disk is not mounted, another one has its path."""
    status = os.fstat(directory)
    return f"{status.st_dev}:{status.st_ino}"


def _bring_to_disk(directory: int) -> None:
    """Sync before a removal is reported: a power failure must not bring back what is recorded as gone."""
    try:
        os.fsync(directory)
    except OSError as error:
        if error.errno not in NOT_TO_BE_SYNCED:
            raise


def _set_aside(parent: int, name: str, trash: str, descriptor: int) -> str:
    """Return the directory's new name: its own where the file system cannot rename directories, as an overlay does with
    those of its lower layers. Its contents are inspected in the same way.
    """
    try:
        _rename_to_trash(parent, name, trash, descriptor)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return name
    return trash


def _rename_to_trash(parent: int, name: str, trash: str, descriptor: int) -> None:
    """Rename, and make sure that the renamed directory is the one that was judged."""
    os.rename(name, trash, src_dir_fd=parent, dst_dir_fd=parent)
    renamed = os.stat(trash, dir_fd=parent, follow_symlinks=False)
    if not os.path.samestat(renamed, os.fstat(descriptor)):
        _give_name_back(parent, trash, name, str(renamed.st_ino))
        raise UnsafeSource("el directorio fue sustituido mientras se apartaba")


def _give_name_back(parent: int, trash: str, name: str, inode: str | None) -> None:
    """Rename the directory that was set aside, if its inode is known; anything else keeps the trash name."""
    aside = _status(parent, trash)
    is_ours = aside is not None and inode in (None, str(aside.st_ino))
    if is_ours and _status(parent, name) is None:
        os.rename(trash, name, src_dir_fd=parent, dst_dir_fd=parent)


def _remove_contents(
    descriptor: int, proven: Tree, hold: _Hold, helpers: Helpers | None, *, may_lack_some: bool
) -> None:
    """Compare everything first, so that a difference is found before anything is gone; then remove, leaves first."""
    present = walk_quiet_tree(descriptor, hold.interruption)
    with contextlib.closing(_Parents(descriptor)) as parents:
        found = _require_proven(descriptor, parents, present, proven, hold.interruption)
    if found < len(proven) and not may_lack_some:
        raise LocalCopyDiffers(f"faltan {len(proven) - found} de los {len(proven)} ficheros y directorios de la copia")
    names = _free_names(present, proven)
    left: Sequence[int] = range(len(present))
    if helpers is not None and helpers.are_worth_while(present.file_count):
        try:
            left = _remove_by_helpers(descriptor, present, names, helpers, hold)
        except HelperLost:
            _remove_contents(descriptor, proven, hold, None, may_lack_some=True)
            return
    removal = _Removal(descriptor, next(names), hold.require_held)
    for position in reversed(left):  # path order puts a directory before its contents
        entry = present.entry(position)
        if entry.path:
            removal.remove(entry)


def _remove_by_helpers(
    descriptor: int, present: Tree, names: Iterator[str], helpers: Helpers, hold: _Hold
) -> Sequence[int]:
    """Remove files, as many at a time as there are helpers. Return the positions that are left, in order."""
    files = present.file_positions()
    starts = range(0, len(files), FILES_HANDED_OVER)
    set_aside = dict(zip(starts, names, strict=False))
    linked: list[int] = []
    until_done = threading.Event()

    def hand_over(start: int) -> None:
        entries = list(map(present.entry, files[start : start + FILES_HANDED_OVER]))
        kept = helpers.ask(RemoveFiles(entries, set_aside[start]), descriptor, until_done, hold.held_until)
        linked.extend(files[start + index] for index in kept)

    helpers.for_each(hand_over, starts, until_done)
    others = (position for position in range(len(present)) if not present.is_file(position))
    return array("Q", sorted(chain(others, linked)))


@dataclass(frozen=True, slots=True)
class RemoveFiles(Task[Sequence[int]]):
    """Remove files that were compared, except those with several names: removing one name changes the ctime of the
    others, and the process that removes those must know it.
    """

    entries: Sequence[Entry]
    set_aside: str

    def carry_out(self, worker_state: WorkerState, directory_descriptor: int) -> Sequence[int]:
        """See `Task`. Returns the indexes of those that are left. Raises as `_Removal.remove`."""
        removal = _Removal(directory_descriptor, self.set_aside, worker_state.require_word)
        left = array("Q")
        for index, entry in enumerate(self.entries):
            if os.stat(entry.path, dir_fd=directory_descriptor, follow_symlinks=False).st_nlink > 1:
                left.append(index)
            else:
                removal.remove(entry)
        return left


def _name(entry: Entry) -> str:
    return entry.path.rpartition("/")[2]


class _Parents:
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


def _free_names(*trees: Tree) -> Iterator[str]:
    """Names that no entry has."""
    taken = {_name(entry) for tree in trees if tree.may_mention(SET_ASIDE) for entry in tree}
    return (name for number in itertools.count() if (name := f"{SET_ASIDE}{number}") not in taken)


def _require_proven(
    descriptor: int, parents: _Parents, present: Tree, proven: Tree, interruption: threading.Event
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
        if counterpart is None and _name(entry).startswith(SET_ASIDE):
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


def _require_proven_somewhere(descriptor: int, entry: Entry, proven: Tree, interruption: threading.Event) -> None:
    """An entry that an interrupted removal had set aside lost its name: the copy must hold it under any name."""
    content = entry.link_target
    if entry.kind is EntryKind.FILE:
        content = hash_file(descriptor, entry, interruption)
    held = ((other.kind, other.link_target or other.sha256) for other in proven)
    if content is None or (entry.kind, content) not in held:
        raise LocalCopyDiffers(f"{one_line(entry.path)} no está en la copia de la nube")


class _Writers:
    """Finds out whether a file is open for writing: by a lease or, where there is none, in `/proc`."""

    def __init__(self) -> None:
        self._open_files: OpenFiles | None = None

    def require_none(self, parents: _Parents, entry: Entry) -> None:
        """Raises `LocalCopyInUse`, `WritersUnknown`, `OSError`."""
        if entry.kind is not EntryKind.FILE:
            return
        opened = _open(*parents.of(entry), entry.kind)
        try:
            answer = _take_lease(opened, entry)
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


def _same_bytes(descriptor: int, entry: Entry, proven: Entry, interruption: threading.Event) -> bool:
    """An unchanged inode proves the bytes that were read and sent; otherwise they are read again."""
    if proven.identity is not None and entry.identity == proven.identity:
        return True
    return entry.size_bytes == proven.size_bytes and hash_file(descriptor, entry, interruption) == proven.sha256


class _Removal:
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
        opened = _open(parent, name, entry.kind)
        try:
            self._remove_opened(parent, name, opened, entry)
        finally:
            os.close(opened)

    def _remove_opened(self, parent: int, name: str, opened: int, entry: Entry) -> None:
        leased = entry.kind is EntryKind.FILE and _take_lease(opened, entry) is Answer.TAKEN
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


def _require_still_the_same(status: os.stat_result, identity: FileIdentity, entry: Entry) -> None:
    """The same status, except for its ctime, which renaming has changed."""
    if identity_of(status)._replace(ctime_ns=identity.ctime_ns) != identity:
        raise SourceChanged(f"cambió {one_line(entry.path)} mientras se borraba")


def _take_lease(opened: int, entry: Entry) -> Answer:
    """Hold a lease until the descriptor is closed; see `take_lease`."""
    try:
        return take_lease(opened)
    except FileInUse as error:
        raise LocalCopyInUse(f"otro programa tiene abierto para escribir {one_line(entry.path)}") from error


def _end_lease(opened: int, entry: Entry) -> None:
    if not lease_is_whole(opened):
        raise LocalCopyInUse(f"otro programa quiso escribir en {one_line(entry.path)}")
    release_lease(opened)


def _open(parent: int, name: str, kind: EntryKind) -> int:
    """A descriptor of the inode that has the name, a link's or a file's. A lease needs one opened for reading."""
    return os.open(name, FILE_FLAGS if kind is EntryKind.FILE else LINK_FLAGS, dir_fd=parent)
