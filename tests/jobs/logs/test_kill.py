"""A kill at any system call loses no byte of any log, and after the next run nothing is left of it."""

from __future__ import annotations

import errno
import fcntl
import gzip
import os
import random
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.logs.changing.private_directories import REMOVING, UNFINISHED
from tests.disks.privileges import NOBODY
from tests.jobs.logs.killed_runs import RETENTION_DAYS, KilledRuns
from tests.jobs.logs.log_files import (
    clean,
    contents,
    make_log,
    require_nothing_left_over,
    require_nothing_lost,
    text,
)
from tests.running.skips import needs_root

MOMENT = 1_700_000_000
LARGE, OTHER, EQUAL, SMALL = text(1_200_000, 1), text(1000, 2), text(50_000, 3), b""
ORIGINALS = {"large.log": LARGE, "taken.log": b"taken", "taken.log.gz": OTHER, "equal.log": EQUAL, "small.log.1": SMALL}
EXPECTED = {
    "large.log.gz": LARGE,
    "taken.log.gz": OTHER,
    "taken.log.distinto-20231114T221320Z.gz": b"taken",
    "equal.log.gz": EQUAL,
    "small.log.1.gz": SMALL,
}
DAYS = 30


@pytest.fixture(scope="module")
def runs() -> Iterator[KilledRuns]:
    """One process for all runs."""
    with KilledRuns() as running:
        yield running


def fill(directory: Path) -> Path:
    """New logs of all kinds: one that is due for deletion, too."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for name in ("large.log", "equal.log", "small.log.1"):
        make_log(directory / name, ORIGINALS[name], DAYS)
    (directory / "taken.log").write_bytes(b"taken")
    os.utime(directory / "taken.log", (MOMENT, MOMENT))
    make_log(directory / "taken.log.gz", gzip.compress(OTHER), DAYS)
    make_log(directory / "equal.log.gz", gzip.compress(EQUAL), DAYS)
    make_log(directory / "deleted.log.gz", gzip.compress(b"deleted"), days=2 * RETENTION_DAYS)
    return directory


def require_all_is_well(directory: Path) -> None:
    """After one more run, which nobody kills."""
    assert clean(directory, retention_days=RETENTION_DAYS).failures == 0
    require_nothing_left_over(directory)
    assert contents(directory) == EXPECTED


def test_a_kill_at_any_call_loses_nothing_and_leaves_nothing(runs: KilledRuns, tmp_path: Path) -> None:
    kill_at = 1
    while runs.run(fill(tmp_path / "logs"), kill_at):
        require_nothing_lost(tmp_path / "logs", ORIGINALS)
        require_all_is_well(tmp_path / "logs")
        kill_at += 1
    assert kill_at > 40
    assert contents(tmp_path / "logs") == EXPECTED


def test_a_kill_while_a_killed_run_is_put_right_loses_nothing_either(runs: KilledRuns, tmp_path: Path) -> None:
    chances = random.Random(16)  # noqa: S311 not a secret
    set_aside = 0
    for _ in range(90):
        fill(tmp_path / "logs")
        runs.run(tmp_path / "logs", chances.randrange(1, 60))
        set_aside += any((tmp_path / "logs").glob(f"{REMOVING}*/*"))
        runs.run(tmp_path / "logs", chances.randrange(1, 12))
        require_nothing_lost(tmp_path / "logs", ORIGINALS)
        require_all_is_well(tmp_path / "logs")
    assert set_aside > 3


def test_a_log_that_was_set_aside_keeps_a_name_of_its_own_when_another_took_its_name(tmp_path: Path) -> None:
    """A program has gone on under the name before the next run came."""
    aside = tmp_path / f"{REMOVING}0123456789abcdef"
    aside.mkdir(mode=0o700)
    make_log(aside / "app.log", b"set aside")
    os.utime(aside / "app.log", (MOMENT, MOMENT))
    make_log(tmp_path / "app.log", b"new", days=0)
    clean(tmp_path, retention_days=RETENTION_DAYS)
    assert contents(tmp_path) == {"app.log": b"new", "app.log.distinto-20231114T221320Z.gz": b"set aside"}


def test_what_a_killed_run_left_where_the_group_is_inherited_is_put_right(tmp_path: Path) -> None:
    """A directory made there inherits the bit, too (`chmod g+s`, as many directories of logs have it)."""
    tmp_path.chmod(0o2775)
    for prefix, name in ((REMOVING, "app.log"), (UNFINISHED, "0123.gz")):
        left = tmp_path / f"{prefix}0123456789abcdef"
        left.mkdir(mode=0o700)
        assert stat.S_IMODE(left.stat().st_mode) == 0o2700
        make_log(left / name, b"set aside")
    clean(tmp_path)
    assert contents(tmp_path) == {"app.log.gz": b"set aside"}


def test_what_another_run_is_about_is_left_alone(tmp_path: Path) -> None:
    """It holds a lock on its directory for as long as it lives."""
    aside = tmp_path / f"{REMOVING}0123456789abcdef"
    aside.mkdir(mode=0o700)
    make_log(aside / "app.log", b"set aside")
    descriptor = os.open(aside, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    clean(tmp_path)
    assert os.listdir(aside) == ["app.log"]
    os.close(descriptor)
    clean(tmp_path)
    assert contents(tmp_path) == {"app.log.gz": b"set aside"}


@pytest.mark.parametrize("kind", ["open to others", "file", "link", pytest.param("of another user", marks=needs_root)])
def test_what_only_looks_like_a_leftover_is_left_alone(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Others may plant there what a run would delete or move. A warning names it: it may hold logs."""
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o700)
    (outside / "file").touch()
    directory = tmp_path / "logs"
    directory.mkdir()
    planted = directory / f"{REMOVING}0123456789abcdef"
    if kind in ("open to others", "of another user"):
        outside.rename(planted)
        planted.chmod(0o755) if kind == "open to others" else os.chown(planted, NOBODY, NOBODY)
        assert clean(directory).failures == 0
        assert os.listdir(planted) == ["file"]
        assert f"Se deja {planted}, que parece de una ejecución interrumpida: " in caplog.text
        return
    planted.touch() if kind == "file" else planted.symlink_to(outside)
    assert clean(directory).failures == 0
    assert os.path.lexists(planted)
    assert os.listdir(outside) == ["file"]


def test_what_cannot_be_locked_leaves_nothing_and_each_log_is_told_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """NFS without a lock service."""

    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    originals = {"a.log": b"a", "b.log": b"b"}
    for name, content in originals.items():
        make_log(tmp_path / name, content)
    descriptors = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(fcntl, "flock", refuse)
    assert clean(tmp_path).failures == 2
    assert contents(tmp_path) == originals
    require_nothing_left_over(tmp_path)
    assert caplog.text.count("no hay bloqueos disponibles") == 2
    assert len(os.listdir("/proc/self/fd")) == descriptors
