"""Looks at what a provider holds at a place and compares it with a manifest. Writes nothing.

All that a listing shows of a copy (names, sizes and the provider's own checksums) is one number. It is recorded with
the commit if the provider's checksum of every file is the one computed from the bytes that were sent. A later listing
with the same number shows the same bytes, without a request for any file. The order of the listing does not matter, so
a listing of a million objects need not be held.
"""

from __future__ import annotations

import hashlib
import threading
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from config.models import Evidence, StoredObject
from files.tree import Tree
from providers.base import Provider
from providers.errors import IntegrityError, ObjectNotFound
from providers.retries import with_retries
from storage.keys import Place
from storage.traffic.transfers import TransferPool

DIGESTS_PER_REQUEST = 64

EXTRAS_KEPT = 1000
"""How many objects that belong to no file are kept by name; more are only counted."""

MODULUS = (1 << 61) - 1
"""Fits into a BIGINT. Two listings that differ by accident have the same number once in 2^61 times."""


def part_of(path: str, size_bytes: int, checksum: str | None) -> int:
    """What one object adds to the number of a listing, modulo `MODULUS`. `path` is relative to the place."""
    shown = f"{size_bytes} {checksum if size_bytes else ''} {path}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(shown, digest_size=8).digest(), "big")


@dataclass(slots=True)
class Listed:
    """What one listing of a place shows: the positions of files that are missing or have another size, and objects that
    belong to no file. `digest` is the number that the listing shows of the files.
    """

    missing: Sequence[int]
    of_wrong_size: Sequence[int]
    extras: list[StoredObject] = field(default_factory=list)
    extras_count: int = 0
    digest: int = 0

    @property
    def is_equal(self) -> bool:
        """Whether exactly the files are there, as far as names and sizes show."""
        return not (self.missing or self.of_wrong_size or self.extras_count)


@dataclass(frozen=True, slots=True)
class Digested:
    """The positions of files whose stored bytes are not those of the manifest, and how that was found out."""

    damaged: Sequence[int]
    evidence: Evidence


def look(provider: Provider, place: Place, tree: Tree, interruption: threading.Event) -> Listed:
    """List a place and compare names and sizes. Raises `MigrationError`."""
    return with_retries(lambda: _look(provider, place, tree), interruption, provider.progress)


def _look(provider: Provider, place: Place, tree: Tree) -> Listed:
    seen = bytearray(len(tree))
    listed = Listed((), array("Q"))
    of_wrong_size = array("Q")
    position = 0
    for stored in provider.list_patiently(place.files_prefix, tree.size_bytes):
        found = tree.find(stored.key.removeprefix(place.files_prefix), position + 1)
        if found is None or not tree.is_file(found):
            listed.extras_count += 1
            if len(listed.extras) < EXTRAS_KEPT:
                listed.extras.append(stored)
            continue
        position = found
        seen[found] = True
        part = part_of(tree.path(found), stored.size_bytes, stored.checksum)
        listed.digest = (listed.digest + part) % MODULUS
        if stored.size_bytes != tree.size_bytes_of(found):
            of_wrong_size.append(found)
    listed.missing = array("Q", (position for position in tree.file_positions() if not seen[position]))
    listed.of_wrong_size = of_wrong_size
    return listed


def compare_digests(
    provider: Provider,
    place: Place,
    tree: Tree,
    positions: Sequence[int],
    pool: TransferPool,
    interruption: threading.Event,
) -> Digested:
    """Ask for the SHA-256 of stored files by new requests and compare it with the manifest's. A file that is gone
    by now counts as damaged. Raises `MigrationError`.
    """
    batches = list(_batches(positions, DIGESTS_PER_REQUEST))
    damaged: set[int] = set()
    evidence: set[Evidence] = set()

    def compare(batch: Sequence[int]) -> None:
        wrong, ways = with_retries(lambda: _differing(provider, place, tree, batch), interruption, provider.progress)
        damaged.update(wrong)
        evidence.update(ways)
        for position in batch:
            pool.traffic.note_passed(tree.size_bytes_of(position), 1)

    pool.for_each(compare, batches, interruption)
    how = Evidence.CHECKSUM if evidence == {Evidence.CHECKSUM} else Evidence.READ_BACK
    return Digested(array("Q", sorted(damaged)), how)


def _differing(
    provider: Provider, place: Place, tree: Tree, positions: Sequence[int]
) -> tuple[list[int], set[Evidence]]:
    keys = {place.key_of(tree.path(position)): position for position in positions}
    try:
        digests = list(provider.digests(keys))
    except (ObjectNotFound, IntegrityError):
        if len(positions) == 1:
            return list(positions), set()
        return _differing_one_by_one(provider, place, tree, positions)
    wrong = [keys[digest.key] for digest in digests if digest.sha256 != tree.sha256(keys[digest.key])]
    return wrong, {digest.evidence for digest in digests}


def _differing_one_by_one(
    provider: Provider, place: Place, tree: Tree, positions: Sequence[int]
) -> tuple[list[int], set[Evidence]]:
    wrong: list[int] = []
    evidence: set[Evidence] = set()
    for position in positions:
        differing, ways = _differing(provider, place, tree, [position])
        wrong += differing
        evidence |= ways
    return wrong, evidence


def _batches(positions: Iterable[int], size: int) -> Iterator[array[int]]:
    remaining = iter(positions)
    return iter(lambda: array("Q", islice(remaining, size)), array("Q"))
