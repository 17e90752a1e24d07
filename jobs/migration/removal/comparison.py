"""Compares a local copy with the proven one before anything of it is removed."""

from __future__ import annotations

import os
import threading

from config.logs import one_line
from config.models import Entry, EntryKind
from files.descriptors import open_directory_beneath
from files.open_files import OpenFiles, look_at_open_files
from files.tree import Tree
from files.walk import hash_file
from files.writers import Answer
from jobs.migration.removal.entries import SET_ASIDE, hold_lease, name_of, open_entry
from jobs.migration.removal.errors import LocalCopyDiffers, LocalCopyInUse, WritersUnknown


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
