"""One attempt to store a whole execution on one provider and to prove the copy."""

from __future__ import annotations

import logging
import os
import threading
from array import array
from collections.abc import Callable, Sequence
from functools import partial

from config.logs import emit, one_line
from config.models import Attempt, Execution, ProvenCopy
from files.tree import Tree
from providers.base import Provider
from providers.errors import InvalidKey
from storage.attempt_records import AttemptRecords
from storage.keys import Place
from storage.manifest import FoundManifest, Manifest, make_manifest, require_nameable
from storage.sending import Assistance, Original, Sender
from storage.traffic.transfers import TransferPool
from storage.uploading.files import FilesOfUpload
from storage.uploading.found import FirstLook, Found, written_by_others
from storage.uploading.manifest_at_place import ManifestAtPlace, is_same_but_for_bytes
from storage.uploading.proof import PROVEN, UNPROVEN, Comparison, Proof
from storage.uploading.task import Receipts, UploadTask


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
        place = Place(attempt.key_prefix)
        receipts = Receipts(tree, place)
        task = UploadTask(provider, attempt, execution, place, tree, original, receipts, records, pool, interruption)
        self._task = task
        self._provider = provider
        self._tree = tree
        self._receipts = receipts
        self._require_elsewhere = require_elsewhere
        self._sender = Sender(provider, original, pool.traffic, interruption, queue_position)
        self._files = FilesOfUpload(task, self._sender, assistance)
        self._manifest = ManifestAtPlace(task, self._sender)
        self._proof = Proof(task, self._sender)
        self._creates_safely = False

    def run(self) -> tuple[ProvenCopy, Manifest]:
        """Store the tree and its manifest, and prove both by new requests.

        If somebody else has stored a complete, equal copy there, prove that one instead. Raises `MigrationError`;
        `UnsafeDestination` for any other object that is not known to be ours and would be overwritten.
        """
        self._require_holdable_keys()
        require_nameable(self._tree)
        found = FirstLook(self._task, self._manifest, self._sender).look()
        self._require_elsewhere()
        if found.foreign_manifest is not None:
            return self._adopt(found.foreign_manifest)
        self._require_equal_to_others(found)
        # Ask here, so that no probe object for this is put among the files.
        self._creates_safely = self._task.retried(partial(self._provider.creates_safely, self._task.place.probe_prefix))
        self._files.send(found.ours(self._tree.file_positions()), found)
        found = found.once_sent()
        self._require_unchanged()
        manifest = make_manifest(
            self._task.execution, self._tree, self._task.records.installation, self._attempt_in_manifest()
        )
        stored = self._manifest.send(manifest, found.manifest_left)
        return self._copy(self._prove(manifest, found), stored.sha256), stored

    @property
    def may_be_waited_for(self) -> bool:
        """Whether a later attempt might wait for late requests of this one, though all were answered."""
        return not (self._creates_safely or self._sender.unanswered)

    def _copy(self, proven: Comparison, manifest_sha256: str) -> ProvenCopy:
        return ProvenCopy(
            uri=self._task.place.uri(self._provider.kind),
            provider_id=self._provider.id,
            key_prefix=self._task.place.key_prefix,
            file_count=self._tree.file_count,
            size_bytes=self._tree.size_bytes,
            evidence=proven.evidence,
            manifest_sha256=manifest_sha256,
            listing_digest=proven.listing_digest,
        )

    def _require_unchanged(self) -> None:
        self._task.original.require_unchanged(self._tree)

    def _require_holdable_keys(self) -> None:
        longest_path_bytes = self._provider.longest_key_bytes - len(os.fsencode(self._task.place.files_prefix))
        for position in self._tree.file_positions():
            if self._tree.path_bytes_of(position) > longest_path_bytes:
                raise InvalidKey(
                    f"{self._provider.name} no admite rutas de más de {self._provider.longest_key_bytes} bytes: "
                    f"{one_line(self._tree.path(position)[:80])}…"
                )

    def _attempt_in_manifest(self) -> int | None:
        return self._task.attempt.id if self._task.replaces_safely() else None

    def _require_equal_to_others(self, found: Found) -> None:
        """Check before anything is sent. Raises `UnsafeDestination` for somebody else's file with other bytes."""
        self._measure(found.others)
        standing = bytearray(len(self._tree) + 1)
        for position in found.others:
            standing[position] = UNPROVEN if self._tree.size_bytes_of(position) else PROVEN
        digests = self._proof.compare_digests(standing)
        if any(standing[position] != PROVEN for position in found.others):
            raise digests.unreadable or written_by_others(self._task)

    def _measure(self, positions: Sequence[int]) -> None:
        """Read files that are not sent, to know which bytes should be stored."""

        def measure(position: int) -> None:
            source = self._task.original.source(self._tree.entry(position), self._task.interruption)
            self._receipts.note(position, self._provider.measure(source))
            self._sender.not_sent.add(position)

        self._task.pool.for_each(measure, positions, self._task.interruption)

    def _adopt(self, found: FoundManifest) -> tuple[ProvenCopy, Manifest]:
        """Prove a complete copy that somebody else stored there, for example this database before it was restored.
        Writes nothing. Raises `UnsafeDestination` unless the copy and its manifest equal what would be stored.
        """
        execution = self._task.execution.uuid
        if found.tree is None or found.head is None or found.head.execution != execution:
            raise self._manifest.claimed_by_others(found)
        if not is_same_but_for_bytes(found.tree, self._tree):
            self._manifest.require_no_remnant(found)
            raise self._manifest.claimed_by_others(found)
        self._measure(self._tree.file_positions())
        self._require_unchanged()
        if not self._manifest.says_the_same(found):
            raise self._manifest.claimed_by_others(found)
        manifest = self._manifest.taken(found)
        compared = self._proof.compare(may_remove=False)
        if compared.wrong:
            raise self._manifest.claimed_by_others(found)
        if self._manifest.names_us(found):  # its database was set back since
            return self._copy(compared, found.sha256), manifest
        self._tell_of_adoption()
        return self._copy(compared, found.sha256)._replace(is_of_others=True), manifest

    def _tell_of_adoption(self) -> None:
        uuid = one_line(self._task.execution.uuid)
        emit(
            logging.WARNING,
            "copy_adopted",
            f"La ejecución {uuid} ya estaba entera e igual en {self._provider.name}, guardada por otra instalación: se "
            "anota donde está, sin enviar nada, y la copia local se queda, pues aquella puede borrar la suya",
            execution=uuid,
            provider=self._provider.name,
        )

    def _prove(self, manifest: Manifest, found: Found) -> Comparison:
        """Compare what the provider says it holds with what was sent; send again what differs.

        Raises `IntegrityError` for what still differs then, `ProviderUnavailable` for what still cannot be read.
        """
        compared = self._proof.compare(found.may_remove)
        if compared.wrong:
            self._send_again(compared.wrong, manifest, found)
            compared = self._proof.compare(found.may_remove)
        if compared.wrong:
            raise compared.error(self._receipts.key(compared.wrong[0]))
        return compared

    def _send_again(self, wrong: Sequence[int], manifest: Manifest, found: Found) -> None:
        """Send what differs, and the manifest. Raises `UnsafeDestination` for files of somebody else among it."""
        self._sender.left_unfinished = True  # for example a file that did not get its name
        files = array("Q", (position for position in wrong if position != self._receipts.manifest_position))
        if len(found.ours(files)) < len(files):
            raise written_by_others(self._task)
        self._sender.not_sent.clear()
        self._files.send(files, found.with_objects_at(files))
        self._manifest.send_once_more(manifest)
