"""A disk that is soon full: tmpfs with a limit. Only root may mount one."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def mounted_small_disk(directory: Path, size_bytes: int) -> Iterator[None]:
    """Mount it over an empty directory, or skip the test where that is not allowed."""
    options = f"size={size_bytes},mode=0777"
    command = ["mount", "-t", "tmpfs", "-o", options, "janitor-test", str(directory)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True, timeout=30).returncode != 0:
        pytest.skip("only root can mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True, timeout=30)


def make_read_only(directory: Path) -> None:
    """Take the right to write away from a mounted small disk, from root too."""
    subprocess.run(["mount", "-o", "remount,ro", str(directory)], check=True, timeout=30)
