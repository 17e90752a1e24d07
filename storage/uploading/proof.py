"""Compares what a provider says it holds with what was sent."""

from __future__ import annotations

import contextlib
import itertools
import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from config.logs import one_line
from config.models import EVERYTHING, ContentDigest, Evidence, Span, StoredObject
from providers.base import SPANS_AT_ONCE
from providers.errors import IntegrityError, ObjectNotFound, ProviderError, ProviderUnavailable
from storage.deletions import late_deletions_kept_off, require_open
from storage.inspection import MODULUS, part_of
from storage.optional_steps import discard_unfinished
from storage.sending import Sender
from storage.traffic.transfers import TransferPool
from storage.uploading.task import UploadTask

DIGESTS_PER_REQUEST = 256
"""How many objects to ask for at a time where a listing does not prove them."""

PAGES_WORTH_A_SPAN = 4
"""A listing with at least this many pages may be split into several simultaneous ones."""

WRONG, UNPROVEN, PROVEN = range(3)
"""The state of an object: missing or of another size, of the right size, or proven to hold the bytes sent."""


@dataclass(frozen=True, slots=True)
class Digests:
    """What the digests of objects have shown."""

    evidence: Evidence
    unreadable: ProviderUnavailable | None
    """Why some objects could not be read: perhaps because they are damaged at the server. They count as wrong."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison has shown of a whole copy."""

    wrong: Sequence[int]
    """The positions whose stored bytes differ from those sent, or could not be read."""
    evidence: Evidence
    """Why the bytes of the others are believed."""
    listing_digest: int | None
    """See `storage.inspection`."""
    unreadable: ProviderUnavailable | None
    """See `Digests`."""

    def error(self, key: str) -> ProviderError:
        """What to raise if anything is wrong; `key` is that of the first object that is."""
        return self.unreadable or differing(len(self.wrong), key)


class Proof:
    """Proves a copy by new requests, and leaves nothing unfinished beside it."""

    def __init__(self, task: UploadTask, sender: Sender) -> None:
        self._task = task
        self._provider = task.provider
        self._place = task.place
        self._tree = task.tree
        self._receipts = task.receipts
        self._sender = sender

    def compare(self, may_remove: bool) -> Comparison:
        """Compare everything. `may_remove` says whether to remove objects at the place that belong to no file."""
        self._leave_nothing_unfinished()
        standing, extras, listing_digest = self._task.retried(lambda: self._ask_what_is_there(may_remove))
        self._remove_own_extras(extras)
        digests = self.compare_digests(standing)
        self._leave_nothing_unfinished()
        expected = chain(self._tree.file_positions(), [self._receipts.manifest_position])
        wrong = array("Q", (position for position in expected if standing[position] != PROVEN))
        return Comparison(wrong, digests.evidence, listing_digest, digests.unreadable)

    def _leave_nothing_unfinished(self) -> None:
        """Discard what may still become an object, before anything is proven.

        Raises `UnsafeDestination` where the provider does not allow it and a request of an earlier attempt may still
        arrive: it could complete an upload of that attempt over the proven copy.
        """
        if self._sender.left_unfinished and not self._discard_unfinished():
            require_open(self._place, self._task.attempt.late_bytes_until)

    def _discard_unfinished(self) -> bool:
        """Discard everything unfinished; whether that is gone. What this attempt began holds the same bytes as what it
        stored, so nothing is lost where the provider keeps it.
        """
        self._sender.left_unfinished = False
        discarded = [
            discard_unfinished(self._provider, prefix, self._task.interruption)
            for prefix in self._place.unfinished_prefixes
        ]
        return all(discarded)

    def _ask_what_is_there(self, may_remove: bool) -> tuple[bytearray, Sequence[StoredObject], int | None]:
        """The state of each position in a new listing, own objects that belong to none, and the listing's digest."""
        standing = bytearray(len(self._tree) + 1)
        manifest = self._manifest_there()
        if manifest is not None:
            standing[-1] = self._standing(self._receipts.manifest_position, manifest)
        extras: list[StoredObject] = []
        proven: list[tuple[int, int]] = []

        def look(span: Span) -> None:
            count = digest = 0
            for position, stored in self._task.listed(self._tree.size_bytes, span):
                if position is not None:
                    standing[position] = self._standing(position, stored)
                    if standing[position] == PROVEN:
                        count += 1
                        path = stored.key.removeprefix(self._place.files_prefix)
                        digest += part_of(path, stored.size_bytes, stored.checksum)
                elif may_remove:
                    extras.append(stored)
            proven.append((count, digest))

        spans = self._spans(may_remove)
        if spans:
            with contextlib.closing(TransferPool(len(spans))) as pool:
                pool.for_each(look, spans, self._task.interruption)
        if not spans or any(standing[position] == WRONG for position in self._tree.file_positions()):
            proven.clear()
            look(EVERYTHING)  # also because a server may list in its own order
        is_proven = sum(count for count, _ in proven) == self._tree.file_count
        return standing, extras, sum(digest for _, digest in proven) % MODULUS if is_proven else None

    def _spans(self, may_remove: bool) -> Sequence[Span]:
        """Ranges to list at the same time, each some whole pages of the expected objects; none to list all at once.

        After an earlier attempt there may be more objects, which only one complete listing finds.
        """
        positions = self._tree.file_positions()
        page = self._provider.listed_at_once
        if page is None or may_remove:
            return []
        count = min(SPANS_AT_ONCE, len(positions) // (PAGES_WORTH_A_SPAN * page))
        if count < 2:
            return []
        every = math.ceil(len(positions) / page / count) * page
        bounds = [None, *(self._receipts.key(position) for position in positions[every - 1 : -1 : every]), None]
        return [Span(after, up_to) for after, up_to in itertools.pairwise(bounds)]

    def _manifest_there(self) -> StoredObject | None:
        try:
            return self._provider.stat(self._place.manifest_key)
        except ObjectNotFound:
            return None

    def _standing(self, position: int, stored: StoredObject) -> int:
        receipt = self._receipts.of(position)
        if stored.size_bytes != receipt.size_bytes:
            return WRONG
        if stored.size_bytes == 0:
            return PROVEN  # there is no byte that could differ
        if position in self._sender.not_sent:
            return UNPROVEN  # a short checksum tells a file just sent from a damaged one, but not from other files
        return PROVEN if stored.checksum is not None and stored.checksum in receipt.checksums else UNPROVEN

    def compare_digests(self, standing: bytearray) -> Digests:
        """Ask for the SHA-256 of what no listing proves, and note what that proves."""
        evidence = {Evidence.CHECKSUM}
        unreadable: list[ProviderUnavailable] = []
        unproven = (position for position, how in enumerate(standing) if how == UNPROVEN)
        batches = list(iter(lambda: array("Q", islice(unproven, DIGESTS_PER_REQUEST)), array("Q")))

        def compare_batch(batch: Sequence[int]) -> None:
            positions = {self._receipts.key(position): position for position in batch}
            try:
                digests = self._task.retried(lambda: self._digests(positions))
            except ProviderUnavailable as error:
                unreadable.append(error)
                return
            for digest in digests:
                evidence.add(digest.evidence)
                if digest.sha256 == self._receipts.of(positions[digest.key]).sha256:
                    standing[positions[digest.key]] = PROVEN

        self._task.pool.for_each(compare_batch, batches, self._task.interruption)
        best = Evidence.READ_BACK if Evidence.READ_BACK in evidence else Evidence.CHECKSUM
        return Digests(best, unreadable[-1] if unreadable else None)

    def _digests(self, keys: Iterable[str]) -> Sequence[ContentDigest]:
        try:
            return list(self._provider.digests(keys))
        except ProviderError:
            self._sender.left_unfinished = True  # a file to try something out by, if the connection broke
            raise

    def _remove_own_extras(self, extras: Sequence[StoredObject]) -> None:
        """Remove objects of an earlier attempt whose files are gone since: they are no part of this copy."""
        if not extras:
            return
        task = self._task
        with late_deletions_kept_off(task.records, task.attempt.id, task.provider, task.interruption) as deletions:
            for stored in extras:
                deletions.delete(stored)


def differing(count: int, key: str) -> IntegrityError:
    """Objects of which the provider holds other bytes than were sent, among them that of a key."""
    return IntegrityError(f"{count} objetos no están o difieren de lo enviado, entre ellos {one_line(key)}")
