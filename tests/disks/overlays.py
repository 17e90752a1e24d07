"""File systems in layers, as containers have them: a real overlay for root, and its answers for everybody."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@contextlib.contextmanager
def mounted_overlay(directory: Path, fill: Callable[[Path], None]) -> Iterator[Path]:
    """An overlay in an empty directory, whose lower layer lies on a file system of its own and is filled by `fill`.

    Skips the test where that may not be mounted: `overlay_answers` shows the same where it may not.
    """
    layers = {name: directory / name for name in ("lower", "upper", "merged")}
    for path in layers.values():
        path.mkdir()
    with contextlib.ExitStack() as stack:
        for name in ("lower", "upper"):
            _mount(stack, "-t", "tmpfs", "janitor-test", str(layers[name]))
        for name in ("files", "work"):
            (layers["upper"] / name).mkdir()
        fill(layers["lower"])
        options = f"lowerdir={layers['lower']},upperdir={layers['upper']}/files,workdir={layers['upper']}/work"
        _mount(stack, "-t", "overlay", "-o", f"{options},xino=off", "janitor-test", str(layers["merged"]))
        yield layers["merged"]


def _mount(stack: contextlib.ExitStack, *arguments: str) -> None:
    command = ["mount", *arguments]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True, timeout=30).returncode != 0:
        pytest.skip("only root can mount an overlay; its answers are shown to the same code by overlay_answers")
    stack.callback(subprocess.run, ["umount", "--lazy", arguments[-1]], check=True, timeout=30)


def overlay_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system answer as an overlay does: a file has another device number than its directory, and no directory
    can be renamed.
    """
    real_stat, real_fstat, real_rename = os.stat, os.fstat, os.rename

    def rename(source: Any, target: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
        if stat.S_ISDIR(real_stat(source, dir_fd=src_dir_fd, follow_symlinks=False).st_mode):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), source)
        real_rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "stat", lambda *given, **named: _in_a_layer(real_stat(*given, **named)))
    monkeypatch.setattr(os, "fstat", lambda descriptor: _in_a_layer(real_fstat(descriptor)))
    monkeypatch.setattr(os, "rename", rename)


def _in_a_layer(status: os.stat_result) -> os.stat_result:
    if stat.S_ISDIR(status.st_mode):
        return status
    fields = list(status)
    fields[stat.ST_DEV] += 1
    times = {name: getattr(status, name) for name in ("st_atime_ns", "st_mtime_ns", "st_ctime_ns")}
    return os.stat_result(fields, times)
