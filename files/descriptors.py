"""Opens paths below a directory without ever following a symbolic link, whatever is swapped in meanwhile.

Each directory of a path is opened relative to the one before, with `O_NOFOLLOW`. Names are `str` as `os.fsdecode`
makes them. A link, or any other non-directory, among them raises `OSError` with `ENOTDIR` or `ELOOP`; a name that
could lead elsewhere (empty, `.`, `..`, with a slash) raises it with `EINVAL`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence

DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
PASSAGE_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""For the directories of a path: an account may be allowed to pass through but not to read them (mode 0711)."""

FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Without `O_NONBLOCK`, opening a FIFO would wait for a writer; without `O_NOCTTY`, a terminal could control us."""


CHUNK_SIZE_BYTES = 1024 * 1024
"""How much is read at a time from a file or a download."""


@contextlib.contextmanager
def closing_descriptor(descriptor: int) -> Iterator[int]:
    """Yield a descriptor, and close it afterwards."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_directory_path(absolute_path: str) -> int:
    """Open a directory by its absolute path, whose components must all be real directories. The caller closes it.

    Raises `OSError`.
    """
    if not absolute_path.startswith("/"):
        raise _named(errno.EINVAL, absolute_path)
    with closing_descriptor(os.open("/", PASSAGE_FLAGS)) as root:
        return open_directory_beneath(root, [part for part in absolute_path.split("/") if part])


def open_directory_beneath(root_descriptor: int, parts: Sequence[str]) -> int:
    """Open a directory below another one; without parts, reopen that one. The caller closes it.

    Raises `OSError`.
    """
    return _open_beneath(root_descriptor, parts, DIRECTORY_FLAGS) if parts else _open_anew(root_descriptor)


def open_file_beneath(root_descriptor: int, parts: Sequence[str]) -> int:
    """Open a regular file for reading. The caller closes it.

    Raises `OSError`: with `ELOOP` for a link, with `EINVAL` (`ENXIO` for a socket) for anything but a regular file.
    """
    descriptor = _open_beneath(root_descriptor, parts, FILE_FLAGS)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _named(errno.EINVAL, parts[-1])
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def make_directories_beneath(root_descriptor: int, parts: Sequence[str]) -> None:
    """Make a directory below another one, including missing parents, each made durable in its parent.

    Existing directories stay as they are. Raises `OSError`.
    """
    descriptor = _open_anew(root_descriptor)
    for part in parts:
        with closing_descriptor(descriptor):
            _make_directory(part, descriptor)
            descriptor = _open(part, DIRECTORY_FLAGS, descriptor)
    os.close(descriptor)


def _open_anew(directory_descriptor: int) -> int:
    return os.open(".", DIRECTORY_FLAGS, dir_fd=directory_descriptor)


def _open_beneath(root_descriptor: int, parts: Sequence[str], flags: int) -> int:
    """Open the last of one or more parts, opening each directory before it by itself."""
    *directories, name = parts
    parent = root_descriptor
    try:
        for directory in directories:
            passed, parent = parent, _open(directory, PASSAGE_FLAGS, parent)
            if passed != root_descriptor:
                os.close(passed)
        return _open(name, flags, parent)
    finally:
        if parent != root_descriptor:
            os.close(parent)


def _make_directory(name: str, parent_descriptor: int) -> None:
    _require_plain(name)
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=parent_descriptor)
        os.fsync(parent_descriptor)


def _open(name: str, flags: int, parent_descriptor: int) -> int:
    _require_plain(name)
    return os.open(name, flags, dir_fd=parent_descriptor)


def _require_plain(name: str) -> None:
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise _named(errno.EINVAL, name)


def _named(code: int, name: str) -> OSError:
    return OSError(code, os.strerror(code), name)
