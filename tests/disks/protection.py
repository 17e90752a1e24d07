"""Directories and files that refuse to be changed, to the user who runs the tests."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

GET_FLAGS = 0x80086601
SET_FLAGS = 0x40086602
"""Source: `FS_IOC_GETFLAGS` and `FS_IOC_SETFLAGS` of linux/fs.h, on systems of 64 bits."""

IMMUTABLE = 0x10
APPEND_ONLY = 0x20


@contextlib.contextmanager
def protected(path: Path, flag: int = IMMUTABLE) -> Iterator[None]:
    """Within, a file or directory is as `chattr` makes it for root; from others the right to write is taken away.

    Of these, only what is in a directory is protected by that, not a file.
    """
    if os.geteuid() != 0:
        mode = path.stat().st_mode
        path.chmod(mode & ~0o222)
        try:
            yield
        finally:
            path.chmod(mode)
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        (flags,) = struct.unpack("l", fcntl.ioctl(descriptor, GET_FLAGS, struct.pack("l", 0)))
        fcntl.ioctl(descriptor, SET_FLAGS, struct.pack("l", flags | flag))
        try:
            yield
        finally:
            fcntl.ioctl(descriptor, SET_FLAGS, struct.pack("l", flags))
    finally:
        os.close(descriptor)
