"""Reading exactly the bytes that a source announced, or raising an error."""

from __future__ import annotations

from collections.abc import Iterator

from providers.base import IntegrityError, Source


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
