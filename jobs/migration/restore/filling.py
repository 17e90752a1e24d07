"""Fills a directory with what a manifest names, and keeps what an earlier restore has left and is equal."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from config.errors import MigrationError, RunInterrupted
from config.logs import one_line
from config.models import Entry, EntryKind
from files.descriptors import CHUNK_SIZE_BYTES, closing_descriptor, open_directory_beneath
from files.sparse_files import DiffersFromFile, SparseWriter
from files.tree import Tree
from jobs.migration.restore.destination import (
    NEW_FILE_FLAGS,
    Disk,
    OpenDestination,
    list_destination,
    open_own_directory,
    open_own_file,
    sync_directory,
)
from jobs.migration.restore.errors import NAME_REFUSED, NOT_TAKEN, NotOfTheRestore, RestoreIncomplete
from jobs.migration.restore.losses import NAMED_AT_MOST, Losses
from jobs.migration.restore.progress import RestoreProgress
from providers.base import Provider
from providers.errors import IntegrityError
from providers.retries import with_retries
from storage.keys import Place
from storage.traffic.pace import Pacer
from storage.traffic.transfers import TransferPool

LENDING_BITS = stat.S_ISUID | stat.S_ISGID
"""On a file, they give its owner's rights to anybody who runs it; a restore changes that owner to its own user. An
ordinary user could have left a shell in an execution, to get it back as root's.
"""

COARSEST_CLOCK_NS = 2 * 10**9
"""A smaller difference is as exact as the file system can be: FAT counts in steps of two seconds."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore has brought back. `kept_files` existed already, from an earlier one, and are proven, too; `unkept`
    says in Spanish which attributes the destination has not kept, one text for each kind.
    """

    tree: Tree
    kept_files: int
    unkept: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _There:
    """The existing contents of a file before it is filled: its size, whether `is_skipped` leaves it out of the
    download, and the hash of what is left out.
    """

    size_bytes: int
    digest: hashlib._Hash
    is_skipped: bool

    @property
    def skipped_bytes(self) -> int:
        """How many bytes need not be fetched."""
        return self.size_bytes if self.is_skipped else 0


_NOTHING_THERE = _There(0, hashlib.sha256(), is_skipped=False)


@dataclass(frozen=True, slots=True)
class Download:
    """A copy at its place, and what fetches it."""

    provider: Provider
    place: Place
    pool: TransferPool
    interruption: threading.Event


class Filling:
    """One destination being filled."""

    def __init__(self, download: Download, destination: OpenDestination, tree: Tree, progress: RestoreProgress) -> None:
        self._provider = download.provider
        self._place = download.place
        self._pool = download.pool
        self._interruption = download.interruption
        self._destination = destination
        self._descriptor = destination.descriptor
        self._tree = tree
        self._progress = progress
        self._losses = Losses()
        self._present = bytearray(len(tree))
        self._kept = itertools.count()  # a counter that several threads may use

    def run(self, disk: Disk) -> Restored:
        """Everything is synced before the mark is removed, and its removal before this returns. Raises
        `OSError` too.
        """
        tree = self._tree
        if self._destination.is_resumed:
            disk.bring_all()  # what an earlier restore left: see `read_from_disk`
            self._present = list_destination(self._destination, tree, self._open_earlier_directory).present
        others = [tree.entry(position) for position in range(len(tree)) if not tree.is_file(position)]
        directories = [entry for entry in others if entry.kind is EntryKind.DIRECTORY]
        for entry in directories[1:]:  # path order: a directory comes before its contents
            self._make_directory(entry)
        self._pool.for_each(
            partial(self._restore_file, disk), tree.large_ones_first(tree.file_positions()), self._interruption
        )
        for entry in others:
            if entry.kind is EntryKind.LINK:
                self._make_link(entry)
        missing = self._missing()
        self._set_directory_attributes(directories[1:], disk)
        sync_directory(self._descriptor)
        disk.bring_all()
        self._require_whole(missing)
        os.unlink(self._destination.mark, dir_fd=self._descriptor)
        self._set_directory_attributes(directories[:1], disk)  # the top one, whose time this has changed
        sync_directory(self._descriptor)
        return Restored(tree, next(self._kept), tuple(self._losses.unkept()))

    def _require_whole(self, missing: Sequence[str]) -> None:
        failure = self._losses.failure()
        if not missing and failure is None:
            return
        more = f"; y {len(missing) - NAMED_AT_MOST} cosas más" if len(missing) > NAMED_AT_MOST else ""
        told = f"{'; '.join(missing[:NAMED_AT_MOST])}{more}"
        if failure is not None:
            raise type(failure)(f"{failure}; además: {told}" if missing else f"{failure}") from failure
        raise RestoreIncomplete(
            f"la ejecución {one_line(self._place.name)} no se pudo restaurar entera: {told}. Lo demás está restaurado; "
            "use un directorio vacío de un sistema de ficheros que lo admita, o quite lo que estorba y repita la orden"
        )

    def _missing(self) -> list[str]:
        """The missing entries, each looked for under exactly its name: a file system may merge or change names."""
        listing = list_destination(self._destination, self._tree, self._open_filled_directory)
        if all(listing.present) and not listing.foreign and not self._losses.any_missing:
            return []
        return self._losses.missing(listing, self._tree)

    # Directories

    def _open_earlier_directory(self, path: str) -> int | None:
        if not path:
            return open_directory_beneath(self._descriptor, [])
        try:
            return open_own_directory(self._descriptor, path.split("/"), self._destination.owner)
        except NotOfTheRestore:
            self._close(path)
            return None

    def _open_filled_directory(self, path: str) -> int | None:
        if self._losses.is_closed(path):
            return None
        return open_directory_beneath(self._descriptor, path.split("/") if path else [])

    def _close(self, path: str) -> None:
        self._losses.note_in_the_way(path)
        self._losses.close(path)

    def _make_directory(self, entry: Entry) -> None:
        if self._losses.is_closed(entry.path) or self._is_present(entry):
            return
        try:
            with _parent_of(self._descriptor, entry) as (parent, name):
                os.mkdir(name, 0o700, dir_fd=parent)
        except FileExistsError:
            self._close(entry.path)
        except OSError as error:
            if error.errno not in NAME_REFUSED:
                raise
            self._losses.note_refused(entry.path)
            self._losses.close(entry.path)

    def _is_present(self, entry: Entry) -> bool:
        position = self._tree.find(entry.path) if self._destination.is_resumed else None
        return position is not None and bool(self._present[position])

    def _set_directory_attributes(self, directories: Sequence[Entry], disk: Disk) -> None:
        """Set them last and deepest first: filling a directory changes its time, and its mode may forbid that."""
        for entry in reversed(directories):
            if self._losses.is_closed(entry.path):
                continue
            with closing_descriptor(self._open_directory(entry)) as own:
                self._set_attributes(own, entry, entry.mode)
                disk.bring_directory(own)

    def _open_directory(self, entry: Entry) -> int:
        return open_directory_beneath(self._descriptor, [part for part in entry.path.split("/") if part])

    # Files

    def _restore_file(self, disk: Disk, position: int) -> None:
        entry = self._tree.entry(position)
        if self._losses.is_closed(entry.path):
            return
        try:
            with closing_descriptor(self._open_file(entry, position)) as file:
                if self._present[position]:
                    disk.read_from_disk(file)
                    self._complete(file, entry)
                else:
                    self._download(file, entry, _NOTHING_THERE)
                self._set_attributes(file, entry, entry.mode & ~LENDING_BITS)
                disk.bring(file)
                self._progress.note_file()
        except (FileExistsError, NotOfTheRestore, DiffersFromFile):
            self._losses.note_in_the_way(entry.path)
        except OSError as error:
            if error.errno not in NAME_REFUSED:
                raise
            self._losses.note_refused(entry.path)
        except MigrationError as error:
            told = type(error)(f"{one_line(entry.path)}: {error}")
            if isinstance(error, RunInterrupted) or error.provider_wide:
                raise told from error
            self._losses.note_failure(told)

    def _open_file(self, entry: Entry, position: int) -> int:
        """Create a file, or open the one that an earlier restore has left. Raises `FileExistsError` where a new one
        cannot be made: something else has its name, or one that the file system takes for the same.
        """
        with _parent_of(self._descriptor, entry) as (parent, name):
            if self._present[position]:
                return open_own_file(parent, name, self._destination.owner)
            return os.open(name, NEW_FILE_FLAGS, 0o600, dir_fd=parent)

    def _complete(self, file: int, entry: Entry) -> None:
        """Keep what an earlier restore has left, and fetch what is missing. Raises `NotOfTheRestore`."""
        there = self._read(file)
        if there.size_bytes == entry.size_bytes and there.digest.hexdigest() == entry.sha256:
            self._progress.note_bytes(entry.size_bytes)
            next(self._kept)
        elif there.size_bytes >= entry.size_bytes:
            raise NotOfTheRestore
        else:
            self._complete_half(file, entry, there)

    def _complete_half(self, file: int, entry: Entry, there: _There) -> None:
        """Fetch only the rest. The hash of the whole file decides: if it differs, everything is fetched, to see whether
        the existing part is to blame.
        """
        if there.size_bytes > 0:
            with contextlib.suppress(IntegrityError):
                self._download(file, entry, there)
                return
        self._download(file, entry, _There(there.size_bytes, hashlib.sha256(), is_skipped=False))

    def _read(self, file: int) -> _There:
        digest = hashlib.sha256()
        position = 0
        while chunk := os.pread(file, CHUNK_SIZE_BYTES, position):
            if self._interruption.is_set():
                raise RunInterrupted("interrumpido")
            digest.update(chunk)
            position += len(chunk)
        return _There(position, digest, is_skipped=True)

    def _download(self, file: int, entry: Entry, there: _There) -> None:
        """Fetch a file, or its rest. Existing bytes that are not skipped must equal those that arrive."""
        pacer = Pacer(self._pool.traffic, queue_position=0)
        tries = itertools.count()
        attempt = partial(self._fill, file, entry, pacer, there, tries)
        try:
            with_retries(attempt, self._interruption, self._provider.progress, pacer.waited_seconds)
        except IntegrityError:
            os.ftruncate(file, there.size_bytes)  # other bytes would keep the next restore from going on
            raise

    def _fill(self, file: int, entry: Entry, pacer: Pacer, there: _There, tries: Iterator[int]) -> None:
        if next(tries) > 0:
            os.ftruncate(file, there.size_bytes)  # what an earlier attempt left
        writer = SparseWriter(file, there.size_bytes, there.skipped_bytes)
        digest = there.digest.copy()
        with self._progress.counted() as note_bytes:
            note_bytes(there.skipped_bytes)
            for chunk in pacer.paced(announced_bytes(self._provider, self._place, entry, there.skipped_bytes)):
                digest.update(chunk)
                writer.write(chunk)
                note_bytes(len(chunk))
            if digest.hexdigest() != entry.sha256:
                raise IntegrityError("lo descargado difiere del manifiesto")
            writer.finish()

    def _set_attributes(self, descriptor: int, entry: Entry, mode: int) -> None:
        """Set mode and time, and check whether the file system has kept them: some refuse, others say nothing."""
        try:
            os.fchmod(descriptor, mode)
        except OSError as error:
            _require_not_taken(error)
        try:
            os.utime(descriptor, ns=(entry.mtime_ns, entry.mtime_ns))
        except OSError as error:
            _require_not_taken(error)
        status = os.fstat(descriptor)
        has_mode = stat.S_IMODE(status.st_mode) == mode
        has_time = _has_time(status, entry)
        if not (has_mode and has_time):
            self._losses.note_unkept(entry.path, mode=not has_mode, time=not has_time)

    # Links

    def _make_link(self, entry: Entry) -> None:
        if self._losses.is_closed(entry.path):
            return
        try:
            with _parent_of(self._descriptor, entry) as (parent, name):
                if self._is_present(entry):
                    _require_target(parent, name, entry)
                else:
                    os.symlink(entry.link_target or "", name, dir_fd=parent)
                self._set_link_time(parent, name, entry)
        except (FileExistsError, NotOfTheRestore):
            self._losses.note_in_the_way(entry.path)
        except OSError as error:
            if error.errno in (errno.EILSEQ, errno.ENAMETOOLONG):
                self._losses.note_refused(entry.path)
                return
            _require_not_taken(error)
            self._losses.note_link(entry.path)

    def _set_link_time(self, parent: int, name: str, entry: Entry) -> None:
        try:
            os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)
        except OSError as error:
            _require_not_taken(error)
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not _has_time(status, entry):
            self._losses.note_unkept(entry.path, mode=False, time=True)


def announced_bytes(provider: Provider, place: Place, entry: Entry, skipped_bytes: int = 0) -> Iterator[bytes]:
    """The stored bytes of a file, but no more than the manifest announces: an endless object fills no disk.

    Raises `ProviderError`.
    """
    remaining_bytes = entry.size_bytes - skipped_bytes
    key = place.key_of(entry.path)
    stored = (
        provider.open_from(key, entry.size_bytes, skipped_bytes)
        if skipped_bytes
        else provider.open_sized(key, entry.size_bytes)
    )
    for chunk in stored:
        remaining_bytes -= len(chunk)
        if remaining_bytes < 0:
            raise IntegrityError(f"en la nube hay más que los {entry.size_bytes} bytes del manifiesto")
        yield chunk


def _has_time(status: os.stat_result, entry: Entry) -> bool:
    return abs(status.st_mtime_ns - entry.mtime_ns) < COARSEST_CLOCK_NS


def _require_target(parent: int, name: str, entry: Entry) -> None:
    try:
        target = os.readlink(name, dir_fd=parent)
    except OSError as error:
        if error.errno == errno.EINVAL:  # not a link
            raise NotOfTheRestore from error
        raise
    if target != entry.link_target:
        raise NotOfTheRestore


def _require_not_taken(error: OSError) -> None:
    """Raises the error unless it only says that the file system does not keep such a thing."""
    if error.errno not in NOT_TAKEN:
        raise error


@contextlib.contextmanager
def _parent_of(descriptor: int, entry: Entry) -> Iterator[tuple[int, str]]:
    *parents, name = entry.path.split("/")
    with closing_descriptor(open_directory_beneath(descriptor, parents)) as parent:
        yield parent, name
