"""Tells whether the local directory of a lost or damaged copy still has all of it."""

from __future__ import annotations

import threading
from enum import Enum

from config.errors import MigrationError, RunInterrupted, SourceError
from config.models import Execution
from files.tree import Tree
from jobs.audit.records import Copy
from jobs.migration.directories import DirectoryJudge, DirectoryMissing, OpenDirectory
from jobs.migration.removal.originals import has_all, walk_original
from providers.base import Provider
from providers.errors import IntegrityError, ObjectNotFound
from storage.manifest import fetch_manifest


class Original(Enum):
    """What is left of an execution on this machine."""

    WHOLE = "whole"
    """Everything that its manifest names, byte for byte, or, without a manifest, as much as was recorded."""
    PART = "part"
    """Less, or something else: a half restore, for example. Migrating it would replace what is good of the copy."""
    UNKNOWN = "unknown"
    """Nobody can tell: the manifest may be there, but its provider does not hand it out now."""
    ABSENT = "absent"


def original_of(copy: Copy, provider: Provider | None, judge: DirectoryJudge, stop: threading.Event) -> Original:
    """Compare the local directory with the copy's manifest. Raises `RunInterrupted`.

    Looks for it also where the program removed it: a restore may have brought it back.
    """
    if copy.directory is None:
        return Original.ABSENT
    try:
        with judge.open(Execution(copy.execution_id, copy.uuid, copy.directory)) as directory:
            return _compare(copy, directory, provider, stop)
    except RunInterrupted:
        raise
    except DirectoryMissing:
        return Original.ABSENT
    except SourceError:
        return Original.PART
    except MigrationError:
        return Original.UNKNOWN


def _compare(copy: Copy, directory: OpenDirectory, provider: Provider | None, stop: threading.Event) -> Original:
    found = walk_original(directory)
    if provider is None or copy.place is None:
        return Original.UNKNOWN
    try:
        manifest = fetch_manifest(provider, copy.place, copy.manifest_sha256, stop)
    except (ObjectNotFound, IntegrityError):
        is_whole = _has_counts(found, copy)
    else:
        is_whole = has_all(directory, found, manifest, stop)
    return Original.WHOLE if is_whole else Original.PART


def _has_counts(found: Tree, copy: Copy) -> bool:
    return (found.file_count, found.size_bytes) == (copy.file_count, copy.size_bytes)
