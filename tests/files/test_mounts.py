"""What is mounted in a directory is found, also where no device number tells."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.errors import UnsafeSource
from files import mounts
from files.descriptors import closing_descriptor
from files.mounts import mount_point_in
from files.walk import walk_tree
from tests.disks.small_disk import mounted_small_disk
from tests.running.skips import MOUNT, require_right


def mount_point_of(directory: Path) -> str | None:
    with closing_descriptor(os.open(directory, os.O_RDONLY)) as descriptor:
        return mount_point_in(descriptor)


@contextlib.contextmanager
def bound(source: Path, target: Path) -> Iterator[None]:
    """Mount a directory or a file of the same disk somewhere else, or leave the test out where that is not allowed."""
    require_right(MOUNT)
    subprocess.run(["mount", "--bind", str(source), str(target)], check=True, timeout=30)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(target)], check=True, timeout=30)


def test_nothing_is_mounted_in_an_ordinary_directory(tmp_path: Path) -> None:
    assert mount_point_of(tmp_path) is None


@pytest.mark.parametrize("name", ["sub", "con espacio\ty \\ barra\n", "latin1 \udcff", "#"])
def test_a_bind_mount_of_the_same_file_system_is_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "e1" / "deep" / name).mkdir(parents=True)
    (tmp_path / "e1 beside").mkdir()
    with bound(tmp_path / "outside", tmp_path / "e1" / "deep" / name):
        assert (tmp_path / "e1" / "deep" / name).stat().st_dev == (tmp_path / "e1").stat().st_dev
        assert mount_point_of(tmp_path / "e1") == f"deep/{name}"
        assert mount_point_of(tmp_path / "e1" / "deep") == name
        assert mount_point_of(tmp_path / "e1" / "deep" / name) == ""
        assert mount_point_of(tmp_path / "e1 beside") is None
        assert mount_point_of(tmp_path / "outside") is None
        (tmp_path / "e1").rename(tmp_path / "moved")  # as a removal does
        assert mount_point_of(tmp_path / "moved") == f"deep/{name}"
        (tmp_path / "moved").rename(tmp_path / "e1")
    assert mount_point_of(tmp_path / "e1") is None


def test_a_file_mounted_on_a_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "e1").mkdir()
    for name in ("outside", "e1/file"):
        (tmp_path / name).touch()
    with bound(tmp_path / "outside", tmp_path / "e1" / "file"):
        assert mount_point_of(tmp_path / "e1") == "file"


def test_a_tree_with_a_bind_mount_is_not_walked(tmp_path: Path) -> None:
    """What lies outside would be uploaded as the execution's own, and then deleted."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "important").touch()
    (tmp_path / "e1" / "sub").mkdir(parents=True)
    with (
        bound(tmp_path / "outside", tmp_path / "e1" / "sub"),
        closing_descriptor(os.open(tmp_path / "e1", os.O_RDONLY)) as descriptor,
        pytest.raises(UnsafeSource, match="sub es un punto de montaje"),
    ):
        walk_tree(descriptor)


def test_another_disk_is_found(tmp_path: Path) -> None:
    (tmp_path / "e1").mkdir()
    with mounted_small_disk(tmp_path / "e1", 100_000):
        assert mount_point_of(tmp_path / "e1") == ""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")
def test_at_the_top_of_everything_something_is_mounted() -> None:
    assert mount_point_of(Path("/")) is not None


def test_where_the_system_does_not_tell_nothing_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "not there")
    assert mount_point_of(Path("/")) is None


def test_a_host_with_many_mounts_is_no_slower_to_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "36 35 98:0 /mnt1 /var/lib/containers/overlay/{}/merged rw,noatime master:1 - overlay overlay rw,x=y\n"
    (tmp_path / "mountinfo").write_text("".join(line.format(number) for number in range(2000)))
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "mountinfo")
    started = time.process_time()
    for _ in range(10):
        assert mount_point_of(tmp_path) is None
    assert time.process_time() - started < 1


def test_another_disk_is_not_walked_where_the_system_does_not_tell_what_is_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "not there")
    (tmp_path / "execution" / "disk").mkdir(parents=True)
    with (
        mounted_small_disk(tmp_path / "execution" / "disk", 100_000),
        closing_descriptor(os.open(tmp_path / "execution", os.O_RDONLY)) as descriptor,
        pytest.raises(UnsafeSource, match="disk es un punto de montaje"),
    ):
        walk_tree(descriptor)


def test_what_the_list_of_mounts_says_is_looked_up_in_the_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two exports of one NFS server may have the same device, and the same path in its file system."""
    for name in ("logs/app", "executions/app"):
        (tmp_path / name).mkdir(parents=True)
    lines = (f"1 0 0:50 /export {tmp_path / name} rw - nfs server rw\n" for name in ("logs", "executions"))
    (tmp_path / "mountinfo").write_text("".join(lines))
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "mountinfo")
    assert not mounts.MountedPart(str(tmp_path / "logs/app")).is_in(str(tmp_path / "executions"))
    (tmp_path / "executions/app").rmdir()
    assert not mounts.MountedPart(str(tmp_path / "logs/app")).is_in(str(tmp_path / "executions"))
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "missing")
    assert not mounts.MountedPart(str(tmp_path / "logs/app")).is_in(str(tmp_path / "logs"))
