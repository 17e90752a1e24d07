"""The program's own directories, next to the logs, that tell a later run what a killed one was doing.

The first kind contains unfinished compressed copies: all of it may be deleted. The second kind contains logs in the
moment before they are deleted, each under its own name: all of them get their names back.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import threading

from files.descriptors import closing_descriptor, open_directory_beneath
from files.free_names import move_to_free_name
from jobs.logs.names import names_in_turn

UNFINISHED = ".janitor-logs-unfinished-"
REMOVING = ".janitor-logs-removing-"


class PrivateDirectory:
    """A directory that only this user may enter. It is made at its first use and locked, so that no other run takes it
    for the leftover of a killed one.
    """

    def __init__(self, parent: int, prefix: str) -> None:
        self._parent = parent
        self._name = f"{prefix}{os.urandom(8).hex()}"
        self._turn = threading.Lock()
        self._descriptor: int | None = None

    def descriptor(self) -> int:
        """The descriptor, open until `close`. Raises `OSError`."""
        with self._turn:
            if self._descriptor is None:
                os.mkdir(self._name, 0o700, dir_fd=self._parent)
                opened = open_directory_beneath(self._parent, [self._name])
                fcntl.flock(opened, fcntl.LOCK_EX)
                self._descriptor = opened
            return self._descriptor

    def close(self) -> None:
        """Remove the directory, unless it contains something that could not be given back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            with contextlib.suppress(OSError):
                os.rmdir(self._name, dir_fd=self._parent)


def take_up_leftovers(parent: int) -> list[tuple[str, OSError]]:
    """Restore what killed runs of this user left in a log directory; return what failed, and why.

    Raises `OSError` where the directory cannot be read.
    """
    failed: list[tuple[str, OSError]] = []
    for name in os.listdir(parent):
        if name.startswith((UNFINISHED, REMOVING)):
            try:
                _take_up(parent, name)
            except FileNotFoundError:
                continue  # another run was quicker
            except OSError as error:
                failed.append((name, error))
    return failed


def _take_up(parent: int, name: str) -> None:
    if not _is_ours(os.stat(name, dir_fd=parent, follow_symlinks=False)):
        return
    with closing_descriptor(open_directory_beneath(parent, [name])) as left:
        if not _is_ours(os.fstat(left)) or not _is_abandoned(left):
            return
        for inside in os.listdir(left):
            if name.startswith(UNFINISHED):
                os.unlink(inside, dir_fd=left)
            else:
                give_back(left, inside, parent)
        os.rmdir(name, dir_fd=parent)


def _is_ours(status: os.stat_result) -> bool:
    """Whether this user made it: where others may write, they may use such a name."""
    return status.st_uid == os.geteuid() and status.st_mode == stat.S_IFDIR | 0o700


def _is_abandoned(directory: int) -> bool:
    try:
        fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def give_back(aside: int, name: str, parent: int) -> str:
    """Move a log back to its directory; return its name there, which differs if its own is taken by now. Raises
    `OSError`.
    """
    status = os.stat(name, dir_fd=aside, follow_symlinks=False)
    for free_name in names_in_turn(name, status.st_mtime_ns):
        if move_to_free_name(aside, name, parent, free_name):
            return free_name
    raise AssertionError("the names have no end")
