"""Moves a file to a name that nobody else has, never replacing another one."""

from __future__ import annotations

import errno
import os

NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS)
"""The errors of a file system without hard links, or of a kernel that forbids links to other users' files."""


def move_to_free_name(source: int, name: str, target: int, free_name: str) -> bool:
    """Move a file, or a link, to a free name; `False` if the name is taken. Raises `OSError`.

    Where the file system has no hard links, somebody could take the name between the look and the move. No system call
    prevents that on every file system.
    """
    try:
        os.link(name, free_name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    except FileExistsError:
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if not _is_at(target, free_name, status):  # as it is when a run was killed before the other name went
            return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if _exists(target, free_name):
            return False
        os.rename(name, free_name, src_dir_fd=source, dst_dir_fd=target)
        return True
    os.unlink(name, dir_fd=source)
    return True


def _exists(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _is_at(directory: int, name: str, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(status, os.stat(name, dir_fd=directory, follow_symlinks=False))
    except FileNotFoundError:
        return False
