"""Unfinished upload sessions of Google Cloud Storage, noted in files of this host, for the next run to continue.

Google lists no sessions, so a run can only continue one whose address an earlier run has noted. The address lets its
holder write that one object for a week, without credentials: so the files are for this program's user alone, are
removed with the session, and are neither logged nor stored in the database.

Continuing is optional: what cannot be noted or read again is sent from its beginning.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from config.process.directories import make_directory
from files.private import is_closed_to_others

FOR_OWNER = 0o700
FORMAT = 1
SUFFIX = ".gcs-upload"

LONGEST_LIFE_SECONDS = 6 * 86400
"""Google drops a session a week after it was begun ("Resumable uploads", Cloud Storage documentation)."""

MOST_BYTES = 64 * 1024 * 1024
"""Larger files than this are not read: the largest object, 5 TiB, has a smaller one."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a session was begun for. Only an upload on the same terms may continue it."""

    store: str
    """The server and the bucket."""
    name: str
    """The object's name as it is stored."""
    size_bytes: int
    only_over: int | None
    """The generation that the object may replace, fixed when the session was begun."""
    storage_class: str | None
    account: str


@dataclass(slots=True)
class KeptUpload:
    """One session that is noted. For one thread."""

    terms: Terms
    url: str = field(repr=False)
    path: Path
    """The file of the note."""
    hashes: list[str]
    """For each part, the SHA-256 of all bytes up to its end, noted before the part was sent."""

    def note_part(self, sha256_so_far: bytes) -> None:
        """Note the part that is sent next: the server can only have bytes of parts that are noted."""
        self.hashes.append(sha256_so_far.hex())
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(f"{self.hashes[-1]}\n")
        except OSError:  # the next run could not continue it
            self.forget()

    @property
    def is_noted(self) -> bool:
        """Whether the next run finds it."""
        return self.path.exists()

    def forget(self) -> None:
        """Remove the note."""
        with contextlib.suppress(OSError):
            self.path.unlink()


class KeptUploads:
    """The sessions noted in one directory of this host, or none without a directory. Safe to use from several threads,
    as long as each object has one upload at a time.
    """

    def __init__(self, directory: Path | None) -> None:
        """The directory is made when it is first needed."""
        self._directory = directory

    def begin(self, terms: Terms, url: str) -> KeptUpload | None:
        """Note a session that was just begun; it replaces any other of the same object. `None` where this host
        cannot note it, or the address leads to another server.
        """
        if self._directory is None or not _is_at(terms.store, url):
            return None
        upload = KeptUpload(terms, url, self._path(terms.store, terms.name), [])
        head = {"format": FORMAT, "begun_at": time.time(), "url": url, **asdict(terms)}
        try:
            make_directory(self._directory, FOR_OWNER)
            if not _is_private(self._directory):
                return None
            upload.forget()
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(upload.path, flags, 0o600), "w", encoding="ascii") as file:
                file.write(f"{json.dumps(head)}\n")
        except OSError:
            upload.forget()
            return None
        return upload

    def of(self, store: str, name: str) -> KeptUpload | None:
        """The session that is noted for an object."""
        if self._directory is None or not _is_private(self._directory):
            return None
        return _read(self._path(store, name))

    def all_of(self, store: str) -> Iterator[KeptUpload]:
        """All sessions that are noted for a store."""
        if self._directory is None or not _is_private(self._directory):
            return
        for path in sorted(self._directory.glob(f"*{SUFFIX}")):
            upload = _read(path)
            if upload is not None and upload.terms.store == store:
                yield upload

    def _path(self, store: str, name: str) -> Path:
        digest = hashlib.sha256(f"{store}\n{name}".encode()).hexdigest()
        return (self._directory or Path()) / f"{digest[:40]}{SUFFIX}"


def _is_private(directory: Path) -> bool:
    """Whether only this user can read and write a directory, which is no link."""
    try:
        status = directory.lstat()
    except OSError:
        return False
    return status.st_uid == os.geteuid() and is_closed_to_others(status)


def _read(path: Path) -> KeptUpload | None:
    """The session in a file. A file that says nothing, or of a session that Google no longer has, is removed."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if status.st_uid != os.geteuid() or status.st_mode != stat.S_IFREG | 0o600:
                return None
            head, *hashes = file.read(MOST_BYTES).split(b"\n")
    except OSError:
        return None
    try:
        upload = _parsed(path, head, hashes[:-1])  # a kill can leave the last line incomplete
    except (ValueError, TypeError, KeyError, RecursionError):
        upload = None
    if upload is None:
        with contextlib.suppress(OSError):
            path.unlink()
    return upload


def _parsed(path: Path, head: bytes, hashes: list[bytes]) -> KeptUpload | None:
    """`None` for a session that is over. Raises `ValueError`, `TypeError`, `KeyError`."""
    found: dict[str, Any] = json.loads(head)
    begun_at, url = found.pop("begun_at"), found.pop("url")
    if found.pop("format") != FORMAT or time.time() - begun_at > LONGEST_LIFE_SECONDS:
        return None
    terms = Terms(**found)
    return KeptUpload(terms, url, path, [line.decode("ascii") for line in hashes]) if _is_at(terms.store, url) else None


def _is_at(store: str, url: str) -> bool:
    """Whether an address is one of the store's server: credentials go with each request."""
    return urlsplit(store)[:2] == urlsplit(url)[:2]
