"""Reads S3 objects to their end, by several requests if needed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from providers.errors import IntegrityError
from providers.s3.errors import translated_errors
from providers.s3.requests import S3Requests
from providers.shared.object_store_get import Download


class ObjectReading:
    """One object, which must not change meanwhile: each answer shows its ETag."""

    def __init__(self, requests: S3Requests, name: str, size_bytes: int | None, range_bytes: int | None) -> None:
        """Without a size, the first answer gives it; without a range size, a request asks for the whole rest."""
        self._requests = requests
        self._name = name
        self._size_bytes = size_bytes
        self._range_bytes = range_bytes
        self._etag: str | None = None

    def beginning_with(self, begin: Callable[[], Download]) -> Callable[[int], Iterator[bytes]]:
        """`pieces_from`, but `begin` sends the request for the whole object."""

        def pieces_from(position: int) -> Iterator[bytes]:
            if position > 0:
                yield from self.pieces_from(position)
                return
            download = begin()
            self._size_bytes, self._etag = download.size_bytes, download.etag
            yield from download.pieces

        return pieces_from

    def pieces_from(self, position: int) -> Iterator[bytes]:
        """The bytes from a position on. Raises `ProviderError`; `IntegrityError` if it is another object by now."""
        with translated_errors():
            if self._size_bytes is None:
                with contextlib.closing(self._requests.read_all(self._name)) as body:
                    self._size_bytes, self._etag = body.announced_bytes, body.etag
                    yield from body.pieces()
                return
            size_bytes = self._size_bytes
            while position < size_bytes:
                for piece in self._pieces_of_range(position, size_bytes):
                    position += len(piece)
                    yield piece

    def _pieces_of_range(self, position: int, size_bytes: int) -> Iterator[bytes]:
        asked_bytes = size_bytes - position
        if self._range_bytes is not None:  # after a cut, end where the range would have ended
            asked_bytes = min(asked_bytes, self._range_bytes - position % self._range_bytes)
        with contextlib.closing(self._requests.read(self._name, position, asked_bytes, size_bytes)) as body:
            self._etag = self._etag or body.etag
            if body.etag != self._etag:
                raise IntegrityError("el objeto cambió mientras se leía")
            yield from body.pieces()
