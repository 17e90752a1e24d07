"""The program's own directories, next to the logs, that tell a later run what a killed one was doing.

The first kind contains unfinished compressed copies: all of it may be deleted. The second kind contains logs in the
moment before they are deleted, each under its own name: all of them get their names back.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading

from config.process.write_advice import user_name
from files.descriptors import closing_descriptor, open_directory_beneath
from files.free_names import move_to_free_name
from files.private import is_closed_to_others
from jobs.logs.errors import Left, OfAnotherRun, left_for
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
                self._descriptor = self._made()
            return self._descriptor

    def _made(self) -> int:
        os.mkdir(self._name, 0o700, dir_fd=self._parent)
        with contextlib.ExitStack() as undoing:
            undoing.callback(self._remove)
            descriptor = open_directory_beneath(self._parent, [self._name])
            undoing.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            undoing.pop_all()
        return descriptor

    def close(self) -> None:
        """Remove the directory, unless it contains something that could not be given back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._remove()

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            os.rmdir(self._name, dir_fd=self._parent)


def take_up_leftovers(parent: int) -> list[Left]:
    """Restore what killed runs of this user left in a log directory; return what was left there, and why.

    Raises `OSError` where the directory cannot be read.
    """
    left: list[Left] = []
    for name in os.listdir(parent):
        if name.startswith((UNFINISHED, REMOVING)):
            try:
                _take_up(parent, name)
            except FileNotFoundError:
                continue  # another run was quicker
            except OfAnotherRun as reason:
                left.append(Left(name, reason))
            except OSError as error:
                left.append(Left(name, left_for(error)))
    return left


def _take_up(parent: int, name: str) -> None:
    """Raises `OfAnotherRun`, `OSError`."""
    _require_ours(os.stat(name, dir_fd=parent, follow_symlinks=False))
    with closing_descriptor(open_directory_beneath(parent, [name])) as left:
        _require_ours(os.fstat(left))
        if not _is_abandoned(left):
            return
        for inside in os.listdir(left):
            if name.startswith(UNFINISHED):
                os.unlink(inside, dir_fd=left)
            else:
                give_back(left, inside, parent)
        os.rmdir(name, dir_fd=parent)


def _require_ours(status: os.stat_result) -> None:
    """Raises `OfAnotherRun` unless this user made it: where others may write, they may use such a name."""
    if status.st_uid != os.geteuid():
        owner = user_name(status.st_uid)
        raise OfAnotherRun(f"es de {owner}; si tiene registros, ejecute «run logs» como {owner}, que los devuelve")
    if not is_closed_to_others(status):
        raise OfAnotherRun("otros usuarios pueden cambiarlo; si tiene registros, devuélvalos a mano y bórrelo")


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
