"""Writes a file's bytes in order and skips blocks of zeros, so that a sparse file is restored sparse."""

from __future__ import annotations

import os
from collections.abc import Iterator

BLOCK_BYTES = 4096
"""The unit in which file systems allocate space. Only blocks that are zero throughout are skipped."""

ZEROS = bytes(BLOCK_BYTES)


class DiffersFromFile(Exception):
    """The existing content of a file differs from the bytes to be written."""


class SparseWriter:
    """Writes to an open file. Compares existing content with the bytes to be written instead of replacing it."""

    def __init__(self, descriptor: int, there_bytes: int = 0, position: int = 0) -> None:
        """The first bytes to be written belong at `position`."""
        self._descriptor = descriptor
        self._there_bytes = there_bytes
        self._position = position
        self._end_of_data = there_bytes

    def write(self, chunk: bytes) -> None:
        """Take the next bytes. Raises `OSError`, and `DiffersFromFile` with nothing changed."""
        if self._position < self._there_bytes:
            there = chunk[: self._there_bytes - self._position]
            self._require_there(there)
            chunk = chunk[len(there) :]
        head_bytes = -self._position % BLOCK_BYTES
        if 0 in chunk[:1] or 0 in chunk[head_bytes::BLOCK_BYTES]:
            for start, end in _runs_of_data(chunk, head_bytes):
                self._write_at(self._position + start, memoryview(chunk)[start:end])
        elif chunk:
            self._write_at(self._position, chunk)
        self._position += len(chunk)

    def finish(self) -> None:
        """Set the file's size, which skipped zeros at its end have not extended. Raises `OSError`."""
        if self._end_of_data < self._position:
            os.ftruncate(self._descriptor, self._position)

    def _require_there(self, expected: bytes) -> None:
        while expected:
            found = os.pread(self._descriptor, len(expected), self._position)
            if not found or not expected.startswith(found):
                raise DiffersFromFile
            self._position += len(found)
            expected = expected[len(found) :]

    def _write_at(self, position: int, data: bytes | memoryview) -> None:
        self._end_of_data = position + len(data)
        written_bytes = os.pwrite(self._descriptor, data, position)
        while written_bytes < len(data):
            data = memoryview(data)[written_bytes:]
            position += written_bytes
            written_bytes = os.pwrite(self._descriptor, data, position)


def _runs_of_data(chunk: bytes, head_bytes: int) -> Iterator[tuple[int, int]]:
    """The ranges of a chunk to write; its first whole block begins after `head_bytes`."""
    start = 0
    for zeros_start, zeros_end in _zero_blocks(chunk, head_bytes):
        if start < zeros_start:
            yield start, zeros_start
        start = zeros_end
    if start < len(chunk):
        yield start, len(chunk)


def _zero_blocks(chunk: bytes, head_bytes: int) -> Iterator[tuple[int, int]]:
    """The blocks, and parts of blocks at both ends, that are zero.

    The first bytes of all blocks are examined together, which takes a thousandth of the time of hashing.
    """
    if head_bytes and chunk.startswith(ZEROS[: min(head_bytes, len(chunk))]):
        yield 0, min(head_bytes, len(chunk))
    first_bytes = chunk[head_bytes::BLOCK_BYTES]
    number = first_bytes.find(0)
    while number >= 0:
        start = head_bytes + number * BLOCK_BYTES
        end = min(start + BLOCK_BYTES, len(chunk))
        if chunk.startswith(ZEROS[: end - start], start):
            yield start, end
        number = first_bytes.find(0, number + 1)
