"""Ordinary gzip by a fast library, both ways, in threads of their own: others read and compare meanwhile."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from isal import isal_zlib

from jobs.backups.errors import DamagedBackup

LEVEL = 2
GZIP_WINDOW = 31
"""zlib's number for a window of 32 KiB with gzip's header and trailer."""

BLOCKS_IN_FLIGHT = 8
READ_BYTES = 64 * 1024
"""How much is given to one step of inflating. It is usually used up: a rest would have to be copied."""

LOOK_SECONDS = 1.0
LARGEST_INFLATED_BYTES = 4 * 1024 * 1024
"""The most that one step of inflating returns, however well the file is compressed."""


NoteBytes = Callable[[int], object]
"""Called with the number of bytes of each read of a file."""


def note_nothing(_size_bytes: int) -> None:
    """Does nothing, if nobody wants to know."""


class Inflater(Protocol):
    """An object from `decompressobj`."""

    unused_data: bytes
    unconsumed_tail: bytes
    eof: bool

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Inflate a part."""


class Sink(Protocol):
    """A file that takes all bytes that are written to it."""

    def write(self, data: bytes, /) -> object:
        """Take them. Raises `OSError`."""


class GzipMember:
    """Compresses what is written into one gzip member at the end of a file. Leave the context to end it.

    Raises whatever error the file gave, at a later `write` or at the end.
    """

    def __init__(self, file: Sink) -> None:
        self._file = file
        self.plain_bytes = 0
        """How much was written into it."""
        self._blocks: queue.Queue[bytes | None] = queue.Queue(BLOCKS_IN_FLIGHT)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._compress, name="gzip", daemon=True)

    def write(self, data: bytes) -> None:
        """Take data; they are compressed later. Raises whatever error the thread met."""
        if self._error is not None:
            raise self._error
        if data:
            self.plain_bytes += len(data)
            self._blocks.put(data)

    def _compress(self) -> None:
        data: bytes | None = b""
        try:
            compressor = isal_zlib.compressobj(level=LEVEL, wbits=GZIP_WINDOW)
            while (data := self._blocks.get()) is not None:
                self._file.write(compressor.compress(data))
            self._file.write(compressor.flush())
        except BaseException as error:
            self._error = error
            while data is not None:  # it may be waiting for room
                data = self._blocks.get()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._blocks.put(None)
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error


def inflated(path: Path, start: int, end: int, note: NoteBytes = note_nothing) -> Generator[bytes, None, None]:
    """The inflated contents of the gzip members between two offsets of a file, each checked by its CRC.

    Read ahead in a thread. Close the iterator when the rest is not wanted. Raises `DamagedBackup`, `OSError`.
    """
    blocks: queue.Queue[bytes | BaseException | None] = queue.Queue(BLOCKS_IN_FLIGHT)
    unwanted = threading.Event()

    def put(item: bytes | BaseException | None) -> bool:
        while not unwanted.is_set():
            try:
                blocks.put(item, timeout=LOOK_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        try:
            for block in inflated_here(path, start, end, note):
                if not put(block):
                    return
            put(None)
        except BaseException as error:
            put(error)

    threading.Thread(target=read, name="gunzip", daemon=True).start()
    try:
        while (item := blocks.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        unwanted.set()


def inflated_here(path: Path, start: int, end: int, note: NoteBytes = note_nothing) -> Generator[bytes, None, None]:
    """The same in this thread. Raises `DamagedBackup`, `OSError`."""
    with path.open("rb") as file:
        file.seek(start)

        def read() -> bytes:
            data = file.read(min(READ_BYTES, end - file.tell()))
            note(len(data))
            return data

        yield from inflated_from(path.name, read)


def inflated_from(name: str, read: Callable[[], bytes]) -> Generator[bytes, None, None]:
    """The inflated contents of gzip members that `read` returns in parts, and `b""` at their end; `name` is the file's.

    Raises `DamagedBackup` and what `read` raises.
    """
    data = read()
    while data:
        inflater: Inflater = isal_zlib.decompressobj(wbits=GZIP_WINDOW)
        yield from _member(name, read, inflater, data)
        data = inflater.unused_data or read()


def _member(name: str, read: Callable[[], bytes], inflater: Inflater, data: bytes) -> Iterator[bytes]:
    while not inflater.eof:
        data = data or read()
        if not data:
            raise DamagedBackup(f"{name} está cortado: su gzip no termina")
        try:
            block = inflater.decompress(data, LARGEST_INFLATED_BYTES)
        except isal_zlib.error as error:  # type: ignore[misc] # the package's stub calls the class an instance
            raise DamagedBackup(f"{name} está dañado: no se puede descomprimir") from error
        data = inflater.unconsumed_tail
        if block:
            yield block
