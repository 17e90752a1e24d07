"""Finds mounts in a directory, including bind mounts of the same file system, which no device number reveals."""

from __future__ import annotations

import os
import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
MOUNT_POINT_FIELD = 4
"""Source: proc_pid_mountinfo(5), which also says which characters are written as a backslash and three digits."""


def mount_point_in(descriptor: int) -> str | None:
    """The path of a mount point in an open directory, relative to it; '' if it is the directory itself.

    `None` if there is none, or if the system does not say.
    """
    try:
        content = MOUNTS.read_bytes()
        directory = os.fsencode(Path(f"/proc/self/fd/{descriptor}").readlink())
    except FileNotFoundError:
        return None
    top = directory.rstrip(b"/") + b"/"
    for line in content.splitlines():
        mount_point = re.sub(rb"\\([0-7]{3})", _octal, line.split(b" ")[MOUNT_POINT_FIELD])
        if mount_point + b"/" == top or mount_point.startswith(top):
            return os.fsdecode(mount_point[len(top) :])
    return None


def has_no_mount(descriptor: int) -> bool:
    """Whether an open directory is known to have no mount in it or over it: a different device number then comes from
    an overlay's layers or a subvolume.
    """
    return MOUNTS.exists() and mount_point_in(descriptor) is None


def _octal(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 8)])
