"""Disks that are soon full: one that says so, one that does not. Only root may mount them."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.running.skips import MOUNT, NEEDS_FILE_SYSTEM, require_right

MEBIBYTE = 1024 * 1024


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


@contextlib.contextmanager
def mounted_thin_disk(directory: Path, store: Path) -> Iterator[Callable[[], None]]:
    """Mount a disk that promises 128 MiB and has room for 24 in `store`. Gives a function that makes room.

    What is more is lost when the kernel writes it, after the program that wrote it has gone on.
    """
    image = store / "image"
    program = shutil.which("mkfs.ext4", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None:
        pytest.skip(f"{NEEDS_FILE_SYSTEM}: ext4, and no program that makes one")
    with mounted_small_disk(store, 24 * MEBIBYTE):
        with image.open("wb") as file:
            file.truncate(128 * MEBIBYTE)
        # No journal, and room for what describes the files: their bytes alone are lost.
        make = [program, "-q", "-F", "-O", "^has_journal", "-E", "nodiscard", str(image)]
        mount = ["mount", "-o", "loop,errors=continue", str(image), str(directory)]
        with image.open("r+b") as file:
            subprocess.run(make, check=True, timeout=30)
            os.posix_fallocate(file.fileno(), 0, 12 * MEBIBYTE)
        if subprocess.run(mount, check=False, timeout=30).returncode != 0:
            pytest.skip(f"{NEEDS_FILE_SYSTEM}: ext4 on a loop device")
        try:
            yield partial(_give_room, store)
        finally:
            subprocess.run(["umount", "--lazy", str(directory)], check=True, timeout=30)


def _give_room(store: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=200M", str(store)], check=True, timeout=30)


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
