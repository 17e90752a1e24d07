"""Finds mounts in a directory, including bind mounts of the same file system, which no device number reveals."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

MOUNTS = Path("/proc/self/mountinfo")
DEVICE_FIELD, ROOT_FIELD, MOUNT_POINT_FIELD = 2, 3, 4
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
        mount_point = _unescaped(line.split(b" ")[MOUNT_POINT_FIELD])
        if mount_point + b"/" == top or mount_point.startswith(top):
            return os.fsdecode(mount_point[len(top) :])
    return None


def has_no_mount(descriptor: int) -> bool:
    """Whether an open directory is known to have no mount in it or over it: a different device number then comes from
    an overlay's layers or a subvolume.
    """
    return MOUNTS.exists() and mount_point_in(descriptor) is None


class MountedPart:
    """What a directory is a part of, if a bind mount of a directory leads to it: nothing above its path tells.

    The list of mounts is read once.
    """

    def __init__(self, real_path: str) -> None:
        self._path = real_path
        self._place = _place_on_disk(real_path)

    def is_in(self, tree: str) -> bool:
        """Whether this is below another directory, by its real path, of the same file system.

        What the list of mounts says is looked up in the tree: on NFS two exports may look the same in that list.
        """
        if self._place is None or not self._place.is_bound:
            return False
        other = _place_on_disk(tree)
        if other is None or other.device != self._place.device:
            return False
        above = f"{other.path.rstrip('/')}/"
        if not f"{self._place.path}/".startswith(above):
            return False
        try:
            return os.path.samefile(self._path, f"{tree}/{self._place.path[len(above) :]}")  # noqa: PTH121 may be bytes
        except OSError:
            return False


class _PlaceOnDisk(NamedTuple):
    """A directory's path in its file system. `is_bound`: not all of that is mounted there."""

    device: bytes
    path: str
    is_bound: bool


def _place_on_disk(real_path: str) -> _PlaceOnDisk | None:
    """Where a directory is; `None` if the system does not say."""
    found, longest = None, 0
    try:
        lines = MOUNTS.read_bytes().splitlines()
    except FileNotFoundError:
        return None
    for line in lines:
        fields = line.split(b" ")
        mount_point = os.fsdecode(_unescaped(fields[MOUNT_POINT_FIELD])).rstrip("/")
        if len(mount_point) >= longest and f"{real_path}/".startswith(f"{mount_point}/"):  # the last one is on top
            root = os.fsdecode(_unescaped(fields[ROOT_FIELD])).rstrip("/")
            longest, rest = len(mount_point), real_path[len(mount_point) :]
            found = _PlaceOnDisk(fields[DEVICE_FIELD], f"{root}{rest}", bool(root))
    return found


def _unescaped(field: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", _octal, field)


def _octal(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 8)])
