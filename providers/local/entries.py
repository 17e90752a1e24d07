"""Single entries of a directory, by its descriptor: their state, their bytes on the disk, their careful removal."""

from __future__ import annotations

import errno
import hashlib
import os
import stat

from config.models import StoredObject
from files.descriptors import CHUNK_SIZE_BYTES, FILE_FLAGS, closing_descriptor
from providers.base import require_expected
from providers.errors import ConditionFailed
from providers.file_trees import temporary_name

CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def sha256_on_disk(parent_descriptor: int, name: str) -> str:
    """SHA-256 of a file, read from the disk instead of the kernel's cache. Raises `OSError`."""
    digest = hashlib.sha256()
    with closing_descriptor(os.open(name, FILE_FLAGS, dir_fd=parent_descriptor)) as descriptor:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), name)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        # One byte more than there should be, so that a small file takes one read and its end is seen all the same.
        wanted_bytes = min(status.st_size + 1, CHUNK_SIZE_BYTES)
        while chunk := os.read(descriptor, wanted_bytes):
            digest.update(chunk)
            if len(chunk) < wanted_bytes == status.st_size + 1:
                break
    return digest.hexdigest()


def version_of(status: os.stat_result) -> str:
    """Changes with each change of a file, and differs from that of a file which takes its place."""
    return f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"


def time_in(parent_descriptor: int) -> float:
    """The modification time that a file written now in a directory would get. Raises `OSError`."""
    name = temporary_name("")
    with closing_descriptor(os.open(name, CREATE_FLAGS, 0o600, dir_fd=parent_descriptor)) as descriptor:
        os.unlink(name, dir_fd=parent_descriptor)
        return os.fstat(descriptor).st_mtime


def remove_or_give_back(parent_descriptor: int, aside: str, name: str, expected: StoredObject) -> None:
    """Remove a file that was set aside if it is the expected one; otherwise give it its name back, unless the name is
    taken by now. Raises `OSError`, `ConditionFailed`.
    """
    status = os.stat(aside, dir_fd=parent_descriptor, follow_symlinks=False)
    found = StoredObject(expected.key, status.st_size, version=version_of(status))
    try:
        require_expected(expected.key, found, expected)
    except ConditionFailed:
        _give_back(parent_descriptor, aside, name)
        raise
    os.unlink(aside, dir_fd=parent_descriptor)


def _give_back(parent_descriptor: int, aside: str, name: str) -> None:
    """By a link, which never replaces a name; without support for links, after a check. Raises `OSError`."""
    try:
        os.link(aside, name, src_dir_fd=parent_descriptor, dst_dir_fd=parent_descriptor, follow_symlinks=False)
    except FileExistsError:
        pass  # the file that has the name now is newer
    except OSError:
        if name not in os.listdir(parent_descriptor):
            os.rename(aside, name, src_dir_fd=parent_descriptor, dst_dir_fd=parent_descriptor)
            return
    os.fsync(parent_descriptor)
    os.unlink(aside, dir_fd=parent_descriptor)
