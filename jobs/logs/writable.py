"""Tells why nothing can be compressed or deleted in a directory of logs, and what to do. In Spanish."""

from __future__ import annotations

import fcntl
import os
import struct

GET_FLAGS = 0x80086601
"""FS_IOC_GETFLAGS of `linux/fs.h`, on 64-bit processors."""

IMMUTABLE, APPEND_ONLY = 0x10, 0x20
"""What `chattr +i` and `chattr +a` set. In a directory with the latter new files can be made, and none removed."""

OTHERWISE = "o corrija LOGS_PATH"


def why_not_writable(directory: int) -> str | None:
    """Why this user can not both make and remove files in an open directory; `None` if nothing known is in the way.

    Asked once, before anything is made there: otherwise each log would be a failure, and a copy could be left behind.
    """
    flags = _flags(directory)
    if flags & (IMMUTABLE | APPEND_ONLY):
        return f"está protegido (lsattr -d muestra i o a): quítelo con chattr -i -a, {OTHERWISE}"
    if os.fstatvfs(directory).f_flag & os.ST_RDONLY:
        return f"su disco está montado solo para leer: móntelo con escritura, {OTHERWISE}"
    if not os.access(".", os.W_OK | os.X_OK, dir_fd=directory, effective_ids=True):
        return f"este usuario no puede escribir en él: dele el permiso, {OTHERWISE}"
    return None


def _flags(directory: int) -> int:
    """None are set where the file system has none."""
    try:
        return int(struct.unpack("I4x", fcntl.ioctl(directory, GET_FLAGS, bytes(8)))[0])
    except OSError:
        return 0
