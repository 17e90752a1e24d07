"""Sends files of one directory to a provider: the part of an upload that any process of the run can do."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from config.logs import one_line
from config.models import Entry, ProviderRow, PutReceipt, StoredObject
from files.tree import Tree
from files.walk import FileSource, require_unchanged, walk
from providers.base import SMALL_TOGETHER_BYTES, Provider
from providers.errors import (
    ConditionFailed,
    ConnectionDenied,
    IntegrityError,
    ObjectNotFound,
    ProviderError,
    ProviderUnavailable,
    UnsafeDestination,
    is_refusal,
)
from providers.retries import with_retries
from providers.sources import Source
from storage.helpers import Helpers, Task, WorkerState
from storage.lease import Lease, LeasedProvider
from storage.traffic.pace import PacedSource, Pacer, Traffic

NO_CHECKSUM = "?"
"""Stands for a checksum where a listing shows an object of the right size without one: its bytes must be read."""

PutMany = Callable[[Mapping[str, Source]], Iterator[tuple[str, PutReceipt]]]
"""See `Provider.put_many` and `put_new_many`."""

LOOKS_AT_A_KEY = 3
"""How often a key is inspected again because somebody has written there since. Only requests of dead runs can do that,
and each of them arrives once.
"""


class Original(Protocol):
    """Where the bytes of a tree are: in a directory of this host, or in a copy at another provider."""

    @property
    def descriptor(self) -> int:
        """The open directory, for helpers; -1 for bytes that are elsewhere, which get no helpers."""

    def source(self, entry: Entry, interruption: threading.Event) -> Source:
        """The bytes of one file: exactly those of the entry, or an error that is no `ProviderError`."""

    def require_unchanged(self, tree: Tree) -> None:
        """Raises `SourceError` if anything differs from the tree by now."""


class LocalFiles(NamedTuple):
    """The original in an open directory of this host."""

    descriptor: int

    def source(self, entry: Entry, interruption: threading.Event) -> Source:
        """See `Original`."""
        return FileSource(self.descriptor, entry, interruption)

    def require_unchanged(self, tree: Tree) -> None:
        """See `Original`."""
        with contextlib.closing(walk(self.descriptor)) as second_walk:
            require_unchanged(tree, second_walk)


class FileToSend(NamedTuple):
    """A file: its position in its tree, its key, and what an earlier attempt stored under that key."""

    position: int
    key: str
    entry: Entry
    stored_checksum: str = ""
    """The checksum that a listing shows for an object of this size; `NO_CHECKSUM` without one, '' without an object."""
    is_there: bool = False
    """Whether there is an object of any size under the key."""
    may_come_late: bool = False
    """Whether an object that appears under the key meanwhile may come from an earlier attempt of ours. Otherwise only
    somebody else can have stored it.
    """


class Sender:
    """Stores the files of one execution on one provider. Safe to use from several threads."""

    def __init__(
        self,
        provider: Provider,
        original: Original,
        traffic: Traffic,
        interruption: threading.Event,
        queue_position: int = 0,
    ) -> None:
        self._provider = provider
        self._original = original
        self._traffic = traffic
        self._interruption = interruption
        self._queue_position = queue_position
        # Several threads set both. They are only ever set, never computed from earlier values, so no thread undoes what
        # another has set.
        self.left_unfinished = False
        """Whether something unfinished may remain, for example after a broken connection."""
        self.unanswered = False
        """Whether any request was not answered. It may still arrive, even if a later one was answered."""
        self.not_sent: set[int] = set()
        """The positions of files whose stored bytes this attempt did not send completely: they are read back."""

    def send(self, files: Sequence[FileToSend]) -> dict[int, PutReceipt]:
        """Store one batch, except what is already stored, and return the receipts by position.

        Raises `MigrationError`.
        """
        receipts: dict[int, PutReceipt] = {}
        new: dict[str, tuple[FileToSend, Source]] = {}
        again: dict[str, tuple[FileToSend, Source]] = {}
        for file in files:
            source = self._original.source(file.entry, self._interruption)
            stored = self._receipt_of_stored(file, source)
            if stored is not None:
                self.not_sent.add(file.position)
                receipts[file.position] = stored
            elif file.is_there and self._provider.only_conditions_stop_late_puts:
                receipts[file.position] = self._store_singly(file, source)
            else:
                (again if file.is_there else new)[file.key] = (file, source)
        if new:
            receipts.update(self._store_together(new, self._provider.put_new_many))
        if again:
            receipts.update(self._store_together(again, self._provider.put_many))
        return receipts

    def _store_together(
        self, files: Mapping[str, tuple[FileToSend, Source]], put_many: PutMany
    ) -> dict[int, PutReceipt]:
        """Store files by key: new ones, or over objects of ours where late requests do no harm. Return the receipts by
        position.
        """
        pacer = Pacer(self._traffic, self._queue_position)
        unsent: dict[str, Source] = {key: PacedSource(source, pacer) for key, (_, source) in files.items()}
        receipts: dict[int, PutReceipt] = {}

        def put() -> None:
            with self._noting_what_is_unfinished():
                for key, receipt in put_many(dict(unsent)):
                    position = files[key][0].position
                    receipts[position] = receipt
                    self._note_stored(position, receipt)
                    del unsent[key]
                    self._traffic.note_file()

        try:
            with_retries(put, self._interruption, self._provider.progress, pacer.waited_seconds)
        except ProviderError as error:
            if not _is_worth_another_way(error, [files[key][0] for key in unsent]):
                raise
            for key in unsent:
                file, source = files[key]
                receipts[file.position] = self._store_singly(file, source)
        return receipts

    def _store_singly(self, file: FileToSend, source: Source) -> PutReceipt:
        """Store a file whose key has an object, or may have one by now. Replace exactly that object, by a condition.

        The object may be this very file, if the answer was lost or a late request has brought it. Then it is not sent
        again. An object seen when the place was inspected is always replaced. Raises `UnsafeDestination` for one that
        somebody else has stored since.
        """
        pacer = Pacer(self._traffic, self._queue_position)
        paced = PacedSource(source, pacer)
        unwanted: list[StoredObject] = []

        def look_and_store() -> PutReceipt:
            found = self._found(file.key)
            if found is not None and file.is_there and not unwanted:
                unwanted.append(found)
            if found is not None and not any(map(found.is_same_as, unwanted)):
                receipt = self._provider.measure(source)
                if _shows(found, receipt):
                    self.not_sent.add(file.position)
                    return receipt
                if not file.may_come_late:
                    self._require_equal(file.key, receipt)
            try:
                receipt = self._store_over(file.key, paced, found)
            except ProviderError as error:
                if found is None or not is_refusal(error):
                    raise
                return self._receipt_of_equal(file, source, error)
            self._note_stored(file.position, receipt)
            return receipt

        for _ in range(LOOKS_AT_A_KEY - 1):
            with contextlib.suppress(ConditionFailed):
                return with_retries(look_and_store, self._interruption, self._provider.progress, pacer.waited_seconds)
        return with_retries(look_and_store, self._interruption, self._provider.progress, pacer.waited_seconds)

    def _note_stored(self, position: int, receipt: PutReceipt) -> None:
        """Note what a receipt says about anything else: parts of an earlier attempt, uploads that may remain."""
        self._note_what_is_left(receipt)
        if not receipt.sent_whole:
            self.not_sent.add(position)

    def note_sent_elsewhere(self, sent: Sent) -> None:
        """Take over what another sender, in a helper, has noted of the same attempt."""
        self.not_sent.update(sent.not_sent)
        if sent.left_unfinished:
            self.left_unfinished = True
        if sent.unanswered:
            self.unanswered = True

    def _note_what_is_left(self, receipt: PutReceipt) -> None:
        if receipt.left_unfinished:
            self.left_unfinished = True

    def _require_equal(self, key: str, receipt: PutReceipt) -> None:
        """Raises `UnsafeDestination` unless the object under a key holds these bytes: its answer may have been lost. It
        may also be another file of this execution, where the provider folds names.
        """
        [digest] = self._provider.digests([key])
        if digest.sha256 != receipt.sha256:
            raise UnsafeDestination(
                f"otro programa guarda allí a la vez, en {one_line(key)}, otro contenido, o dos nombres del directorio "
                "son uno para ese destino: no se sobrescribe; mire qué otra instalación lo usa, quizá con una copia de "
                "la base de datos"
            )

    def _receipt_of_equal(self, file: FileToSend, source: Source, refusal: ProviderError) -> PutReceipt:
        """The receipt of a stored object that may not be replaced, if it holds the file's bytes."""
        receipt = self._provider.measure(source)
        [digest] = self._provider.digests([file.key])
        if digest.sha256 != receipt.sha256:
            raise refusal
        self.not_sent.add(file.position)
        return receipt

    def _found(self, key: str) -> StoredObject | None:
        try:
            return self._provider.stat(key)
        except ObjectNotFound:
            return None

    def _store_over(self, key: str, source: Source, found: StoredObject | None) -> PutReceipt:
        with self._noting_what_is_unfinished():
            if found is None:
                [(_, receipt)] = self._provider.put_new_many({key: source})
            else:
                receipt = self._provider.replace(key, source, found)
        self._traffic.note_file()
        return receipt

    def replace(self, key: str, source: Source, expected: StoredObject | None) -> PutReceipt:
        """See `Provider.replace`. Raises `MigrationError`."""
        pacer = Pacer(self._traffic, self._queue_position)
        paced = PacedSource(source, pacer)

        def replace() -> PutReceipt:
            with self._noting_what_is_unfinished():
                return self._provider.replace(key, paced, expected)

        receipt = with_retries(replace, self._interruption, self._provider.progress, pacer.waited_seconds)
        self._note_what_is_left(receipt)
        return receipt

    def _receipt_of_stored(self, file: FileToSend, source: Source) -> PutReceipt | None:
        """The receipt of an object from an earlier attempt, if a listing shows that it may be this file.

        That is no proof: files of one size can have the same CRC32C by chance, and the same MD5 on purpose. So a file
        that is not sent is read back, and sent if it differs. Where it would be read back anyway, that costs nothing.
        """
        if not file.stored_checksum:
            return None
        if file.stored_checksum == NO_CHECKSUM:
            return self._provider.measure(source) if self._provider.what_is_there_is_durable else None
        receipt = self._provider.measure(source)
        return receipt if file.stored_checksum in receipt.checksums else None

    @contextlib.contextmanager
    def _noting_what_is_unfinished(self) -> Iterator[None]:
        """Note on an error that something unfinished may remain."""
        try:
            yield
        except ProviderError as error:
            self.left_unfinished = True
            if isinstance(error, ProviderUnavailable):
                self.unanswered = True
            raise


def _is_worth_another_way(error: ProviderError, unsent: Collection[FileToSend]) -> bool:
    """Whether to store these files one by one after an error: to find out which one is refused, or whether an existing
    object is equal.
    """
    if isinstance(error, ConditionFailed):
        return True
    if isinstance(error, ProviderUnavailable | IntegrityError | ConnectionDenied):
        return False
    return len(unsent) > 1 or any(file.is_there for file in unsent)


def _shows(found: StoredObject, receipt: PutReceipt) -> bool:
    """Whether a receipt may describe an object, as far as its checksum can tell."""
    return found.size_bytes == receipt.size_bytes and found.checksum in receipt.checksums


def batch_starts(sizes_bytes: Iterable[int], most: int, most_bytes: int = SMALL_TOGETHER_BYTES) -> Iterator[int]:
    """Where each group of at most `most` files begins. A file larger than `most_bytes` forms its own group."""
    count = batch_bytes = 0
    for index, size_bytes in enumerate(sizes_bytes):
        full = count == most or batch_bytes + size_bytes > most_bytes
        if full or index == 0:
            yield index
            count = batch_bytes = 0
        count += 1
        batch_bytes += size_bytes


@dataclass(frozen=True, slots=True)
class Sent:
    """What a helper has stored."""

    receipts: Mapping[int, PutReceipt]
    left_unfinished: bool
    unanswered: bool
    not_sent: Collection[int]
    """See `Sender`."""


@dataclass(frozen=True, slots=True)
class SendFiles(Task[Sent]):
    """Store files while the lease is held."""

    provider_row: ProviderRow
    files: Sequence[FileToSend]
    probe_prefix: str
    """See `Place.probe_prefix`. Each helper uses a prefix of its own below it."""
    kept: Sequence[object] = ()
    """See `Provider.hand_over_unfinished`."""

    def carry_out(self, worker_state: WorkerState, directory_descriptor: int) -> Sent:
        """See `Task`."""
        provider = LeasedProvider(worker_state.provider(self.provider_row), worker_state.lease)
        # Ask here, so that no probe object for this is put among the files.
        provider.continue_with(self.kept)
        own_prefix = f"{self.probe_prefix}/{os.getpid()}"
        with_retries(lambda: provider.creates_safely(own_prefix), worker_state.interruption, provider.progress)
        original = LocalFiles(directory_descriptor)
        sender = Sender(provider, original, worker_state.pool.traffic, worker_state.interruption)
        sizes_bytes = (file.entry.size_bytes for file in self.files)
        starts = [*batch_starts(sizes_bytes, provider.objects_at_once), len(self.files)]
        receipts: dict[int, PutReceipt] = {}

        def send_batch(number: int) -> None:
            receipts.update(sender.send(self.files[starts[number] : starts[number + 1]]))

        worker_state.pool.for_each(send_batch, range(len(starts) - 1), worker_state.interruption)
        return Sent(receipts, sender.left_unfinished, sender.unanswered, sender.not_sent)


@dataclass(frozen=True, slots=True)
class Assistance:
    """The helpers of the run, for one upload."""

    helpers: Helpers
    provider_row: ProviderRow
    lease: Lease

    def send(
        self,
        files: Sequence[FileToSend],
        probe_prefix: str,
        kept: Sequence[object],
        directory_descriptor: int,
        interruption: threading.Event,
    ) -> Sent:
        """Have a helper store files; see `SendFiles`. Raises `MigrationError`. Call it from within
        `Helpers.for_each`.
        """
        order = SendFiles(self.provider_row, files, probe_prefix, kept)
        return self.helpers.ask(order, directory_descriptor, interruption, self.lease.held_until)
