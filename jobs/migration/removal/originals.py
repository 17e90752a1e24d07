"""Tells whether a local directory still has all of a stored copy. Only then may the copy go, or be made again."""

from __future__ import annotations

import threading

from config.models import Entry, EntryKind
from files.tree import Tree
from files.walk import hash_file, walk_tree
from jobs.migration.directories import OpenDirectory
from jobs.migration.places import require_not_half_restored


def walk_original(directory: OpenDirectory) -> Tree:
    """What is in a directory. Raises `SourceError` for one that a restore has not finished filling."""
    found = walk_tree(directory.descriptor)
    require_not_half_restored(found, directory)
    return found


def has_all(directory: OpenDirectory, found: Tree, manifest: Tree, stop: threading.Event) -> bool:
    """Whether the directory, which holds `found`, has everything that the manifest names, byte for byte.

    Raises `SourceError` for what cannot be read, and `RunInterrupted`.
    """
    return all(_has(directory, found, entry, stop) for entry in map(manifest.entry, range(len(manifest))))


def _has(directory: OpenDirectory, found: Tree, entry: Entry, stop: threading.Event) -> bool:
    position = found.find(entry.path)
    if position is None:
        return False
    local = found.entry(position)
    if (local.kind, local.link_target) != (entry.kind, entry.link_target):
        return False
    if entry.kind is not EntryKind.FILE:
        return True
    return local.size_bytes == entry.size_bytes and hash_file(directory.descriptor, local, stop) == entry.sha256
