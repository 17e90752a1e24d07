"""The one directory in which a run of the tests keeps whatever is temporary, so that it leaves nothing behind."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.disks.file_attributes import clear_attributes

PREFIX = "janitor-tests-"
TEMPORARY_DIRECTORY_VARIABLE = "TMPDIR"

MEMORY = Path("/dev/shm")  # noqa: S108 what is made there has a name of its own
MEMORY_VARIABLE = "JANITOR_TESTS_MEMORY"
"""Where servers may keep what need not be on a disk, for the processes of a run; not set where memory is short."""

LEAST_FREE_MEMORY_BYTES = 3 * 1024**3
"""Several PostgreSQL servers with all their databases need a part of it."""


class RunDirectory:
    """A new directory that everything in this process, and in those that it starts, takes for the temporary one.

    What earlier runs of this user could not remove, or left to be looked at, goes first.
    """

    def __init__(self) -> None:
        for path in _left_by_earlier_runs():
            remove(path)
        self._locks: list[int] = []
        self.path = self._new(Path(tempfile.gettempdir()))
        self.in_memory = self._new(MEMORY) if _has_free_memory() else None
        self._usual = {name: os.environ.get(name) for name in (TEMPORARY_DIRECTORY_VARIABLE, MEMORY_VARIABLE)}
        self._use(
            {
                TEMPORARY_DIRECTORY_VARIABLE: str(self.path),
                MEMORY_VARIABLE: None if self.in_memory is None else str(self.in_memory),
            }
        )

    @property
    def of_tests(self) -> Path:
        """Where tests have their directories; those of tests that passed are not there any more."""
        return self.path / "pytest"

    def close(self, *, keep_of_tests: bool) -> None:
        """Remove all of it, or all but what failed tests left."""
        self._use(self._usual)
        if self.in_memory is not None:
            remove(self.in_memory)
        with contextlib.suppress(FileNotFoundError):  # somebody has removed it
            for path in self.path.iterdir():
                if path != self.of_tests or not keep_of_tests:
                    remove(path)
            if not os.listdir(self.path):
                self.path.rmdir()
        for lock in self._locks:
            os.close(lock)

    def _new(self, parent: Path) -> Path:
        """A new directory, locked before it has a name that another run would take for a leftover."""
        made = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=parent))
        self._locks.append(_opened_and_locked(made))
        return made.rename(made.with_name(made.name.removeprefix(".")))

    def _use(self, directories: Mapping[str, str | None]) -> None:
        for name, directory in directories.items():
            if directory is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = directory
        tempfile.tempdir = None  # look again


def _has_free_memory() -> bool:
    if not os.access(MEMORY, os.W_OK):
        return False
    room = os.statvfs(MEMORY)
    return room.f_bavail * room.f_frsize >= LEAST_FREE_MEMORY_BYTES


def _opened_and_locked(directory: Path) -> int:
    directory.chmod(0o1777)  # as /tmp: servers of a run by root have other users
    descriptor = os.open(directory, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def _left_by_earlier_runs() -> Iterator[Path]:
    """Those of this user in which no run is under way."""
    for path in itertools.chain.from_iterable(
        parent.glob(f"{PREFIX}*") for parent in (Path(tempfile.gettempdir()), MEMORY)
    ):
        with contextlib.suppress(FileNotFoundError, BlockingIOError), _opened_if_own(path) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield path


@contextlib.contextmanager
def _opened_if_own(path: Path) -> Iterator[int]:
    """Raises `FileNotFoundError` for a directory that is gone, or that is another user's."""
    if path.lstat().st_uid != os.geteuid() or path.is_symlink():
        raise FileNotFoundError(path)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file or a directory, whatever is mounted in it, whoever may not enter it, whatever is immutable. What is
    gone meanwhile is no error: two runs may remove the same leftovers, and servers that end remove files of their own.
    """
    _unmount_below(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            _open_up(path)
            shutil.rmtree(path, onerror=_unless_gone)
    else:
        path.unlink(missing_ok=True)


def _unless_gone(_function: object, _path: str, failure: tuple[type[BaseException], BaseException, object]) -> None:
    if not isinstance(failure[1], FileNotFoundError):
        raise failure[1]


def _unmount_below(path: Path) -> None:
    fields = [line.split()[4] for line in Path("/proc/self/mountinfo").read_bytes().splitlines()]
    points = [re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), field) for field in fields]
    for point in reversed(points):
        if point.startswith(os.fsencode(f"{path}/")):
            subprocess.run(["umount", "--lazy", point], check=True, timeout=30)


def _open_up(directory: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        clear_attributes(directory)
        directory.chmod(0o700)
        for path in directory.iterdir():
            if path.is_dir() and not path.is_symlink():
                _open_up(path)
            elif path.is_file() and not path.is_symlink():
                clear_attributes(path)
