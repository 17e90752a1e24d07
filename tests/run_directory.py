"""The one directory in which a run of the tests keeps whatever is temporary, so that it leaves nothing behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.file_attributes import clear_attributes

PREFIX = "janitor-tests-"
TEMPORARY_DIRECTORY_VARIABLE = "TMPDIR"


class RunDirectory:
    """A new directory that everything in this process, and in those that it starts, takes for the temporary one.

    What earlier runs of this user could not remove, or left to be looked at, goes first.
    """

    def __init__(self) -> None:
        for path in _left_by_earlier_runs():
            remove(path)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.path.chmod(0o1777)  # as /tmp: servers of a run by root have other users
        self._lock = os.open(self.path, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._usual = os.environ.get(TEMPORARY_DIRECTORY_VARIABLE)
        self._use(str(self.path))

    @property
    def of_tests(self) -> Path:
        """Where tests have their directories; those of tests that passed are not there any more."""
        return self.path / "pytest"

    def close(self, *, keep_of_tests: bool) -> None:
        """Remove all of it, or all but what failed tests left."""
        self._use(self._usual)
        for path in self.path.iterdir():
            if path != self.of_tests or not keep_of_tests:
                remove(path)
        if not os.listdir(self.path):
            self.path.rmdir()
        os.close(self._lock)

    def _use(self, directory: str | None) -> None:
        if directory is None:
            del os.environ[TEMPORARY_DIRECTORY_VARIABLE]
        else:
            os.environ[TEMPORARY_DIRECTORY_VARIABLE] = directory
        tempfile.tempdir = None  # look again


def _left_by_earlier_runs() -> Iterator[Path]:
    """Those of this user in which no run is under way."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if path.lstat().st_uid == os.geteuid() and not path.is_symlink():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    yield path
            finally:
                os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file or a directory, whatever is mounted in it, whoever may not enter it, whatever is immutable."""
    _unmount_below(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            _open_up(path)
            shutil.rmtree(path)
    else:
        path.unlink()


def _unmount_below(path: Path) -> None:
    fields = [line.split()[4] for line in Path("/proc/self/mountinfo").read_bytes().splitlines()]
    points = [re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), field) for field in fields]
    for point in reversed(points):
        if point.startswith(os.fsencode(f"{path}/")):
            subprocess.run(["umount", "--lazy", point], check=True, timeout=30)


def _open_up(directory: Path) -> None:
    clear_attributes(directory)
    directory.chmod(0o700)
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            _open_up(path)
        elif path.is_file() and not path.is_symlink():
            clear_attributes(path)
