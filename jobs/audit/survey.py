"""Compares all rows of a provider with one listing of it, both ways.

Uploads, moves and deletions go on meanwhile, and are never reported. Rows are read before and after the listing: what
is in neither list of rows, and still there when it is looked for again, is an orphan; what is in both, and not in
storage when it is looked for again, is lost.

Memory is some seventy bytes for each row, and the names of places without a row: a listing of a million objects is
never held.
"""

from __future__ import annotations

import hashlib
import threading
from array import array
from bisect import bisect_left
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import NamedTuple

from config.errors import RunInterrupted
from config.models import StoredObject
from jobs.audit.examination import Checked, Examined, State, examine
from jobs.audit.records import Copy, Records
from providers.base import Provider
from providers.retries import with_retries
from storage.inspection import MODULUS, part_of
from storage.keys import MANIFEST_SUFFIX, Place
from storage.traffic.transfers import TransferPool

OWN_NAMES = ".janitor-"
"""The beginning of names of probes, which come and go."""

UNKNOWN = (1 << 64) - 1
"""Stands for a number that the database does not know."""


class Found(NamedTuple):
    """A copy that is not as its row says."""

    copy: Copy
    examined: Examined


class Orphan(NamedTuple):
    """Objects at a place for which nothing in the database stands."""

    place: str
    objects: int
    size_bytes: int


class Surveyed(NamedTuple):
    """The result for one provider."""

    executions: int
    objects: int
    size_bytes: int
    found: Sequence[Found]
    orphans: Sequence[Orphan]
    evidence: Sequence[Checked]
    """How the bytes of each whole copy were compared."""


class _Rows:
    """What the rows before the listing say, and what the listing shows of each: packed, ordered by a hash of places."""

    def __init__(self, copies: Iterable[Copy]) -> None:
        hashes, ids, files, sizes, digests = (array("Q") for _ in range(5))
        self.nowhere: list[int] = []
        for copy in copies:
            if copy.place is None:
                self.nowhere.append(copy.execution_id)
                continue
            hashes.append(_hash_of(copy.place.key_prefix))
            ids.append(copy.execution_id)
            files.append(UNKNOWN if copy.file_count is None else copy.file_count)
            sizes.append(UNKNOWN if copy.size_bytes is None else copy.size_bytes)
            digests.append(UNKNOWN if copy.listing_digest is None else copy.listing_digest)
        order = array("Q", sorted(range(len(hashes)), key=hashes.__getitem__))
        self._hashes, self._ids, self._files, self._sizes, self._digests = (
            array("Q", map(values.__getitem__, order)) for values in (hashes, ids, files, sizes, digests)
        )
        self._seen_files = array("Q", bytes(8 * len(order)))
        self._seen_bytes = array("Q", bytes(8 * len(order)))
        self._seen_digests = array("Q", bytes(8 * len(order)))
        self._has_manifest = bytearray(len(order))

    def __len__(self) -> int:
        return len(self._hashes) + len(self.nowhere)

    def find(self, place: str) -> int | None:
        """The number of the row of a place."""
        wanted = _hash_of(place)
        number = bisect_left(self._hashes, wanted)
        return number if number < len(self._hashes) and self._hashes[number] == wanted else None

    def note_file(self, number: int, path: str, stored: StoredObject) -> None:
        """One more object below the place of a row."""
        self._seen_files[number] += 1
        self._seen_bytes[number] += stored.size_bytes
        if self._digests[number] != UNKNOWN:
            part = part_of(path, stored.size_bytes, stored.checksum)
            self._seen_digests[number] = (self._seen_digests[number] + part) % MODULUS

    def note_manifest(self, number: int) -> None:
        """The manifest at the place of a row."""
        self._has_manifest[number] = True

    def suspects(self) -> Iterator[int]:
        """The executions whose listing is not as the database says: to be looked at again."""
        yield from self.nowhere
        yield from (each for number, each in enumerate(self._ids) if not self._has_names_and_sizes(number))

    def of_other_checksums(self) -> Iterator[int]:
        """The executions of which only the provider's checksums are others than at the commit: to be read back."""
        for number, execution_id in enumerate(self._ids):
            if self._has_names_and_sizes(number) and self._seen_digests[number] != self._digests[number] != UNKNOWN:
                yield execution_id

    def count_proven(self, without: Container[int]) -> int:
        """How many copies the provider's checksums prove, besides those of some executions."""
        return sum(
            self._seen_digests[number] == self._digests[number]
            and self._has_names_and_sizes(number)
            and execution_id not in without
            for number, execution_id in enumerate(self._ids)
        )

    def _has_names_and_sizes(self, number: int) -> bool:
        return bool(
            self._has_manifest[number]
            and self._seen_files[number] == self._files[number]
            and self._seen_bytes[number] == self._sizes[number]
        )

    def all_ids(self) -> Iterator[int]:
        """Every execution."""
        yield from self.nowhere
        yield from self._ids


def _hash_of(place: str) -> int:
    return int.from_bytes(hashlib.blake2b(place.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


class Survey:
    """The survey of one provider. `provider_ids` are all that name the same store; `parent` is the common prefix of new
    places. Used once.
    """

    def __init__(
        self, records: Records, provider: Provider, provider_ids: Sequence[int], parent: str, pool: TransferPool,
        stop: threading.Event,
    ) -> None:  # fmt: skip
        self._records = records
        self._provider = provider
        self._provider_ids = provider_ids
        self._parent = parent
        self._pool = pool
        self._stop = stop
        self._without_row: dict[str, tuple[int, int]] = {}
        self._objects = 0
        self._size_bytes = 0

    def run(self, *, every_byte: bool) -> Surveyed:
        """Raises `MigrationError` where the provider cannot be listed, `DatabaseError`."""
        parents = {self._parent, *self._records.parents(self._provider.id)}
        rows = _Rows(self._noting_parents(parents))
        for prefix in _outermost(parents):
            self._list(prefix, parents, rows)
        bad = frozenset(() if every_byte else self._records.known_bad(self._provider.id))
        suspects = rows.all_ids() if every_byte else (each for each in rows.suspects() if each not in bad)
        found, evidence = self._look_again(list(suspects), every_byte=every_byte)
        if not every_byte:
            found_by_reading, read_back = self._look_again(bad.union(rows.of_other_checksums()), every_byte=True)
            found += found_by_reading
            evidence += [*read_back, *[Checked.CHECKSUM] * rows.count_proven(without=bad)]
        unseen = len(rows) - len(found) - len(evidence)
        evidence += [Checked.NOT_CHECKED] * max(0, unseen)
        return Surveyed(len(rows), self._objects, self._size_bytes, found, self._orphans(), evidence)

    def _noting_parents(self, parents: set[str]) -> Iterator[Copy]:
        """The rows of all providers of the store; the prefixes at which they are stored are noted."""
        for copy in self._records.copies(self._provider.id):
            if copy.place is not None and copy.place.parent:
                parents.add(copy.place.parent)
            yield copy

    def _list(self, prefix: str, parents: set[str], rows: _Rows) -> None:
        inner = sorted((parent for parent in parents if parent.startswith(f"{prefix}/")), key=len, reverse=True)
        last_place: str | None = None
        number: int | None = None
        for stored in self._provider.list(f"{prefix}/"):
            if self._stop.is_set():
                raise RunInterrupted("interrumpido")
            self._objects += 1
            self._size_bytes += stored.size_bytes
            parent = next((parent for parent in inner if stored.key.startswith(f"{parent}/")), prefix)
            place, is_manifest = place_of_key(stored.key, parent)
            if place is None:
                continue
            if place != last_place:
                last_place, number = place, rows.find(place)
            self._note(stored, place, number, rows, is_manifest=is_manifest)

    def _note(self, stored: StoredObject, place: str, number: int | None, rows: _Rows, *, is_manifest: bool) -> None:
        if number is None:
            objects, size_bytes = self._without_row.get(place, (0, 0))
            self._without_row[place] = (objects + 1, size_bytes + stored.size_bytes)
        elif is_manifest:
            rows.note_manifest(number)
        else:
            rows.note_file(number, stored.key[len(place) + 1 :], stored)

    def _look_again(self, execution_ids: Iterable[int], *, every_byte: bool) -> tuple[list[Found], list[Checked]]:
        """Examine single copies by new requests, as their rows are by now. A row that says something else before or
        after that is nobody's fault. What was read is recorded.
        """
        found: list[Found] = []
        evidence: list[Checked] = []
        for execution_id in execution_ids:
            for copy in self._records.find([execution_id]):
                if copy.provider_id != self._provider.id:
                    continue
                begun = self._records.now()
                examined = examine(self._provider, copy, self._pool, self._stop, every_byte=every_byte)
                if examined.is_telling:
                    self._records.note(copy, examined.as_recorded(), begun)
                if examined.state is State.WHOLE:
                    evidence.append(examined.checked)
                elif self._records.is_unchanged(copy):
                    found.append(Found(copy, examined))
        return found, evidence

    def _orphans(self) -> list[Orphan]:
        """What has no row and no attempt, before and after it was seen to be still there."""
        unknown = self._records.unknown_places(list(self._without_row), self._provider_ids)
        still_there = [orphan for place in unknown if (orphan := self._still_there(place)) is not None]
        lasting = set(self._records.unknown_places([orphan.place for orphan in still_there], self._provider_ids))
        return [orphan for orphan in still_there if orphan.place in lasting and self._still_there(orphan.place)]

    def _still_there(self, place: str) -> Orphan | None:
        listed = with_retries(lambda: self._objects_at(Place(place)), self._stop, self._provider.progress)
        return Orphan(place, len(listed), sum(listed)) if listed else None

    def _objects_at(self, place: Place) -> array[int]:
        sizes = array("Q", (stored.size_bytes for stored in self._provider.list(place.files_prefix)))
        manifests = (stored for stored in self._provider.list(place.manifest_key) if stored.key == place.manifest_key)
        sizes.extend(stored.size_bytes for stored in manifests)
        return sizes


def place_of_key(key: str, parent: str) -> tuple[str | None, bool]:
    """The place below a prefix to which an object belongs, and whether it is the manifest; `None` for a probe, and for
    an object that is at no place.
    """
    name, is_below, _ = key[len(parent) + 1 :].partition("/")
    if name.startswith(OWN_NAMES):
        return None, False
    if is_below:
        return f"{parent}/{name}", False
    if name.endswith(MANIFEST_SUFFIX):
        return f"{parent}/{name.removesuffix(MANIFEST_SUFFIX)}", True
    return None, False


def _outermost(parents: Iterable[str]) -> list[str]:
    """The prefixes without those that are in another one."""
    chosen: list[str] = []
    for parent in sorted(parents):
        if not any(f"{parent}/".startswith(f"{other}/") for other in chosen):
            chosen.append(parent)
    return chosen
