"""Killed at any system call that changes a disk, a backup leaves no file that looks whole and is not.

Looked at from outside, by `gunzip -t` and `sha256sum -c`; the next run removes what is left and makes its own backup.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

from jobs.backups.files.drafts import remove_unfinished
from jobs.backups.result import BackupFile
from tests.jobs.backups.lying_programs import remembering_programs
from tests.jobs.backups.pairs import Pair

CALLS = frozenset(("open", "write", "fsync", "link", "rename", "unlink", "mkdir", "flock", "posix_fadvise"))
"""Functions, by their names in Python, that stand for the system calls."""

MOST_CALLS = 200


class Killer:
    """Kills this process just before a certain one of the calls."""

    def __init__(self, last: int) -> None:
        self._left = last
        self._turn = threading.Lock()

    def watch(self) -> None:
        """Count the calls of all threads from now on."""
        threading.setprofile(self._count)
        sys.setprofile(self._count)

    def _count(self, _frame: FrameType, event: str, called: object) -> None:
        if event != "c_call" or getattr(called, "__name__", "") not in CALLS:
            return
        with self._turn:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def killed_at(number: int, make: Callable[[], object]) -> bool:
    """Do something in a process of its own that dies before the call of that number; False if it ended before."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            Killer(number).watch()
            make()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    if os.WIFSIGNALED(ended):
        return True
    assert os.WEXITSTATUS(ended) == 0
    return False


def require_whole(directory: Path) -> int:
    """Fail unless every backup that has its final name is what it says; how many there are."""
    found = sorted(directory.glob("backup_*.sql.gz"))
    for path in found:
        subprocess.run(["gunzip", "-t", str(path)], check=True)
        subprocess.run(["sha256sum", "-c", "--quiet", f"{path.name}.sha256"], check=True, cwd=directory)
        if "FULL" in path.name:
            description = json.loads(path.with_name(path.name.removesuffix(".sql.gz") + ".json").read_text())
            assert description["size_bytes"] == path.stat().st_size
    return len(found)


@pytest.fixture
def filled(pair: Pair) -> Pair:
    """With a few rows."""
    pair.change("CREATE TABLE a AS SELECT g AS id, md5(g::text) AS b FROM generate_series(1, 200) g")
    return pair


def play(pair: Pair, make: Callable[[], BackupFile]) -> int:
    """Kill it at every call in turn; at how many it was killed."""
    before = require_whole(pair.directory)
    for number in range(1, MOST_CALLS):
        if not killed_at(number, make):
            assert require_whole(pair.directory) == before + 1
            return number - 1
        whole = require_whole(pair.directory)
        remove_unfinished(pair.directory)
        assert require_whole(pair.directory) == whole
        assert [path.name for path in pair.directory.glob("*") if path.name.startswith(".")] == []
        before = whole
    raise AssertionError(f"it makes more than {MOST_CALLS} calls")


def test_a_full_backup_killed_at_every_call(filled: Pair, tmp_path: Path) -> None:
    filled.use_programs(remembering_programs(filled.binaries, tmp_path / "programs"))
    assert play(filled, filled.full) > 10


def test_a_differential_killed_at_every_call(filled: Pair, tmp_path: Path) -> None:
    full = filled.full()
    filled.change("DELETE FROM a WHERE id < 9")
    filled.use_programs(remembering_programs(filled.binaries, tmp_path / "programs"))
    assert play(filled, lambda: filled.differential(full)) > 10
