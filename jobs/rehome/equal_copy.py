"""Proves a complete copy that the primary provider already has, without sending anything."""

from __future__ import annotations

import threading

from config.models import Attempt, Execution, ProvenCopy
from files.tree import Tree
from providers.base import Provider
from storage.attempt_records import AttemptRecords
from storage.inspection import compare_digests, look
from storage.keys import Place
from storage.manifest import FoundManifest, find_manifest
from storage.optional_steps import discard_unfinished
from storage.traffic.transfers import TransferPool


def proven_equal_copy(
    provider: Provider,
    attempt: Attempt,
    execution: Execution,
    tree: Tree,
    records: AttemptRecords,
    pool: TransferPool,
    interruption: threading.Event,
) -> ProvenCopy | None:
    """The copy at an attempt's place, read back, if it is complete and equals the tree with all hashes; else `None`.

    Nothing there is written, so a place that is the old copy's own under the name of another provider stays as it is.
    Raises `MigrationError`.
    """
    place = Place(attempt.key_prefix)
    found = find_manifest(provider, place, interruption)
    if found is None or found.head is None or found.head.execution != execution.uuid or found.tree != tree:
        return None
    if not look(provider, place, tree, interruption).is_equal:
        return None
    digested = compare_digests(provider, place, tree, tree.file_positions(), pool, interruption)
    if digested.damaged:
        return None
    is_own = _is_own(found, attempt, execution, records)
    records.note_place(attempt, foreign_objects=not is_own)
    if is_own:
        for prefix in place.unfinished_prefixes:
            discard_unfinished(provider, prefix, interruption)
    return ProvenCopy(
        uri=place.uri(provider.kind),
        provider_id=provider.id,
        key_prefix=place.key_prefix,
        file_count=tree.file_count,
        size_bytes=tree.size_bytes,
        evidence=digested.evidence,
        manifest_sha256=found.sha256,
    )


def _is_own(found: FoundManifest, attempt: Attempt, execution: Execution, records: AttemptRecords) -> bool:
    """Whether only failed attempts for this execution have stored anything there: then it may be removed one day."""
    if found.head is None or (found.head.installation, found.head.row) != (records.installation, execution.id):
        return False
    has_only_own = not (attempt.foreign_objects_here or attempt.committed_here)
    return attempt.earlier_attempts_here > 0 and has_only_own
