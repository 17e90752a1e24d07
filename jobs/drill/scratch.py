"""The directory in which one restore is tried out: made for it and removed again, after a kill by the next run."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

NAME = "janitor-drill-"


class Scratch:
    """The directories of one database below `directory`. The lock of the job keeps other runs of this host away."""

    def __init__(self, directory: Path, identity: str) -> None:
        self._directory = directory
        self._prefix = f"{NAME}{hashlib.sha256(identity.encode()).hexdigest()[:12]}-"

    def most_bytes(self) -> int:
        """Half of the free space. Raises `OSError`."""
        return shutil.disk_usage(self._directory).free // 2

    def remove_left(self) -> None:
        """Remove what a run that was killed has left. Raises `OSError`."""
        with os.scandir(self._directory) as entries:
            left = [entry for entry in entries if entry.name.startswith(self._prefix)]
        for entry in left:
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
                _remove(entry.path)

    @contextlib.contextmanager
    def made(self) -> Iterator[Path]:
        """A new directory, only for this user, that is gone after the block. Raises `OSError`."""
        made = tempfile.mkdtemp(prefix=self._prefix, dir=self._directory)
        try:
            yield Path(made)
        finally:
            _remove(made)


def _remove(directory: str) -> None:
    """Remove a directory with all that is in it, also what was restored without the right to write. Follows no link."""
    shutil.rmtree(directory, onerror=_allow_and_repeat)


def _allow_and_repeat(function: Callable[..., object], path: str, error: tuple[object, BaseException, object]) -> None:
    """A directory without rights keeps what is in it: they are given, and the step is repeated."""
    if not isinstance(error[1], PermissionError):
        raise error[1]
    for locked in (os.path.dirname(path), path):  # noqa: PTH120 as `shutil` names them
        if stat.S_ISDIR(os.lstat(locked).st_mode):
            os.chmod(locked, stat.S_IRWXU)  # noqa: PTH101
    if os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114
        _remove(path)
    else:
        function(path)
