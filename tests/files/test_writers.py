"""Whoever has a file open for writing is found out, and who comes later has to wait."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from files import file_systems, writers
from files.descriptors import closing_descriptor
from files.writers import Answer, FileInUse, has_writer, lease_is_whole, release_lease, take_lease
from tests.executions.source_mutations import require_file_system_that_notices


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file that nobody has open."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


@pytest.fixture
def reading(file: Path) -> Iterator[int]:
    """The same file, open for reading."""
    with closing_descriptor(os.open(file, os.O_RDONLY)) as descriptor:
        yield descriptor


def test_a_file_that_is_only_read_has_no_writer(file: Path, reading: int) -> None:
    with file.open("rb"):
        assert not has_writer(reading)


@pytest.mark.parametrize("mode", ["ab", "r+b"])
def test_a_file_that_is_open_for_writing_has_a_writer(file: Path, reading: int, mode: str) -> None:
    with file.open(mode):
        assert has_writer(reading)
        with pytest.raises(FileInUse):
            take_lease(reading)
    assert not has_writer(reading)


def test_a_mapping_is_a_writer_though_the_descriptor_is_closed(file: Path, reading: int) -> None:
    require_file_system_that_notices(file, "overlayfs")
    with file.open("r+b") as opened:
        mapping = mmap.mmap(opened.fileno(), 0)
    assert has_writer(reading)
    mapping.close()
    assert not has_writer(reading)


def test_who_wants_to_write_waits_and_is_noticed_and_nobody_is_killed(file: Path, reading: int) -> None:
    assert take_lease(reading) is Answer.TAKEN
    assert lease_is_whole(reading)
    entered = threading.Event()

    def write() -> None:
        with file.open("ab") as opened:
            entered.set()
            opened.write(b"more")

    writer = threading.Thread(target=write)
    writer.start()
    while lease_is_whole(reading):  # until the kernel has told, by a signal that must not end this process
        assert not entered.is_set()
    release_lease(reading)
    writer.join(30)
    assert file.read_bytes() == b"contentmore"


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        (errno.EINVAL, Answer.NO_LEASES),
        (errno.ENOLCK, Answer.NO_LEASES),
        (errno.EACCES, Answer.NO_RIGHT),
        (errno.EPERM, Answer.NO_RIGHT),
    ],
)
def test_where_the_kernel_does_not_tell_it_is_known_why(
    reading: int, code: int, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A removal then looks elsewhere; a mere reader goes by the times of the file."""
    refuse_leases(monkeypatch, code)
    assert take_lease(reading) is answer
    assert not has_writer(reading)


@pytest.mark.parametrize(("file_system", "in_use"), [("nfs4", False), ("cifs", False), ("ext4", True), ("", True)])
def test_a_lease_that_a_server_refuses_is_no_writer(
    reading: int, file_system: str, in_use: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_leases(monkeypatch, errno.EAGAIN)
    monkeypatch.setattr(writers, "file_system_type", lambda _device: file_system)
    assert has_writer(reading) == in_use


def refuse_leases(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """As a file system does that has none."""

    def refuse(_descriptor: int, command: int, _argument: Any = 0) -> int:
        if command == fcntl.F_SETLEASE:
            raise OSError(code, os.strerror(code))
        return 0

    monkeypatch.setattr(fcntl, "fcntl", refuse)


def test_the_type_of_a_file_system_is_what_the_list_of_mounts_says() -> None:
    assert file_systems.file_system_type(Path("/proc").stat().st_dev) == "proc"
    assert file_systems.file_system_type(os.makedev(4095, 77)) == ""
