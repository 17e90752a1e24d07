"""The files of a backup: what is read back, what gets a final name, what a killed run left."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gzip
import hashlib
import os
import random
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import pytest

from jobs.backups.errors import DamagedBackup, DiskError
from jobs.backups.files.compression import BLOCKS_IN_FLIGHT, GzipMember, inflated, inflated_here
from jobs.backups.files.directory import Target, prepare
from jobs.backups.files.drafts import Draft, remove_unfinished
from jobs.backups.files.finishing import ReadBack, publish, read_back
from jobs.backups.files.names import free_stem
from tests.disks.privileges import unprivileged

NAME = "backup_20260302_030000_FULL.sql.gz"
PLAIN = b"SELECT 1;\n" * 10_000


def test_what_is_on_the_disk_is_what_was_written(tmp_path: Path) -> None:
    with Draft(tmp_path, NAME) as draft:
        draft.write(gzip.compress(PLAIN))
        with pytest.raises(DamagedBackup, match="compruebe el disco"):
            read_back(draft, len(PLAIN) + 1)
        assert read_back(draft, len(PLAIN)).size_bytes == draft.size_bytes


def test_a_file_is_read_back_while_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts, none of which ends where a gzip member does."""
    monkeypatch.setattr("jobs.backups.files.finishing.FOLLOWED_BYTES", 10_000)
    data = gzip.compress(random.Random(1).randbytes(300_000)) * 2  # noqa: S311 not a secret
    with Draft(tmp_path, NAME) as draft, ReadBack(draft) as reading:
        for start in range(0, len(data), 7_000):
            draft.write(data[start : start + 7_000])
        contents = reading.finish(600_000)
    expected = hashlib.md5(data).hexdigest(), hashlib.sha256(data).hexdigest()  # noqa: S324 the platform's column
    assert (contents.size_bytes, contents.md5, contents.sha256) == (len(data), *expected)


def test_giving_up_a_draft_waits_for_no_thread(tmp_path: Path) -> None:
    def give_up() -> None:
        with Draft(tmp_path, NAME) as draft, ReadBack(draft):
            draft.write(gzip.compress(PLAIN)[:-9])
            raise KeyError

    with pytest.raises(KeyError):
        give_up()
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_this_user_cannot_look_into_is_an_error_of_the_disk(tmp_path: Path) -> None:
    """And no unexpected one: below another user's home, say."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    with unprivileged():
        assert free_stem(closed / "copias", datetime(2026, 3, 2, 3, tzinfo=UTC), "FULL") == NAME.removesuffix(".sql.gz")
        with pytest.raises(DiskError, match=r"no se puede escribir en .*permiso denegado"):
            prepare(Target(closed / "copias"))


@pytest.mark.parametrize("place", [3, 40, -6, -2])
def test_a_byte_that_changed_on_the_disk_is_found(tmp_path: Path, place: int) -> None:
    data = bytearray(gzip.compress(PLAIN, mtime=0))
    data[place] ^= 0xFF
    with Draft(tmp_path, NAME) as draft:
        draft.write(bytes(data))
        with pytest.raises(DamagedBackup):
            read_back(draft, len(PLAIN))


def test_a_file_that_is_cut_or_has_more_behind_it_is_found(tmp_path: Path) -> None:
    path = tmp_path / NAME
    for data in (gzip.compress(PLAIN)[:-1], gzip.compress(PLAIN)[:50], gzip.compress(PLAIN) + b"more"):
        path.write_bytes(data)
        with pytest.raises(DamagedBackup):
            list(inflated_here(path, 0, len(data)))


def test_a_well_compressed_file_is_inflated_in_small_parts(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(gzip.compress(bytes(100_000_000)))
    assert max(map(len, inflated_here(path, 0, path.stat().st_size))) <= 4 * 1024 * 1024


def test_nobody_else_may_read_backups(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "backups"
    prepare(Target(directory))
    with Draft(directory, NAME) as draft:
        draft.write(gzip.compress(PLAIN))
        publish(draft, read_back(draft, len(PLAIN)), b"{}")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert len(list(directory.iterdir())) == 3


def test_a_name_that_exists_is_not_replaced(tmp_path: Path) -> None:
    with Draft(tmp_path, NAME) as draft:
        draft.write(b"new")
        (tmp_path / NAME).write_text("old")
        with pytest.raises(DiskError, match=f"ya existe .*{NAME}; bórrelo"):
            draft.publish()
    assert (tmp_path / NAME).read_text() == "old"
    assert free_stem(tmp_path, datetime(2026, 3, 2, 3), "DIFF") == "backup_20260302_030001_DIFF"  # noqa: DTZ001 local


def test_a_draft_that_a_killed_process_left_is_replaced_and_one_in_use_is_not(tmp_path: Path) -> None:
    (tmp_path / f".{NAME}.part").write_bytes(b"left")
    with Draft(tmp_path, NAME) as draft:
        assert draft.size_bytes == 0
        draft.write(b"new")
        with pytest.raises(DiskError, match="otro proceso está escribiendo"):
            Draft(tmp_path, NAME)
        assert draft.path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == []


def test_a_draft_that_was_taken_for_abandoned_before_it_was_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else another process's draft would get the final name."""
    lock, path = fcntl.flock, tmp_path / f".{NAME}.part"
    locked: list[int] = []

    def lock_late(file: int, operation: int) -> None:
        if not locked:
            path.unlink()  # by another process
        locked.append(operation)
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", lock_late)
    with Draft(tmp_path, NAME) as draft:
        draft.write(b"ours")
        assert path.read_bytes() == b"ours"
    assert len(locked) == 2


def test_what_is_already_beside_a_backup_that_was_taken_away_stays(tmp_path: Path) -> None:
    content = gzip.compress(PLAIN)
    for text in ("", "another\n"):
        with Draft(tmp_path, NAME) as draft:
            draft.write(content)
            contents = read_back(draft, len(PLAIN))
            if text:
                draft.final.unlink()
                draft.final.with_name(f"{NAME}.sha256").write_text(text)
                with pytest.raises(DiskError, match=f"ya existe .*{NAME}.sha256"):
                    publish(draft, contents, b"{}")
            else:
                draft.final.with_name(f"{NAME}.sha256").write_text(f"{contents.sha256}  {NAME}\n")
                draft.final.with_name("backup_20260302_030000_FULL.json").write_text("{}")
                publish(draft, contents, b"{}")
                assert draft.final.read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "backup_20260302_030000_FULL.json", f"{NAME}.sha256"
    ]  # fmt: skip


def finish(directory: Path) -> None:
    """Make a backup of a few bytes."""
    with Draft(directory, NAME) as draft:
        draft.write(gzip.compress(PLAIN))
        publish(draft, read_back(draft, len(PLAIN)), b"{}")


def test_nothing_has_its_name_before_it_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut a name that came too early would be that of an empty file; the names come last."""
    done: list[tuple[str, str]] = []
    true_fsync, true_link = os.fsync, os.link

    def fsync(descriptor: int) -> None:
        done.append(("fsync", os.path.realpath(f"/proc/self/fd/{descriptor}")))
        true_fsync(descriptor)

    def link(draft: Path, final: Path) -> None:
        done.append(("link", str(draft)))
        true_link(draft, final)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    finish(tmp_path)
    drafts = [path for kind, path in done if kind == "link"]
    assert len(drafts) == 3
    assert all(("fsync", path) in done[: done.index(("link", path))] for path in drafts)
    assert done[-1] == ("fsync", str(tmp_path.resolve()))


def test_a_backup_whose_name_does_not_reach_the_disk_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run reports a failure, so the next run must not find the file and report the opposite."""
    true_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        true_fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="Input/output"):
        finish(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_draft_that_the_disk_does_not_let_go_makes_no_failure_of_a_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Of the three: both companions, and the backup itself. The next run removes what is left."""
    true_unlink, drafts = os.unlink, []

    def unlink(path: Path) -> None:
        drafts.append(path)
        if len(drafts) == number:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        true_unlink(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", unlink)
        finish(tmp_path)
    assert [path.name for path in drafts[number - 1 : number]] == remove_unfinished(tmp_path)
    assert len(list(tmp_path.glob("backup_*"))) == len(list(tmp_path.iterdir())) == 3


def test_a_draft_that_cannot_be_locked_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(_file: object, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="No locks"):
        finish(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_two_never_write_the_same_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hosts that share the directory, in the same second, where locks of one are not seen by the other."""
    with Draft(tmp_path, NAME) as first:
        first.write(b"of the first one")
        monkeypatch.setattr(fcntl, "flock", lambda *_: None)
        with Draft(tmp_path, NAME) as second:
            second.write(b"second")
            assert second.path.read_bytes() == b"second"
            with pytest.raises(DiskError, match="otro proceso lo sustituyó"):
                first.publish()
    assert list(tmp_path.iterdir()) == []


def test_a_draft_that_was_replaced_leaves_the_other_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Again where locks of one host are not seen by the other."""
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    with contextlib.ExitStack() as ending:
        ending.enter_context(Draft(tmp_path, NAME))
        with Draft(tmp_path, NAME) as second:
            ending.close()
            second.write(b"second")
            second.publish()
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_what_a_killed_run_left_is_removed_also_on_nfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux asks an NFS server for the lock of a range, which must be open for writing to be locked alone: flock(2)."""
    lock = fcntl.flock

    def lock_as_on_nfs(file: int | BinaryIO, operation: int) -> None:
        if operation & fcntl.LOCK_EX and fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", lock_as_on_nfs)
    left = tmp_path / f".{NAME}.part"
    left.touch()
    assert remove_unfinished(tmp_path) == [left.name]


def test_what_a_killed_run_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = ["notes.txt", ".hidden.part", NAME, f"{NAME}.sha256", "backup_20260302_030000_FULL.json"]
    left = [".backup_20260303_030000_DIFF.sql.gz.part", "backup_20260303_030000_DIFF.sql.gz.sha256"]
    for name in (*kept, *left, "backup_20260304_030000_FULL.json"):
        (tmp_path / name).touch()
    with Draft(tmp_path, "backup_20260305_030000_DIFF.sql.gz") as draft:
        assert remove_unfinished(tmp_path) == [*left, "backup_20260304_030000_FULL.json"]
        assert draft.path.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    (tmp_path / NAME).unlink()
    assert remove_unfinished(tmp_path, {NAME}) == []


def test_what_belongs_to_a_backup_that_another_run_is_publishing_stays(tmp_path: Path) -> None:
    beside = f"{NAME}.sha256"
    with Draft(tmp_path, NAME) as draft:
        (tmp_path / beside).touch()
        assert remove_unfinished(tmp_path) == []
        draft.publish()
    assert remove_unfinished(tmp_path) == []
    (tmp_path / NAME).unlink()
    assert remove_unfinished(tmp_path) == [beside]


class Broken:
    """Cannot take anything for want of memory."""

    def write(self, _data: bytes) -> None:
        raise MemoryError


@pytest.mark.parametrize("count", [0, 1, 3 * BLOCKS_IN_FLIGHT])
def test_whatever_ends_the_thread_that_compresses_is_raised_and_nobody_waits_for_it(count: int) -> None:
    def compress() -> None:
        with GzipMember(Broken()) as member:
            for _ in range(count):
                member.write(bytes(1000))

    with pytest.raises(MemoryError):
        compress()


def test_whatever_ends_the_thread_that_reads_is_raised_and_nobody_waits_for_it(tmp_path: Path) -> None:
    def fail(_size_bytes: int) -> None:
        raise MemoryError

    path = tmp_path / NAME
    path.write_bytes(gzip.compress(PLAIN))
    with pytest.raises(MemoryError):
        list(inflated(path, 0, path.stat().st_size, fail))
