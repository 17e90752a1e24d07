"""Logs that change, move and vanish while the job is at work, and names that others swap for links."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from config.errors import ConfigurationError
from jobs.logs.changing import replacement as replacement_module
from jobs.logs.changing.compression import write_compressed
from jobs.logs.changing.open_logs import OpenLog
from jobs.logs.report import LogsReport
from tests.disks.racing import Listener, Swapper, linux_only, rename_to_free_name
from tests.files.test_symlink_races import Outcomes
from tests.jobs.logs.log_files import (
    clean,
    contents,
    make_log,
    make_old,
    require_nothing_left_over,
    text,
)
from tests.stories.trees import snapshot

CONTENT = text(300_000)


def act_before(monkeypatch: pytest.MonkeyPatch, name: str, deed: Callable[[], object]) -> None:
    """Let something happen right before the first call of a function of the replacement."""
    function = getattr(replacement_module, name)
    turn = [deed]

    def act_and_call(*arguments: object, **options: object) -> object:
        if turn:
            turn.pop()()
        return function(*arguments, **options)

    monkeypatch.setattr(replacement_module, name, act_and_call)


STEPS = ["write_compressed", "keep_attributes", "holds_the_same", "move_to_free_name"]


@pytest.mark.parametrize("step", STEPS[:-1])
@pytest.mark.parametrize("keeps_its_time", [False, True])
def test_a_log_that_is_written_to_meanwhile_stays_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, keeps_its_time: bool
) -> None:
    """Also by a program that sets its time back, as one does that puts a log right. Before the last step it cannot be
    written to: see below.
    """
    log = make_log(tmp_path / "app.log", CONTENT)

    def write() -> None:
        with log.open("r+b") as file:
            file.write(b"other bytes")
        if keeps_its_time:
            make_old(log)

    act_before(monkeypatch, step, write)
    changed = b"other bytes" + CONTENT[11:]
    report = clean(tmp_path)
    found = contents(tmp_path)
    assert found == {"app.log": changed}
    assert (report.compressed_files, report.changed + report.failures) == (0, 1)
    require_nothing_left_over(tmp_path)


def test_a_log_that_is_written_to_once_its_copy_is_proven_stays_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And has its old size and time again: only its ctime tells."""
    log = make_log(tmp_path / "app.log", CONTENT)
    before = log.stat()
    hold = OpenLog.hold

    def write_and_hold(self: OpenLog) -> None:
        with log.open("r+b") as file:
            file.write(b"other bytes")
        os.utime(log, ns=(before.st_atime_ns, before.st_mtime_ns))
        hold(self)

    monkeypatch.setattr(OpenLog, "hold", write_and_hold)
    assert clean(tmp_path).changed == 1
    assert contents(tmp_path) == {"app.log": b"other bytes" + CONTENT[11:]}


@pytest.mark.parametrize("step", STEPS)
def test_a_log_that_is_opened_for_writing_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """In the last step there is a lease on it: a program that opens it waits, or is sent away, and the log stays."""
    log = make_log(tmp_path / "app.log", CONTENT)
    opened: list[int] = []

    def open_it() -> None:
        with pytest.raises(BlockingIOError) if step == STEPS[-1] else contextlib.nullcontext():
            opened.append(os.open(log, os.O_WRONLY | os.O_NONBLOCK))

    act_before(monkeypatch, step, open_it)
    report = clean(tmp_path)
    assert (report.in_use, report.compressed_files) == (1, 0)
    assert contents(tmp_path) == {"app.log": CONTENT}
    for descriptor in opened:
        os.close(descriptor)


@pytest.mark.parametrize("step", STEPS)
def test_a_log_that_another_one_replaces_meanwhile_is_not_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Programs that rotate logs rename them: `app.log.1` is another file from then on, and as old as this one."""
    make_log(tmp_path / "app.log.1", b"first")
    make_log(tmp_path / "app.log.0", b"second")

    def rotate() -> None:
        (tmp_path / "app.log.1").rename(tmp_path / "app.log.2")
        (tmp_path / "app.log.0").rename(tmp_path / "app.log.1")

    act_before(monkeypatch, step, rotate)
    clean(tmp_path, patterns=("app.log.1",))
    assert contents(tmp_path) == {"app.log.2": b"first", "app.log.1": b"second"}
    require_nothing_left_over(tmp_path)


def test_a_log_that_is_replaced_right_before_it_goes_gets_its_name_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the last look at its name and the move, which is where only a look after the move helps."""
    make_log(tmp_path / "app.log", b"first")
    make_log(tmp_path / "new", b"second")
    rename = os.rename

    def replace_and_rename(source: str, target: str, **options: int) -> None:
        if source == "app.log":
            monkeypatch.setattr(os, "rename", rename)
            rename(tmp_path / "app.log", tmp_path / "moved")
            rename(tmp_path / "new", tmp_path / "app.log")
        rename(source, target, **options)

    monkeypatch.setattr(os, "rename", replace_and_rename)
    assert clean(tmp_path).changed == 1
    assert contents(tmp_path) == {"app.log": b"second", "moved": b"first"}
    require_nothing_left_over(tmp_path)


def test_an_old_compressed_log_that_is_replaced_right_before_it_goes_gets_its_name_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_log(tmp_path / "app.log.gz", gzip.compress(b"old"), days=1000)
    (tmp_path / "new").write_bytes(gzip.compress(b"new"))
    rename = os.rename

    def replace_and_rename(source: str, target: str, **options: int) -> None:
        if source == "app.log.gz":
            monkeypatch.setattr(os, "rename", rename)
            rename(tmp_path / "new", tmp_path / "app.log.gz")
        rename(source, target, **options)

    monkeypatch.setattr(os, "rename", replace_and_rename)
    assert clean(tmp_path).deleted_files == 0
    assert contents(tmp_path) == {"app.log.gz": b"new"}


def test_a_copy_that_somebody_removes_keeps_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_log(tmp_path / "app.log", b"content")
    fsync = os.fsync

    def remove_and_sync(descriptor: int) -> None:
        (tmp_path / "app.log.gz").unlink(missing_ok=True)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", remove_and_sync)
    clean(tmp_path)
    assert contents(tmp_path) == {"app.log": b"content"}


def test_a_copy_that_somebody_replaces_keeps_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_log(tmp_path / "app.log", b"content")
    fsync = os.fsync

    def replace_and_sync(descriptor: int) -> None:
        if (tmp_path / "app.log.gz").exists():
            (tmp_path / "app.log.gz").unlink()
            (tmp_path / "app.log.gz").write_bytes(gzip.compress(b"other"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", replace_and_sync)
    assert clean(tmp_path).changed == 1
    assert contents(tmp_path) == {"app.log": b"content", "app.log.gz": b"other"}


def test_a_copys_name_that_another_one_takes_meanwhile_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_log(tmp_path / "app.log", b"content")
    act_before(monkeypatch, "move_to_free_name", lambda: (tmp_path / "app.log.gz").write_bytes(gzip.compress(b"other")))
    assert clean(tmp_path).changed == 1
    assert contents(tmp_path) == {"app.log": b"content", "app.log.gz": b"other"}


def test_a_copy_that_is_not_what_was_written_keeps_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that gives back other bytes than it was given, or memory that changes them."""
    make_log(tmp_path / "app.log", CONTENT)
    write = os.write

    def write_other_bytes(descriptor: int, piece: bytes) -> int:
        damaged = bytearray(piece)
        damaged[len(damaged) // 2] ^= 1
        return write(descriptor, damaged)

    monkeypatch.setattr(os, "write", write_other_bytes)
    assert clean(tmp_path).failures == 1
    assert contents(tmp_path) == {"app.log": CONTENT}
    assert "leída de nuevo, no es igual" in caplog.text


@pytest.mark.parametrize("what", ["file", "directory"])
def test_nothing_goes_before_the_disk_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    make_log(tmp_path / "app.log", b"content")
    fsync = os.fsync

    def fail(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}") == (what == "directory"):  # noqa: PTH112 by descriptor
            raise OSError(5, os.strerror(5))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    assert clean(tmp_path).failures == 1
    assert contents(tmp_path) == {"app.log": b"content"}


def test_the_disk_is_waited_for_once_all_copies_of_a_batch_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the logs are a batch of a single worker."""
    for number in range(4):
        make_log(tmp_path / f"app.log.{number}", CONTENT)
    steps: list[str] = []
    write, fsync = write_compressed, os.fsync

    def note_and_write(source: int, target: int, most_bytes: float, interruption: threading.Event) -> int:
        steps.append("write")
        return write(source, target, most_bytes, interruption)

    def note_and_sync(descriptor: int) -> None:
        steps.append("sync" if os.path.isfile(f"/proc/self/fd/{descriptor}") else "sync directory")  # noqa: PTH113
        fsync(descriptor)

    monkeypatch.setattr(replacement_module, "write_compressed", note_and_write)
    monkeypatch.setattr(os, "fsync", note_and_sync)
    assert clean(tmp_path, most_workers=1).compressed_files == 4
    assert [step for step in steps if step != "sync directory"] == ["write", "write", "sync", "sync"] * 2


# Links


@pytest.fixture
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is raced with is to be quick."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


@linux_only
@pytest.mark.usefixtures("_no_waiting")
@pytest.mark.parametrize("component", ["sage", "sage/logs"])
def test_no_component_of_a_log_directory_leads_out_of_it(tmp_path: Path, component: str) -> None:
    outside, decoy = make_outside(tmp_path, component)
    swapper = Swapper(tmp_path / component, decoy, (0.0005, 0.002, 0.01))
    outcomes = Outcomes()
    before = snapshot(outside)
    with Listener(outside) as listener:
        for _ in outcomes.rounds(swapper):
            fill(tmp_path / "sage" / "logs", b"own")
            with swapper.racing():
                try:
                    done = clean(tmp_path / "sage" / "logs", most_workers=1)
                except ConfigurationError:
                    done = LogsReport(failures=1)
            outcomes.done += done.compressed_files == 2
            outcomes.refused += done.failures > 0
        assert listener.heard() == set()
    assert snapshot(outside) == before
    outcomes.require_both(swapper)


@linux_only
@pytest.mark.usefixtures("_no_waiting")
def test_a_log_that_is_swapped_for_a_link_leads_nowhere(tmp_path: Path) -> None:
    outside, decoy = make_outside(tmp_path, "sage/logs/a.log")
    swapper = Swapper(tmp_path / "sage" / "logs" / "a.log", decoy, (0.0001, 0.0005, 0.002))
    outcomes = Outcomes()
    before = snapshot(outside)
    log = tmp_path / "sage" / "logs" / "a.log"
    with Listener(outside) as listener:
        for _ in outcomes.rounds(swapper):
            fill(tmp_path / "sage" / "logs", b"own")
            with swapper.racing():
                done = clean(tmp_path / "sage" / "logs", most_workers=1)
            outcomes.done += done.compressed_files == 2
            outcomes.refused += done.compressed_files < 2
            if not decoy.is_symlink():
                decoy.unlink(missing_ok=True)
                log.unlink(missing_ok=True)
                decoy.symlink_to(outside / "whole" / "sage/logs/a.log")
        assert listener.heard() == set()
    assert snapshot(outside) == before
    outcomes.require_both(swapper)


def make_outside(top: Path, component: str) -> tuple[Path, Path]:
    """What a link in place of a component leads to, and the link."""
    fill(top / "sage" / "logs", b"own")
    fill(top / "outside" / "whole" / "sage" / "logs", b"foreign")
    (top / "decoys").mkdir()
    decoy = top / "decoys" / "link"
    decoy.symlink_to(top / "outside" / "whole" / component)
    make_old(decoy)
    return top / "outside", decoy


def fill(directory: Path, content: bytes) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for name in ("a.log", "b.log"):
        make_log(directory / name, content)


# Writers that rotate while the job runs


@linux_only
def test_a_program_that_rotates_all_the_time_loses_nothing(tmp_path: Path) -> None:
    stop = threading.Event()
    written: dict[str, bytes] = {}

    def rotate() -> None:
        number = 0
        while not stop.is_set() and number < 2000:
            for older in range(4, 0, -1):
                rename_to_free_name(tmp_path / f"app.log.{older}", tmp_path / f"app.log.{older + 1}")
            content = f"log number {number}".encode()
            make_log(tmp_path / "new", content)
            if rename_to_free_name(tmp_path / "new", tmp_path / "app.log.1"):
                written[f"number {number}"] = content
                number += 1

    thread = threading.Thread(target=rotate)
    thread.start()
    for _ in range(30):
        clean(tmp_path)
    stop.set()
    thread.join()
    clean(tmp_path)
    assert set(written.values()) <= set(contents(tmp_path).values())
    require_nothing_left_over(tmp_path)
