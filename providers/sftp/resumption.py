"""What is kept of a transfer or a listing over SFTP when a session ends, so that the next one can go on."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Iterator, Sequence

from providers.base import IntegrityError
from providers.file_trees import MeteredSource
from providers.progress import Progress
from providers.sftp.protocol import DirectoryEntry
from providers.shared.resumed_reads import NOTED_EVERY_SECONDS


class SourceFailed(Exception):
    """Reading the source raised `error`, so that nothing is gained by another session."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class ResumableContent:
    """Reads a source once, and keeps each piece until the server has said that it has it. For one thread.

    What a session takes with it when it ends is at most what was on its way: `IN_FLIGHT_BYTES`.
    """

    def __init__(self, source: MeteredSource, progress: Progress) -> None:
        self.acknowledged_bytes = 0
        """So many bytes from the beginning on are known to be there."""
        self._source = source
        self._progress = progress
        self._chunks: Iterator[bytes] | None = None
        self._kept: deque[bytes] = deque()
        self._began_at = self._got_on_at = self._noted_at = time.monotonic()

    def pieces(self, largest_bytes: int) -> Iterator[bytes]:
        """The bytes from the first one on that is not acknowledged. Raises `SourceFailed`."""
        self._kept = deque(part for piece in self._kept for part in _cut(piece, largest_bytes))
        yield from tuple(self._kept)
        if self._chunks is None:
            self._chunks = self._source.chunks(largest_bytes)
        while (chunk := self._next_chunk(self._chunks)) is not None:
            for piece in _cut(chunk, largest_bytes):
                self._kept.append(piece)
                yield piece

    def acknowledge(self) -> None:
        """The server has the oldest piece that is kept."""
        self.acknowledged_bytes += len(self._kept.popleft())
        self._got_on_at = time.monotonic()
        if self._got_on_at - self._noted_at > NOTED_EVERY_SECONDS:
            self._noted_at = self._got_on_at
            self._progress.note_success()

    def seconds_of_progress(self) -> float:
        """For how long it has got on so far: what came after that is what a retrier has to judge."""
        return self._got_on_at - self._began_at

    def _next_chunk(self, chunks: Iterator[bytes]) -> bytes | None:
        """The next chunk. What a source raises is raised as what no retrier repeats: it is read only once, and would
        seem to have ended.
        """
        try:
            return next(chunks, None)
        except Exception as error:
            raise SourceFailed(error) from error


def _cut(piece: bytes, largest_bytes: int) -> Iterator[bytes]:
    """A piece in pieces that a session takes: nearly always itself."""
    if len(piece) <= largest_bytes:
        yield piece
        return
    for start in range(0, len(piece), largest_bytes):
        yield piece[start : start + largest_bytes]


class NamesGiven:
    """What was given of a directory so far: how many names, and a hash over them in the order of the server. A server
    cannot be asked to begin a directory elsewhere than at its beginning.
    """

    def __init__(self) -> None:
        self._count = 0
        self._hash = hashlib.sha256()
        self._left_to_see = 0
        self._seen_again = hashlib.sha256()

    def begin_again(self) -> None:
        """Another session reads the directory from its beginning."""
        self._left_to_see = self._count
        self._seen_again = hashlib.sha256()

    def not_given(self, entries: Sequence[DirectoryEntry]) -> Sequence[DirectoryEntry]:
        """Those of the next entries that were not given before. Raises `IntegrityError` where those that were come in
        another order.
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
        """Raises `IntegrityError` where another session found fewer names than were given."""
        if self._left_to_see:
            raise IntegrityError("el servidor ya no da la misma lista de un directorio")


def _hash_names(names_hash: hashlib._Hash, entries: Sequence[DirectoryEntry]) -> None:
    names_hash.update(b"".join([entry.name + b"/" for entry in entries]))
