"""To race with the product: a thread that swaps two names as fast as it can, and an ear for every touch of a tree.

Linux only: `renameat2` and `inotify`, which Python does not offer, through ctypes.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import random
import struct
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs renameat2 and inotify")

RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
AT_FDCWD = -100
LONGEST_PAUSES_SECONDS = (0.001, 0.004, 0.02, 0.1)
"""One of them for each race: what is raced with takes longer on a slow machine, and must sometimes get through."""

SWITCH_INTERVAL_SECONDS = 0.00005

_library = ctypes.CDLL(None, use_errno=True)


def rename_to_free_name(source: Path, target: Path) -> bool:
    """Rename in one step; `False`, and nothing done, if the source is gone or the target is there.

    A link and an unlink would do that in two steps, and lose what gets the source's name in between.
    """
    if _library.renameat2(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), RENAME_NOREPLACE) == 0:
        return True
    if ctypes.get_errno() in (errno.ENOENT, errno.EEXIST):
        return False
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(source))


class Swapper:
    """Exchanges a name with another one, again and again, so that the name always exists, as the one or as the other.

    It works only within `racing()`, after which each name has what it had. `swaps` counts. The pauses between two
    swaps, and before the first one, are of random length, so that they come at any moment of what is raced with.
    """

    def __init__(
        self, name: Path, decoy: Path, longest_pauses_seconds: Sequence[float] = LONGEST_PAUSES_SECONDS, seed: int = 1
    ) -> None:
        self.swaps = 0
        self._name = name
        self._decoy = decoy
        self._longest_pauses_seconds = longest_pauses_seconds
        self._pauses = random.Random(seed)  # noqa: S311 not a secret

    @contextlib.contextmanager
    def racing(self) -> Iterator[None]:
        """Swap while the body runs, in the directory that holds the name when it is there first, wherever that goes."""
        stop, ready = threading.Event(), threading.Event()
        thread = threading.Thread(target=self._swap_until, args=(stop, ready))
        interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
        thread.start()
        if self._name.parent.is_dir():
            ready.wait(10)  # on a busy machine what is raced with would be over before this thread has begun
        try:
            yield
        finally:
            stop.set()
            thread.join()
            sys.setswitchinterval(interval)

    def _swap_until(self, stop: threading.Event, ready: threading.Event) -> None:
        while not stop.is_set() and not self._name.parent.is_dir():
            time.sleep(0)
        with contextlib.suppress(FileNotFoundError), _open_path(self._name.parent) as parent:
            swapped = False
            longest_seconds = self._pauses.choice(self._longest_pauses_seconds)
            ready.set()
            while not stop.wait(self._pauses.random() ** 3 * longest_seconds):
                swapped ^= self._swap(parent)
            if swapped:
                self._swap(parent)

    def _swap(self, parent: int) -> bool:
        name, decoy = os.fsencode(self._name.name), os.fsencode(self._decoy)
        if _library.renameat2(parent, name, parent, decoy, RENAME_EXCHANGE) == 0:
            self.swaps += 1
            return True
        if ctypes.get_errno() != errno.ENOENT:  # the product has taken it away
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(self._name))
        return False


@contextlib.contextmanager
def _open_path(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


EVENTS = {
    0x001: "read", 0x002: "written", 0x004: "attributes changed", 0x008: "closed after writing", 0x020: "opened",
    0x040: "moved away", 0x080: "moved in", 0x100: "created", 0x200: "deleted", 0x400: "deleted itself",
    0x800: "moved itself",
}  # fmt: skip
"""All that inotify tells, but for closing what was opened for reading. Source: inotify(7)."""

EVENT_HEADER = struct.Struct("iIII")


class Listener:
    """Hears whatever is done to a tree, or to anything in it, that exists when the listening begins: even opening a
    directory. Looking a name up, as `stat` does, is not heard.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._paths: dict[int, str] = {}

    def __enter__(self) -> Self:
        self._descriptor = _checked(_library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        paths = [self._directory, *(path for path in self._directory.rglob("*") if not path.is_symlink())]
        for path in paths:
            watch = _checked(_library.inotify_add_watch(self._descriptor, os.fsencode(path), sum(EVENTS)))
            self._paths[watch] = str(path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def heard(self) -> set[str]:
        """What has been done since this was asked last, as `path: event`."""
        found: set[str] = set()
        with contextlib.suppress(BlockingIOError):
            while content := os.read(self._descriptor, 65536):
                found.update(self._understood(content))
        return found

    def _understood(self, content: bytes) -> Iterator[str]:
        position = 0
        while position < len(content):
            watch, mask, _, name_bytes = EVENT_HEADER.unpack_from(content, position)
            position += EVENT_HEADER.size + name_bytes
            for bit, event in EVENTS.items():
                if mask & bit:
                    yield f"{self._paths.get(watch, '(too many to tell)')}: {event}"


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
