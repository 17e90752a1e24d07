"""What one attempt stores, where, and what was really sent: the same for all parts of an upload."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from config.models import EVERYTHING, Attempt, Execution, PutReceipt, Span, StoredObject
from files.tree import Tree
from providers.base import Provider
from providers.errors import IntegrityError
from providers.retries import Result, with_retries
from storage.attempt_records import AttemptRecords
from storage.keys import Place
from storage.sending import Original
from storage.traffic.transfers import TransferPool

BETWEEN = "\n"


class Notes:
    """A short text for some positions. Safe to use from several threads."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._starts = array("Q")
        self._texts = bytearray(BETWEEN.encode())  # so that no text starts at 0
        self._turn = threading.Lock()

    def note(self, position: int, text: str) -> None:
        """Keep a text of one line."""
        with self._turn:
            if not self._starts:
                self._starts = array("Q", bytes(8 * self._count))
            self._starts[position] = len(self._texts)
            self._texts += f"{text}{BETWEEN}".encode()

    def of(self, position: int) -> str:
        """The text at a position; '' where none was noted."""
        start = self._starts[position] if self._starts else 0
        if start == 0:
            return ""
        with self._turn:
            return self._texts[start : self._texts.index(BETWEEN.encode(), start)].decode()


class Receipts:
    """What was really sent of a tree, by position, in some fifty bytes per file. The manifest's position follows the
    last entry.

    The SHA-256 of the files goes into the tree.
    """

    def __init__(self, tree: Tree, place: Place) -> None:
        self._tree = tree
        self._place = place
        self._checksums = Notes(len(tree))
        self._manifest = PutReceipt(0, "")
        self.manifest_position = len(tree)
        tree.reserve_sha256()

    def note(self, position: int, receipt: PutReceipt) -> None:
        """Keep a receipt. Raises `IntegrityError` if its size differs from the file's."""
        if position == self.manifest_position:
            self._manifest = receipt
            return
        if receipt.size_bytes != self._tree.size_bytes_of(position):
            raise IntegrityError(f"se enviaron {receipt.size_bytes} bytes de los que tiene el fichero")
        self._tree.note_sha256(position, bytes.fromhex(receipt.sha256))
        if receipt.checksums:
            self._checksums.note(position, " ".join(receipt.checksums))

    def key(self, position: int) -> str:
        """The key under which it was sent."""
        if position == self.manifest_position:
            return self._place.manifest_key
        return self._place.key_of(self._tree.path(position))

    def of(self, position: int) -> PutReceipt:
        """The receipt."""
        if position == self.manifest_position:
            return self._manifest
        checksums = frozenset(self._checksums.of(position).split())
        return PutReceipt(self._tree.size_bytes_of(position), self._tree.sha256(position) or "", checksums)

    def position_of(self, key: str, likely_position: int) -> int | None:
        """The position of the file with this key, `None` where there is none."""
        position = self._tree.find(key.removeprefix(self._place.files_prefix), likely_position)
        return position if position is not None and self._tree.is_file(position) else None


@dataclass(frozen=True, slots=True)
class UploadTask:
    """An attempt, its tree, and its place at a provider. `receipts` gets what was sent."""

    provider: Provider
    attempt: Attempt
    execution: Execution
    place: Place
    tree: Tree
    original: Original
    receipts: Receipts
    records: AttemptRecords
    pool: TransferPool
    interruption: threading.Event

    def retried(self, step: Callable[[], Result]) -> Result:
        """Run a step, and repeat it as `with_retries` does."""
        return with_retries(step, self.interruption, self.provider.progress)

    def listed(self, size_bytes: int, span: Span = EVERYTHING) -> Iterator[tuple[int | None, StoredObject]]:
        """The objects at the place in a new listing, each with the position of the file that it may be.

        For this, some servers read all stored bytes, up to `size_bytes`. So another question comes first, to detect a
        silent server sooner.
        """
        position = None
        for stored in self.provider.list_patiently(self.place.files_prefix, size_bytes, span):
            position = self.receipts.position_of(stored.key, (position or 0) + 1)
            yield position, stored

    def replaces_safely(self) -> bool:
        """See `Provider.replaces_safely`."""
        return self.retried(partial(self.provider.replaces_safely, self.place.probe_prefix))

    @property
    def everything_here_is_ours(self) -> bool:
        """Whether the objects here may be removed: only earlier attempts that failed have sent anything."""
        attempt = self.attempt
        return attempt.earlier_attempts_here > 0 and not (attempt.foreign_objects_here or attempt.committed_here)

    @property
    def objects_here_are_ours(self) -> bool:
        """Whether an object under a key of ours may be replaced: it was sent for this execution."""
        attempt = self.attempt
        return attempt.earlier_attempts_here > 0 and (attempt.committed_here or not attempt.foreign_objects_here)
