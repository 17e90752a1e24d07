"""One attempt to store an execution whole on one provider, and to prove that it lies there."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

from config.logs import emit, one_line
from config.models import Entry, Evidence, Execution, PutReceipt, StoredObject, Tree
from jobs.keys import Place
from jobs.manifest import Manifest, make_manifest
from jobs.pace import PacedSource, Pacer
from jobs.retries import with_retries
from jobs.transfers import TransferPool
from jobs.tree import FileSource, require_unchanged, walk_tree
from providers.base import (
    SMALL_TOGETHER_BYTES,
    BytesSource,
    IntegrityError,
    InvalidKey,
    ObjectNotFound,
    Provider,
    ProviderError,
    Source,
)
from sql.database import Attempt, Database, ProvenCopy

DIGESTS_PER_REQUEST = 64
"""How many objects are asked for at a time where a listing does not prove them."""


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
    ) -> None:
        self._provider = provider
        self._attempt = attempt
        self._execution = execution
        self._place = Place(attempt.key_prefix)
        self._descriptor = directory_descriptor
        self._database = database
        self._pool = pool
        self._interruption = interruption
        self._stored_before: dict[str, StoredObject] = {}
        self._receipts: dict[str, PutReceipt] = {}
        self._unfinished = False
        self._place_in_queue = place_in_queue

    def run(self, tree: Tree) -> tuple[ProvenCopy, Manifest]:
        """Store `tree` and its manifest, and prove both by new requests. Raises `MigrationError`."""
        self._require_holdable_keys(tree)
        self._look_at_the_place()
        self._send_files(tree.files)
        require_unchanged(tree, walk_tree(self._descriptor))
        manifest = make_manifest(self._execution, tree, self._sha256_by_path(tree))
        self._send_manifest(manifest)
        evidence = self._prove(tree.files, manifest)
        copy = ProvenCopy(
            uri=self._place.uri(self._provider.kind),
            provider_id=self._provider.id,
            key_prefix=self._place.key_prefix,
            file_count=len(tree.files),
            size_bytes=tree.size_bytes,
            evidence=evidence,
            manifest_sha256=manifest.sha256,
        )
        return copy, manifest

    def _require_holdable_keys(self, tree: Tree) -> None:
        for entry in tree.files:
            if len(os.fsencode(self._place.key_of(entry.path))) > self._provider.longest_key_bytes:
                raise InvalidKey(
                    f"{self._provider.name} no admite rutas de más de {self._provider.longest_key_bytes} bytes: "
                    f"{one_line(entry.path[:80])}…"
                )

    def _look_at_the_place(self) -> None:
        """Ask what lies there already; this also finds out quickly whether the provider answers at all."""
        listed = with_retries(lambda: list(self._provider.list(self._place.files_prefix)), self._interruption)
        self._stored_before = {stored.key: stored for stored in listed}
        foreign_objects = bool(listed) and not self._everything_here_is_ours
        self._database.note_place(self._attempt, foreign_objects=foreign_objects)
        if self._attempt.earlier_attempts_here:
            self._discard_unfinished()
        if foreign_objects:
            self._tell_of_foreign_objects()
        elif listed:
            self._remove_own_manifest()

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

    def _tell_of_foreign_objects(self) -> None:
        emit(
            logging.WARNING,
            "foreign_objects",
            f"En {self._place.files_prefix} de {self._provider.name} ya había {len(self._stored_before)} objetos "
            "que no son de un intento pendiente; no se borrará ninguno",
            execution=self._execution.uuid,
            provider=self._provider.name,
        )

    def _send_files(self, files: Sequence[Entry]) -> None:
        largest_first = sorted(files, key=lambda entry: entry.size_bytes, reverse=True)
        batches = list(_batches(largest_first, self._provider.objects_at_once))
        self._pool.for_each(self._send_batch, batches, self._interruption)

    def _send_batch(self, batch: Sequence[Entry]) -> None:
        sources: dict[str, Source] = {}
        for entry in batch:
            key = self._place.key_of(entry.path)
            source = FileSource(self._descriptor, entry, self._interruption)
            if not self._is_stored_already(key, source):
                sources[key] = source
        self._send(sources)
        for _ in sources:
            self._pool.traffic.note_file()

    def _is_stored_already(self, key: str, source: Source) -> bool:
        """Whether an earlier attempt stored exactly this, as far as a listing can tell."""
        stored = self._stored_before.get(key)
        if stored is not None and stored.checksum is not None and stored.size_bytes == source.size_bytes:
            receipt = self._provider.measure(source)
            if stored.checksum in receipt.checksums:
                self._receipts[key] = receipt
                return True
        return False

    def _send(self, sources: Mapping[str, Source]) -> None:
        pacer = Pacer(self._pool.traffic, self._place_in_queue)
        unsent: dict[str, Source] = {key: PacedSource(source, pacer) for key, source in sources.items()}
        with_retries(lambda: self._put(unsent), self._interruption, pacer.waited_seconds)

    def _put(self, unsent: dict[str, Source]) -> None:
        """Store what has not been yet, taking out what is."""
        try:
            for key, receipt in self._provider.put_many(dict(unsent)):
                self._receipts[key] = receipt
                del unsent[key]
        except ProviderError:
            self._unfinished = True  # what it had begun may well be there still, if the connection broke
            raise

    def _discard_unfinished(self) -> None:
        for prefix in self._place.unfinished_prefixes:
            with_retries(partial(self._provider.abandon, prefix), self._interruption)
        self._unfinished = False

    def _sha256_by_path(self, tree: Tree) -> dict[str, str]:
        return {entry.path: self._receipts[self._place.key_of(entry.path)].sha256 for entry in tree.files}

    def _send_manifest(self, manifest: Manifest) -> None:
        self._send({self._place.manifest_key: BytesSource(manifest.content)})

    def _prove(self, files: Sequence[Entry], manifest: Manifest) -> Evidence:
        """Compare what the provider says it holds with what was sent; what differs is sent once more.

        Raises `IntegrityError` for what differs then, too.
        """
        wrong, evidence = self._compare()
        if wrong:
            self._unfinished = True  # what did not get its name, say
            self._stored_before = {}
            self._send_files([entry for entry in files if self._place.key_of(entry.path) in wrong])
            self._send_manifest(manifest)
            wrong, evidence = self._compare()
        if wrong:
            raise IntegrityError(
                f"{len(wrong)} objetos no están o difieren de lo enviado, entre ellos {one_line(min(wrong))}"
            )
        return evidence

    def _compare(self) -> tuple[set[str], Evidence]:
        """The keys whose stored bytes are not those sent, and the evidence for the others."""
        if self._unfinished:
            self._discard_unfinished()
        listed = with_retries(self._list_copy, self._interruption)
        self._remove_own_extras([stored.key for stored in listed if stored.key not in self._receipts])
        stored_by_key = {stored.key: stored for stored in listed}
        wrong: set[str] = set()
        unproven: list[str] = []
        for key, receipt in self._receipts.items():
            stored = stored_by_key.get(key)
            if stored is None or stored.size_bytes != receipt.size_bytes:
                wrong.add(key)
            elif stored.checksum is None or stored.checksum not in receipt.checksums:
                unproven.append(key)
        evidence = self._compare_digests(unproven, wrong)
        return wrong, evidence

    def _list_copy(self) -> list[StoredObject]:
        listed = list(self._provider.list(self._place.files_prefix))
        with contextlib.suppress(ObjectNotFound):  # then it is missing in the comparison
            listed.append(self._provider.stat(self._place.manifest_key))
        return listed

    def _compare_digests(self, keys: Sequence[str], wrong: set[str]) -> Evidence:
        """Ask for the SHA-256 of what no listing proves; add what differs to `wrong`."""
        evidence = {Evidence.CHECKSUM}
        batches = [keys[start : start + DIGESTS_PER_REQUEST] for start in range(0, len(keys), DIGESTS_PER_REQUEST)]

        def compare_batch(batch: Sequence[str]) -> None:
            for digest in with_retries(lambda: list(self._provider.digests(batch)), self._interruption):
                evidence.add(digest.evidence)
                if digest.sha256 != self._receipts[digest.key].sha256:
                    wrong.add(digest.key)

        self._pool.for_each(compare_batch, batches, self._interruption)
        return Evidence.READ_BACK if Evidence.READ_BACK in evidence else Evidence.CHECKSUM

    def _remove_own_extras(self, keys: Iterable[str]) -> None:
        """Objects of an earlier attempt whose files are gone since: they are no part of this copy."""
        if self._everything_here_is_ours:
            for key in keys:
                with_retries(partial(self._provider.delete, key), self._interruption)


def _batches(files: Sequence[Entry], most_files: int) -> Iterator[Sequence[Entry]]:
    """Files in groups for `Provider.put_many`, in order; one that is large goes by itself."""
    batch: list[Entry] = []
    batch_bytes = 0
    for entry in files:
        if batch and (len(batch) == most_files or batch_bytes + entry.size_bytes > SMALL_TOGETHER_BYTES):
            yield batch
            batch, batch_bytes = [], 0
        batch.append(entry)
        batch_bytes += entry.size_bytes
    if batch:
        yield batch
