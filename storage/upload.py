"""One attempt to store a whole execution on one provider and to prove the copy."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import os
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice

from config.logs import emit, one_line
from config.models import (
    EVERYTHING,
    Attempt,
    ContentDigest,
    Evidence,
    Execution,
    ProvenCopy,
    PutReceipt,
    Span,
    StoredObject,
)
from config.text.plurals import counted
from files.tree import Tree
from providers.base import (
    SMALL_TOGETHER_BYTES,
    SPANS_AT_ONCE,
    BytesSource,
    ConditionFailed,
    IntegrityError,
    InvalidKey,
    ObjectNotFound,
    Provider,
    ProviderError,
    ProviderUnavailable,
    UnsafeDestination,
    is_refusal,
)
from providers.retries import with_retries
from storage.attempt_records import AttemptRecords
from storage.deletions import late_deletions_kept_off, require_open
from storage.helpers import BYTES_HANDED_OVER, FILES_HANDED_OVER, HelperLost, Helpers
from storage.keys import Place
from storage.manifest import (
    FoundManifest,
    Manifest,
    find_manifest,
    make_manifest,
    require_nameable,
)
from storage.optional_steps import discard_but_for, discard_unfinished, remove_probes_of_killed_runs
from storage.receipts import MODULUS, Notes, Receipts, part_of
from storage.sending import NO_CHECKSUM, Assistance, FileToSend, Original, Sender, batch_starts
from storage.traffic.transfers import TransferPool

DIGESTS_PER_REQUEST = 256
"""How many objects to ask for at a time where a listing does not prove them."""

PAGES_WORTH_A_SPAN = 4
"""A listing with at least this many pages may be split into several simultaneous ones."""

WRONG, UNPROVEN, PROVEN = range(3)
"""The state of an object: missing or of another size, of the right size, or proven to hold the bytes sent."""


class Upload:
    """One attempt. `run` shows its steps in order. Used once."""

    def __init__(
        self,
        provider: Provider,
        attempt: Attempt,
        execution: Execution,
        tree: Tree,
        original: Original,
        records: AttemptRecords,
        pool: TransferPool,
        interruption: threading.Event,
        queue_position: int = 0,
        assistance: Assistance | None = None,
        require_elsewhere: Callable[[], None] = lambda: None,
    ) -> None:
        self._provider = provider
        self._attempt = attempt
        self._execution = execution
        self._place = Place(attempt.key_prefix)
        self._tree = tree
        self._receipts = Receipts(tree, self._place)
        self._stored_before = Notes(0)
        """The checksums of existing objects that have the right size under keys of files."""
        self._original = original
        self._records = records
        self._pool = pool
        self._interruption = interruption
        self._sender = Sender(provider, original, pool.traffic, interruption, queue_position)
        self._unreadable: ProviderUnavailable | None = None
        self._assistance = assistance
        self._require_elsewhere = require_elsewhere
        self._manifest_seen: StoredObject | None = None
        self._creates_safely = False
        self._may_remove = False
        """Whether to remove objects at the place that belong to no file."""
        self._of_right_size = 0
        self._occupied = bytearray()
        """For each position, whether its key has, or may have, an object."""
        self._others: Sequence[int] = ()
        """The positions of files whose keys have an object that no attempt of ours has sent."""
        self._listing_digest: int | None = None

    def run(self) -> tuple[ProvenCopy, Manifest]:
        """Store the tree and its manifest, and prove both by new requests.

        If somebody else has stored a complete, equal copy there, prove that one instead. Raises `MigrationError`;
        `UnsafeDestination` for any other object that is not known to be ours and would be overwritten.
        """
        self._require_holdable_keys()
        require_nameable(self._tree)
        foreign = self._look_at_the_place()
        self._require_elsewhere()
        if foreign is not None:
            return self._adopt(foreign)
        self._require_equal_to_others()
        # Ask here, so that no probe object for this is put among the files.
        self._creates_safely = with_retries(
            partial(self._provider.creates_safely, self._place.probe_prefix),
            self._interruption,
            self._provider.progress,
        )
        self._send_files(self._ours(self._tree.file_positions()))
        self._stored_before = Notes(0)
        self._require_unchanged()
        manifest = make_manifest(self._execution, self._tree, self._records.installation, self._attempt_in_manifest())
        stored = self._send_manifest(manifest)
        return self._copy(self._prove(manifest), stored.sha256), stored

    @property
    def may_be_waited_for(self) -> bool:
        """Whether a later attempt might wait for late requests of this one, though all were answered."""
        return not (self._creates_safely or self._sender.unanswered)

    def _copy(self, evidence: Evidence, manifest_sha256: str) -> ProvenCopy:
        return ProvenCopy(
            uri=self._place.uri(self._provider.kind),
            provider_id=self._provider.id,
            key_prefix=self._place.key_prefix,
            file_count=self._tree.file_count,
            size_bytes=self._tree.size_bytes,
            evidence=evidence,
            manifest_sha256=manifest_sha256,
            listing_digest=self._listing_digest,
        )

    def _require_unchanged(self) -> None:
        self._original.require_unchanged(self._tree)

    def _ours(self, positions: Sequence[int]) -> Sequence[int]:
        """The positions without those that hold objects of others."""
        others = frozenset(self._others)
        return array("Q", (position for position in positions if position not in others)) if others else positions

    def _require_holdable_keys(self) -> None:
        longest_path_bytes = self._provider.longest_key_bytes - len(os.fsencode(self._place.files_prefix))
        for position in self._tree.file_positions():
            if self._tree.path_bytes_of(position) > longest_path_bytes:
                raise InvalidKey(
                    f"{self._provider.name} no admite rutas de más de {self._provider.longest_key_bytes} bytes: "
                    f"{one_line(self._tree.path(position)[:80])}…"
                )

    def _look_at_the_place(self) -> FoundManifest | None:
        """List what is already stored. This also shows quickly whether the provider answers at all.

        Return a manifest that is not ours. Raises `UnsafeDestination` for a file of another size under a key of ours
        that no attempt of ours has sent.
        """
        manifest = find_manifest(self._provider, self._place, self._interruption)
        is_own = manifest is not None and self._is_own(manifest)
        found = with_retries(self._note_what_lies_there, self._interruption, self._provider.progress)
        self._may_remove = self._everything_here_is_ours and (manifest is None or is_own)
        foreign = (found > 0 or manifest is not None) and not self._may_remove
        self._records.note_place(self._attempt, foreign_objects=foreign)
        if manifest is not None and not is_own:
            return manifest
        if self._attempt.earlier_attempts_here:
            remove_probes_of_killed_runs(self._provider, self._place, self._interruption)
        if self._attempt.earlier_attempts_here and not self._discard_what_is_of_no_use():
            require_open(self._place, self._attempt.late_bytes_until)
        if is_own or self._objects_here_are_ours:
            self._others = ()
        elif found:
            self._tell_of_foreign_objects(found)
            self._require_equal_sizes()
        if manifest is not None:
            self._withdraw(manifest)
        return None

    def _is_own(self, manifest: FoundManifest) -> bool:
        """Whether this installation wrote it for this row. Manifests of earlier versions do not name their owner: of
        those, only one that this database has committed is known to be ours.
        """
        head = manifest.head
        if head is None:
            return self._objects_here_are_ours
        if head.installation is None:
            return manifest.sha256 == self._attempt.committed_manifest_sha256
        return head.installation == self._records.installation and head.row == self._execution.id

    def _withdraw(self, manifest: FoundManifest) -> None:
        """Remove the manifest: once anything changes, the copy is no longer complete and must not look so.

        Where the copy stays the same, nothing is removed. Where a late deletion could hit another manifest than the
        intended one, no other run uses the place until the deletion was answered.
        """
        self._manifest_seen = manifest.stored
        if manifest.tree is not None and _is_same_but_for_bytes(manifest.tree, self._tree):
            return  # a run that was killed before its commit left it
        is_safe = with_retries(
            partial(self._provider.deletes_safely, self._place.probe_prefix),
            self._interruption,
            self._provider.progress,
        )
        refusal: ProviderError | None = None
        with late_deletions_kept_off(self._records, self._attempt.id, self._provider, self._interruption) as deletions:
            try:
                deletions.delete(manifest.stored)
            except ProviderError as error:
                if not is_refusal(error):
                    raise
                refusal = error
        if deletions.unanswered and not is_safe:
            raise UnsafeDestination(
                f"el borrado de {self._place.manifest_key} quedó una vez sin respuesta y podría llegar tarde; se puede "
                "usar otra vez dentro de una hora"
            )
        self._manifest_seen = None if refusal is None else self._emptied(manifest, refusal)

    def _emptied(self, manifest: FoundManifest, refusal: ProviderError) -> StoredObject:
        """Replace a manifest that the provider refuses to remove by an empty object, so that nobody takes it for one.

        Only where a late request would change nothing. Raises `UnsafeDestination` where that is refused.
        """
        if not self._replaces_safely():
            raise self._protected(refusal)
        try:
            self._sender.replace(self._place.manifest_key, BytesSource(b""), manifest.stored)
        except ProviderError as error:
            if not is_refusal(error):
                raise
            raise self._protected(error) from error
        return with_retries(
            partial(self._provider.stat, self._place.manifest_key), self._interruption, self._provider.progress
        )

    def _protected(self, refusal: ProviderError) -> UnsafeDestination:
        return UnsafeDestination(
            f"{self._place.manifest_key} es de una copia anterior, que ya no es igual, y el destino no deja retirarlo "
            f"ni sustituirlo ({refusal}): retírelo cuando acabe su retención, o use mientras otro proveedor u otro "
            "prefijo_ruta_nube"
        )

    def _replaces_safely(self) -> bool:
        return with_retries(
            partial(self._provider.replaces_safely, self._place.probe_prefix),
            self._interruption,
            self._provider.progress,
        )

    def _attempt_in_manifest(self) -> int | None:
        return self._attempt.id if self._replaces_safely() else None

    def _note_what_lies_there(self) -> int:
        """Count the objects; keep the checksums of those that may be our files."""
        self._stored_before = Notes(len(self._tree))
        self._occupied = bytearray(len(self._tree))
        self._of_right_size = 0
        others = array("Q")
        found = 0
        size_bytes = self._tree.size_bytes if self._attempt.earlier_attempts_here else 0
        for position, stored in self._listed(size_bytes):
            found += 1
            if position is None:
                continue
            others.append(position)
            self._occupied[position] = True
            checksum = stored.checksum or NO_CHECKSUM
            if stored.size_bytes == self._tree.size_bytes_of(position):
                self._stored_before.note(position, checksum if checksum.isprintable() else "")
                self._of_right_size += 1
        self._others = others
        return found

    def _require_equal_sizes(self) -> None:
        if self._of_right_size != len(self._others):
            raise self._written_by_others()

    def _require_equal_to_others(self) -> None:
        """Check before anything is sent. Raises `UnsafeDestination` for somebody else's file with other bytes."""
        self._measure(self._others)
        standing = bytearray(len(self._tree) + 1)
        for position in self._others:
            standing[position] = UNPROVEN if self._tree.size_bytes_of(position) else PROVEN
        self._compare_digests(standing)
        if any(standing[position] != PROVEN for position in self._others):
            raise self._unreadable or self._written_by_others()

    def _written_by_others(self) -> UnsafeDestination:
        return UnsafeDestination(
            f"en {self._place.files_prefix} hay ficheros con los mismos nombres y otro contenido, que este programa no "
            "ha guardado para esta ejecución: no se sobrescriben; revíselos y retírelos, o corrija el uuid"
        )

    def _listed(self, size_bytes: int, span: Span = EVERYTHING) -> Iterator[tuple[int | None, StoredObject]]:
        """The objects at the place in a new listing, each with the position of the file that it may be.

        For this, some servers read all stored bytes, up to `size_bytes`. So another question comes first, to detect a
        silent server sooner.
        """
        position = None
        for stored in self._provider.list_patiently(self._place.files_prefix, size_bytes, span):
            position = self._receipts.position_of(stored.key, (position or 0) + 1)
            yield position, stored

    @property
    def _everything_here_is_ours(self) -> bool:
        """Whether the objects here may be removed: only earlier attempts that failed have sent anything."""
        attempt = self._attempt
        return attempt.earlier_attempts_here > 0 and not (attempt.foreign_objects_here or attempt.committed_here)

    @property
    def _objects_here_are_ours(self) -> bool:
        """Whether an object under a key of ours may be replaced: it was sent for this execution."""
        attempt = self._attempt
        return attempt.earlier_attempts_here > 0 and (attempt.committed_here or not attempt.foreign_objects_here)

    def _tell_of_foreign_objects(self, found: int) -> None:
        emit(
            logging.WARNING,
            "foreign_objects",
            f"En {self._place.files_prefix} de {self._provider.name} ya había {counted(found, 'objeto', 'objetos')} "
            "que este programa no guardó para esta ejecución: no se sobrescribe ni se borra nada de eso; revise qué es",
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
        worth_bytes = self._provider.offload_threshold_bytes
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
            files = self._files_to_send(part)
            kept = self._provider.hand_over_unfinished(file.key for file in files)
            try:
                sent = assistance.send(
                    files, self._place.probe_prefix, kept, self._original.descriptor, self._interruption
                )
            except HelperLost:
                self._sender.left_unfinished = self._sender.unanswered = True
                self._send_in_turn(part)
                return
            self._note(sent.receipts)
            self._sender.note_sent_elsewhere(sent)

        assistance.helpers.for_each(hand_over, range(len(starts) - 1), self._interruption)

    def _send_in_turn(self, positions: Sequence[int]) -> None:
        """Send, in the thread that handed them over, the files that a helper should have sent."""
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
                position,
                self._receipts.key(position),
                self._tree.entry(position),
                self._stored_before.of(position),
                bool(self._occupied[position]),
            )
            for position in positions
        ]

    def _send_batch(self, positions: Sequence[int]) -> None:
        self._note(self._sender.send(self._files_to_send(positions)))

    def _note(self, receipts: Mapping[int, PutReceipt]) -> None:
        for position, receipt in receipts.items():
            self._receipts.note(position, receipt)

    def _leave_nothing_unfinished(self) -> None:
        """Discard what may still become an object, before anything is proven.

        Raises `UnsafeDestination` where the provider does not allow it and a request of an earlier attempt may still
        arrive: it could complete an upload of that attempt over the proven copy.
        """
        if self._sender.left_unfinished and not self._discard_unfinished():
            require_open(self._place, self._attempt.late_bytes_until)

    def _discard_unfinished(self) -> bool:
        """Discard everything unfinished; whether that is gone. What this attempt began holds the same bytes as what it
        stored, so nothing is lost where the provider keeps it.
        """
        self._sender.left_unfinished = False
        discarded = [
            discard_unfinished(self._provider, prefix, self._interruption) for prefix in self._place.unfinished_prefixes
        ]
        return all(discarded)

    def _discard_what_is_of_no_use(self) -> bool:
        """Discard unfinished uploads, but keep those whose parts the files to send can use. Whether the rest is gone.

        Until these are completed, or discarded before anything is proven, late requests of earlier attempts can also
        complete them.
        """
        files_prefix, manifest_key = self._place.unfinished_prefixes
        manifest_is_gone = discard_unfinished(self._provider, manifest_key, self._interruption)
        files_are_kept = discard_but_for(self._provider, files_prefix, self._is_key_of_a_file, self._interruption)
        self._sender.left_unfinished = files_are_kept is True
        return manifest_is_gone and files_are_kept is not None

    def _is_key_of_a_file(self, key: str) -> bool:
        return self._receipts.position_of(key, 0) is not None

    def _send_manifest(self, manifest: Manifest) -> Manifest:
        """Store the manifest, unless somebody has stored another one since this attempt looked; return the stored one.

        Raises `UnsafeDestination`.
        """
        try:
            receipt = self._sender.replace(self._place.manifest_key, manifest, self._manifest_seen)
        except ConditionFailed:
            receipt = self._send_manifest_again(manifest)
        except ProviderError as error:
            if self._manifest_seen is None or not is_refusal(error):
                raise
            return self._kept_manifest(error)
        self._receipts.note(self._receipts.manifest_position, receipt)
        return manifest

    def _kept_manifest(self, refusal: ProviderError) -> Manifest:
        """The manifest of an earlier attempt that the provider refuses to replace, if it says the same.

        Raises `UnsafeDestination` for another one.
        """
        found = find_manifest(self._provider, self._place, self._interruption)
        if found is None or found.head is None or not self._is_own(found) or not self._says_the_same(found):
            raise self._protected(refusal)
        self._note_found(found)
        return self._manifest_of(found)

    def _says_the_same(self, found: FoundManifest) -> bool:
        """Whether a manifest describes this tree, whose file hashes are known by now."""
        tree = found.tree
        return (
            tree is not None
            and _is_same_but_for_bytes(tree, self._tree)
            and all(tree.sha256(position) == self._tree.sha256(position) for position in self._tree.file_positions())
        )

    def _note_found(self, found: FoundManifest) -> None:
        """Record a manifest that was seen by reading it."""
        checksums = frozenset([found.stored.checksum] if found.stored.checksum else [])
        receipt = PutReceipt(found.stored.size_bytes, found.sha256, checksums)
        self._receipts.note(self._receipts.manifest_position, receipt)

    def _manifest_of(self, found: FoundManifest) -> Manifest:
        installation = (found.head.installation if found.head else None) or ""
        return Manifest(self._execution, installation, None, self._tree, found.stored.size_bytes, found.sha256)

    def _send_manifest_again(self, manifest: Manifest) -> PutReceipt:
        """Handle a manifest other than the one seen before: this very one if only the answer was lost, one of ours that
        an earlier request brought late, or somebody else's.
        """
        found = find_manifest(self._provider, self._place, self._interruption)
        if found is not None and found.sha256 == manifest.sha256:
            return PutReceipt(manifest.size_bytes, manifest.sha256)
        if found is not None and not self._is_own(found):
            raise UnsafeDestination(f"otro programa ha guardado allí mientras tanto {self._place.manifest_key}")
        if found is None:  # though the provider has just refused to store it because there is one
            raise _differing(1, self._place.manifest_key)
        return self._sender.replace(self._place.manifest_key, manifest, found.stored)

    def _send_manifest_once_more(self, manifest: Manifest) -> None:
        """Send it again after files were sent again. Raises `UnsafeDestination` for somebody else's manifest."""
        found = find_manifest(self._provider, self._place, self._interruption)
        if found is not None and found.head is not None and not self._is_own(found):
            raise self._claimed_by_others()
        self._manifest_seen = None if found is None else found.stored
        self._send_manifest(manifest)

    def _measure(self, positions: Sequence[int]) -> None:
        """Read files that are not sent, to know which bytes should be stored."""

        def measure(position: int) -> None:
            source = self._original.source(self._tree.entry(position), self._interruption)
            self._receipts.note(position, self._provider.measure(source))
            self._sender.not_sent.add(position)

        self._pool.for_each(measure, positions, self._interruption)

    def _adopt(self, found: FoundManifest) -> tuple[ProvenCopy, Manifest]:
        """Prove a complete copy that somebody else stored there, for example this database before it was restored.
        Writes nothing. Raises `UnsafeDestination` unless the copy and its manifest equal what would be stored.
        """
        execution = self._execution.uuid
        if found.tree is None or found.head is None or found.head.execution != execution:
            raise self._claimed_by_others()
        if not _is_same_but_for_bytes(found.tree, self._tree):
            raise self._claimed_by_others()
        positions = self._tree.file_positions()
        self._measure(positions)
        self._require_unchanged()
        if not self._says_the_same(found):
            raise self._claimed_by_others()
        self._note_found(found)
        wrong, evidence = self._compare()
        if wrong:
            raise self._claimed_by_others()
        self._tell_of_adoption()
        return self._copy(evidence, found.sha256), self._manifest_of(found)

    def _claimed_by_others(self) -> UnsafeDestination:
        return UnsafeDestination(
            f"{self._place.manifest_key} es de otra copia, que no ha hecho esta instalación para esta fila: no se "
            "sobrescribe; si sobra, retírela, o corrija el uuid o prefijo_ruta_nube"
        )

    def _tell_of_adoption(self) -> None:
        uuid = one_line(self._execution.uuid)
        emit(
            logging.WARNING,
            "copy_adopted",
            f"La ejecución {uuid} ya estaba entera e igual en {self._provider.name}, guardada por otra instalación: se "
            "anota donde está, sin enviar nada",
            execution=uuid,
            provider=self._provider.name,
        )

    def _prove(self, manifest: Manifest) -> Evidence:
        """Compare what the provider says it holds with what was sent; send again what differs.

        Raises `IntegrityError` for what still differs then, `ProviderUnavailable` for what still cannot be read.
        """
        wrong, evidence = self._compare()
        if wrong:
            self._sender.left_unfinished = True  # for example a file that did not get its name
            files = array("Q", (position for position in wrong if position != self._receipts.manifest_position))
            if len(self._ours(files)) < len(files):
                raise self._written_by_others()
            for position in files:
                self._occupied[position] = True
            self._sender.not_sent.clear()
            self._send_files(files)
            self._send_manifest_once_more(manifest)
            self._unreadable = None
            wrong, evidence = self._compare()
        if wrong:
            raise self._unreadable or _differing(len(wrong), self._receipts.key(wrong[0]))
        return evidence

    def _compare(self) -> tuple[Sequence[int], Evidence]:
        """The positions whose stored bytes differ from those sent, and the evidence for the others."""
        self._leave_nothing_unfinished()
        standing, extras = with_retries(self._ask_what_is_there, self._interruption, self._provider.progress)
        self._remove_own_extras(extras)
        evidence = self._compare_digests(standing)
        self._leave_nothing_unfinished()
        expected = chain(self._tree.file_positions(), [self._receipts.manifest_position])
        return array("Q", (position for position in expected if standing[position] != PROVEN)), evidence

    def _ask_what_is_there(self) -> tuple[bytearray, Sequence[StoredObject]]:
        """The state of each position in a new listing, and own objects that belong to none."""
        standing = bytearray(len(self._tree) + 1)
        manifest = self._manifest_there()
        if manifest is not None:
            standing[-1] = self._standing(self._receipts.manifest_position, manifest)
        extras: list[StoredObject] = []
        proven: list[tuple[int, int]] = []

        def look(span: Span) -> None:
            count = digest = 0
            for position, stored in self._listed(self._tree.size_bytes, span):
                if position is not None:
                    standing[position] = self._standing(position, stored)
                    if standing[position] == PROVEN:
                        count += 1
                        path = stored.key.removeprefix(self._place.files_prefix)
                        digest += part_of(path, stored.size_bytes, stored.checksum)
                elif self._may_remove:
                    extras.append(stored)
            proven.append((count, digest))

        spans = self._spans()
        if spans:
            with contextlib.closing(TransferPool(len(spans))) as pool:
                pool.for_each(look, spans, self._interruption)
        if not spans or any(standing[position] == WRONG for position in self._tree.file_positions()):
            proven.clear()
            look(EVERYTHING)  # also because a server may list in its own order
        is_proven = sum(count for count, _ in proven) == self._tree.file_count
        self._listing_digest = sum(digest for _, digest in proven) % MODULUS if is_proven else None
        return standing, extras

    def _spans(self) -> Sequence[Span]:
        """Ranges to list at the same time, each some whole pages of the expected objects; none to list all at once.

        After an earlier attempt there may be more objects, which only one complete listing finds.
        """
        positions = self._tree.file_positions()
        page = self._provider.listed_at_once
        if page is None or self._may_remove:
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

    def _compare_digests(self, standing: bytearray) -> Evidence:
        """Ask for the SHA-256 of what no listing proves, and note what that proves."""
        evidence = {Evidence.CHECKSUM}
        unproven = (position for position, how in enumerate(standing) if how == UNPROVEN)
        batches = list(iter(lambda: array("Q", islice(unproven, DIGESTS_PER_REQUEST)), array("Q")))

        def compare_batch(batch: Sequence[int]) -> None:
            positions = {self._receipts.key(position): position for position in batch}
            try:
                digests = with_retries(lambda: self._digests(positions), self._interruption, self._provider.progress)
            except ProviderUnavailable as error:
                self._unreadable = error  # perhaps because one of them is damaged at the server: they count as wrong
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

    def _remove_own_extras(self, extras: Sequence[StoredObject]) -> None:
        """Remove objects of an earlier attempt whose files are gone since: they are no part of this copy."""
        if not extras:
            return
        with late_deletions_kept_off(self._records, self._attempt.id, self._provider, self._interruption) as deletions:
            for stored in extras:
                deletions.delete(stored)


def _differing(count: int, key: str) -> IntegrityError:
    return IntegrityError(f"{count} objetos no están o difieren de lo enviado, entre ellos {one_line(key)}")


def _is_same_but_for_bytes(one: Tree, other: Tree) -> bool:
    """Whether two trees have the same names, kinds, modes, times, sizes and targets."""
    return len(one) == len(other) and all(
        a._replace(sha256=None, identity=None) == b._replace(sha256=None, identity=None)
        for a, b in zip(one, other, strict=True)
    )
