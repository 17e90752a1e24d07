"""Does the job in each log directory: cleans up after a killed run, deletes old compressed logs, compresses."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from config.process.log_output import LOG_FILE_NAME
from files.descriptors import closing_descriptor, open_directory_path, open_file_beneath
from jobs.logs import messages
from jobs.logs.changing.compression import estimate_compressed_bytes
from jobs.logs.changing.deletion import Deletion
from jobs.logs.changing.open_logs import FirstLook, OpenLog
from jobs.logs.changing.private_directories import take_up_leftovers
from jobs.logs.changing.removal import Removal
from jobs.logs.changing.replacement import Replacement, require_room_for_suffix
from jobs.logs.errors import Left, LogChanged, LogInUse, LogLeft, NoRoom, left_for
from jobs.logs.guard import KeptApart, require_directories_of_logs, why_not_opened
from jobs.logs.names import is_log
from jobs.logs.planning import MAGIC_BYTES, Deadlines, Plan, SeenFile, is_compressed, occupied_bytes, plan_directory
from jobs.logs.report import LogsReport
from jobs.logs.settings import LogsSettings
from jobs.logs.writable import why_not_writable

MOST_WORKERS = 4
BATCH_FILES = 32
BATCH_BYTES = 64 * 1024 * 1024

NO_LIMIT = float("inf")
SHARE_OF_FREE_SPACE = 0.9
"""The share of it that copies may take. The rest is for programs that write meanwhile."""


def clean_logs(
    settings: LogsSettings,
    kept_apart: Iterable[KeptApart],
    interruption: threading.Event,
    *,
    dry_run: bool,
    most_workers: int = MOST_WORKERS,
) -> LogsReport:
    """Compress and delete what is due in every directory, and report it. A dry run changes nothing.

    A failure is named and counted, and the rest is done. Raises `ConfigurationError` for a refused directory before
    anything is touched.
    """
    require_directories_of_logs(settings.paths, kept_apart)
    workers = min(most_workers, len(os.sched_getaffinity(0)))
    deadlines = Deadlines.at(time.time_ns(), settings)
    report = LogsReport()
    for path in settings.paths:
        with _opened(path) as (directory, problem):
            report += problem
            if directory is not None:
                cleaning = _Cleaning(path, directory, settings, deadlines, interruption, workers)
                report += _done_in(path, cleaning.preview if dry_run else cleaning.run)
    messages.say_done(report, dry_run=dry_run)
    return report


@contextlib.contextmanager
def _opened(path: str) -> Iterator[tuple[int | None, LogsReport]]:
    """Open a directory without following any link in its path; yield its descriptor, or what to count without one."""
    try:
        directory = open_directory_path(path)
    except FileNotFoundError:
        messages.say_missing(path)
        yield None, LogsReport(missing_directories=1)
        return
    except OSError as error:
        messages.say_unusable(path, why_not_opened(error))
        yield None, LogsReport(failures=1)
        return
    with closing_descriptor(directory):
        yield directory, LogsReport()


def _done_in(path: str, work: Callable[[], LogsReport]) -> LogsReport:
    """What was done in a directory, or that nothing can be done there: its disk has gone meanwhile, say."""
    try:
        return work()
    except OSError as error:
        messages.say_unusable(path, why_not_opened(error))
        return LogsReport(failures=1)


class _Cleaning:
    """The work in one directory."""

    def __init__(
        self,
        path: str,
        directory: int,
        settings: LogsSettings,
        deadlines: Deadlines,
        interruption: threading.Event,
        workers: int,
    ) -> None:
        self._path = path
        self._directory = directory
        self._settings = settings
        self._deadlines = deadlines
        self._interruption = interruption
        self._workers = workers
        self._first_look = FirstLook()

    def preview(self) -> LogsReport:
        """Report what is due, except what is in use."""
        plan = self._plan()
        if not self._can_work_on(plan):
            return LogsReport(failures=1)
        plan, in_use = self._without_those_in_use(plan)
        messages.say_plan(self._path, plan)
        return in_use + LogsReport(
            compressed_files=len(plan.compress),
            bytes_before=_occupied_bytes(plan.compress),
            deleted_files=len(plan.delete),
            deleted_bytes=_occupied_bytes(log for log in plan.delete if log.links == 1),
        )

    def _without_those_in_use(self, plan: Plan) -> tuple[Plan, LogsReport]:
        report, free = LogsReport(), {log.name for log in (*plan.compress, *plan.delete)}
        for log in (*plan.compress, *plan.delete):
            try:
                with contextlib.closing(OpenLog(self._directory, log.name)) as opened:
                    opened.require_no_writer(self._first_look)
                    if log in plan.compress:
                        require_room_for_suffix(self._directory, log.name)
            except (LogLeft, OSError) as error:
                free.discard(log.name)
                report += self._note(Left(log.name, error if isinstance(error, LogLeft) else _left_for(error)))
        compress, delete = ([log for log in logs if log.name in free] for logs in (plan.compress, plan.delete))
        return Plan(tuple(compress), tuple(delete)), report

    def run(self) -> LogsReport:
        """Delete first: that makes room."""
        try:
            leftovers = take_up_leftovers(self._directory)
            plan = self._plan()
        except OSError as error:
            messages.say_unusable(self._path, why_not_opened(error))
            return LogsReport(failures=1)
        if not self._can_work_on(plan):
            return LogsReport(failures=1)
        report = sum((self._note_leftover(each) for each in leftovers), LogsReport())
        with contextlib.closing(Removal(self._directory)) as removal:
            report += self._delete(plan.delete, removal)
            with contextlib.closing(self._replacement(removal)) as replacement:
                return report + _done_in(self._path, lambda: self._compress(plan.compress, replacement))

    def _can_work_on(self, plan: Plan) -> bool:
        """Whether nothing is due, or the directory can be written to; if not, it is reported."""
        reason = why_not_writable(self._directory) if plan.compress or plan.delete else None
        if reason is not None:
            messages.say_unusable(self._path, reason)
        return reason is None

    def _replacement(self, removal: Removal) -> Replacement:
        return Replacement(self._directory, removal, self._first_look, self._interruption)

    def _plan(self) -> Plan:
        return plan_directory(self._look(), self._deadlines, self._settings)

    def _look(self) -> Iterator[SeenFile]:
        """The files that may be due logs. Only these are opened, to read how they begin."""
        with os.scandir(self._directory) as listing:
            for item in listing:
                if item.name == LOG_FILE_NAME or not is_log(item.name, self._settings.patterns):
                    continue  # this program is writing to the former
                with contextlib.suppress(FileNotFoundError):
                    status = item.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode) and self._deadlines.may_be_due(status.st_mtime_ns):
                        yield self._seen(item.name, status)

    def _seen(self, name: str, status: os.stat_result) -> SeenFile:
        return SeenFile(
            name, status.st_mode, status.st_size, occupied_bytes(status), status.st_mtime_ns, status.st_nlink,
            is_compressed(name, self._first_bytes(name)),
        )  # fmt: skip

    def _first_bytes(self, name: str) -> bytes:
        """Empty for a file that this user may not read: opening it later reports that."""
        try:
            with closing_descriptor(open_file_beneath(self._directory, [name])) as descriptor:
                return os.pread(descriptor, MAGIC_BYTES, 0)
        except FileNotFoundError:
            raise
        except OSError:
            return b""

    def _delete(self, logs: Sequence[SeenFile], removal: Removal) -> LogsReport:
        """Delete some at a time: each time is one look at all processes, where the kernel cannot tell who writes."""
        deletion = Deletion(self._directory, removal, self._first_look, self._interruption)
        report = LogsReport()
        for first in range(0, len(logs), BATCH_FILES):
            done, left = deletion.delete(logs[first : first + BATCH_FILES])
            report += done + sum(map(self._note, left), LogsReport())
        return report

    def _compress(self, logs: Sequence[SeenFile], replacement: Replacement) -> LogsReport:
        """Compress as many at a time as there are processors, if there is room for that."""
        batches = list(_batches(logs, self._workers))
        at_once = sorted(map(_sum_bytes, batches), reverse=True)[: self._workers]
        if sum(at_once) > self._most_bytes():
            return self._compress_in_little_room(logs, replacement)
        report, waiting = LogsReport(), set[str]()
        with ThreadPoolExecutor(max(1, min(self._workers, len(batches))), "logs") as pool:
            for done, left in pool.map(lambda batch: replacement.replace(batch, NO_LIMIT), batches):
                report += done
                for each in left:
                    if isinstance(each.reason, NoRoom):
                        waiting.add(each.name)
                    else:
                        report += self._note(each)
        rest = [log for log in logs if log.name in waiting]
        return report + (self._compress_in_little_room(rest, replacement) if rest else LogsReport())

    def _compress_in_little_room(self, logs: Sequence[SeenFile], replacement: Replacement) -> LogsReport:
        """Compress one at a time, the largest gain first. A log that does not fit waits until others have made room."""
        messages.say_little_room(self._path, self._free_bytes(), len(logs))
        estimates = {log: self._estimated_bytes(log) for log in logs}
        pending = sorted(logs, key=lambda log: estimates[log] - log.occupied_bytes)
        report = LogsReport()
        without_room: list[Left] = []
        while pending and not self._interruption.is_set():
            without_room = []
            for log in pending:
                done, left = self._compress_one(log, estimates[log], replacement)
                report += done
                without_room += (each for each in left if isinstance(each.reason, NoRoom))
                report += sum((self._note(each) for each in left if not isinstance(each.reason, NoRoom)), LogsReport())
            if len(without_room) == len(pending):
                break
            names = {left.name for left in without_room}
            pending = [log for log in pending if log.name in names]
        return report + sum(map(self._note, without_room), LogsReport())

    def _compress_one(
        self, log: SeenFile, estimated_bytes: int, replacement: Replacement
    ) -> tuple[LogsReport, list[Left]]:
        most_bytes = self._most_bytes()
        if estimated_bytes > most_bytes:
            most_bytes = 0  # but its copy may exist already
        return replacement.replace([log], most_bytes)

    def _estimated_bytes(self, log: SeenFile) -> int:
        """Estimate the compressed size; an unreadable log comes last, is tried and is reported."""
        try:
            with closing_descriptor(open_file_beneath(self._directory, [log.name])) as descriptor:
                return estimate_compressed_bytes(descriptor, log.size_bytes)
        except OSError:
            return log.size_bytes

    def _most_bytes(self) -> float:
        return self._free_bytes() * SHARE_OF_FREE_SPACE

    def _free_bytes(self) -> int:
        room = os.fstatvfs(self._directory)
        return room.f_frsize * (room.f_bfree if os.geteuid() == 0 else room.f_bavail)

    def _note_leftover(self, left: Left) -> LogsReport:
        messages.say_leftover(self._path, left.name, left.reason)
        return LogsReport(failures=int(left.reason.is_failure))

    def _note(self, left: Left) -> LogsReport:
        messages.say_left(self._path, left.name, left.reason)
        return LogsReport(
            in_use=int(isinstance(left.reason, LogInUse)),
            changed=int(isinstance(left.reason, LogChanged)),
            failures=int(left.reason.is_failure),
        )


def _left_for(error: OSError) -> LogLeft:
    return LogChanged("ya no está") if isinstance(error, FileNotFoundError) else left_for(error)


def _batches(logs: Sequence[SeenFile], workers: int) -> Iterator[list[SeenFile]]:
    """Large enough to keep every worker busy, small enough that each write of the directory serves many logs."""
    most_bytes = min(BATCH_BYTES, _sum_bytes(logs) // (2 * workers))
    batch: list[SeenFile] = []
    for log in logs:
        batch.append(log)
        if len(batch) == BATCH_FILES or _sum_bytes(batch) >= most_bytes:
            yield batch
            batch = []
    if batch:
        yield batch


def _occupied_bytes(logs: Iterable[SeenFile]) -> int:
    return sum(log.occupied_bytes for log in logs)


def _sum_bytes(logs: Iterable[SeenFile]) -> int:
    return sum(log.size_bytes for log in logs)
