"""A directory in TMPDIR for what is fetched to be used once; what killed runs left there is removed by the next one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from config.logs import one_line
from config.text.times import size
from jobs.backups.errors import NotEnoughSpace
from jobs.backups.files.directory import SPACE_MARGIN, disk_errors

PREFIX = "janitor-backup-"
SECONDS_TO_LOCK = 600
"""Another run may just have made a younger directory and not locked it yet."""


@contextlib.contextmanager
def scratch_directory(needed_bytes: int) -> Iterator[Path]:
    """A new one, for its owner only, locked while it is used and gone with the context.

    Raises `NotEnoughSpace` before anything is written, and `DiskError`.
    """
    parent = Path(tempfile.gettempdir())
    with contextlib.ExitStack() as stack:
        with disk_errors(parent):
            _remove_abandoned(parent)
            free_bytes = shutil.disk_usage(parent).free
            if free_bytes < needed_bytes * SPACE_MARGIN:
                raise NotEnoughSpace(
                    f"en {one_line(parent)} (TMPDIR) quedan {size(free_bytes)} y lo que se trae necesita unos "
                    f"{size(needed_bytes * SPACE_MARGIN)}; libere espacio o cambie TMPDIR"
                )
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX)))
            stack.callback(os.close, _locked(directory))
        yield directory


def _locked(directory: Path) -> int:
    """A descriptor that holds the lock. Raises `BlockingIOError` where another process does."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove_abandoned(parent: Path) -> None:
    """Remove what killed runs of this user left: nobody has it locked, and it is not new."""
    for path in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            status = path.lstat()
            if status.st_uid != os.geteuid() or time.time() - status.st_mtime < SECONDS_TO_LOCK:
                continue
            descriptor = _locked(path)
            try:
                shutil.rmtree(path)
            finally:
                os.close(descriptor)
