"""The files of a backup. None has its final name before it was read back and is on the disk."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from config.logs import one_line
from config.text.wording import reason_of
from jobs.backups.creation.compression import inflated_here
from jobs.backups.errors import DamagedBackup, DiskError, NotEnoughSpace

FULL = "FULL"
DIFFERENTIAL = "DIFF"
SUFFIX = ".sql.gz"
UNFINISHED = ".part"
NAME = re.compile(r"backup_(\d{8}_\d{6})_(FULL|DIFF)\.sql\.gz")
COMPANION = re.compile(r"(backup_\d{8}_\d{6}_(?:FULL|DIFF))\.(?:json|sql\.gz\.sha256)")
STAMP = "%Y%m%d_%H%M%S"
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
READ_BYTES = 1024 * 1024
SPACE_MARGIN = 1.2


@dataclass(frozen=True, slots=True)
class Target:
    """Where backups go; `expected_bytes` is the size of the last one like it, 0 if there is none."""

    directory: Path
    expected_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file was read back as."""

    size_bytes: int
    md5: str
    sha256: str


def prepare(target: Target) -> None:
    """Make the directory, for its owner only, and require space for what is expected.

    Raises `DiskError`, `NotEnoughSpace`.
    """
    with disk_errors(target.directory):
        target.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        free = shutil.disk_usage(target.directory).free
    needed = int(target.expected_bytes * SPACE_MARGIN)
    if free < needed:
        raise NotEnoughSpace(
            f"en {one_line(target.directory)} quedan {free / 1e6:.1f} MB y la copia necesita unos {needed / 1e6:.1f}; "
            "libere espacio o cambie BACKUP_PATH"
        )


@contextlib.contextmanager
def disk_errors(directory: Path) -> Iterator[None]:
    """Within, an `OSError` becomes `NotEnoughSpace` or `DiskError`."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL_DISK:
            raise NotEnoughSpace(
                f"no queda espacio en {one_line(directory)}; libere espacio o cambie BACKUP_PATH"
            ) from error
        raise DiskError(f"no se puede escribir en {one_line(directory)} (BACKUP_PATH): {reason_of(error)}") from error


def free_stem(directory: Path, when: datetime, kind: str) -> str:
    """`backup_…_FULL` or `backup_…_DIFF` of a second that no other file has: an hour comes twice in autumn."""
    while True:
        stamp = when.strftime(STAMP)
        if not any(directory.glob(f"backup_{stamp}_*")):
            return f"backup_{stamp}_{kind}"
        when += timedelta(seconds=1)


class Draft:
    """A file that is not finished: hidden, for its owner only, locked, and gone when the context ends unpublished."""

    def __init__(self, directory: Path, name: str) -> None:
        self.final = directory / name
        self.path = directory / f".{name}{UNFINISHED}"
        self.file: BinaryIO = os.fdopen(
            os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "r+b", 0
        )
        fcntl.flock(self.file, fcntl.LOCK_EX)

    def write(self, data: bytes) -> None:
        """Append all of the data. Raises `OSError`."""
        rest = memoryview(data)
        while rest:
            rest = rest[self.file.write(rest) :]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        self.file.close()

    @property
    def size_bytes(self) -> int:
        """How much was written."""
        return os.fstat(self.file.fileno()).st_size

    def sync(self) -> None:
        """Put it on the disk, and out of the kernel's memory, so that reading it is reading the disk."""
        os.fsync(self.file.fileno())
        os.posix_fadvise(self.file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def publish(self) -> None:
        """Give it its final name, which nothing else may have. Raises `OSError`."""
        try:
            os.link(self.path, self.final)
        except OSError as error:
            if error.errno not in NO_HARD_LINKS:
                raise
            self.path.rename(self.final)


def read_back(draft: Draft, plain_bytes: int) -> Contents:
    """Read what is on the disk, gunzip it and hash it.

    Raises `DamagedBackup` unless it holds as many bytes as were written into it, and `OSError`.
    """
    draft.sync()
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    size = draft.size_bytes
    with ThreadPoolExecutor(2) as pool:
        hashing = [pool.submit(_hash, draft.path, found) for found in (md5, sha256)]
        inflated_bytes = sum(map(len, inflated_here(draft.path, 0, size)))
        for future in hashing:
            future.result()
    if inflated_bytes != plain_bytes:
        raise DamagedBackup(f"{draft.final.name}: lo escrito no es lo que se lee después; compruebe el disco")
    return Contents(size, md5.hexdigest(), sha256.hexdigest())


def _hash(path: Path, found: hashlib._Hash) -> None:
    with path.open("rb", 0) as file:
        while block := file.read(READ_BYTES):
            found.update(block)


def publish(backup: Draft, contents: Contents, description: bytes | None) -> None:
    """Give a backup its final name, after what belongs beside it. Raises `OSError`."""
    directory, name = backup.final.parent, backup.final.name
    companions = {f"{name}.sha256": f"{contents.sha256}  {name}\n".encode()}
    if description is not None:
        companions[description_name(name)] = description
    for companion, text in companions.items():
        with Draft(directory, companion) as draft:
            draft.write(text)
            os.fsync(draft.file.fileno())
            draft.publish()
    backup.publish()
    sync_directory(directory)


def description_name(name: str) -> str:
    """The name of the description beside a full backup."""
    return name.removesuffix(SUFFIX) + ".json"


def sync_directory(directory: Path) -> None:
    """Put its names on the disk. Raises `OSError`."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_unfinished(directory: Path) -> list[str]:
    """Remove what killed runs left: drafts that nobody has locked, companions of a backup that did not come.

    Call it only where no other run can be between two of its files. Raises `DiskError`.
    """
    removed = []
    with disk_errors(directory):
        for path in sorted(directory.iterdir()) if directory.is_dir() else []:
            companion = COMPANION.fullmatch(path.name)
            is_draft = path.name.startswith(".backup_") and path.name.endswith(UNFINISHED)
            is_alone = companion is not None and not (directory / f"{companion[1]}{SUFFIX}").exists()
            if (is_draft and _is_abandoned(path)) or is_alone:
                path.unlink()
                removed.append(path.name)
    return removed


def _is_abandoned(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
