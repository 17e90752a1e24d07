"""The permission to remove a local copy as a test gives it, and the memory of it that a database would have."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from config.models import Execution
from jobs.migration.removal.removal import trash_name
from sql.migration.removals import RemovalRecord


class Granted:
    """Says yes whenever it is asked, after `when_asked`, and remembers what it is told, as `record`."""

    def __init__(self, record: RemovalRecord | None = None, when_asked: Callable[[], object] = lambda: None) -> None:
        self.record = record or RemovalRecord()
        self.asked = 0
        self.when_asked = when_asked

    def begin(self, inode: str) -> None:
        """See `Permission`."""
        self.record = RemovalRecord(inode)
        self.require_held()

    def require_held(self) -> None:
        """See `Permission`."""
        self.asked += 1
        self.when_asked()

    def held_until(self) -> float:
        """See `Permission`."""
        self.require_held()
        return math.inf

    def note_emptied(self, parent: str) -> None:
        """See `Permission`."""
        self.record = RemovalRecord(self.record.inode, parent)


def remembering(*directories: Path) -> Granted:
    """One that knows that the first of these directories that is there is the one that an earlier run set aside."""
    for directory in directories:
        if directory.exists():
            return Granted(RemovalRecord(str(directory.lstat().st_ino)))
    return Granted()


def after_a_begun_removal(execution: Execution) -> Granted:
    """One of an execution whose removal an earlier run began, whatever name its directory has now."""
    directory = Path(execution.directory or "")
    return remembering(directory.with_name(trash_name(execution)), directory)


def place_of(directory: Path) -> str:
    """What is recorded of the directory in which another one was emptied."""
    status = directory.stat()
    return f"{status.st_dev}:{status.st_ino}"
