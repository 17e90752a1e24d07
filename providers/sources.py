"""The bytes that are sent: what a source of them promises, and how exactly those that it announced are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from providers.errors import IntegrityError


class Source(Protocol):
    """Bytes to send: a file opened without following links, or a manifest in memory."""

    @property
    def size_bytes(self) -> int:
        """The exact number of bytes that `chunks` yields."""

    def chunks(self, chunk_size_bytes: int) -> Iterator[bytes]:
        """Yield the bytes from the beginning, in pieces of exactly `chunk_size_bytes` except the last.

        May be called again, to send again. An empty source yields nothing. Raises `SourceError` as soon as the
        file is seen to differ from its announced state, at the latest after its last byte.
        """


class BytesSource:
    """A `Source` over bytes in memory."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    @property
    def size_bytes(self) -> int:
        return len(self._content)

    def chunks(self, chunk_size_bytes: int) -> Iterator[bytes]:
        for start in range(0, len(self._content), chunk_size_bytes):
            yield self._content[start : start + chunk_size_bytes]


def exact_chunks(source: Source, chunk_size_bytes: int) -> Iterator[bytes]:
    """Yield the source's chunks. Raises `IntegrityError` unless they have exactly the announced number of bytes.

    Does not yield a chunk that exceeds it.
    """
    read_bytes, announced_bytes = 0, source.size_bytes
    for chunk in source.chunks(chunk_size_bytes):
        read_bytes += len(chunk)
        if read_bytes > announced_bytes:
            raise IntegrityError(f"se leyeron más de los {announced_bytes} bytes anunciados")
        yield chunk
    if read_bytes < announced_bytes:
        raise IntegrityError(f"se leyeron {read_bytes} de {announced_bytes} bytes anunciados")


def run_to_end(pieces: Iterator[object]) -> None:
    """Let a source that has yielded all its bytes report whether they were valid, and whether there are more."""
    for piece in pieces:
        del piece  # released before the next one is read
