"""One attempt to store an execution whole on one provider, and to prove that it lies there."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import os
import threading
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice

from config.logs import emit, one_line
from config.models import EVERYTHING, ContentDigest, Evidence, Execution, PutReceipt, Span, StoredObject
from config.trees import Tree
from jobs.helpers import BYTES_HANDED_OVER, FILES_HANDED_OVER, HelperLost, Helpers
from jobs.keys import Place
from jobs.manifest import Manifest, make_manifest
from jobs.receipts import Notes, Receipts
from jobs.retries import with_retries
from jobs.sending import Assistance, FileToSend, Sender, batch_starts
from jobs.transfers import TransferPool
from jobs.tree import require_unchanged, walk
from providers.base import (
    SMALL_TOGETHER_BYTES,
    SPANS_AT_ONCE,
    IntegrityError,
    InvalidKey,
    ObjectNotFound,
    Provider,
    ProviderError,
    ProviderUnavailable,
)
from sql.database import Attempt, Database, ProvenCopy

DIGESTS_PER_REQUEST = 256
"""How many objects are asked for at a time where a listing does not prove them."""

PAGES_WORTH_A_SPAN = 4
"""A listing of so many pages or more can be one of several that are asked for at the same time."""

WRONG, UNPROVEN, PROVEN = range(3)
"""How an object stands: missing or of another size, of the right size, or proven to hold the bytes that were sent."""


class Upload:
    """The steps of one attempt, in the order in which `run` reads. Used once."""

    def __init__(
        self,
        provider: Provider,
        attempt: Attempt,
        execution: Execution,
        directory_descriptor: int,
        database: Database,
        pool: TransferPool,
        interruption: threading.Event,
        place_in_queue: int = 0,
        assistance: Assistance | None = None,
    ) -> None:
        self._provider = provider
        self._attempt = attempt
        self._execution = execution
        self._place = Place(attempt.key_prefix)
        self._descriptor = directory_descriptor
        self._database = database
        self._pool = pool
        self._interruption = interruption
        self._sender = Sender(provider, directory_descriptor, pool.traffic, interruption, place_in_queue)
        self._unreadable: ProviderUnavailable | None = None
        self._assistance = assistance

    def run(self, tree: Tree) -> tuple[ProvenCopy, Manifest]:
        """Store `tree` and its manifest, and prove both by new requests. Raises `MigrationError`."""
        self._tree = tree
        self._receipts = Receipts(tree, self._place)
        self._require_holdable_keys()
        self._look_at_the_place()
        self._send_files(tree.file_positions())
        self._stored_before = Notes(0)
        with contextlib.closing(walk(self._descriptor)) as second_walk:
            require_unchanged(tree, second_walk)
        manifest = make_manifest(self._execution, tree)
        self._send_manifest(manifest)
        evidence = self._prove(manifest)
        copy = ProvenCopy(
            uri=self._place.uri(self._provider.kind),
            provider_id=self._provider.id,
            key_prefix=self._place.key_prefix,
            file_count=tree.file_count,
            size_bytes=tree.size_bytes,
            evidence=evidence,
            manifest_sha256=manifest.sha256,
        )
        return copy, manifest

    def _require_holdable_keys(self) -> None:
        longest_path_bytes = self._provider.longest_key_bytes - len(os.fsencode(self._place.files_prefix))
        for position in self._tree.file_positions():
            if self._tree.path_bytes_of(position) > longest_path_bytes:
                raise InvalidKey(
                    f"{self._provider.name} no admite rutas de más de {self._provider.longest_key_bytes} bytes: "
                    f"{one_line(self._tree.path(position)[:80])}…"
                )

    def _look_at_the_place(self) -> None:
        """Ask what lies there already; this also finds out quickly whether the provider answers at all."""
        found = with_retries(self._note_what_lies_there, self._interruption)
        foreign_objects = found > 0 and not self._everything_here_is_ours
        self._database.note_place(self._attempt, foreign_objects=foreign_objects)
        if self._attempt.earlier_attempts_here:
            self._discard_unfinished()
        if foreign_objects:
            self._tell_of_foreign_objects(found)
        elif found:
            self._remove_own_manifest()

    def _note_what_lies_there(self) -> int:
        """How many objects; of those that may be our files the checksum is kept."""
        self._stored_before = Notes(len(self._tree))
        found = 0
        size_bytes = 0
        if self._attempt.earlier_attempts_here:
            size_bytes = self._tree.size_bytes
            self._manifest_there()
        for position, stored in self._listed(size_bytes):
            found += 1
            checksum = stored.checksum or ""
            if position is not None and stored.size_bytes == self._tree.size_bytes_of(position):
                self._stored_before.note(position, checksum if checksum.isprintable() else "")
        return found

    def _listed(self, size_bytes: int, span: Span = EVERYTHING) -> Iterator[tuple[int | None, StoredObject]]:
        """What lies at the place according to a new listing, each with the position of the file that it may be.

        Some servers read for it all that lies there, maybe `size_bytes`. So another question comes before it, by which
        one that is silent is found out sooner.
        """
        position = None
        for stored in self._provider.list_patiently(self._place.files_prefix, size_bytes, span):
            position = self._receipts.position_of(stored.key, (position or 0) + 1)
            yield position, stored

    def _remove_own_manifest(self) -> None:
        """Until the new manifest is there this copy is not complete, and must not look so.

        Where there is none, nothing is sent: a request to remove it could arrive late, after another run's manifest.
        """
        with contextlib.suppress(ObjectNotFound):
            with_retries(lambda: self._provider.stat(self._place.manifest_key), self._interruption)
            with_retries(lambda: self._provider.delete(self._place.manifest_key), self._interruption)

    @property
    def _everything_here_is_ours(self) -> bool:
        return self._attempt.earlier_attempts_here > 0 and not self._attempt.foreign_objects_here

    def _tell_of_foreign_objects(self, found: int) -> None:
        emit(
            logging.WARNING,
            "foreign_objects",
            f"En {self._place.files_prefix} de {self._provider.name} ya había {found} objetos "
            "que no son de un intento pendiente; no se borrará ninguno",
            execution=self._execution.uuid,
            provider=self._provider.name,
        )

    def _send_files(self, positions: Sequence[int]) -> None:
        large, small = self._tree.divided_by_size(positions)
        here: list[Sequence[int]] = []
        if self._assistance is not None and self._are_worth_help(large, self._assistance.helpers):
            at_once = self._assistance.helpers.share_of(len(large))
            self._send_by_helpers(large, self._assistance, self._starts(large, at_once, self._tree.size_bytes))
        else:
            here.append(large)
        if self._assistance is not None and self._assistance.helpers.are_worth_while(len(small)):
            starts = self._starts(small, FILES_HANDED_OVER, BYTES_HANDED_OVER)
            self._send_by_helpers(small, self._assistance, starts)
        else:
            here.append(small)
        self._send_here(array("Q", chain(*here)))

    def _are_worth_help(self, large: Sequence[int], helpers: Helpers) -> bool:
        worth_bytes = self._provider.large_bytes_worth_help
        if worth_bytes is None or not helpers.are_there:
            return False
        return sum(map(self._tree.size_bytes_of, large)) >= worth_bytes

    def _send_here(self, positions: Sequence[int]) -> None:
        starts = self._starts(positions, self._provider.objects_at_once, SMALL_TOGETHER_BYTES)

        def send_batch(number: int) -> None:
            self._send_batch(positions[starts[number] : starts[number + 1]])

        self._pool.for_each(send_batch, range(len(starts) - 1), self._interruption)

    def _send_by_helpers(self, positions: Sequence[int], assistance: Assistance, starts: Sequence[int]) -> None:
        def hand_over(number: int) -> None:
            part = positions[starts[number] : starts[number + 1]]
            try:
                sent = assistance.send(self._files_to_send(part), self._descriptor, self._interruption)
            except HelperLost:
                self._sender.left_unfinished = True
                self._send_in_turn(part)
                return
            self._note(sent.receipts)
            self._sender.left_unfinished |= sent.left_unfinished

        assistance.helpers.for_each(hand_over, range(len(starts) - 1), self._interruption)

    def _send_in_turn(self, positions: Sequence[int]) -> None:
        """What was to be done by a helper, by the thread that had handed it over."""
        starts = self._starts(positions, self._provider.objects_at_once, SMALL_TOGETHER_BYTES)
        for start, end in itertools.pairwise(starts):
            self._send_batch(positions[start:end])

    def _starts(self, positions: Sequence[int], most: int, most_bytes: int) -> array[int]:
        """Where each batch begins, and where the last one ends."""
        sizes_bytes = map(self._tree.size_bytes_of, positions)
        return array("Q", chain(batch_starts(sizes_bytes, most, most_bytes), [len(positions)]))

    def _files_to_send(self, positions: Sequence[int]) -> list[FileToSend]:
        return [
            FileToSend(
                position, self._receipts.key(position), self._tree.entry(position), self._stored_before.of(position)
            )
            for position in positions
        ]

    def _send_batch(self, positions: Sequence[int]) -> None:
        self._note(self._sender.send(self._files_to_send(positions)))

    def _note(self, receipts: Mapping[int, PutReceipt]) -> None:
        for position, receipt in receipts.items():
            self._receipts.note(position, receipt)

    def _discard_unfinished(self) -> None:
        for prefix in self._place.unfinished_prefixes:
            with_retries(partial(self._provider.abandon, prefix), self._interruption)
        self._sender.left_unfinished = False

    def _send_manifest(self, manifest: Manifest) -> None:
        receipts = self._sender.store({self._place.manifest_key: manifest})
        self._receipts.note(self._receipts.manifest_position, receipts[self._place.manifest_key])

    def _prove(self, manifest: Manifest) -> Evidence:
        """Compare what the provider says it holds with what was sent; what differs is sent once more.

        Raises `IntegrityError` for what differs then, too, `ProviderUnavailable` for what cannot be read then, either.
        """
        wrong, evidence = self._compare()
        if wrong:
            self._sender.left_unfinished = True  # what did not get its name, say
            self._send_files([position for position in wrong if position != self._receipts.manifest_position])
            self._send_manifest(manifest)
            self._unreadable = None
            wrong, evidence = self._compare()
        if wrong:
            raise self._unreadable or IntegrityError(
                f"{len(wrong)} objetos no están o difieren de lo enviado, entre ellos "
                f"{one_line(self._receipts.key(wrong[0]))}"
            )
        return evidence

    def _compare(self) -> tuple[Sequence[int], Evidence]:
        """The positions of those whose stored bytes are not those sent, and the evidence for the others."""
        if self._sender.left_unfinished:
            self._discard_unfinished()
        standing, extras = with_retries(self._ask_what_is_there, self._interruption)
        self._remove_own_extras(extras)
        evidence = self._compare_digests(standing)
        if self._sender.left_unfinished:
            self._discard_unfinished()
        expected = chain(self._tree.file_positions(), [self._receipts.manifest_position])
        return array("Q", (position for position in expected if standing[position] != PROVEN)), evidence

    def _ask_what_is_there(self) -> tuple[bytearray, Sequence[str]]:
        """How each position stands according to a new listing, and the keys of own objects that belong to none."""
        standing = bytearray(len(self._tree) + 1)
        manifest = self._manifest_there()
        if manifest is not None:
            standing[-1] = self._standing(self._receipts.manifest_position, manifest)
        extras: list[str] = []

        def look(span: Span) -> None:
            for position, stored in self._listed(self._tree.size_bytes, span):
                if position is not None:
                    standing[position] = self._standing(position, stored)
                elif self._everything_here_is_ours:
                    extras.append(stored.key)

        spans = self._spans()
        if spans:
            with contextlib.closing(TransferPool(len(spans))) as pool:
                pool.for_each(look, spans, self._interruption)
        if not spans or any(standing[position] == WRONG for position in self._tree.file_positions()):
            look(EVERYTHING)  # also as a server may list in an order of its own
        return standing, extras

    def _spans(self) -> Sequence[Span]:
        """What to list at the same time, each some whole pages of what should lie there; none: all in one go.

        After an earlier attempt there may be more, which is only found by going through all in one go.
        """
        positions = self._tree.file_positions()
        page = self._provider.listed_at_once
        if page is None or self._everything_here_is_ours:
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
        return PROVEN if stored.checksum is not None and stored.checksum in receipt.checksums else UNPROVEN

    def _compare_digests(self, standing: bytearray) -> Evidence:
        """Ask for the SHA-256 of what no listing proves, and note what is proven by that."""
        evidence = {Evidence.CHECKSUM}
        unproven = (position for position, how in enumerate(standing) if how == UNPROVEN)
        batches = list(iter(lambda: array("Q", islice(unproven, DIGESTS_PER_REQUEST)), array("Q")))

        def compare_batch(batch: Sequence[int]) -> None:
            positions = {self._receipts.key(position): position for position in batch}
            try:
                digests = with_retries(lambda: self._digests(positions), self._interruption)
            except ProviderUnavailable as error:
                self._unreadable = error  # perhaps as one of them is damaged at the server: they count as wrong
                return
            for digest in digests:
                evidence.add(digest.evidence)
                if digest.sha256 == self._receipts.of(positions[digest.key]).sha256:
                    standing[positions[digest.key]] = PROVEN

        self._pool.for_each(compare_batch, batches, self._interruption)
        return Evidence.READ_BACK if Evidence.READ_BACK in evidence else Evidence.CHECKSUM

    def _digests(self, keys: Iterable[str]) -> Sequence[ContentDigest]:
        try:
            return list(self._provider.digests(keys))
        except ProviderError:
            self._sender.left_unfinished = True  # a file to try something out by, if the connection broke
            raise

    def _remove_own_extras(self, keys: Iterable[str]) -> None:
        """Objects of an earlier attempt whose files are gone since: they are no part of this copy."""
        for key in keys:
            with_retries(partial(self._provider.delete, key), self._interruption)
