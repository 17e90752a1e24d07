"""Removes a local copy: only through descriptors, and only what is, byte for byte, in the proven copy."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from collections.abc import Callable, Iterator

from config.logs import one_line
from config.models import Entry, EntryKind, Execution, FileIdentity, Tree
from jobs.directories import DirectoryJudge
from jobs.tree import hash_file, identity_of, walk_tree
from providers.base import SourceChanged, SourceError, SourceUnreadable, UnsafeSource
from providers.descriptors import closing_descriptor, open_directory_beneath


class LocalCopyDiffers(SourceError):
    """The local directory holds something that the proven copy does not: it stays, and a person has to look."""

    code = "local_copy_differs"


def trash_name(execution: Execution) -> str:
    """The name that a directory gets, beside itself, before anything in it is removed. The next tick knows it too."""
    return f".janitor-trash-{execution.id}-{execution.uuid}"


def remove_local_copy(
    judge: DirectoryJudge, execution: Execution, load_proven: Callable[[], Tree], interruption: threading.Event
) -> None:
    """Remove an execution's directory, or what an earlier, interrupted removal left of it. Gone already is no error.

    `load_proven` gives the tree that the proven copy holds; it is asked only when there is something to remove.
    Raises `LocalCopyDiffers`, `UnsafeSource`, `SourceUnreadable`, `SourceChanged`; then whatever is left has its own
    name again.
    """
    if not judge.may_delete:
        raise UnsafeSource("sin JANITOR_ROOTS no se borra nada")
    trash = trash_name(execution)
    with judge.open_parent(execution) as (parent, name), _translated("borrar"):
        if not _exists(parent, trash):
            if not _exists(parent, name):
                return
            with judge.open(execution) as directory:
                _rename_to_trash(parent, name, trash, directory.descriptor)
        try:
            with closing_descriptor(open_directory_beneath(parent, [trash])) as descriptor:
                _remove_contents(descriptor, load_proven(), interruption)
            os.rmdir(trash, dir_fd=parent)
        except BaseException:
            _give_name_back(parent, trash, name)
            raise


def keep_local_copy(judge: DirectoryJudge, execution: Execution) -> None:
    """Undo the beginning of a removal: the directory gets its name back. Raises as `remove_local_copy`."""
    with judge.open_parent(execution) as (parent, name), _translated("devolver su nombre a"):
        _give_name_back(parent, trash_name(execution), name)


@contextlib.contextmanager
def _translated(action: str) -> Iterator[None]:
    """Whatever the file system refuses concerns one execution, and must not stop the others."""
    try:
        yield
    except OSError as error:
        where = f" ({one_line(error.filename)})" if isinstance(error.filename, str) else ""
        raise SourceUnreadable(f"no se pudo {action} el directorio: {error.strerror}{where}") from error


def _exists(parent: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _rename_to_trash(parent: int, name: str, trash: str, descriptor: int) -> None:
    """Rename, and make sure that what was renamed is the directory that was judged."""
    os.rename(name, trash, src_dir_fd=parent, dst_dir_fd=parent)
    renamed = os.stat(trash, dir_fd=parent, follow_symlinks=False)
    if not os.path.samestat(renamed, os.fstat(descriptor)):
        _give_name_back(parent, trash, name)
        raise UnsafeSource("el directorio fue sustituido mientras se apartaba")


def _give_name_back(parent: int, trash: str, name: str) -> None:
    if _exists(parent, trash) and not _exists(parent, name):
        os.rename(trash, name, src_dir_fd=parent, dst_dir_fd=parent)


def _remove_contents(descriptor: int, proven: Tree, interruption: threading.Event) -> None:
    """Compare everything first, so that a difference is found before anything is gone; then remove, leaves first."""
    present = walk_tree(descriptor)
    _require_proven(descriptor, present, proven, interruption)
    compared: dict[int, FileIdentity] = {}
    for entry in reversed(present.entries):  # path order puts a directory before what is in it
        if entry.path:
            _remove_entry(descriptor, entry, compared)


def _require_proven(descriptor: int, present: Tree, proven: Tree, interruption: threading.Event) -> None:
    """What an interrupted removal took away may be missing; what is there must be proven."""
    proven_by_path = {entry.path: entry for entry in proven.entries}
    for entry in present.entries:
        counterpart = proven_by_path.get(entry.path)
        if counterpart is None or counterpart.kind is not entry.kind:
            raise LocalCopyDiffers(f"{one_line(entry.path)} no está en la copia de la nube")
        if entry.kind is EntryKind.LINK and entry.link_target != counterpart.link_target:
            raise LocalCopyDiffers(f"el enlace {one_line(entry.path)} difiere de la copia de la nube")
        if entry.kind is EntryKind.FILE and not _same_bytes(descriptor, entry, counterpart, interruption):
            raise LocalCopyDiffers(f"{one_line(entry.path)} difiere de la copia de la nube")


def _same_bytes(descriptor: int, entry: Entry, proven: Entry, interruption: threading.Event) -> bool:
    """The state of the inode that was read and sent proves its bytes; any other state is read again."""
    if proven.identity is not None and entry.identity == proven.identity:
        return True
    return entry.size_bytes == proven.size_bytes and hash_file(descriptor, entry, interruption) == proven.sha256


def _remove_entry(descriptor: int, entry: Entry, compared: dict[int, FileIdentity]) -> None:
    """Remove one entry if it still is what was compared a moment ago.

    Removing one of several hard links changes the ctime of the others: `compared` keeps, by inode, what they look
    like since.
    """
    *parents, name = entry.path.split("/")
    with closing_descriptor(open_directory_beneath(descriptor, parents)) as parent:
        if entry.kind is EntryKind.DIRECTORY:
            os.rmdir(name, dir_fd=parent)
            return
        with closing_descriptor(os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)) as link:
            identity = identity_of(os.fstat(link))
            if identity != compared.get(identity.inode, entry.identity):
                raise SourceChanged(f"cambió {one_line(entry.path)} mientras se borraba")
            os.unlink(name, dir_fd=parent)
            rest = os.fstat(link)
            if rest.st_nlink:
                compared[identity.inode] = dataclasses.replace(identity, ctime_ns=rest.st_ctime_ns)
