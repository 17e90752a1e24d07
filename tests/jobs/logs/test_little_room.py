"""A disk that is full, or nearly: what frees most comes first, what does not fit stays, and no disk is filled."""

from __future__ import annotations

import gzip
import logging
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disks.small_disk import MEBIBYTE, mounted_small_disk, use_up_inodes, use_up_space
from tests.jobs.logs.log_files import clean, contents, make_log, require_nothing_left_over, text

DISK_BYTES = 8 * MEBIBYTE


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small one."""
    directory = tmp_path / "disk"
    directory.mkdir()
    with mounted_small_disk(directory, DISK_BYTES):
        yield directory


def noise(size_bytes: int) -> bytes:
    """What cannot be compressed."""
    return random.Random(1).randbytes(size_bytes)  # noqa: S311 not a secret


def order_of_going(directory: Path, names: list[str]) -> list[str]:
    """The names in the order in which their copies were made, as inode numbers of a tmpfs only grow."""
    return sorted(names, key=lambda name: (directory / f"{name}.gz").stat().st_ino)


def test_the_largest_gain_comes_first_and_it_is_said(disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    sizes = {"small.log": 200_000, "large.log": 4_500_000, "middle.log": 1_500_000}
    for number, (name, size_bytes) in enumerate(sizes.items()):
        make_log(disk / name, text(size_bytes, number))
    report = clean(disk)
    assert report.compressed_files == 3
    assert order_of_going(disk, list(sizes)) == ["large.log", "middle.log", "small.log"]
    assert "Queda poco espacio para comprimir 3 registros" in caplog.text


def test_a_gain_is_what_is_freed_and_not_a_size(disk: Path) -> None:
    make_log(disk / "noise.log", noise(3_000_000))
    make_log(disk / "text.log", text(2_500_000))
    assert clean(disk).compressed_files == 2
    assert order_of_going(disk, ["noise.log", "text.log"]) == ["text.log", "noise.log"]


def test_what_does_not_fit_waits_until_another_has_made_room(disk: Path) -> None:
    """The noise frees nothing, but comes last; the text is tried again when there is room for its copy."""
    make_log(disk / "noise.log", noise(4_000_000))
    make_log(disk / "text.log", text(3_900_000))
    report = clean(disk)
    assert (report.compressed_files, report.failures) == (1, 1)
    assert sorted(os.listdir(disk)) == ["noise.log", "text.log.gz"]
    require_nothing_left_over(disk)


def test_what_does_not_fit_is_named_and_leaves_nothing(disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = noise(5_000_000)
    make_log(disk / "noise.log", content)
    report = clean(disk)
    assert (report.compressed_files, report.failures) == (0, 1)
    assert contents(disk) == {"noise.log": content}
    assert "noise.log como está: su copia comprimida no cabe en el espacio libre" in caplog.text


def test_some_room_is_left_to_other_programs(disk: Path) -> None:
    """What another one wants to write meanwhile must not fail because logs are compressed."""
    make_log(disk / "noise.log", noise(int(DISK_BYTES * 0.49)))
    room = os.statvfs(disk)
    assert room.f_bfree * room.f_frsize > DISK_BYTES * 0.49  # it would fit
    assert clean(disk).failures == 1


@pytest.mark.parametrize("use_up", [use_up_space, use_up_inodes])
def test_a_full_disk_still_loses_its_old_logs_and_those_with_a_copy(disk: Path, use_up: object) -> None:
    make_log(disk / "app.log", b"content")
    make_log(disk / "copied.log", b"copied")
    make_log(disk / "copied.log.gz", gzip.compress(b"copied"))
    make_log(disk / "old.log.gz", days=1000)
    assert callable(use_up)
    use_up(disk)
    report = clean(disk)
    left = {name for name in os.listdir(disk) if name.endswith((".log", ".gz"))}
    assert {"old.log.gz", "copied.log"}.isdisjoint(left)
    assert (report.deleted_files, report.duplicate_files) == (1, 1)
    assert {name: content for name, content in contents(disk).items() if name.startswith("app")}.popitem()[1] == (
        b"content"
    )
    require_nothing_left_over(disk)


def test_a_disk_that_fills_up_meanwhile_loses_nothing(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There seemed to be room, as when another program writes faster."""
    originals = {f"{number}.log": noise(1_000_000) for number in range(5)}
    for name, content in originals.items():
        make_log(disk / name, content)
    really = os.fstatvfs
    told: list[int] = []

    def tell_much_room_once(descriptor: int) -> os.statvfs_result:
        told.append(descriptor)
        room = really(descriptor)
        return os.statvfs_result((room[0], room[1], room[2], 10**6, 10**6, *room[5:])) if len(told) == 1 else room

    monkeypatch.setattr(os, "fstatvfs", tell_much_room_once)
    report = clean(disk)
    assert report.compressed_files + report.failures == 5
    found = contents(disk)
    assert all(originals[name] in (found.get(name), found.get(f"{name}.gz")) for name in originals)
    require_nothing_left_over(disk)
