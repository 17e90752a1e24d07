"""What was sent of an execution and what a provider reports of it, packed into some fifty bytes per file.

All that a listing shows of a copy (names, sizes and the provider's own checksums) is one number. It is recorded with
the commit if the provider's checksum of every file is the one computed from the bytes that were sent. A later listing
with the same number shows the same bytes, without a request for any file. The order of the listing does not matter, so
a listing of a million objects need not be held.
"""

from __future__ import annotations

import hashlib
import threading
from array import array

from config.models import PutReceipt
from files.tree import Tree
from providers.errors import IntegrityError
from storage.keys import Place

BETWEEN = "\n"

MODULUS = (1 << 61) - 1
"""Fits into a BIGINT. Two listings that differ by accident have the same number once in 2^61 times."""


def part_of(path: str, size_bytes: int, checksum: str | None) -> int:
    """What one object adds to the number of a listing, modulo `MODULUS`. `path` is relative to the place."""
    shown = f"{size_bytes} {checksum if size_bytes else ''} {path}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(shown, digest_size=8).digest(), "big")


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
    """What was really sent of a tree, by position. The manifest's position follows the last entry.

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
