"""Gives a backup its name, once it was read back and is on the disk."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from jobs.backups.errors import DamagedBackup
from jobs.backups.files.compression import inflated_from
from jobs.backups.files.directory import sync_directory
from jobs.backups.files.drafts import Draft
from jobs.backups.files.hashes import READ_BYTES, Contents
from jobs.backups.files.names import description_name

FOLLOWED_BYTES = 8 * 1024 * 1024
"""How much is put on the disk and read back at a time, while the rest is still being written."""

LOOK_SECONDS = 0.2


class ReadBack:
    """Reads a draft back while it is still being written, from the disk: hashes it and gunzips it in a thread.

    Leave the context to end the thread; `finish` gives what was read.
    """

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._file = draft.path.open("rb", 0)
        self._md5, self._sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
        self._whole = threading.Event()
        """Set when nothing more will be written."""
        self._is_given_up = False
        self._on_disk_bytes = 0
        self._read_bytes = 0
        self._inflated_bytes = 0
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._follow, name="read back", daemon=True)

    def finish(self, plain_bytes: int) -> Contents:
        """Read the rest.

        Raises `DamagedBackup` unless the draft holds as many bytes as were written into it, and `OSError`.
        """
        self._draft.sync()
        self._whole.set()
        self._thread.join()
        if self._error is not None:
            raise self._error
        if self._inflated_bytes != plain_bytes:
            raise DamagedBackup(f"{self._draft.final.name}: lo escrito no es lo que se lee después; compruebe el disco")
        return Contents(self._read_bytes, self._md5.hexdigest(), self._sha256.hexdigest())

    def _follow(self) -> None:
        try:
            for block in inflated_from(self._draft.final.name, self._read):
                self._inflated_bytes += len(block)
        except BaseException as error:
            self._error = error

    def _read(self) -> bytes:
        """The next bytes that are on the disk; none at the end."""
        if self._read_bytes == self._on_disk_bytes:
            self._wait_for_more()
        block = self._file.read(min(READ_BYTES, self._on_disk_bytes - self._read_bytes))
        self._read_bytes += len(block)
        self._md5.update(block)
        self._sha256.update(block)
        return block

    def _wait_for_more(self) -> None:
        """Until enough is there to be worth it: then put it on the disk, and out of the kernel's memory."""
        is_whole = False
        while not is_whole and self._draft.size_bytes - self._read_bytes < FOLLOWED_BYTES:
            is_whole = self._whole.wait(LOOK_SECONDS)
        size = self._draft.size_bytes
        if self._is_given_up:
            raise DamagedBackup(f"{self._draft.final.name} no se terminó")
        if size > self._on_disk_bytes:
            descriptor = self._draft.file.fileno()
            os.fdatasync(descriptor)
            os.posix_fadvise(descriptor, self._on_disk_bytes, size - self._on_disk_bytes, os.POSIX_FADV_DONTNEED)
        self._on_disk_bytes = size

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._whole.is_set():
            self._is_given_up = True
            self._whole.set()
        self._thread.join()
        self._file.close()


def read_back(draft: Draft, plain_bytes: int) -> Contents:
    """Read all of a draft that was written, gunzip it and hash it. Raises as `ReadBack.finish` does."""
    with ReadBack(draft) as reading:
        return reading.finish(plain_bytes)


def publish(backup: Draft, contents: Contents, description: bytes | None) -> None:
    """Give a backup its final name, after its companions have theirs.

    One that is there already, as only the backup was taken away, stays. Raises `OSError`, `DiskError`, and leaves
    nothing then.
    """
    directory, name = backup.final.parent, backup.final.name
    companions = {f"{name}.sha256": f"{contents.sha256}  {name}\n".encode()}
    if description is not None:
        companions[description_name(name)] = description
    with contextlib.ExitStack() as undoing:
        for companion, text in companions.items():
            if _holds(directory / companion, text):
                continue
            with Draft(directory, companion) as draft:
                draft.write(text)
                os.fsync(draft.file.fileno())
                draft.publish()
            undoing.callback(draft.final.unlink, missing_ok=True)
        backup.publish()
        undoing.callback(backup.final.unlink, missing_ok=True)
        sync_directory(directory)
        undoing.pop_all()


def _holds(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except FileNotFoundError:
        return False
