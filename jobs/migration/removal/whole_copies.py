"""The one condition under which bytes of an execution may be removed: another copy of them is whole now.

Whole means: committed, not found bad by an audit since its last proof, and seen at its provider, by its manifest and a
listing. Only where the listing's checksums are others than at the proof are the bytes read back.
"""

from __future__ import annotations

import threading
from contextlib import closing
from typing import NamedTuple

from config.errors import MigrationError
from config.logs import one_line
from config.text.plurals import files
from files.tree import Tree
from providers.base import Provider
from providers.errors import IntegrityError, ObjectNotFound
from storage.inspection import compare_digests, look
from storage.keys import place_from_uri
from storage.manifest import fetch_manifest
from storage.traffic.transfers import TransferPool

KNOWN_BAD = "una auditoría encontró que su copia guardada está perdida o dañada"


class CopyNotWhole(MigrationError):
    """The copy that is to remain is not whole, as far as anybody knows: nothing else of the execution is removed."""

    code = "copy_not_whole"


class RemainingCopy(NamedTuple):
    """The committed copy of an execution, as the database knows it."""

    uri: str
    manifest_sha256: str | None
    listing_digest: int | None
    is_known_bad: bool


def require_whole(provider: Provider, copy: RemainingCopy, stop: threading.Event) -> Tree:
    """The contents of a copy that is seen to be whole. Raises `CopyNotWhole`, and `ProviderError` and `RunInterrupted`
    where that could not be seen.
    """
    if copy.is_known_bad:
        raise CopyNotWhole(KNOWN_BAD)
    place = place_from_uri(copy.uri)
    try:
        tree = fetch_manifest(provider, place, copy.manifest_sha256, stop)
    except (ObjectNotFound, IntegrityError) as error:
        raise CopyNotWhole(one_line(error)) from error
    listed = look(provider, place, tree, stop)
    wrong = len(listed.missing) + len(listed.of_wrong_size)
    if wrong:
        raise CopyNotWhole(f"faltan o difieren {wrong} de sus {files(tree.file_count)}")
    if copy.listing_digest is not None and listed.digest != copy.listing_digest:
        with closing(TransferPool(1)) as pool:
            damaged = compare_digests(provider, place, tree, tree.file_positions(), pool, stop).damaged
        if damaged:
            raise CopyNotWhole(f"tienen otros bytes {len(damaged)} de sus {files(tree.file_count)}")
    return tree


def holds_all(tree: Tree, other: Tree) -> bool:
    """Whether a copy's contents include every file of another one's, with the same bytes."""
    for position in other.file_positions():
        found = tree.find(other.path(position))
        if found is None or not tree.is_file(found) or tree.sha256(found) != other.sha256(position):
            return False
    return True
