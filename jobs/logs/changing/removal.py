"""Deletes files of a log directory, each only if it is still the file that was inspected."""

from __future__ import annotations

import os

from files.open_files import OpenFiles
from jobs.logs.changing.compression import NO_ROOM
from jobs.logs.changing.open_logs import OpenLog
from jobs.logs.changing.private_directories import REMOVING, PrivateDirectory, give_back
from jobs.logs.errors import LogLeft


class Removal:
    """Sets logs aside and deletes them there, or gives them back.

    Programs that rotate logs replace one by another at any time, possibly between a look and `unlink`. So a file is
    first moved to our own directory, inspected there, and then deleted. Where a full disk has no room for that
    directory, a look right before `unlink` has to do.
    """

    def __init__(self, directory: int) -> None:
        self._directory = directory
        self._private = PrivateDirectory(directory, REMOVING)

    def close(self) -> None:
        """Remove the directory."""
        self._private.close()

    def set_aside(self, log: OpenLog) -> int:
        """Move a log away; return its new directory. It is given back if it is not the file that was opened.

        Raises `LogChanged`, `OSError`.
        """
        aside = self._aside()
        if aside != self._directory:
            os.rename(log.name, log.name, src_dir_fd=self._directory, dst_dir_fd=aside)
        try:
            moved = os.stat(log.name, dir_fd=aside, follow_symlinks=False)
            log.require_same(moved, moved=True)
        except BaseException:
            self.give_back(log, aside)
            raise
        return aside

    def _aside(self) -> int:
        try:
            return self._private.descriptor()
        except OSError as error:
            if error.errno in NO_ROOM:
                return self._directory
            raise

    def give_back(self, log: OpenLog, aside: int) -> None:
        """Move a log back that was set aside. Raises `LogLeft` if its name is taken by now; `OSError`."""
        if aside == self._directory:
            return
        name = give_back(aside, log.name, self._directory)
        if name != log.name:
            raise LogLeft(f"otro programa tomó su nombre; ahora se llama {name}")

    def require_no_writer(self, log: OpenLog, aside: int, seen: OpenFiles) -> None:
        """Require that a look at all processes, made after a log was set aside, shows no writer: else give it back.

        Raises `LogInUse`, `LogLeft`, `OSError`.
        """
        try:
            log.require_no_writer_in(seen)
        except BaseException:
            self.give_back(log, aside)
            raise

    def delete(self, log: OpenLog, aside: int) -> None:
        """Delete a log that was set aside. If a program is waiting to write to it, give it back instead.

        Raises `LogInUse`, `LogLeft`, `OSError`.
        """
        try:
            log.require_still_held()
            os.unlink(log.name, dir_fd=aside)
        except BaseException:
            self.give_back(log, aside)
            raise
