"""Memory for the parts of large uploads, reused as soon as nothing can read it any more."""

from __future__ import annotations

import mmap
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class PartBuffers:
    """Buffers of one size, for any number of threads.

    A new map for each part costs the kernel more than the rest of an upload: it clears every page and unmaps it again,
    while all threads of the process wait for each other.
    """

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        """What a buffer holds."""

        self._lock = threading.Lock()
        self._wanted = 0
        self._filled: list[mmap.mmap] = []

    @contextmanager
    def kept(self, buffers: int) -> Iterator[None]:
        """Keep this number of additional buffers for reuse; afterwards return surplus memory to the system."""
        with self._lock:
            self._wanted += buffers
        try:
            yield
        finally:
            with self._lock:
                self._wanted -= buffers
                self._filled.sort(key=_is_unread)  # the others may soon be used again
                del self._filled[self._wanted :]

    def filled(self, size_bytes: int, pieces: Iterator[bytes]) -> memoryview:
        """The next `size_bytes` of `pieces`, at most the size of a buffer, in an unread buffer.

        The buffer is not overwritten while this view, or one made from it, exists: readers only need to hold it.
        """
        buffer = self._unread()
        fill(buffer, size_bytes, pieces)
        view = memoryview(buffer)[:size_bytes]
        with self._lock:
            self._filled.append(buffer)
        return view

    def _unread(self) -> mmap.mmap:
        with self._lock:
            for position, buffer in enumerate(self._filled):
                if _is_unread(buffer):
                    return self._filled.pop(position)
        return anonymous_map(self.size_bytes)


def anonymous_map(size_bytes: int) -> mmap.mmap:
    """Memory that goes back to the system at once when it is dropped.

    glibc keeps freed blocks of such sizes, in one arena per thread: measured, 350 MB instead of 120 MB.
    """
    return mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def fill(buffer: mmap.mmap, size_bytes: int, pieces: Iterator[bytes]) -> None:
    """Write the next `size_bytes` of `pieces` to the beginning of a map. Raises what `pieces` raises."""
    buffer.seek(0)
    while buffer.tell() < size_bytes:
        buffer.write(next(pieces))


def _is_unread(buffer: mmap.mmap) -> bool:
    """Whether no view of it is left. Python counts them itself, and lets no map move that has one.

    Source: CPython's `mmap.resize`, which raises `BufferError` then; to the size that it has, it changes nothing.
    """
    try:
        buffer.resize(len(buffer))
    except BufferError:
        return False
    return True
