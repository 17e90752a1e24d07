"""Moves a file to a name that nobody else has, never replacing another one."""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable

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


RENAME_NOREPLACE = 1
"""Source: `renameat2(2)`."""

NOT_OFFERED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""The errors of a file system, or a kernel, that cannot rename under that condition: NFS and CIFS, for example."""


def rename_to_free_name(directory: int, name: str, free_name: str) -> None:
    """Rename a file within a directory, at the cost of an ordinary rename where the file system offers that; elsewhere
    as `move_to_free_name`. Raises `FileExistsError` if the name is taken, and `OSError`.
    """
    code = _renamed(directory, os.fsencode(name), os.fsencode(free_name))
    if code in NOT_OFFERED:
        code = 0 if move_to_free_name(directory, name, directory, free_name) else errno.EEXIST
    if code:
        raise OSError(code, os.strerror(code), free_name)


def _renamed(directory: int, name: bytes, free_name: bytes) -> int:
    """The error code of the system call, 0 without an error."""
    rename, last_error = _system_call()
    if rename is None:
        return errno.ENOSYS
    return last_error() if rename(directory, name, directory, free_name, RENAME_NOREPLACE) else 0


@functools.cache
def _system_call() -> tuple[Callable[..., int] | None, Callable[[], int]]:
    """Python has no function for it, nor have C libraries before 2018."""
    import ctypes  # here, so that a tick with nothing to do does not import it

    return getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None), ctypes.get_errno


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
