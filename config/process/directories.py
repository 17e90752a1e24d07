"""Makes the program's own directories: what they hold is not for everybody, whatever the umask."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def make_directory(directory: Path, mode: int) -> None:
    """Make a directory and those above it that are missing, none of them open to others than `mode` says.

    One that exists stays as it is. Raises `OSError`, `NotADirectoryError` where it is a file, or a link to nothing.
    """
    missing = []
    for path in (directory, *directory.parents):
        if path.exists():
            break
        missing.append(path)
    try:
        for path in reversed(missing):
            path.mkdir(mode=mode, exist_ok=True)
        directory.mkdir(exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory)) from error
