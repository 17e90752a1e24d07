"""The directory of the backups: room for the next one, and what its errors mean."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from config.logs import one_line
from config.process.directories import make_directory
from config.text.times import size
from config.text.wording import reason_of
from jobs.backups.errors import DiskError, NotEnoughSpace

FOR_OWNER = 0o700
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
SPACE_MARGIN = 1.2
WHICH_DIRECTORY = "(el de las copias propias lo dice BACKUP_PATH)"
"""Added to messages about a directory, because a command may name another one than the setting."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where backups go; `expected_bytes` is the size of the last one like it, 0 if there is none."""

    directory: Path
    expected_bytes: int = 0


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


@contextlib.contextmanager
def reading_errors(directory: Path) -> Iterator[None]:
    """Within, an `OSError` becomes `DiskError`: what is there cannot be read."""
    try:
        yield
    except OSError as error:
        reason = f"{reason_of(error)}; compruebe el disco"
        raise DiskError(f"no se puede leer lo que hay en {one_line(directory)}: {reason}") from error


def sync_directory(directory: Path) -> None:
    """Put its names on the disk. Raises `OSError`."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
