"""Executions in a container's layers: read, migrated and removed like any other, with the same checks."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from config.errors import UnsafeSource
from config.models import Execution
from files import mounts
from files.descriptors import closing_descriptor
from files.tree import Tree
from files.walk import hash_file, walk_tree
from jobs.migration.directories import DirectoryJudge
from jobs.migration.removal.entries import LocalCopyDiffers
from jobs.migration.removal.removal import remove_local_copy, trash_name
from tests.disks.overlays import mounted_overlay, overlay_answers
from tests.executions.manifests import hashed
from tests.executions.permissions import Granted
from tests.stories.trees import make_usual_tree

NEVER = threading.Event()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where executions lie."""
    made = tmp_path / "executions"
    (made / "e1").mkdir(parents=True)
    make_usual_tree(made / "e1")
    return made


def proven_of(directory: Path) -> Tree:
    with closing_descriptor(os.open(directory, os.O_RDONLY)) as descriptor:
        tree = walk_tree(descriptor)
        return hashed(tree, {entry.path: hash_file(descriptor, entry, NEVER) for entry in tree.files})


def remove(root: Path, proven: Tree, when_asked: Callable[[], object] = lambda: None) -> None:
    execution = Execution(7, "uuid-7", str(root / "e1"))
    remove_local_copy(DirectoryJudge([str(root)]), execution, lambda: proven, NEVER, Granted(when_asked=when_asked))


def test_a_directory_that_cannot_be_renamed_is_removed_in_place(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also looked for: files are set aside by names of their own, in the same directory; `TEMP_DIR` has only files."""
    overlay_answers(monkeypatch)
    remove(root, proven_of(root / "e1"))
    assert list(root.iterdir()) == []


def test_what_differs_from_the_copy_stays_there_too(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overlay_answers(monkeypatch)
    proven = proven_of(root / "e1")
    (root / "e1" / "nuevo").write_text("de después")
    with pytest.raises(LocalCopyDiffers):
        remove(root, proven)
    assert (root / "e1" / "nuevo").read_text() == "de después"
    assert not (root / trash_name(Execution(7, "uuid-7", None))).exists()


def test_another_device_is_a_mount_where_nobody_can_tell(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    overlay_answers(monkeypatch)
    monkeypatch.setattr(mounts, "MOUNTS", tmp_path / "no-mounts")
    with pytest.raises(UnsafeSource, match="punto de montaje"):
        proven_of(root / "e1")


def test_a_directory_of_a_real_lower_layer_is_read_and_removed(tmp_path: Path) -> None:
    def fill(lower: Path) -> None:
        (lower / "executions" / "e1").mkdir(parents=True)
        make_usual_tree(lower / "executions" / "e1")

    with mounted_overlay(tmp_path, fill) as merged:
        root = merged / "executions"
        devices = {path.lstat().st_dev for path in (root / "e1").rglob("*")}
        assert len(devices) > 1  # or it would show nothing
        (root / "e1" / "arriba").write_text("en la capa de arriba")
        remove(root, proven_of(root / "e1"))
        assert list(root.iterdir()) == []
        assert (tmp_path / "lower" / "executions" / "e1").exists()


def test_a_subvolume_in_an_execution_is_called_that(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As btrfs shows it: a directory with a device of its own and inode 256, where nothing is mounted."""
    (root / "e1" / "instantanea").mkdir()
    _as_subvolume(monkeypatch, root / "e1" / "instantanea")
    with pytest.raises(UnsafeSource, match="subvolumen de btrfs"):
        proven_of(root / "e1")


def test_a_subvolume_may_be_an_execution(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _as_subvolume(monkeypatch, root / "e1")
    with DirectoryJudge([str(root)]).open(Execution(7, "uuid-7", str(root / "e1"))) as directory:
        assert os.listdir(directory.descriptor)


def _as_subvolume(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    inode = directory.stat().st_ino
    real_stat, real_fstat = os.stat, os.fstat

    def shown(status: os.stat_result) -> os.stat_result:
        if status.st_ino != inode:
            return status
        fields = list(status)
        fields[1:3] = [256, status.st_dev + 1]
        times = {name: getattr(status, name) for name in ("st_atime_ns", "st_mtime_ns", "st_ctime_ns")}
        return os.stat_result(fields, times)

    monkeypatch.setattr(os, "stat", lambda *given, **named: shown(real_stat(*given, **named)))
    monkeypatch.setattr(os, "fstat", lambda descriptor: shown(real_fstat(descriptor)))
