"""Sources to upload from: any size without its bytes in memory, and sources that do what they must not."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator

from files.descriptors import CHUNK_SIZE_BYTES

BLOCK = random.Random(20).randbytes(CHUNK_SIZE_BYTES)  # noqa: S311 not a secret


class PatternSource:
    """`size_bytes` bytes that look random, are made while they are read, and differ between seeds."""

    def __init__(self, size_bytes: int, seed: int = 0) -> None:
        self.size_bytes = size_bytes
        self._seed = seed

    def chunks(self, chunk_size_bytes: int) -> Iterator[bytes]:
        """See `Source`."""
        for start in range(0, self.size_bytes, chunk_size_bytes):
            yield self._piece(start, min(chunk_size_bytes, self.size_bytes - start))

    def sha256(self) -> str:
        """SHA-256 of all bytes, lower-case hex."""
        return sha256_of(self.chunks(CHUNK_SIZE_BYTES))

    def _piece(self, start: int, size_bytes: int) -> bytes:
        found = []
        end = start + size_bytes
        while start < end:
            number, offset = divmod(start, CHUNK_SIZE_BYTES)
            mark = f"{self._seed:08x}{number:08x}".encode()
            ends_at = min(offset + end - start, CHUNK_SIZE_BYTES)
            found += [mark[offset:ends_at], BLOCK[max(offset, len(mark)) : ends_at]]
            start += ends_at - offset
        return b"".join(found)


class FailingSource(PatternSource):
    """Raises `error` as soon as `good_bytes` have been read: at the first or after the last one, if need be."""

    def __init__(self, size_bytes: int, good_bytes: int, error: Exception, seed: int = 0) -> None:
        super().__init__(size_bytes, seed)
        self._good_bytes = good_bytes
        self._error = error

    def chunks(self, chunk_size_bytes: int) -> Iterator[bytes]:
        """See `Source`."""
        sent_bytes = 0
        for chunk in super().chunks(chunk_size_bytes):
            if sent_bytes + len(chunk) > self._good_bytes:
                raise self._error
            yield chunk
            sent_bytes += len(chunk)
        raise self._error


class MisannouncedSource(PatternSource):
    """Announces another size than it yields."""

    def __init__(self, announced_bytes: int, yielded_bytes: int) -> None:
        super().__init__(announced_bytes)
        self._yielded = PatternSource(yielded_bytes)

    def chunks(self, chunk_size_bytes: int) -> Iterator[bytes]:
        """See `Source`."""
        return self._yielded.chunks(chunk_size_bytes)


def sha256_of(chunks: Iterable[bytes]) -> str:
    """SHA-256 of bytes in pieces, lower-case hex."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()
