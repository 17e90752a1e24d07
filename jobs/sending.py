"""Sends files of one directory to a provider: what is done of an upload in whichever process has time for it."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from config.models import Entry, ProviderRow, PutReceipt, StoredObject
from jobs.helpers import Helpers, Order, Workplace
from jobs.lease import Lease, LeasedProvider
from jobs.pace import PacedSource, Pacer, Traffic
from jobs.retries import with_retries
from jobs.tree import FileSource
from providers.base import SMALL_TOGETHER_BYTES, Provider, ProviderError, Source


class FileToSend(NamedTuple):
    """A file by its position in its tree, the key that it is to have, and what an earlier attempt stored under it."""

    position: int
    key: str
    entry: Entry
    stored_checksum: str = ""
    """What a listing shows for an object of this size; '' where there is none."""


class Sender:
    """Stores the files of an open directory on one provider. Safe to use from several threads."""

    def __init__(
        self,
        provider: Provider,
        directory_descriptor: int,
        traffic: Traffic,
        interruption: threading.Event,
        place_in_queue: int = 0,
    ) -> None:
        self._provider = provider
        self._descriptor = directory_descriptor
        self._traffic = traffic
        self._interruption = interruption
        self._place_in_queue = place_in_queue
        self.left_unfinished = False
        """Whether something may be there still that was begun and not ended, as after a connection that broke."""
        self.not_sent: set[int] = set()
        """The positions of files of which only a short checksum says that they lie there already."""

    def send(self, files: Sequence[FileToSend]) -> dict[int, PutReceipt]:
        """Store one batch, but for what lies there already, and give the receipts by position.

        Raises `MigrationError`.
        """
        receipts: dict[int, PutReceipt] = {}
        positions: dict[str, int] = {}
        sources: dict[str, Source] = {}
        for file in files:
            source = FileSource(self._descriptor, file.entry, self._interruption)
            stored = self._receipt_of_stored(file, source)
            if stored is not None:
                self.not_sent.add(file.position)
                receipts[file.position] = stored
            else:
                positions[file.key] = file.position
                sources[file.key] = source
        for key, receipt in self.store(sources).items():
            receipts[positions[key]] = receipt
            self._traffic.note_file()
        return receipts

    def store(self, sources: Mapping[str, Source]) -> dict[str, PutReceipt]:
        """Store everything under its key. Raises `MigrationError`."""
        if not sources:
            return {}
        pacer = Pacer(self._traffic, self._place_in_queue)
        unsent: dict[str, Source] = {key: PacedSource(source, pacer) for key, source in sources.items()}
        receipts: dict[str, PutReceipt] = {}
        with_retries(lambda: self._put(unsent, receipts), self._interruption, pacer.waited_seconds)
        return receipts

    def replace(self, key: str, source: Source, expected: StoredObject | None) -> PutReceipt:
        """See `Provider.replace`. Raises `MigrationError`."""
        pacer = Pacer(self._traffic, self._place_in_queue)
        paced = PacedSource(source, pacer)
        try:
            return with_retries(
                lambda: self._provider.replace(key, paced, expected), self._interruption, pacer.waited_seconds
            )
        except ProviderError:
            self.left_unfinished = True
            raise

    def _receipt_of_stored(self, file: FileToSend, source: Source) -> PutReceipt | None:
        """The receipt of what an earlier attempt stored, where it may be exactly this, as far as a listing can tell.

        That is no proof: files of one size can have the same CRC32C by chance, and the same MD5 on purpose.
        """
        if not file.stored_checksum:
            return None
        receipt = self._provider.measure(source)
        return receipt if file.stored_checksum in receipt.checksums else None

    def _put(self, unsent: dict[str, Source], receipts: dict[str, PutReceipt]) -> None:
        """Store what has not been yet, taking out what is."""
        try:
            for key, receipt in self._provider.put_many(dict(unsent)):
                receipts[key] = receipt
                del unsent[key]
        except ProviderError:
            self.left_unfinished = True
            raise


def batch_starts(sizes_bytes: Iterable[int], most: int, most_bytes: int = SMALL_TOGETHER_BYTES) -> Iterator[int]:
    """Where each group of so many files begins; a file that is larger than a group may be goes by itself."""
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
    not_sent: Collection[int]
    """See `Sender`."""


@dataclass(frozen=True, slots=True)
class SendFiles(Order[Sent]):
    """Store files, as long as the lease is held."""

    provider_row: ProviderRow
    files: Sequence[FileToSend]

    def carry_out(self, workplace: Workplace, directory_descriptor: int) -> Sent:
        """See `Order`."""
        provider = LeasedProvider(workplace.provider(self.provider_row), workplace.lease)
        sender = Sender(provider, directory_descriptor, workplace.pool.traffic, workplace.interruption)
        sizes_bytes = (file.entry.size_bytes for file in self.files)
        starts = [*batch_starts(sizes_bytes, provider.objects_at_once), len(self.files)]
        receipts: dict[int, PutReceipt] = {}

        def send_batch(number: int) -> None:
            receipts.update(sender.send(self.files[starts[number] : starts[number + 1]]))

        workplace.pool.for_each(send_batch, range(len(starts) - 1), workplace.interruption)
        return Sent(receipts, sender.left_unfinished, sender.not_sent)


@dataclass(frozen=True, slots=True)
class Assistance:
    """The helpers of the run, for one upload."""

    helpers: Helpers
    provider_row: ProviderRow
    lease: Lease

    def send(self, files: Sequence[FileToSend], directory_descriptor: int, interruption: threading.Event) -> Sent:
        """Have a helper store files. Raises `MigrationError`; to be called from within `Helpers.for_each`."""
        order = SendFiles(self.provider_row, files)
        return self.helpers.ask(order, directory_descriptor, interruption, self.lease.held_until)
