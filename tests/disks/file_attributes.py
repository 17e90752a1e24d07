"""What `chattr` does, which Debian 13 has in no package that is always there. Source: ioctl_iflags(2)."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from pathlib import Path

GET_FLAGS = 0x80086601
SET_FLAGS = 0x40086602
IMMUTABLE = 0x10
APPEND_ONLY = 0x20


def make_immutable(path: Path) -> None:
    """Let nobody change or delete a file. Raises `OSError`, `ENOTTY` or `EOPNOTSUPP` where the file system cannot."""
    _change_flags(path, add=IMMUTABLE)


def clear_attributes(path: Path) -> None:
    """Let a file or a directory be deleted again. What cannot be read, or knows no attributes, has none."""
    try:
        _change_flags(path, take_away=IMMUTABLE | APPEND_ONLY)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.ENOTTY, errno.EOPNOTSUPP):
            raise


def _change_flags(path: Path, *, add: int = 0, take_away: int = 0) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        (flags,) = struct.unpack("i4x", fcntl.ioctl(descriptor, GET_FLAGS, bytes(8)))
        changed = (flags | add) & ~take_away
        if changed != flags:
            fcntl.ioctl(descriptor, SET_FLAGS, struct.pack("i4x", changed))
    finally:
        os.close(descriptor)
