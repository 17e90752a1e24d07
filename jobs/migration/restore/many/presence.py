"""Recognises a directory that already holds an execution, by its contents: an earlier restore has finished there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Sequence

from config.errors import RunInterrupted
from config.logs import one_line
from config.models import EntryKind
from files.descriptors import (
    CHUNK_SIZE_BYTES,
    closing_descriptor,
    open_directory_beneath,
    open_directory_path,
    open_file_beneath,
)
from files.tree import Tree
from jobs.migration.restore.destination import Target
from jobs.migration.restore.errors import DestinationUnusable
from jobs.migration.restore.losses import NAMED_AT_MOST
from storage.keys import INCOMPLETE_MARK
from storage.traffic.transfers import TransferPool


def is_there(target: Target, tree: Tree, pool: TransferPool, interruption: threading.Event) -> bool:
    """Whether everything that a tree names is in the target already, equal byte for byte; modes and times may differ,
    and other files may be there, too. `False` where nothing is there yet, or an unfinished restore.

    Raises `DestinationUnusable` for a directory with other contents, and `RunInterrupted`.
    """
    try:
        with closing_descriptor(open_directory_path(target.parent)) as parent:
            descriptor = open_directory_beneath(parent, target.parts)
    except OSError:
        return False  # the restore itself makes it, or says why it cannot
    with closing_descriptor(descriptor):
        names = os.listdir(descriptor)
        if not names or any(name.startswith(INCOMPLETE_MARK) for name in names):
            return False
        differing = _Comparison(descriptor, tree, interruption).differing(pool)
    if differing:
        named = ", ".join(one_line(path) for path in sorted(differing)[:NAMED_AT_MOST])
        more = ", …" if len(differing) > NAMED_AT_MOST else ""
        raise DestinationUnusable(
            f"el destino {one_line(target.path)} no está vacío, y de la copia falta o difiere ahí: {named}{more}; use "
            "otro directorio, o saque de ahí lo que hay"
        )
    return True


class _Comparison:
    """One directory beside one tree."""

    def __init__(self, descriptor: int, tree: Tree, interruption: threading.Event) -> None:
        self._descriptor = descriptor
        self._tree = tree
        self._interruption = interruption
        self._differing: list[str] = []

    def differing(self, pool: TransferPool) -> list[str]:
        """The paths of entries that are missing or differ. Files are read by several threads."""
        pool.for_each(self._compare, range(1, len(self._tree)), self._interruption)
        return self._differing

    def _compare(self, position: int) -> None:
        entry = self._tree.entry(position)
        parts = entry.path.split("/")
        is_equal = False
        with contextlib.suppress(OSError):  # it is missing, of another kind, or cannot be read: not proven to be equal
            if entry.kind is EntryKind.FILE:
                is_equal = self._is_same_file(parts, entry.size_bytes, entry.sha256)
            elif entry.kind is EntryKind.LINK:
                with closing_descriptor(open_directory_beneath(self._descriptor, parts[:-1])) as parent:
                    is_equal = os.readlink(parts[-1], dir_fd=parent) == entry.link_target
            else:
                os.close(open_directory_beneath(self._descriptor, parts))
                is_equal = True
        if not is_equal:
            self._differing.append(entry.path)

    def _is_same_file(self, parts: Sequence[str], size_bytes: int, sha256: str | None) -> bool:
        with closing_descriptor(open_file_beneath(self._descriptor, parts)) as file:
            if os.fstat(file).st_size != size_bytes:
                return False
            digest = hashlib.sha256()
            while chunk := os.read(file, CHUNK_SIZE_BYTES):
                if self._interruption.is_set():
                    raise RunInterrupted("interrumpido")
                digest.update(chunk)
            return digest.hexdigest() == sha256
