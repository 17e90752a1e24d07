"""Finds the type of a file system, and syncs one as a whole."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path

SYNCED_AS_A_WHOLE = frozenset(("ext3", "ext4", "xfs"))
"""File systems on local disks that `syncfs` writes out completely. FUSE, for example, does not pass it on."""

FIRST_KERNEL_THAT_TELLS = (5, 8)
"""From this version on, `syncfs` reports writes that failed since the descriptor was opened (`syncfs(2)`, VERSIONS)."""


@functools.cache
def file_system_type(device: int) -> str:
    """The type of the file system on a device, '' if the list of mounts does not say (btrfs)."""
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        mount, _, file_system = line.partition(" - ")
        if mount.split()[2] == number:
            return file_system.split()[0]
    return ""


def can_be_synced(descriptor: int) -> bool:
    """Whether `sync_file_system` is as good as `fsync` on each file of the file system that a descriptor is on."""
    version = re.match(r"(\d+)\.(\d+)", os.uname().release)
    tells_errors = version is not None and (int(version[1]), int(version[2])) >= FIRST_KERNEL_THAT_TELLS
    return tells_errors and file_system_type(os.fstat(descriptor).st_dev) in SYNCED_AS_A_WHOLE


def sync_file_system(descriptor: int) -> None:
    """Write everything on a descriptor's file system to its disk.

    Raises `OSError` also for any write that failed since the descriptor was opened: open it before writing, and do not
    share it, because an error is reported once per descriptor.
    """
    import ctypes  # here, so that a tick with nothing to do does not import it

    library = ctypes.CDLL(None, use_errno=True)
    if library.syncfs(descriptor) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
