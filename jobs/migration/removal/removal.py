"""Removes a local copy: only through descriptors, and only what is, byte for byte, in the proven copy."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

from config.errors import RunInterrupted, SourceChanged, SourceError, SourceUnreadable, UnsafeSource
from config.logs import one_line
from config.models import Entry, Execution
from config.text.wording import reason_of
from files.descriptors import closing_descriptor, open_directory_beneath
from files.tree import Tree
from files.walk import walk_quiet_tree
from jobs.migration.directories import DirectoryJudge, DirectoryMissing
from jobs.migration.removal.entries import EntryRemoval, LocalCopyDiffers, Parents, free_names, require_proven
from sql.migration.removals import RemovalRecord
from storage import lease as lease_module
from storage.helpers import FILES_HANDED_OVER, HelperLost, Helpers, Task, WorkerState

NOT_TO_BE_SYNCED = (errno.EINVAL, errno.ENOTSUP)
"""The errors of a file system that cannot sync a directory."""

LONGEST_NAME_BYTES = 255


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
        # Earlier versions did not record the inode. An empty directory could be anybody's; beside one of its own name
        # it is what an earlier removal had set aside, before the execution ran again.
        is_alone = _status(parent, name) is None
        is_of_old_version = record.inode is None and is_alone and bool(_names_in(parent, trash))
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
    with contextlib.closing(Parents(descriptor)) as parents:
        found = require_proven(descriptor, parents, present, proven, hold.interruption)
    if found < len(proven) and not may_lack_some:
        raise LocalCopyDiffers(f"faltan {len(proven) - found} de los {len(proven)} ficheros y directorios de la copia")
    names = free_names(present, proven)
    left: Sequence[int] = range(len(present))
    if helpers is not None and helpers.are_worth_while(present.file_count):
        try:
            left = _remove_by_helpers(descriptor, present, names, helpers, hold)
        except HelperLost:
            _remove_contents(descriptor, proven, hold, None, may_lack_some=True)
            return
    removal = EntryRemoval(descriptor, next(names), hold.require_held)
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
        """See `Task`. Returns the indexes of those that are left. Raises as `EntryRemoval.remove`."""
        removal = EntryRemoval(directory_descriptor, self.set_aside, worker_state.require_word)
        left = array("Q")
        for index, entry in enumerate(self.entries):
            if os.stat(entry.path, dir_fd=directory_descriptor, follow_symlinks=False).st_nlink > 1:
                left.append(index)
            else:
                removal.remove(entry)
        return left
