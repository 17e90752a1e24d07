"""A disk that is too small for what is copied, encrypted or fetched: it says so, and leaves nothing."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.backups.errors import NotEnoughSpace
from jobs.backups.verification.using import download
from tests.disks.small_disk import MEBIBYTE, mounted_small_disk
from tests.jobs.backups.desk import FULL_NAME, Desk, recipient_of

DISK_BYTES = MEBIBYTE


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A directory on a small disk."""
    directory = tmp_path / "small"
    directory.mkdir()
    with mounted_small_disk(directory, DISK_BYTES):
        yield directory


def test_a_download_that_does_not_fit_leaves_nothing(desk: Desk, small: Path) -> None:
    backup = desk.make(content=os.urandom(DISK_BYTES // 500))
    with pytest.raises(NotEnoughSpace, match=f"^no queda espacio en {small}; libere espacio"):
        download([backup], small, threading.Event())
    assert list(small.iterdir()) == []


def test_what_is_fetched_and_does_not_fit_leaves_nothing(desk: Desk, near: int, small: Path) -> None:
    backup = desk.make(content=os.urandom(DISK_BYTES // 500))
    assert desk.run() == []
    with pytest.raises(NotEnoughSpace, match="libere espacio"):
        desk.fetch(backup, small / "fetched")
    assert list((small / "fetched").iterdir()) == []


def test_a_disk_without_room_to_encrypt_sends_nothing_and_keeps_the_backup(
    desk: Desk, near: int, identity: Path
) -> None:
    with mounted_small_disk(desk.directory, DISK_BYTES):
        desk.make(content=os.urandom(DISK_BYTES // 1500))
        before = desk.local()
        (failure,) = desk.run([recipient_of(identity)])
        assert str(desk.directory) in failure
        assert "libere espacio" in failure
        assert FULL_NAME in before
        assert desk.local() == before
    assert desk.remote(near) == {}
    assert desk.stored() == []
