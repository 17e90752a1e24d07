"""A directory on this host, usually a mounted NAS: objects are files below it, under their literal names."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from config.fields import FieldError, Fields
from config.logs import one_line
from config.models import ContentDigest, Evidence, ProviderRow, PutReceipt, StoredObject
from files.descriptors import CHUNK_SIZE_BYTES, closing_descriptor, open_directory_beneath, open_file_beneath
from files.directory_names import sorted_names
from files.file_systems import can_be_synced
from files.free_names import rename_to_free_name
from providers.base import Provider, is_directory_of_keys
from providers.errors import (
    AccessDenied,
    CannotDiscard,
    DestinationMissing,
    IntegrityError,
    InvalidProviderSettings,
    NotMounted,
    ObjectNotFound,
    ProviderUnavailable,
)
from providers.file_trees import is_temporary_name, names_to_discard, parts_of_key, parts_of_prefix, temporary_name
from providers.local.batch import Batch, OpenDirectories, Rename, repeated_after, replacing
from providers.local.entries import remove_or_give_back, sha256_on_disk, time_in, version_of
from providers.local.errors import NOT_AN_OBJECT, NOT_ANSWERING, error_of, object_expected, translated
from providers.probes import Remembered, folds_names
from providers.shared.resumed_reads import resumed
from providers.sources import Source

FILES_SYNCED_TOGETHER = 128

LONGEST_TURN_SECONDS = 1.0
"""Ten times as long as a batch takes to write where nothing is in its way."""

KEPT_DIRECTORY = frozenset((errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EBUSY))
"""Errors of `rmdir` for a non-empty directory, a link, and a mount point."""


class LocalProvider(Provider):
    """Keeps executions in a directory that must exist: a missing mount must not fill the disk below it.

    The directory is opened at first use and kept open; every path is relative to it, and no links are followed.
    """

    only_conditions_stop_late_puts = False

    may_be_unmounted = True

    what_is_there_is_durable = False
    """A name that is not yet on the disk is visible, but lost in a power failure."""

    executions_at_once = 2
    """More would slow each other down: measured, four take 15 % longer than two, which already keep the disk busy."""

    def __init__(self, row: ProviderRow) -> None:
        super().__init__(row.id, row.name, row.kind)
        try:
            self._directory = Fields("configuracion", row.options).required_text("ruta")
        except FieldError as error:
            raise InvalidProviderSettings(str(error)) from error
        if not self._directory.startswith("/") or "\0" in self._directory:
            raise InvalidProviderSettings("configuracion.ruta: debe ser una ruta absoluta")
        self._lock = threading.Lock()
        self._root_descriptor: int | None = None
        self._opening = threading.Lock()
        self._folds_names = Remembered(functools.partial(folds_names, self))

    @property
    def objects_at_once(self) -> int:
        """Many if one call syncs them all; elsewhere, as on a NAS, each thread waits for one file."""
        with translated("varios ficheros"):
            return FILES_SYNCED_TOGETHER if can_be_synced(self._root()) else 1

    def free_bytes(self) -> int | None:
        """See `Provider`."""
        with translated("el directorio del proveedor"):
            space = os.fstatvfs(self._root())
        return space.f_bavail * space.f_frsize if space.f_blocks else None

    def put(self, key: str, source: Source) -> PutReceipt:
        """See `Provider`. The file and its name are on the disk when this returns."""
        [(_, receipt)] = self.put_many({key: source})
        return receipt

    def put_many(self, sources: Mapping[str, Source]) -> Iterator[tuple[str, PutReceipt]]:
        """See `Provider`. All files and their names are on the disk when the first key is yielded: they are synced
        together if the file system supports that, which takes about as long as for one.
        """
        return self._store(sources, replacing)

    def put_new_many(self, sources: Mapping[str, Source]) -> Iterator[tuple[str, PutReceipt]]:
        """As `put_many`, but replaces nothing."""
        return self._store(sources, rename_to_free_name)

    def _store(self, sources: Mapping[str, Source], rename: Rename) -> Iterator[tuple[str, PutReceipt]]:
        with translated("varios ficheros"):
            batch = Batch(self._root(), self.progress, several=len(sources) > 1)
        with batch:
            in_turn = self._in_turn if batch.synced_together else contextlib.nullcontext
            with in_turn():
                receipts = {key: batch.write(key, source) for key, source in sources.items()}
            batch.bring_contents_to_disk()
            with in_turn():
                batch.give_names(rename)
            batch.bring_names_to_disk()
        yield from receipts.items()

    def replace(self, key: str, source: Source, expected: StoredObject | None) -> PutReceipt:
        """See `Provider`. Checks again just before the file gets its name."""
        self._require_expected(key, expected)
        with translated(key):
            batch = Batch(self._root(), self.progress, several=False)
        with batch:
            receipt = batch.write(key, source)
            self._require_expected(key, expected)
            batch.give_names(replacing)
            batch.bring_names_to_disk()
        return receipt

    def replaces_safely(self, prefix: str = "") -> bool:
        """Always: a rename is atomic, and fails once the unfinished file has been discarded."""
        del prefix
        return True

    def creates_safely(self, prefix: str = "") -> bool:
        """As `replaces_safely`."""
        return self.replaces_safely(prefix)

    def folds_names(self, prefix: str = "") -> bool:
        return self._folds_names.get(prefix)

    @contextlib.contextmanager
    def _in_turn(self) -> Iterator[None]:
        """Run threads in turn, because work that does not wait for a disk gains nothing from threads that contend at
        every call: measured for many files in a directory, turns save a third of the time and half of the CPU time.
        Correctness does not depend on turns, so a thread waits only briefly for one delayed by its source or by a
        bandwidth limit.
        """
        has_turn = self._lock.acquire(timeout=LONGEST_TURN_SECONDS)
        try:
            yield
        finally:
            if has_turn:
                self._lock.release()

    def open(self, key: str) -> Iterator[bytes]:
        reading = _Reading(key)
        try:
            yield from self._read_from(reading, 0)
        except ProviderUnavailable:
            given_bytes = reading.given_bytes
            yield from resumed(lambda position: self._read_from(reading, given_bytes + position), self.progress)

    def open_from(self, key: str, size_bytes: int, start_bytes: int) -> Iterator[bytes]:
        reading = _Reading(key)
        return resumed(lambda position: self._read_from(reading, start_bytes + position), self.progress)

    def _read_from(self, reading: _Reading, position: int) -> Iterator[bytes]:
        """The bytes of one file from a position on. Raises `IntegrityError` if it is not the same file as before."""
        parts = parts_of_key(reading.key)
        with object_expected(reading.key):
            descriptor = open_file_beneath(self._root(), parts)
        with closing_descriptor(descriptor), translated(reading.key):
            reading.require_same(os.fstat(descriptor))
            if position:
                os.lseek(descriptor, position, os.SEEK_SET)
            while chunk := os.read(descriptor, CHUNK_SIZE_BYTES):
                reading.given_bytes += len(chunk)
                yield chunk

    def stat(self, key: str) -> StoredObject:
        *directories, name = parts_of_key(key)
        with object_expected(key), closing_descriptor(open_directory_beneath(self._root(), directories)) as parent:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            raise ObjectNotFound(f"no hay ningún objeto {one_line(key)}")
        return StoredObject(key, status.st_size, version=version_of(status))

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """See `Provider`. Sorted in each directory, because sorted entries are faster to look up."""
        start = parts_of_prefix(prefix)
        if start is None:
            return
        top, beginning = tuple(start[0]), start[1]
        pending = [top]
        with translated(prefix):
            while pending:
                directory = pending.pop()
                for name, status in self._statuses(directory, "" if directory != top else beginning):
                    if stat.S_ISDIR(status.st_mode):
                        pending.append((*directory, name))
                    elif stat.S_ISREG(status.st_mode) and not is_temporary_name(name):
                        yield StoredObject("/".join((*directory, name)), status.st_size)

    def top_names(self) -> Sequence[str]:
        with translated(self._directory):
            return os.listdir(self._root())

    def delete(self, key: str) -> None:
        *directories, name = parts_of_key(key)
        with translated(key):
            self._unlink(directories, name)
            self._remove_empty(directories)

    def delete_exactly(self, stored: StoredObject) -> None:
        """See `Provider`. Renames the file to a secret name before the last check, so that nothing can replace it
        between the check and the removal.
        """
        *directories, name = parts_of_key(stored.key)
        if self._look_for(stored) is None:
            return
        with translated(stored.key):
            with closing_descriptor(open_directory_beneath(self._root(), directories)) as parent:
                aside = temporary_name(name)
                try:
                    os.rename(name, aside, src_dir_fd=parent, dst_dir_fd=parent)
                except FileNotFoundError:
                    return
                remove_or_give_back(parent, aside, name, stored)
            self._remove_empty(directories)

    def discard_unfinished(self, prefix: str) -> None:
        try:
            with translated(prefix):
                if is_directory_of_keys(prefix):
                    self._discard_below(prefix)
                else:
                    self._discard_one(prefix)
        except AccessDenied as refusal:
            raise CannotDiscard(str(refusal)) from refusal

    def _discard_below(self, prefix: str) -> None:
        """All unfinished files below the prefix belong to its keys."""
        start = parts_of_prefix(prefix)
        if start is None:
            return
        visited = {tuple(start[0])}
        for directory, entry in self._entries(tuple(start[0])):
            if entry.is_dir(follow_symlinks=False):
                visited.add((*directory, entry.name))
            elif is_temporary_name(entry.name):
                self._unlink(directory, entry.name)
        for directory in sorted(visited, key=len, reverse=True):
            self._remove_empty(directory)

    def _discard_one(self, key: str) -> None:
        *directories, target = parts_of_key(key)
        for name in names_to_discard(target, dict(self._unfinished_in(directories)), lambda: self._clock(directories)):
            self._unlink(directories, name)
        self._remove_empty(directories)

    def _unfinished_in(self, directories: Sequence[str]) -> Iterator[tuple[str, float]]:
        """Each unfinished file and its last modification time."""
        for entry in self._scan(directories):
            if is_temporary_name(entry.name):
                with contextlib.suppress(FileNotFoundError):  # its owner has just renamed it
                    yield entry.name, entry.stat(follow_symlinks=False).st_mtime

    def _clock(self, directories: Sequence[str]) -> float | None:
        """The file system's clock, taken from a new file; `None` if the directory is gone."""
        try:
            with closing_descriptor(open_directory_beneath(self._root(), directories)) as parent:
                return time_in(parent)
        except FileNotFoundError:
            return None

    def digests(self, keys: Iterable[str]) -> Iterator[ContentDigest]:
        """See `Provider`. Reads back from the disk, not from the kernel's cache of written pages."""
        with OpenDirectories(self._root()) as directories:
            for key in keys:
                try:
                    sha256 = self._sha256(directories, key)
                except ProviderUnavailable as error:
                    again = functools.partial(self._sha256, directories, key)
                    sha256 = repeated_after(error, again, self.progress)
                yield ContentDigest(key, sha256, Evidence.READ_BACK)

    def _sha256(self, directories: OpenDirectories, key: str) -> str:
        *parts, name = parts_of_key(key)
        try:
            with object_expected(key):
                return sha256_on_disk(directories.get(tuple(parts)), name)
        except ProviderUnavailable:
            directories.forget(tuple(parts))  # what it was opened by may be what is not valid any more
            raise

    def close(self) -> None:
        with self._opening:
            if self._root_descriptor is not None:
                os.close(self._root_descriptor)
                self._root_descriptor = None

    def _root(self) -> int:
        """The open directory `ruta`. Raises `DestinationMissing` if it is missing or no longer the same: an unmount
        leaves an empty directory on another disk.
        """
        with self._opening:
            try:
                if self._root_descriptor is None:
                    self._root_descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                same = os.path.samestat(Path(self._directory).stat(), os.fstat(self._root_descriptor))
            except (FileNotFoundError, NotADirectoryError) as error:
                raise DestinationMissing(f"no existe el directorio {one_line(self._directory)}") from error
            except OSError as error:
                raise error_of(error, self._directory) from error
            if not same:
                raise NotMounted(f"{one_line(self._directory)} ya no es el mismo directorio: ¿se desmontó?")
            return self._root_descriptor

    def _entries(self, top: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], os.DirEntry[str]]]:
        """Every entry below a directory, with its parent directory."""
        pending = [top]
        while pending:
            directory = pending.pop()
            for entry in self._scan(directory):
                if entry.is_dir(follow_symlinks=False):
                    pending.append((*directory, entry.name))
                yield directory, entry

    def _statuses(self, directory: Sequence[str], beginning: str) -> Iterator[tuple[str, os.stat_result]]:
        """The sorted entries of a directory whose names start with `beginning`."""
        with self._opened_if_there(directory) as descriptor:
            for name in () if descriptor is None else sorted_names(descriptor):
                if name.startswith(beginning) and not name.endswith("/"):
                    try:
                        status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    except OSError as error:
                        looked_again = self._looked_again(directory, name, error)
                        if looked_again is None:
                            continue
                        status = looked_again
                    yield name, status

    def _looked_again(self, directory: Sequence[str], name: str, failed: OSError) -> os.stat_result | None:
        """The status of a name after a failed lookup, from its reopened directory; `None` if it is gone."""

        def look() -> os.stat_result | None:
            with translated(name), self._opened_if_there(directory) as descriptor:
                if descriptor is None:
                    return None
                with contextlib.suppress(FileNotFoundError):
                    return os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            return None

        if failed.errno not in NOT_ANSWERING:
            raise failed
        return repeated_after(ProviderUnavailable("el sistema de ficheros no responde"), look, self.progress)

    def _scan(self, directory: Sequence[str]) -> Iterator[os.DirEntry[str]]:
        with self._opened_if_there(directory) as descriptor:
            if descriptor is not None:
                with os.scandir(descriptor) as listing:
                    yield from listing

    @contextlib.contextmanager
    def _opened_if_there(self, directory: Sequence[str]) -> Iterator[int | None]:
        """A directory's descriptor; `None` if there is no such directory."""
        try:
            descriptor = open_directory_beneath(self._root(), directory)
        except OSError as error:
            if error.errno not in NOT_AN_OBJECT:
                raise
            yield None
            return
        with closing_descriptor(descriptor):
            yield descriptor

    def _unlink(self, directories: Sequence[str], name: str) -> None:
        try:
            with closing_descriptor(open_directory_beneath(self._root(), directories)) as parent:
                os.unlink(name, dir_fd=parent)
        except OSError as error:
            if error.errno not in NOT_AN_OBJECT:
                raise

    def _remove_empty(self, directories: Sequence[str]) -> None:
        """Remove an empty directory, and parents that this leaves empty, but never `ruta`."""
        for depth in range(len(directories), 0, -1):
            try:
                with closing_descriptor(open_directory_beneath(self._root(), directories[: depth - 1])) as parent:
                    os.rmdir(directories[depth - 1], dir_fd=parent)
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno == errno.EROFS and not self._is_empty(directories[:depth]):
                    continue  # a read-only mount reports that first, even for missing or non-empty directories
                if error.errno not in KEPT_DIRECTORY:
                    raise
                return

    def _is_empty(self, directory: Sequence[str]) -> bool:
        """Whether it exists and is empty."""
        try:
            with closing_descriptor(open_directory_beneath(self._root(), directory)) as descriptor:
                return not os.listdir(descriptor)
        except OSError as error:
            if error.errno not in NOT_AN_OBJECT:
                raise
            return False


class _Reading:
    """A file that is reopened after a read error, and must still be the same file."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.given_bytes = 0
        self._version: str | None = None

    def require_same(self, status: os.stat_result) -> None:
        """Raises `IntegrityError` unless it is the file that was opened first."""
        version = version_of(status)
        if version != (self._version or version):
            raise IntegrityError(f"el objeto cambió mientras se leía: {one_line(self.key)}")
        self._version = version
