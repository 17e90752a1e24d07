"""The state of an SFTP transfer or listing that survives a session, so that the next one can continue."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Iterator, Sequence

from providers.errors import IntegrityError
from providers.file_trees import MeteredSource
from providers.progress import Progress
from providers.sftp.packets import DirectoryEntry
from providers.shared.resumed_reads import NOTED_EVERY_SECONDS


class SourceFailed(Exception):
    """Reading the source raised `error`, so another session would not help."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class ResumableContent:
    """Reads a source once, and keeps each piece until the server has acknowledged it. For one thread.

    A lost session loses at most the bytes in flight: `IN_FLIGHT_BYTES`.
    """

    def __init__(self, source: MeteredSource, progress: Progress) -> None:
        self.acknowledged_bytes = 0
        """How many bytes from the beginning are known to be stored."""
        self._source = source
        self._progress = progress
        self._chunks: Iterator[bytes] | None = None
        self._unwanted_bytes = 0
        self._kept: deque[bytes] = deque()
        self._began_at = self._got_on_at = self._noted_at = time.monotonic()

    def begin_behind(self, stored_bytes: int) -> None:
        """Note before the first piece how many bytes from the beginning the server has: they are only read."""
        self.acknowledged_bytes = self._unwanted_bytes = stored_bytes

    def pieces(self, largest_bytes: int) -> Iterator[bytes]:
        """The bytes from the first unacknowledged one on. Raises `SourceFailed`."""
        self._kept = deque(part for piece in self._kept for part in _cut(piece, largest_bytes))
        yield from tuple(self._kept)
        if self._chunks is None:
            self._chunks = self._source.chunks(largest_bytes)
        while self._unwanted_bytes > 0 and (chunk := self._next_chunk(self._chunks)) is not None:
            self._unwanted_bytes -= len(chunk)
        while (chunk := self._next_chunk(self._chunks)) is not None:
            for piece in _cut(chunk, largest_bytes):
                self._kept.append(piece)
                yield piece

    def acknowledge(self) -> None:
        """Note that the server has the oldest kept piece."""
        self.acknowledged_bytes += len(self._kept.popleft())
        self._got_on_at = time.monotonic()
        if self._got_on_at - self._noted_at > NOTED_EVERY_SECONDS:
            self._noted_at = self._got_on_at
            self._progress.note_success()

    def seconds_of_progress(self) -> float:
        """How long it has made progress so far: a retrier judges only the time after that."""
        return self._got_on_at - self._began_at

    def _next_chunk(self, chunks: Iterator[bytes]) -> bytes | None:
        """The next chunk. Wraps exceptions of the source so that no retrier repeats them: the source is read only once,
        and a retry would take its failure for its end.
        """
        try:
            return next(chunks, None)
        except Exception as error:
            raise SourceFailed(error) from error


def _cut(piece: bytes, largest_bytes: int) -> Iterator[bytes]:
    """A piece cut to the sizes that a session accepts: nearly always unchanged."""
    if len(piece) <= largest_bytes:
        yield piece
        return
    for start in range(0, len(piece), largest_bytes):
        yield piece[start : start + largest_bytes]


class NamesGiven:
    """The part of a directory yielded so far: the number of names, and a hash over them in the server's order. A server
    can only read a directory from its beginning.
    """

    def __init__(self) -> None:
        self._count = 0
        self._hash = hashlib.sha256()
        self._left_to_see = 0
        self._seen_again = hashlib.sha256()

    def begin_again(self) -> None:
        """Note that another session reads the directory from its beginning."""
        self._left_to_see = self._count
        self._seen_again = hashlib.sha256()

    def not_given(self, entries: Sequence[DirectoryEntry]) -> Sequence[DirectoryEntry]:
        """The next entries that were not yielded before. Raises `IntegrityError` if earlier ones come in another
        order.
        """
        if self._left_to_see:
            again, entries = entries[: self._left_to_see], entries[self._left_to_see :]
            self._left_to_see -= len(again)
            _hash_names(self._seen_again, again)
            if not self._left_to_see and self._seen_again.digest() != self._hash.digest():
                raise IntegrityError("el servidor ya no da la misma lista de un directorio")
        self._count += len(entries)
        _hash_names(self._hash, entries)
        return entries

    def require_all_seen_again(self) -> None:
        """Raises `IntegrityError` if another session found fewer names than were yielded."""
        if self._left_to_see:
            raise IntegrityError("el servidor ya no da la misma lista de un directorio")


def _hash_names(names_hash: hashlib._Hash, entries: Sequence[DirectoryEntry]) -> None:
    names_hash.update(b"".join([entry.name + b"/" for entry in entries]))
