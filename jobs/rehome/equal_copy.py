"""Proves a complete copy that the primary provider already has, without sending anything."""

from __future__ import annotations

import threading

from config.models import Attempt, Execution, ProvenCopy
from files.tree import Tree
from providers.base import Provider
from providers.errors import UnsafeDestination
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
    Raises `UnsafeDestination` for a copy of another installation or row, which its owner may remove at any time: in
    exchange for it the own copy would be given up. Raises `MigrationError`.
    """
    place = Place(attempt.key_prefix)
    found = find_manifest(provider, place, interruption)
    if found is None or found.head is None or found.head.execution != execution.uuid or found.tree != tree:
        return None
    _require_written_by_us(found, execution, records)
    if not look(provider, place, tree, interruption).is_equal:
        return None
    digested = compare_digests(provider, place, tree, tree.file_positions(), pool, interruption)
    if digested.damaged:
        return None
    is_own = _is_own(attempt)
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


def _require_written_by_us(found: FoundManifest, execution: Execution, records: AttemptRecords) -> None:
    if found.head is None or (found.head.installation, found.head.row) != (records.installation, execution.id):
        raise UnsafeDestination(
            "allí hay una copia igual que esta instalación no escribió para esta ejecución; su dueño puede retirarla: "
            "la nuestra sigue donde está; mire de quién es la otra, y retírela usted si sobra"
        )


def _is_own(attempt: Attempt) -> bool:
    """Whether only failed attempts for this execution have stored anything there: then it may be removed one day."""
    has_only_own = not (attempt.foreign_objects_here or attempt.committed_here)
    return attempt.earlier_attempts_here > 0 and has_only_own
