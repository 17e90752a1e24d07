"""Replaces logs by compressed copies, several at a time, because they share one write of their directory."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from files.descriptors import open_file_beneath
from files.free_names import move_to_free_name
from files.open_files import look_at_open_files
from files.writers import has_writer
from jobs.logs.changing.compression import (
    NO_ROOM,
    NO_ROOM_LEFT,
    begin_writing_to_disk,
    bytes_outside_holes,
    holds_the_same,
    keep_attributes,
    write_compressed,
)
from jobs.logs.changing.open_logs import FirstLook, OpenLog
from jobs.logs.changing.private_directories import UNFINISHED, PrivateDirectory
from jobs.logs.changing.removal import Removal
from jobs.logs.errors import (
    Left,
    LogChanged,
    LogInUse,
    LogLeft,
    NameTooLong,
    NoRoom,
    NothingGained,
    RunStopped,
    left_for,
)
from jobs.logs.names import GZIP_SUFFIX, copy_names_in_turn
from jobs.logs.planning import SeenFile, occupied_bytes
from jobs.logs.report import LogsReport

NOT_TO_BE_SYNCED = (errno.EINVAL, errno.ENOTSUP)
"""The errors of a file system that cannot sync a directory."""

NOT_A_FILE = (errno.ELOOP, errno.EINVAL, errno.ENXIO, errno.EACCES, errno.EPERM)
"""The errors of opening a link, a directory, a special file, or a file that this user may not read."""


class Named(Protocol):
    """The object of a step."""

    @property
    def name(self) -> str:
        """The name of the log."""


Item = TypeVar("Item", bound=Named)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Copy:
    """A compressed copy of a log. `unfinished` is its name in the private directory, if it is new: not proven then."""

    descriptor: int
    name: str
    size_bytes: int
    unfinished: str | None


@dataclass(frozen=True, slots=True)
class Pair:
    """A log, its copy, and the log's current directory."""

    log: OpenLog
    copy: Copy
    place: int

    @property
    def name(self) -> str:
        """The log's name."""
        return self.log.name


class Replacement:
    """Replaces the logs of one directory. Several threads may use it, each with different logs."""

    def __init__(self, directory: int, removal: Removal, first_look: FirstLook, interruption: threading.Event) -> None:
        self._directory = directory
        self._removal = removal
        self._first_look = first_look
        self._interruption = interruption
        self._private = PrivateDirectory(directory, UNFINISHED)

    def close(self) -> None:
        """Remove its private directories."""
        self._private.close()

    def replace(self, logs: Iterable[SeenFile], most_bytes: float) -> tuple[LogsReport, list[Left]]:
        """Replace logs by their copies, each no larger than `most_bytes`; return what was done and what was not.

        A log is deleted only when its copy has been written to disk, read back, found equal to the log's current
        contents and renamed, and the rename is on disk too. Raises `OSError` only where nothing at all can be done.
        """
        left: list[Left] = []
        with contextlib.ExitStack() as opened:
            prepared = each_of(logs, lambda log: self._prepare(log, most_bytes, opened), left)
            proven = each_of(prepared, self._prove, left)
            held = each_of(proven, self._publish, left)
            durable = held if self._is_durable(held, left) else []
            aside = each_of(durable, self._set_aside, left)
            replaced = each_of(self._without_writers(aside, left), self._delete, left)
        return sum(map(_report_of, replaced), LogsReport()), left

    def _prepare(self, seen: SeenFile, most_bytes: float, opened: contextlib.ExitStack) -> Pair:
        """Find a copy that holds the same, or write one."""
        if self._interruption.is_set():
            raise RunStopped
        with contextlib.ExitStack() as own:  # a failure frees its space at once
            pair = self._pair_of(seen, most_bytes, own)
            opened.push(own.pop_all())
        return pair

    def _pair_of(self, seen: SeenFile, most_bytes: float, opened: contextlib.ExitStack) -> Pair:
        log = opened.enter_context(contextlib.closing(OpenLog(self._directory, seen.name)))
        if (log.status.st_mtime_ns, log.status.st_nlink) != (seen.mtime_ns, seen.links):
            raise LogChanged("cambió desde que se miró el directorio")
        log.require_no_writer(self._first_look)
        require_room_for_suffix(self._directory, seen.name)
        for name in copy_names_in_turn(seen.name, log.status.st_mtime_ns):
            try:
                found = open_file_beneath(self._directory, [name])
            except FileNotFoundError:
                return Pair(log, self._make_copy(log, name, most_bytes, opened), self._directory)
            except OSError as error:
                if error.errno in NOT_A_FILE:
                    continue
                raise
            opened.callback(os.close, found)
            if has_writer(found):  # for example a program that is compressing this very log
                raise LogInUse(f"un programa tiene abierto para escribir {name}")
            if holds_the_same(log.descriptor, found, self._interruption):
                os.fsync(found)  # no matter who made it
                return Pair(log, Copy(found, name, os.fstat(found).st_size, None), self._directory)
        raise AssertionError("the names have no end")

    def _make_copy(self, log: OpenLog, name: str, most_bytes: float, opened: contextlib.ExitStack) -> Copy:
        unfinished = f"{os.urandom(8).hex()}{GZIP_SUFFIX}"
        private = self._private.descriptor()
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        target = os.open(unfinished, flags, 0o600, dir_fd=private)
        opened.callback(os.close, target)
        opened.callback(_unlink_if_there, unfinished, private)
        size_bytes = self._write_copy(log, target, most_bytes)
        keep_attributes(log.descriptor, log.status, target)
        begin_writing_to_disk(target)
        return Copy(target, name, size_bytes, unfinished)

    def _write_copy(self, log: OpenLog, target: int, most_bytes: float) -> int:
        data_bytes = bytes_outside_holes(log.descriptor, log.status.st_size)
        try:
            return write_compressed(log.descriptor, target, min(most_bytes, data_bytes), self._interruption)
        except NoRoom as error:
            if data_bytes >= most_bytes:
                raise
            raise NothingGained(
                "casi todo él son huecos, que no ocupan disco, y su copia comprimida ocuparía más: bórrelo si sobra"
            ) from error

    def _prove(self, pair: Pair) -> Pair:
        """Wait until the disk has a new copy, read it back and compare it.

        Its turn is after all copies of a batch were written: the disk works on them meanwhile, and they share waits.
        """
        if pair.copy.unfinished is None:
            return pair
        log, target = pair.log, pair.copy.descriptor
        os.fsync(target)
        os.posix_fadvise(target, 0, 0, os.POSIX_FADV_DONTNEED)  # so that it is read from the disk
        if not holds_the_same(log.descriptor, target, self._interruption):
            raise LogLeft("su copia comprimida, leída de nuevo, no es igual: puede que falle el disco o la memoria")
        return pair

    def _publish(self, pair: Pair) -> Pair:
        """Give a new copy its name, while nobody can write to the log."""
        pair.log.hold()
        copy = pair.copy
        if copy.unfinished is not None:
            source = self._private.descriptor()
            if not move_to_free_name(source, copy.unfinished, self._directory, copy.name):
                raise LogChanged(f"otro programa tomó el nombre {copy.name}")
        return pair

    def _is_durable(self, pairs: list[Pair], left: list[Left]) -> bool:
        try:
            if pairs:
                os.fsync(self._directory)
        except OSError as error:
            if error.errno not in NOT_TO_BE_SYNCED:
                for pair in pairs:
                    self._withdraw(pair)
                    left.append(Left(pair.name, _left_for(error)))
                return False
        return True

    def _set_aside(self, pair: Pair) -> Pair:
        with self._withdrawing(pair):
            named = os.stat(pair.copy.name, dir_fd=self._directory, follow_symlinks=False)
            if not os.path.samestat(named, os.fstat(pair.copy.descriptor)):
                raise LogChanged("otro programa cambió su copia comprimida")
            return replace(pair, place=self._removal.set_aside(pair.log))

    def _without_writers(self, pairs: list[Pair], left: list[Left]) -> list[Pair]:
        """The logs that no program has open. Where the kernel cannot tell, one look at all processes serves all of
        them: nobody opens by its old name a log that was set aside.
        """
        if all(pair.log.is_leased for pair in pairs):
            return pairs
        seen = look_at_open_files()

        def require_no_writer(pair: Pair) -> Pair:
            with self._withdrawing(pair):
                if not pair.log.is_leased:
                    self._removal.require_no_writer(pair.log, pair.place, seen)
            return pair

        return each_of(pairs, require_no_writer, left)

    def _delete(self, pair: Pair) -> Pair:
        with self._withdrawing(pair):
            self._removal.delete(pair.log, pair.place)
        return pair

    @contextlib.contextmanager
    def _withdrawing(self, pair: Pair) -> Iterator[None]:
        """If the log stays, delete the copy that was made for nothing."""
        try:
            yield
        except BaseException:
            self._withdraw(pair)
            raise

    def _withdraw(self, pair: Pair) -> None:
        if pair.copy.unfinished is None:
            return
        with contextlib.suppress(OSError):  # then a later run finds it equal to the log, and the log goes
            named = os.stat(pair.copy.name, dir_fd=self._directory, follow_symlinks=False)
            if os.path.samestat(named, os.fstat(pair.copy.descriptor)):
                os.unlink(pair.copy.name, dir_fd=self._directory)


def each_of(items: Iterable[Item], step: Callable[[Item], Result], left: list[Left]) -> list[Result]:
    """Take a step for each item; note a failure and continue. After an interruption no step begins."""
    results: list[Result] = []
    for item in items:
        try:
            results.append(step(item))
        except LogLeft as reason:
            left.append(Left(item.name, reason))
        except FileNotFoundError:
            left.append(Left(item.name, LogChanged("ya no está")))
        except OSError as error:
            left.append(Left(item.name, _left_for(error)))
        except RunStopped:
            break
    return results


def require_room_for_suffix(directory: int, name: str) -> None:
    """Raises `NameTooLong` where the file system allows no name for the copy of a log."""
    try:
        os.stat(f"{name}{GZIP_SUFFIX}", dir_fd=directory, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise NameTooLong(f"su nombre no deja sitio para {GZIP_SUFFIX}: acórtelo, o bórrelo") from error


def _left_for(error: OSError) -> LogLeft:
    return NoRoom(NO_ROOM_LEFT) if error.errno in NO_ROOM else left_for(error)


def _unlink_if_there(name: str, directory: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)


def _report_of(pair: Pair) -> LogsReport:
    size_bytes = occupied_bytes(pair.log.status)
    if pair.copy.unfinished is None:
        return LogsReport(duplicate_files=1, duplicate_bytes=size_bytes)
    differs = pair.copy.name != f"{pair.name}{GZIP_SUFFIX}"
    return LogsReport(
        compressed_files=1,
        bytes_before=size_bytes,
        bytes_after=pair.copy.size_bytes,
        differing_copies=int(differs),
    )
