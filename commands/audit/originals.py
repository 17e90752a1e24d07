"""Tells whether the local directory of a lost or damaged copy still has all of it."""

from __future__ import annotations

import threading
from enum import Enum

from config.errors import MigrationError, RunInterrupted, SourceError
from config.models import Entry, EntryKind, Execution
from files.tree import Tree
from files.walk import hash_file, walk_tree
from jobs.audit.records import Copy
from jobs.migration.directories import DirectoryJudge, DirectoryMissing, OpenDirectory
from jobs.migration.places import require_not_half_restored
from providers.base import Provider
from storage.manifest import fetch_manifest


class Original(Enum):
    """What is left of an execution on this machine."""

    WHOLE = "whole"
    """Everything that its manifest names, byte for byte, or, without a manifest, as much as was recorded."""
    PART = "part"
    """Less, or something else: a half restore, for example. Migrating it would replace what is good of the copy."""
    ABSENT = "absent"


def original_of(copy: Copy, provider: Provider | None, judge: DirectoryJudge, stop: threading.Event) -> Original:
    """Compare the local directory with the copy's manifest. Raises `RunInterrupted`."""
    if copy.local_copy != "kept" or copy.directory is None:
        return Original.ABSENT
    try:
        with judge.open(Execution(copy.execution_id, copy.uuid, copy.directory)) as directory:
            found = walk_tree(directory.descriptor)
            require_not_half_restored(found, directory)
            expected = _manifest(copy, provider, stop)
            is_whole = _has_counts(found, copy) if expected is None else _has_all(found, expected, directory, stop)
    except RunInterrupted:
        raise
    except DirectoryMissing:
        return Original.ABSENT
    except SourceError:
        return Original.PART
    return Original.WHOLE if is_whole else Original.PART


def _manifest(copy: Copy, provider: Provider | None, stop: threading.Event) -> Tree | None:
    """The manifest that was committed; `None` if it is not there any more."""
    if provider is None or copy.place is None:
        return None
    try:
        return fetch_manifest(provider, copy.place, copy.manifest_sha256, stop)
    except RunInterrupted:
        raise
    except MigrationError:
        return None


def _has_counts(found: Tree, copy: Copy) -> bool:
    return (found.file_count, found.size_bytes) == (copy.file_count, copy.size_bytes)


def _has_all(found: Tree, expected: Tree, directory: OpenDirectory, stop: threading.Event) -> bool:
    return all(_has(found, entry, directory, stop) for entry in map(expected.entry, range(len(expected))))


def _has(found: Tree, entry: Entry, directory: OpenDirectory, stop: threading.Event) -> bool:
    position = found.find(entry.path)
    if position is None:
        return False
    local = found.entry(position)
    if (local.kind, local.link_target) != (entry.kind, entry.link_target):
        return False
    if entry.kind is not EntryKind.FILE:
        return True
    return local.size_bytes == entry.size_bytes and hash_file(directory.descriptor, local, stop) == entry.sha256
