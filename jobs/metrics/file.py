"""The file of metrics: read, changed and replaced whole, by one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from jobs.metrics.samples import HEAD, Samples, parsed

MODE = 0o644
"""node_exporter runs as a user of its own."""

LARGEST_BYTES = 16 * 1024 * 1024
WAIT_SECONDS = 5.0
POLL_SECONDS = 0.05


class MetricsFileError(Exception):
    """The file cannot be written. The message, in Spanish, says why and what to do."""


def update_file(path: Path, change: Callable[[Samples], Samples]) -> None:
    """Replace the file by what `change` makes of it. Readers see the old file or the new one, never a part of one.

    Raises `MetricsFileError` and `OSError`; the old file stays then.
    """
    _require_ours(path)
    with _locked_new_file(path) as descriptor:
        text = change(parsed(_read(path))).text()
        _write(descriptor, text.encode())
        new_file(path).rename(path)
    _sync_directory(path.parent)


def new_file(path: Path) -> Path:
    """Where the next file is written: in the same directory, under a name that node_exporter does not read."""
    return path.with_name(f".{path.name}.new")


def _require_ours(path: Path) -> None:
    """Raises `MetricsFileError` if what has the name is not a file of metrics."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode):
        raise MetricsFileError(f"{path} no es un fichero normal; indique otro en JANITOR_METRICS_FILE")
    if path.suffix != ".prom" and found.st_size and not _read(path).startswith(HEAD):
        raise MetricsFileError(
            f"{path} ya existe y no es de métricas de este programa: no se toca; indique otro en JANITOR_METRICS_FILE"
        )


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


@contextlib.contextmanager
def _locked_new_file(path: Path) -> Iterator[int]:
    """The new file, empty and locked. What a killed run left there is overwritten."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        descriptor = _open(new_file(path))
        try:
            if _is_locked(descriptor) and _has_its_name(descriptor, new_file(path)):
                yield descriptor
                return
        finally:
            os.close(descriptor)
        if time.monotonic() > deadline:
            raise MetricsFileError(f"otro proceso está escribiendo {path} desde hace demasiado")
        time.sleep(POLL_SECONDS)


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, MODE)
    except PermissionError:
        if not path.exists():
            raise
        path.unlink()  # a killed run of another user left it
        return os.open(path, flags, MODE)


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _has_its_name(descriptor: int, path: Path) -> bool:
    """Whether nobody has renamed the file since it was opened."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _write(descriptor: int, content: bytes) -> None:
    os.ftruncate(descriptor, 0)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    os.fchmod(descriptor, MODE)
    os.fsync(descriptor)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
