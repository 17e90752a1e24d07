"""A disk that is soon full: tmpfs with a limit. Only root may mount one."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.skips import MOUNT, require_right


@contextlib.contextmanager
def mounted_small_disk(directory: Path, size_bytes: int, inodes: int = 10_000) -> Iterator[None]:
    """Mount it over an empty directory, or leave the test out where that is not allowed."""
    require_right(MOUNT)
    options = f"size={size_bytes},nr_inodes={inodes},mode=0777"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "janitor-test", str(directory)], check=True, timeout=30)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True, timeout=30)


def make_read_only(directory: Path) -> None:
    """Take the right to write away from a mounted small disk, from root too."""
    subprocess.run(["mount", "-o", "remount,ro", str(directory)], check=True, timeout=30)


def use_up_space(directory: Path) -> None:
    """Leave no byte on a small disk."""
    with (directory / "todo").open("ab", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        _for_ever(lambda _number: file.write(bytes(4096)))


def use_up_inodes(directory: Path) -> None:
    """Leave room for no file, not even an empty one, on a small disk."""
    with pytest.raises(OSError, match="No space left"):
        _for_ever(lambda number: (directory / f"vacío-{number}").touch())


def _for_ever(step: Callable[[int], object]) -> None:
    for number in itertools.count():
        step(number)
