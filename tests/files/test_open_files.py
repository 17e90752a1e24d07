"""Writers are found in `/proc` where the kernel gives no lease; where that does not show all, nothing is assumed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from files import open_files as open_files_module
from files.descriptors import closing_descriptor
from files.open_files import OpenFiles, look_at_open_files
from files.writers import Answer
from jobs.migration.directories import DirectoryJudge
from jobs.migration.removal import entries as entries_module
from jobs.migration.removal.entries import LocalCopyInUse, WritersUnknown
from jobs.migration.removal.removal import remove_local_copy
from tests.disks.privileges import NOBODY
from tests.executions.permissions import Granted
from tests.jobs.migration.removal.test_removal import directory, execution_at, judge, proven_tree, root
from tests.repository import REPOSITORY
from tests.running.skips import needs_root
from tests.stories.trees import snapshot

__all__ = ["directory", "judge", "root"]  # fixtures

NEVER = threading.Event()

OPENED = """
import mmap, os, sys
file = open(sys.argv[1], sys.argv[2])
if sys.argv[3] == "mapped":
    mapping = mmap.mmap(file.fileno(), 0)
    os.closerange(3, 1000)  # also the descriptor that Python keeps beside a mapping
print("open", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def opened_by_another(path: Path, mode: str, how: str = "open") -> Iterator[None]:
    """Within, another process has a file open, or mapped."""
    process = subprocess.Popen(
        [sys.executable, "-c", OPENED, str(path), mode, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"open\n"
    try:
        yield
    finally:
        process.communicate()


def has_writer(path: Path) -> bool:
    with closing_descriptor(os.open(path, os.O_RDONLY)) as descriptor:
        return look_at_open_files().has_writer(descriptor)


@pytest.mark.parametrize(("mode", "how"), [("r+b", "open"), ("ab", "open"), ("r+b", "mapped")])
def test_who_has_a_file_open_or_mapped_for_writing_is_seen(tmp_path: Path, mode: str, how: str) -> None:
    path = tmp_path / "with a line\nend"
    path.write_bytes(b"content")
    with opened_by_another(path, mode, how):
        path = path.rename(tmp_path / "with a line\nend, renamed")
        assert has_writer(path)
    assert not has_writer(path)


def test_who_only_reads_is_no_writer(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with opened_by_another(path, "rb"):
        assert not has_writer(path)


@pytest.mark.parametrize(("device", "name", "expected"), [(0, "file", True), (1, "file", True), (1, "other", False)])
def test_a_mapping_on_another_device_counts_where_the_name_is_the_same(
    tmp_path: Path, device: int, name: str, expected: bool
) -> None:
    """btrfs and overlays tell mappings by a device of their own."""
    path = tmp_path / "file"
    path.touch()
    status = path.stat()
    mapped = open_files_module.Mapped(status.st_dev + device, status.st_ino, name)
    with closing_descriptor(os.open(path, os.O_RDONLY)) as descriptor:
        seen = OpenFiles(frozenset(), frozenset([mapped]), is_complete=True)
        assert seen.has_writer(descriptor) == expected


def test_another_file_of_the_same_number_is_another_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    status = path.stat()
    with closing_descriptor(os.open(path, os.O_RDONLY)) as descriptor:
        seen = OpenFiles(frozenset([(status.st_dev + 1, status.st_ino)]), frozenset(), is_complete=True)
        assert not seen.has_writer(descriptor)


LOOKED_BY_NOBODY = f"""
import os
from files.open_files import look_at_open_files
if os.geteuid() == 0:
    os.setuid({NOBODY})
print(look_at_open_files().is_complete)
"""


def test_a_look_that_may_not_see_a_process_says_so() -> None:
    """An ordinary user may look at his own processes only."""
    command = [sys.executable, "-c", LOOKED_BY_NOBODY]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("hidden", ["INITIAL_PROCESS_NAMESPACE", "FIRST_PROCESS"])
def test_a_look_at_a_part_of_the_processes_says_so(hidden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container, or where `/proc` hides those of others; which processes it shows may all be looked at."""
    monkeypatch.setattr(os, "listdir", lambda _path: [])
    monkeypatch.setattr(open_files_module, "INITIAL_PROCESS_NAMESPACE", str(Path("/proc/self/ns/pid").readlink()))
    assert look_at_open_files().is_complete
    monkeypatch.setattr(open_files_module, hidden, "pid:[1]")
    assert not look_at_open_files().is_complete


@pytest.mark.parametrize("answer", [Answer.NO_RIGHT, Answer.NO_LEASES])
def test_a_writer_that_the_kernel_does_not_tell_of_keeps_everything(
    judge: DirectoryJudge, root: Path, directory: Path, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    proven = proven_tree(directory, from_cloud=False)
    monkeypatch.setattr(entries_module, "take_lease", lambda _descriptor: answer)
    monkeypatch.setattr(entries_module, "look_at_open_files", lambda: replace(look_at_open_files(), is_complete=True))
    with opened_by_another(directory / "resultados" / "tabla.csv", "r+b"), pytest.raises(LocalCopyInUse, match="tabla"):
        remove_local_copy(judge, execution_at(directory), lambda: proven, NEVER, Granted())
    assert directory.exists()


@pytest.mark.parametrize(
    ("answer", "is_complete", "stays"),
    [
        (Answer.NO_RIGHT, False, True),
        (Answer.NO_RIGHT, True, False),
        (Answer.NO_LEASES, False, False),
        (Answer.NO_LEASES, True, False),
    ],
)
def test_where_nobody_can_tell_the_files_of_others_stay(
    judge: DirectoryJudge, directory: Path, answer: Answer, is_complete: bool, stays: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A file system without leases is as the README says. One look does for a whole directory."""
    proven = proven_tree(directory, from_cloud=False)
    looks: list[OpenFiles] = []

    def look() -> OpenFiles:
        looks.append(OpenFiles(frozenset(), frozenset(), is_complete))
        return looks[-1]

    monkeypatch.setattr(entries_module, "take_lease", lambda _descriptor: answer)
    monkeypatch.setattr(entries_module, "look_at_open_files", look)
    with pytest.raises(WritersUnknown, match="CAP_LEASE") if stays else contextlib.nullcontext():
        remove_local_copy(judge, execution_at(directory), lambda: proven, NEVER, Granted())
    assert directory.exists() == stays
    assert len(looks) == 1


REMOVED_BY_NOBODY = f"""
import os, sys
from pathlib import Path
from jobs.migration.directories import DirectoryJudge
from jobs.migration.removal.entries import WritersUnknown
from tests.jobs.migration.removal import test_removal
directory = Path(sys.argv[1])
proven = test_removal.proven_tree(directory, from_cloud=False)
os.setgroups([])
os.setuid({NOBODY})
try:
    test_removal.remove(DirectoryJudge([str(directory.parent)]), directory, proven)
except WritersUnknown as error:
    print(error)
"""


@needs_root
def test_a_user_who_may_remove_the_files_of_others_but_not_ask_for_their_writers_keeps_them(
    root: Path, directory: Path
) -> None:
    """Without CAP_LEASE the kernel says EACCES before it looks at anything."""
    for path in (root.parent, root, directory, *directory.rglob("*")):
        if path.is_dir():
            path.chmod(0o777)
    for above in root.parents:
        above.chmod(above.stat().st_mode | 0o055)
    before = snapshot(directory)
    done = subprocess.run(
        [sys.executable, "-c", REMOVED_BY_NOBODY, str(directory)], cwd=REPOSITORY, capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    assert "CAP_LEASE" in done.stdout
    assert snapshot(directory) == before
    for path in (directory, *directory.rglob("*")):
        shutil.chown(path, NOBODY, NOBODY) if not path.is_symlink() else None
    subprocess.run([sys.executable, "-c", REMOVED_BY_NOBODY, str(directory)], cwd=REPOSITORY, check=True, timeout=60)
    assert not directory.exists()
