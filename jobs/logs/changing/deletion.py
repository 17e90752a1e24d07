"""Deletes old compressed logs, several at a time, because they share one look at all processes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from files.open_files import look_at_open_files
from jobs.logs.changing.open_logs import FirstLook, OpenLog
from jobs.logs.changing.removal import Removal
from jobs.logs.changing.replacement import each_of
from jobs.logs.errors import Left, LogChanged, RunStopped
from jobs.logs.planning import SeenFile, occupied_bytes
from jobs.logs.report import LogsReport


@dataclass(frozen=True, slots=True)
class Aside:
    """A log that was set aside, and its current directory."""

    log: OpenLog
    place: int

    @property
    def name(self) -> str:
        """The log's name."""
        return self.log.name


class Deletion:
    """Deletes logs of one directory that were kept long enough."""

    def __init__(self, directory: int, removal: Removal, first_look: FirstLook, interruption: threading.Event) -> None:
        self._directory = directory
        self._removal = removal
        self._first_look = first_look
        self._interruption = interruption

    def delete(self, logs: Iterable[SeenFile]) -> tuple[LogsReport, list[Left]]:
        """Delete logs that no program has open for writing; return what was done and what was not."""
        left: list[Left] = []
        with contextlib.ExitStack() as opened:
            aside = each_of(logs, lambda log: self._set_aside(log, opened), left)
            deleted = each_of(self._without_writers(aside, left), self._delete, left)
            size_bytes = _freed_bytes(each.log for each in deleted)
        return LogsReport(deleted_files=len(deleted), deleted_bytes=size_bytes), left

    def _set_aside(self, seen: SeenFile, opened: contextlib.ExitStack) -> Aside:
        if self._interruption.is_set():
            raise RunStopped
        with contextlib.ExitStack() as own:  # one that stays is closed at once
            log = own.enter_context(contextlib.closing(OpenLog(self._directory, seen.name)))
            log.require_no_writer(self._first_look)
            if log.status.st_mtime_ns != seen.mtime_ns:
                raise LogChanged("cambió desde que se miró el directorio")
            log.hold()
            aside = Aside(log, self._removal.set_aside(log))
            opened.push(own.pop_all())
        return aside

    def _without_writers(self, logs: list[Aside], left: list[Left]) -> list[Aside]:
        """The logs that no program has open. Where the kernel cannot tell, one look that begins now serves all."""
        if all(each.log.is_leased for each in logs):
            return logs
        seen = look_at_open_files()

        def require_no_writer(aside: Aside) -> Aside:
            if not aside.log.is_leased:
                self._removal.require_no_writer(aside.log, aside.place, seen)
            return aside

        return each_of(logs, require_no_writer, left)

    def _delete(self, aside: Aside) -> Aside:
        self._removal.delete(aside.log, aside.place)
        return aside


def _freed_bytes(deleted: Iterable[OpenLog]) -> int:
    """What the disk has back: nothing of a log that has another name, and once what was deleted by both."""
    gone = {(log.status.st_dev, log.status.st_ino): occupied_bytes(log.status) for log in deleted if log.is_gone()}
    return sum(gone.values())
