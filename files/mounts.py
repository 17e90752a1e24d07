"""Finds what is mounted in a directory, also from the same file system: a bind mount shows in no device number."""

from __future__ import annotations

import os
import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
MOUNT_POINT_FIELD = 4
"""Source: proc_pid_mountinfo(5), which also says which characters are written as a backslash and three digits."""


def mount_point_in(descriptor: int) -> str | None:
    """The path, relative to an open directory, of something that is mounted in it; '' if it is the directory itself.

    `None` where nothing is, and on systems that do not tell.
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
    """Whether it is known that nothing is mounted in an open directory, nor over it: a device number of its own then
    comes of layers of an overlay, or of a subvolume.
    """
    return MOUNTS.exists() and mount_point_in(descriptor) is None


def _octal(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 8)])
