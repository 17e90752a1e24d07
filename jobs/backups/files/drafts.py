"""Files that are not finished: hidden, locked by who writes them, removed when nobody does."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Callable, Container
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from config.logs import one_line
from jobs.backups.errors import DiskError
from jobs.backups.files.directory import disk_errors
from jobs.backups.files.names import SUFFIX

UNFINISHED = ".part"
COMPANION = re.compile(r"(backup_\d{8}_\d{6}_(?:FULL|DIFF))\.(?:json|sql\.gz\.sha256)")
NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class Draft:
    """A file that is not finished: hidden, for its owner only, locked, and gone when the context ends unpublished.

    A disk that refuses to remove it replaces no error, and makes none of what was published: the next run removes it.
    """

    def __init__(self, directory: Path, name: str) -> None:
        """What a killed process left under its name is replaced. Raises `OSError`, `DiskError` if another writes it."""
        self.final = directory / name
        self.path = directory / f".{name}{UNFINISHED}"
        self.file: BinaryIO = os.fdopen(_new_locked(self.path), "r+b", 0)

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
        self._discard()

    def _discard(self) -> None:
        with contextlib.suppress(OSError):
            if _is_named(self.file.fileno(), self.path):  # what replaced it is another process's
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
        """Give it its final name, which nothing else may have. Raises `OSError`, `DiskError`."""
        if not _is_named(self.file.fileno(), self.path):  # where locks of other hosts are not seen
            raise DiskError(f"{one_line(self.path)} ya no es lo que se escribió: otro proceso lo sustituyó; repita")
        try:
            os.link(self.path, self.final)
        except FileExistsError as error:
            raise DiskError(f"ya existe {one_line(self.final)}; bórrelo o indique otro directorio") from error
        except OSError as error:
            if error.errno not in NO_HARD_LINKS:
                raise
            self.path.rename(self.final)


def remove_unfinished(directory: Path, known: Container[str] = ()) -> list[str]:
    """Remove what killed runs left: drafts that nobody has locked, companions of a backup that did not come.

    What belongs beside a backup in `known` stays: its file may only be elsewhere for a while, and is worth little
    without them. Call it only where no other run can be between two of its files. What this user may not open stays,
    too, as another user may be writing it: see `unreadable_drafts`. Raises `DiskError`.
    """
    removed = []
    with disk_errors(directory):
        for path in sorted(directory.iterdir()) if directory.is_dir() else []:
            companion = COMPANION.fullmatch(path.name)
            is_draft = path.name.startswith(".backup_") and path.name.endswith(UNFINISHED)
            name = f"{companion[1]}{SUFFIX}" if companion is not None else ""
            is_alone = companion is not None and name not in known and _is_alone(directory, name)
            if is_alone:
                path.unlink(missing_ok=True)
            if is_alone or (is_draft and _removed_if_abandoned(path)):
                removed.append(path.name)
    return removed


def unreadable_drafts(directory: Path) -> list[str]:
    """The names of drafts of other users, such as root's: nobody but them can tell whether they are abandoned."""
    names = [
        path.name
        for path in directory.glob(f".backup_*{UNFINISHED}")
        if not os.access(path, os.R_OK | os.W_OK, effective_ids=True)
    ]
    return sorted(names)


def _is_alone(directory: Path, name: str) -> bool:
    """Whether what belongs beside a backup has none, and none is coming: its draft loses its name after it has its own.

    Another host, or another installation, may be publishing one in the same directory.
    """
    return _is_abandoned(directory / f".{name}{UNFINISHED}") and not (directory / name).exists()


def _is_abandoned(path: Path) -> bool:
    """Whether nobody has locked a draft; one that is gone is abandoned, too, and one of another user may not be."""
    return _tried(path, lambda: None)


def _removed_if_abandoned(path: Path) -> bool:
    """Whether nobody had locked a draft, which is gone now. It is locked meanwhile: nobody begins to write into it."""
    return _tried(path, lambda: path.unlink(missing_ok=True))


def _tried(path: Path, act: Callable[[], None]) -> bool:
    """Do something to a draft while it is locked; False if another process has it locked, or nobody can tell."""
    try:
        file = path.open("r+b")  # on NFS nothing else can be locked against all others
    except FileNotFoundError:
        return True
    except PermissionError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if _is_named(file.fileno(), path):
            act()
    return True


def _new_locked(path: Path) -> int:
    """A new file, locked. Raises `OSError`, `DiskError`."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            if not _removed_if_abandoned(path):
                raise DiskError(f"otro proceso está escribiendo {one_line(path)}: repita cuando acabe") from None
            continue
        if _is_locked(descriptor, path):
            return descriptor


def _is_locked(descriptor: int, path: Path) -> bool:
    """Lock a new file; False if it was taken for abandoned before, and is closed. Raises `OSError`."""
    with contextlib.ExitStack() as undoing:
        undoing.callback(os.close, descriptor)
        undoing.callback(path.unlink, missing_ok=True)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        undoing.pop_all()
    if _is_named(descriptor, path):
        return True
    os.close(descriptor)
    return False


def _is_named(descriptor: int, path: Path) -> bool:
    """Whether an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False
