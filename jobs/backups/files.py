"""The files of a backup. None has its final name before it was read back and is on the disk."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import threading
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from config.logs import one_line
from config.process.directories import make_directory
from config.text.times import size
from config.text.wording import reason_of
from jobs.backups.creation.compression import inflated_from
from jobs.backups.errors import DamagedBackup, DiskError, NotEnoughSpace

FULL = "FULL"
DIFFERENTIAL = "DIFF"
SUFFIX = ".sql.gz"
ENCRYPTED = ".age"
"""The suffix of files that were encrypted before they left their host."""

UNFINISHED = ".part"
FOR_OWNER = 0o700
NAME = re.compile(r"backup_(\d{8}_\d{6})_(FULL|DIFF)\.sql\.gz")
COMPANION = re.compile(r"(backup_\d{8}_\d{6}_(?:FULL|DIFF))\.(?:json|sql\.gz\.sha256)")
STAMP = "%Y%m%d_%H%M%S"
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
READ_BYTES = 64 * 1024
FOLLOWED_BYTES = 8 * 1024 * 1024
"""How much is put on the disk and read back at a time, while the rest is still being written."""

LOOK_SECONDS = 0.2
SPACE_MARGIN = 1.2


@dataclass(frozen=True, slots=True)
class Target:
    """Where backups go; `expected_bytes` is the size of the last one like it, 0 if there is none."""

    directory: Path
    expected_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Contents:
    """What reading a file back has shown."""

    size_bytes: int
    md5: str
    sha256: str


WHICH_DIRECTORY = "(el de las copias propias lo dice BACKUP_PATH)"
"""Added to messages about a directory, because a command may name another one than the setting."""


def prepare(target: Target) -> None:
    """Make the directory, for its owner only, and require space for what is expected.

    Raises `DiskError`, `NotEnoughSpace`.
    """
    with disk_errors(target.directory):
        make_directory(target.directory, FOR_OWNER)
        free = shutil.disk_usage(target.directory).free
    needed = int(target.expected_bytes * SPACE_MARGIN)
    if free < needed:
        raise NotEnoughSpace(
            f"en {one_line(target.directory)} quedan {size(free)} y la copia necesita unos {size(needed)}; "
            f"libere espacio o elija otro directorio {WHICH_DIRECTORY}"
        )


@contextlib.contextmanager
def disk_errors(directory: Path) -> Iterator[None]:
    """Within, an `OSError` becomes `NotEnoughSpace` or `DiskError`."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL_DISK:
            raise NotEnoughSpace(
                f"no queda espacio en {one_line(directory)}; libere espacio o elija otro directorio {WHICH_DIRECTORY}"
            ) from error
        text = f"no se puede escribir en {one_line(directory)}: {reason_of(error)}; corríjalo o elija otro directorio"
        raise DiskError(f"{text} {WHICH_DIRECTORY}") from error


def free_stem(directory: Path, when: datetime, kind: str) -> str:
    """`backup_…_FULL` or `backup_…_DIFF` of a second that no other file has: an hour comes twice in autumn."""
    while True:
        stamp = when.strftime(STAMP)
        if not _is_taken(directory, stamp):
            return f"backup_{stamp}_{kind}"
        when += timedelta(seconds=1)


def _is_taken(directory: Path, stamp: str) -> bool:
    """Whether a file has this second. Where nobody can look, making the directory says why."""
    try:
        return any(directory.glob(f"backup_{stamp}_*"))
    except OSError:
        return False


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


def hash_beside(path: Path) -> str:
    """The hash that is written beside a backup. Raises `DamagedBackup`."""
    beside = path.with_name(f"{path.name}.sha256")
    try:
        return beside.read_text().split()[0]
    except (OSError, IndexError, UnicodeDecodeError) as error:
        raise DamagedBackup(f"no se puede leer {beside.name}, que debe estar junto a la copia") from error


def description_name(name: str) -> str:
    """The name of a full backup's description."""
    return name.removesuffix(SUFFIX) + ".json"


def sync_directory(directory: Path) -> None:
    """Put its names on the disk. Raises `OSError`."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
        if not os.access(path, os.R_OK, effective_ids=True)
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
        file = path.open("rb")
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
