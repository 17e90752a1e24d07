"""Writes files that get their names together, once they are on the disk."""

from __future__ import annotations

import contextlib
import functools
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from config.logs import one_line
from config.models import PutReceipt
from files.descriptors import (
    CHUNK_SIZE_BYTES,
    DIRECTORY_FLAGS,
    closing_descriptor,
    make_directories_beneath,
    open_directory_beneath,
)
from files.file_systems import can_be_synced, sync_file_system
from providers.errors import ConditionFailed, IntegrityError, InvalidKey, ProviderUnavailable
from providers.file_trees import MeteredSource, parts_of_key, temporary_name
from providers.local.entries import CREATE_FLAGS
from providers.local.errors import translated
from providers.progress import Progress
from providers.retries import Result, with_retries
from providers.sources import Source

CREATE_TRIES = 10
"""How often others may remove a new directory, because it is empty, before it is used."""

DIRECTORIES_KEPT_OPEN = 16
"""For each thread that stores or reads."""

Rename = Callable[[int, str, str], None]
"""Gives a file in an open directory another name there."""


class OpenDirectories:
    """A small cache of open directories below a root. For one thread."""

    def __init__(self, root_descriptor: int) -> None:
        self._root = root_descriptor
        self._open: dict[tuple[str, ...], int] = {}

    def get(self, parts: tuple[str, ...]) -> int:
        """An open directory, until the next call. Raises `OSError`."""
        descriptor = self._open.get(parts)
        if descriptor is None:
            if len(self._open) == DIRECTORIES_KEPT_OPEN:
                self.forget(next(iter(self._open)))
            descriptor = self._open[parts] = open_directory_beneath(self._root, parts)
        return descriptor

    def forget(self, parts: tuple[str, ...]) -> None:
        """Close a directory, if it is open."""
        descriptor = self._open.pop(parts, None)
        if descriptor is not None:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for parts in tuple(self._open):
            self.forget(parts)


@dataclass(frozen=True, slots=True)
class _UnfinishedFile:
    """An unfinished file: its temporary name and its final name."""

    key: str
    directories: tuple[str, ...]
    name: str
    target: str


class Batch:
    """Files that get their names together, once they are on the disk. For one thread.

    An empty file cannot be seen half-written. If the file system is synced as a whole, it is created under its final
    name when the others are renamed, which changes its directory once instead of twice: measured, for many in one
    directory, that halves the system time.

    Leaving the context discards files that have not been renamed.
    """

    def __init__(self, root_descriptor: int, progress: Progress, *, several: bool) -> None:
        self._root = root_descriptor
        self._progress = progress
        self._directories = OpenDirectories(root_descriptor)
        self._unfinished: list[_UnfinishedFile] = []
        self._failed: list[_UnfinishedFile] = []
        self._empty: list[_UnfinishedFile] = []
        self._named_in: dict[tuple[str, ...], str] = {}
        self.synced_together = several and can_be_synced(root_descriptor)
        self._file_system = os.open(".", DIRECTORY_FLAGS, dir_fd=root_descriptor)

    def write(self, key: str, source: Source) -> PutReceipt:
        """Write one file under a temporary name in its target's directory, or only note an empty one. If the file
        system does not answer, retries this file alone, under another name. Raises as `Provider.put`.
        """
        try:
            return self._write_once(key, source)
        except ProviderUnavailable as error:
            return repeated_after(error, functools.partial(self._write_once, key, source), self._progress)

    def _write_once(self, key: str, source: Source) -> PutReceipt:
        *directories, target = parts_of_key(key)
        metered = MeteredSource(source)
        file = _UnfinishedFile(key, tuple(directories), temporary_name(target), target)
        if metered.size_bytes == 0 and self.synced_together:
            for _ in metered.chunks(CHUNK_SIZE_BYTES):  # raises if there are bytes after all
                pass
            self._empty.append(file)
        else:
            self._write_unfinished(file, metered)
        return metered.receipt()

    def _write_unfinished(self, file: _UnfinishedFile, metered: MeteredSource) -> None:
        """A failed file is not renamed, and bytes whose sync failed are written again."""
        try:
            with translated(file.key):
                descriptor = self._create(file.directories, file.name)
            with closing_descriptor(descriptor):
                for chunk in metered.chunks(CHUNK_SIZE_BYTES):
                    with translated(file.key):
                        _write_all(descriptor, chunk)
                with translated(file.key):
                    if not self.synced_together:
                        os.fsync(descriptor)
                    _require_size(descriptor, metered.size_bytes)
        except BaseException:
            self._failed.append(file)
            self._directories.forget(file.directories)  # what it was opened by may be what is not valid any more
            raise
        self._unfinished.append(file)

    def bring_contents_to_disk(self) -> None:
        """Sync the contents, unless each file was synced separately."""
        if self.synced_together and self._unfinished:
            self._sync_file_system()

    def give_names(self, rename: Rename) -> None:
        """Rename all files to their final names, as `rename` does it. Raises `ConditionFailed` for a name that is
        taken, if that replaces nothing.
        """
        for file in self._empty:
            with translated(file.key):
                self._make_empty(file)
        while self._unfinished:
            file = self._unfinished[-1]
            with translated(file.key):
                _give_name(self._directories.get(file.directories), file, rename)
            self._named_in[file.directories] = file.key
            self._unfinished.pop()

    def _make_empty(self, file: _UnfinishedFile) -> None:
        """Create it under its final name; if that exists, under a temporary one, to be renamed like any other file."""
        try:
            descriptor = self._create(file.directories, file.target)
            self._named_in[file.directories] = file.key
        except FileExistsError:
            descriptor = self._create(file.directories, file.name)
            self._unfinished.append(file)
        os.close(descriptor)

    def bring_names_to_disk(self) -> None:
        """Make the names durable, and the empty files: without a journal their directory's `fsync` would not."""
        if self._empty or (self.synced_together and len(self._named_in) > 1):
            self._sync_file_system()
            return
        for parts, key in self._named_in.items():
            with translated(key):
                os.fsync(self._directories.get(parts))

    def _sync_file_system(self) -> None:
        with translated("varios ficheros"):
            sync_file_system(self._file_system)

    def _create(self, directories: tuple[str, ...], name: str) -> int:
        """Create a file and its directories; retry if somebody removed the empty directories in between."""
        for _ in range(CREATE_TRIES):
            try:
                return os.open(name, CREATE_FLAGS, 0o666, dir_fd=self._directories.get(directories))
            except FileNotFoundError:
                self._directories.forget(directories)
                with contextlib.suppress(FileNotFoundError):
                    make_directories_beneath(self._root, directories)
        raise ProviderUnavailable("alguien borra los directorios a la vez que se crean")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._directories, closing_descriptor(self._file_system):
            for file in (*self._unfinished, *self._failed):
                with contextlib.suppress(OSError):
                    os.unlink(file.name, dir_fd=self._directories.get(file.directories))


def replacing(directory: int, name: str, target: str) -> None:
    """Rename within a directory, also over an existing file. Raises `OSError`."""
    os.rename(name, target, src_dir_fd=directory, dst_dir_fd=directory)


def _give_name(parent: int, file: _UnfinishedFile, rename: Rename) -> None:
    try:
        rename(parent, file.name, file.target)
    except FileExistsError as error:
        if not stat.S_ISREG(os.stat(file.target, dir_fd=parent, follow_symlinks=False).st_mode):
            what = "ya hay un directorio con ese nombre, u otra cosa que no es un fichero"
            raise InvalidKey(f"{what}: {one_line(file.key)}") from error
        raise ConditionFailed(f"allí hay ya un objeto: {one_line(file.key)}") from error


def repeated_after(failed: ProviderUnavailable, step: Callable[[], Result], progress: Progress) -> Result:
    """Retry a step of one file that has failed once, while its error allows. Raises its last error.

    Making a retrier for every file would cost as much as a large part of its other work.
    """
    failures = [failed]

    def attempt() -> Result:
        if failures:
            raise failures.pop()
        return step()

    return with_retries(attempt, progress.interruption, progress)


def _require_size(descriptor: int, size_bytes: int) -> None:
    stored_bytes = os.fstat(descriptor).st_size
    if stored_bytes != size_bytes:
        raise IntegrityError(f"se escribieron {size_bytes} bytes y el fichero tiene {stored_bytes}")


def _write_all(descriptor: int, chunk: bytes) -> None:
    remaining = memoryview(chunk)
    while remaining:
        remaining = remaining[os.write(descriptor, remaining) :]
