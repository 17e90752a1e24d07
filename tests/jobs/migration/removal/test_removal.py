"""Only what is proven is removed, and whatever stops a removal leaves the directory under its own name."""

from __future__ import annotations

import contextlib
import errno
import itertools
import mmap
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from config.errors import RunInterrupted, SourceChanged, SourceUnreadable, UnsafeSource
from config.models import Execution
from files.descriptors import closing_descriptor
from files.tree import Tree
from files.walk import hash_file, walk_tree
from jobs.migration.directories import DirectoryJudge
from jobs.migration.removal.entries import LocalCopyDiffers, LocalCopyInUse
from jobs.migration.removal.removal import LocalCopyAbsent, keep_local_copy, remove_local_copy, trash_name
from providers.errors import ProviderUnavailable
from sql.migration.removals import RemovalRecord
from storage import lease as lease_module
from storage.manifest import make_manifest, read_manifest
from tests.executions.manifests import content_of, hashed
from tests.executions.permissions import Granted, place_of, remembering
from tests.executions.source_mutations import require_file_system_that_notices
from tests.repository import REPOSITORY
from tests.stories.trees import Snapshot, make_odd_tree, make_usual_tree, snapshot

NEVER = threading.Event()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The one root in which executions lie."""
    path = tmp_path / "executions"
    path.mkdir()
    return path


@pytest.fixture
def directory(root: Path) -> Path:
    """An execution's directory with a neighbour."""
    (root / "neighbour").mkdir()
    path = root / "e1"
    path.mkdir()
    make_usual_tree(path)
    (path / "enlace").symlink_to("registro.log")
    return path


@pytest.fixture
def trash(root: Path, directory: Path) -> Path:
    """Where the directory is while it is removed."""
    return root / trash_name(execution_at(directory))


@pytest.fixture
def judge(root: Path) -> DirectoryJudge:
    """Applies that root."""
    return DirectoryJudge([str(root)])


def execution_at(directory: Path) -> Execution:
    return Execution(7, "uuid-7", str(directory))


def proven_tree(directory: Path, *, from_cloud: bool) -> Tree:
    """What a copy of the directory as it is now holds: as this run knows it, or as read back from its manifest."""
    with closing_descriptor(os.open(directory, os.O_RDONLY)) as descriptor:
        tree = walk_tree(descriptor)
        hashes = {entry.path: hash_file(descriptor, entry, NEVER) for entry in tree.files}
    proven = hashed(tree, hashes)
    return (
        read_manifest(content_of(make_manifest(execution_at(directory), proven, "installation-1")))
        if from_cloud
        else proven
    )


def remove(
    judge: DirectoryJudge,
    directory: Path,
    proven: Tree,
    interruption: threading.Event = NEVER,
    permission: Granted | None = None,
) -> None:
    """Without a permission: a removal that was begun before, if the directory is set aside already."""
    execution = execution_at(directory)
    permission = permission or remembering(directory.with_name(trash_name(execution)))
    remove_local_copy(judge, execution, lambda: proven, interruption, permission)


def contents(root: Path) -> Snapshot:
    """All that lies below the root; its own time changes when a directory in it is renamed, even back."""
    return {path: described for path, described in snapshot(root).items() if path}


def not_asked() -> Tree:
    raise AssertionError("the proven copy was asked for")


both_ways = pytest.mark.parametrize("from_cloud", [False, True], ids=["same run", "from its manifest"])


@both_ways
def test_what_is_proven_goes(judge: DirectoryJudge, root: Path, directory: Path, from_cloud: bool) -> None:
    (directory / "odd").mkdir()
    make_odd_tree(directory / "odd")
    remove(judge, directory, proven_tree(directory, from_cloud=from_cloud))
    assert os.listdir(root) == ["neighbour"]


def rewrite_in_place(directory: Path) -> None:
    """The same size and time of change, other bytes."""
    file = directory / "registro.log"
    status = file.stat()
    with file.open("r+b") as opened:
        opened.write(b"#")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def relink(directory: Path) -> None:
    (directory / "enlace").unlink()
    (directory / "enlace").symlink_to("ejecucion.yaml")


def file_to_directory(directory: Path) -> None:
    (directory / "registro.log").unlink()
    (directory / "registro.log").mkdir()


def file_to_link(directory: Path) -> None:
    (directory / "registro.log").rename(directory.parent / "neighbour" / "registro.log")
    (directory / "registro.log").symlink_to("../neighbour/registro.log")


def append(directory: Path) -> None:
    with (directory / "registro.log").open("ab") as file:
        file.write(b"!")


def swap_for_file(path: Path) -> None:
    path.unlink()
    path.write_text("late")


def swap_for_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("late")


def swap_for_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "late").touch()


DIFFERENCES: dict[str, Callable[[Path], object]] = {
    "a new file": lambda directory: (directory / "resultados" / "nuevo").touch(),
    "a new link": lambda directory: (directory / "nuevo").symlink_to("/etc"),
    "an extra directory": lambda directory: (directory / "resultados" / "nuevo").mkdir(),
    "a renamed file": lambda directory: (directory / "registro.log").rename(directory / "registro.old"),
    "other bytes": rewrite_in_place,
    "more bytes": append,
    "another link target": relink,
    "a directory in place of a file": file_to_directory,
    "a link in place of a file": file_to_link,
}


@both_ways
@pytest.mark.parametrize("difference", DIFFERENCES)
def test_a_difference_keeps_everything(
    judge: DirectoryJudge, root: Path, directory: Path, difference: str, from_cloud: bool
) -> None:
    proven = proven_tree(directory, from_cloud=from_cloud)
    wait_for_the_clock(root, directory)
    DIFFERENCES[difference](directory)
    before = contents(root)
    with pytest.raises(LocalCopyDiffers, match=r"nuevo|registro|enlace"):
        remove(judge, directory, proven)
    assert contents(root) == before


def wait_for_the_clock(root: Path, directory: Path) -> None:
    """Until the kernel gives new changes another time than the last one has."""
    last_ns = max(path.lstat().st_ctime_ns for path in directory.rglob("*"))
    probe = root.parent / "clock"
    while not probe.exists() or probe.stat().st_ctime_ns <= last_ns:
        probe.touch()


def test_a_special_file_keeps_everything(judge: DirectoryJudge, root: Path, directory: Path) -> None:
    proven = proven_tree(directory, from_cloud=False)
    os.mkfifo(directory / "fifo")
    with pytest.raises(UnsafeSource, match="fifo"):
        remove(judge, directory, proven)
    assert len(os.listdir(directory)) == 5
    assert sorted(os.listdir(root)) == ["e1", "neighbour"]


@both_ways
def test_equal_bytes_of_another_age_are_proven_by_reading(
    judge: DirectoryJudge, root: Path, directory: Path, from_cloud: bool
) -> None:
    proven = proven_tree(directory, from_cloud=from_cloud)
    os.utime(directory / "registro.log", ns=(1, 1))
    (directory / "resultados").chmod(0o700)
    remove(judge, directory, proven)
    assert os.listdir(root) == ["neighbour"]


def test_without_a_known_hash_nothing_is_proven(judge: DirectoryJudge, directory: Path) -> None:
    proven = proven_tree(directory, from_cloud=True)
    unknown = Tree(entry._replace(sha256=None) for entry in proven)
    with pytest.raises(LocalCopyDiffers):
        remove(judge, directory, unknown)
    assert directory.exists()


@both_ways
def test_hard_links_go_in_one_removal(judge: DirectoryJudge, root: Path, directory: Path, from_cloud: bool) -> None:
    for name in ("otro nombre", "resultados/y otro", "zzz"):
        os.link(directory / "registro.log", directory / name)
    os.link(directory / "registro.log", root / "neighbour" / "outside")
    remove(judge, directory, proven_tree(directory, from_cloud=from_cloud))
    assert sorted(os.listdir(root)) == ["neighbour"]
    assert (root / "neighbour" / "outside").stat().st_nlink == 1


@both_ways
@pytest.mark.parametrize("how", ["a descriptor", "a mapping"])
def test_a_file_that_somebody_has_open_for_writing_keeps_everything(
    judge: DirectoryJudge, root: Path, directory: Path, how: str, from_cloud: bool
) -> None:
    """What he may write yet is in no copy; and nothing is freed before he closes it anyway."""
    proven = proven_tree(directory, from_cloud=from_cloud)
    before = contents(root)
    with contextlib.ExitStack() as writer:
        opened = writer.enter_context((directory / "registro.log").open("r+b"))
        if how == "a mapping":
            require_file_system_that_notices(directory, "overlayfs")
            writer.enter_context(mmap.mmap(opened.fileno(), 0))
            opened.close()
        with pytest.raises(LocalCopyInUse, match=r"registro\.log"):
            remove(judge, directory, proven)
        assert contents(root) == before
    remove(judge, directory, proven)
    assert os.listdir(root) == ["neighbour"]


# Removals that are interrupted


def test_a_request_to_stop_keeps_everything(judge: DirectoryJudge, root: Path, directory: Path) -> None:
    proven = proven_tree(directory, from_cloud=True)
    before = contents(root)
    interruption = threading.Event()
    interruption.set()
    with pytest.raises(RunInterrupted):
        remove(judge, directory, proven, interruption)
    assert contents(root) == before


def test_an_unreachable_copy_keeps_everything(judge: DirectoryJudge, root: Path, directory: Path) -> None:
    before = contents(root)
    error = ProviderUnavailable("no responde")

    def load_proven() -> Tree:
        raise error

    with pytest.raises(ProviderUnavailable) as caught:
        remove_local_copy(judge, execution_at(directory), load_proven, NEVER, Granted())
    assert caught.value is error
    assert contents(root) == before


KILLED_WHILE_REMOVING = """
import os, signal, sys, threading
from pathlib import Path
from jobs.migration.directories import DirectoryJudge
from tests.jobs.migration.removal import test_removal

directory, entries_removed = Path(sys.argv[1]), int(sys.argv[2])
proven = test_removal.proven_tree(directory, from_cloud=False)
remaining = iter(range(entries_removed))

def counted(remove):
    def remove_or_die(*arguments, **keywords):
        if next(remaining, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        remove(*arguments, **keywords)
    return remove_or_die

os.unlink, os.rmdir = counted(os.unlink), counted(os.rmdir)
test_removal.remove(DirectoryJudge([str(directory.parent)]), directory, proven)
"""


@pytest.mark.parametrize("entries_removed", [0, 3, 6])
def test_a_killed_removal_is_finished_from_the_manifest(
    judge: DirectoryJudge, root: Path, directory: Path, trash: Path, entries_removed: int
) -> None:
    proven = proven_tree(directory, from_cloud=True)
    assert len(proven.entries) == 7
    command = [sys.executable, "-c", KILLED_WHILE_REMOVING, str(directory), str(entries_removed)]
    assert subprocess.run(command, check=False, cwd=REPOSITORY, timeout=60).returncode == -signal.SIGKILL
    assert sorted(os.listdir(root)) == [trash.name, "neighbour"]
    assert len(list(trash.rglob("*"))) == 6 - entries_removed
    remove(judge, directory, proven)
    assert os.listdir(root) == ["neighbour"]


@pytest.mark.parametrize("name", ["registro.log", "enlace", "resultados/tabla.csv"])
def test_what_a_death_left_set_aside_goes_if_the_copy_holds_it(
    judge: DirectoryJudge, root: Path, directory: Path, trash: Path, name: str
) -> None:
    proven = proven_tree(directory, from_cloud=True)
    directory.rename(trash)
    (trash / name).rename((trash / name).with_name(".janitor-removing-0"))
    remove(judge, directory, proven)
    assert os.listdir(root) == ["neighbour"]


def test_a_writer_of_what_a_death_left_set_aside_keeps_it(
    judge: DirectoryJudge, root: Path, directory: Path, trash: Path
) -> None:
    """He opened it when it had its name, and what he may write yet is in no copy."""
    proven = proven_tree(directory, from_cloud=True)
    directory.rename(trash)
    aside = (trash / "registro.log").rename(trash / ".janitor-removing-0")
    with aside.open("r+b"), pytest.raises(LocalCopyInUse, match="janitor-removing"):
        remove(judge, directory, proven)
    assert (directory / aside.name).exists()
    assert len(list(directory.rglob("*"))) == 6


def test_a_foreign_directory_of_the_name_of_what_is_set_aside_stays(
    judge: DirectoryJudge, root: Path, directory: Path, trash: Path
) -> None:
    """Also an empty one: the copy holds directories, too, but this program sets none aside."""
    proven = proven_tree(directory, from_cloud=True)
    directory.rename(trash)
    (trash / ".janitor-removing-0").mkdir()
    with pytest.raises(LocalCopyDiffers, match="janitor-removing"):
        remove(judge, directory, proven)
    assert (directory / ".janitor-removing-0").is_dir()


@pytest.mark.parametrize("late", [swap_for_file, swap_for_link, swap_for_directory], ids=["file", "link", "directory"])
def test_what_a_death_left_set_aside_stays_if_no_copy_holds_it(
    judge: DirectoryJudge, root: Path, directory: Path, trash: Path, late: Callable[[Path], None]
) -> None:
    proven = proven_tree(directory, from_cloud=True)
    directory.rename(trash)
    (trash / "registro.log").rename(trash / ".janitor-removing-0")
    late(trash / ".janitor-removing-0")
    with pytest.raises(LocalCopyDiffers, match="janitor-removing"):
        remove(judge, directory, proven)
    assert (directory / ".janitor-removing-0").lstat()


def test_an_execution_may_hold_a_file_called_like_one_set_aside(
    judge: DirectoryJudge, root: Path, directory: Path
) -> None:
    (directory / ".janitor-removing-0").write_text("its own")
    remove(judge, directory, proven_tree(directory, from_cloud=True))
    assert os.listdir(root) == ["neighbour"]


def test_what_was_left_of_a_removal_is_compared_again(
    judge: DirectoryJudge, root: Path, directory: Path, trash: Path
) -> None:
    proven = proven_tree(directory, from_cloud=True)
    (directory / "ejecucion.yaml").unlink()
    directory.rename(trash)
    rewrite_in_place(trash)
    with pytest.raises(LocalCopyDiffers, match=r"registro\.log"):
        remove(judge, directory, proven)
    assert sorted(os.listdir(root)) == ["e1", "neighbour"]
    assert len(os.listdir(directory)) == 3


@pytest.mark.parametrize(
    ("error", "told"), [(KeyboardInterrupt(), KeyboardInterrupt), (OSError(5, "Input/output error"), SourceUnreadable)]
)
def test_an_error_in_the_middle_gives_the_name_back(
    judge: DirectoryJudge,
    root: Path,
    directory: Path,
    error: BaseException,
    told: type[BaseException],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proven = proven_tree(directory, from_cloud=False)

    def fail() -> None:
        raise error

    permission = Granted()
    with after_first_unlink(monkeypatch, fail), pytest.raises(told):
        remove(judge, directory, proven, permission=permission)
    assert sorted(os.listdir(root)) == ["e1", "neighbour"]
    remove(judge, directory, proven, permission=permission)
    assert os.listdir(root) == ["neighbour"]


def test_each_entry_is_asked_for_before_it_goes(
    judge: DirectoryJudge, root: Path, directory: Path, trash: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is. Looked for elsewhere: each order of a provider's is asked for in `storage/lease.py`, and
    so is each object of a leftover that is deleted.
    """
    asked_and_gone: list[str] = []
    for name in ("unlink", "rmdir"):
        really = getattr(os, name)

        def note_and_do(path: str, *, dir_fd: int, really: Callable[..., None] = really) -> None:
            asked_and_gone.append("gone")
            really(path, dir_fd=dir_fd)

        monkeypatch.setattr(os, name, note_and_do)
    permission = Granted(when_asked=lambda: asked_and_gone.append("asked"))
    remove(judge, directory, proven_tree(directory, from_cloud=False), permission=permission)
    assert asked_and_gone.count("gone") == 7
    assert not [pair for pair in itertools.pairwise(asked_and_gone) if pair == ("gone", "gone")]


def test_a_request_to_stop_in_the_middle_is_heard(
    judge: DirectoryJudge, root: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proven = proven_tree(directory, from_cloud=False)
    interruption = threading.Event()
    with after_first_unlink(monkeypatch, interruption.set), pytest.raises(RunInterrupted):
        remove(judge, directory, proven, interruption)
    assert len(list(directory.rglob("*"))) == 5


# What happens while it is removed


def test_a_file_that_changes_after_it_was_compared_stays(
    judge: DirectoryJudge, root: Path, directory: Path, trash: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proven = proven_tree(directory, from_cloud=False)
    wait_for_the_clock(root, directory)
    with after_first_unlink(monkeypatch, lambda: append(trash)), pytest.raises(SourceChanged, match=r"registro\.log"):
        remove(judge, directory, proven)
    assert (directory / "registro.log").read_bytes().endswith(b"!")


def test_a_file_that_appears_after_all_was_compared_stays(
    judge: DirectoryJudge, directory: Path, trash: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proven = proven_tree(directory, from_cloud=False)
    appear = (trash / "resultados" / "nuevo").touch
    with after_first_unlink(monkeypatch, appear), pytest.raises(SourceUnreadable, match="resultados"):
        remove(judge, directory, proven)
    assert os.listdir(directory / "resultados") == ["nuevo"]


@contextlib.contextmanager
def after_first_unlink(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> Iterator[None]:
    """Within, something happens once the first file is gone."""
    unlink = os.unlink
    pending = [action]

    def unlink_and_act(path: str, *, dir_fd: int) -> None:
        unlink(path, dir_fd=dir_fd)
        if pending:
            pending.pop()()

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", unlink_and_act)
        yield


@pytest.mark.parametrize("swap", [swap_for_file, swap_for_link, swap_for_directory])
@pytest.mark.parametrize("name", ["registro.log", "enlace"])
def test_what_comes_under_a_name_at_the_last_moment_keeps_it(
    judge: DirectoryJudge,
    directory: Path,
    trash: Path,
    name: str,
    swap: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proven = proven_tree(directory, from_cloud=False)
    late: list[Snapshot] = []

    def change(source: str) -> None:
        if source == name and not late:
            swap(trash / name)
            late.append(snapshot(trash))

    with before_rename(monkeypatch, change), pytest.raises(SourceChanged, match=name):
        remove(judge, directory, proven)
    assert late[0].keys() == snapshot(directory).keys()
    present = [path for path in (b"registro.log", b"enlace", b"registro.log/late", b"enlace/late") if path in late[0]]
    assert all(snapshot(directory)[path] == late[0][path] for path in present)
    with pytest.raises(LocalCopyDiffers, match=name):
        remove(judge, directory, proven)


def test_what_was_replaced_twice_stays_twice(
    judge: DirectoryJudge, directory: Path, trash: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The late file cannot get its name back, as another one has it: it stays set aside, in the same directory."""
    proven = proven_tree(directory, from_cloud=False)
    file = trash / "registro.log"
    rename = os.rename

    def replace_twice(source: str, target: str, **directories: int) -> None:
        if source == "registro.log":
            swap_for_file(file)
        rename(source, target, **directories)
        if source == "registro.log":
            file.write_text("later")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", replace_twice)
        with pytest.raises(SourceChanged, match="registro"):
            remove(judge, directory, proven)
    assert (directory / "registro.log").read_text() == "later"
    assert [path.read_text() for path in directory.glob(".janitor-*")] == ["late"]
    (directory / "registro.log").unlink()
    with pytest.raises(LocalCopyDiffers, match="janitor-removing"):
        remove(judge, directory, proven)


@pytest.mark.parametrize("late", [False, True])
def test_a_disk_without_room_for_one_more_name_is_freed_nevertheless(
    judge: DirectoryJudge, root: Path, directory: Path, trash: Path, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    proven = proven_tree(directory, from_cloud=False)
    refused: list[str] = []
    rename = os.rename

    def rename_without_room(source: str, target: str, **directories: int) -> None:
        if not target.startswith(".janitor-removing"):
            return rename(source, target, **directories)
        refused.append(source)
        if late and source == "registro.log":
            swap_for_file(trash / source)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", rename_without_room)
        with pytest.raises(SourceChanged) if late else contextlib.nullcontext():
            remove(judge, directory, proven)
    assert "registro.log" in refused
    assert (directory / "registro.log").exists() == late


def test_a_directory_that_was_moved_away_meanwhile_keeps_what_is_in_it(
    judge: DirectoryJudge, directory: Path, trash: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proven = proven_tree(directory, from_cloud=False)
    rescued = tmp_path / "rescued"
    move = partial((trash / "resultados").rename, rescued)
    with after_first_unlink(monkeypatch, move), pytest.raises(SourceUnreadable, match="resultados"):
        remove(judge, directory, proven)
    assert len(os.listdir(rescued)) == 1


def test_a_writer_who_comes_at_the_last_moment_keeps_his_file(
    judge: DirectoryJudge, root: Path, directory: Path, trash: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He has to wait, by which he is noticed, and writes to a file that has its name."""
    proven = proven_tree(directory, from_cloud=False)
    writers: list[threading.Thread] = []

    def change(source: str) -> None:
        if source == "registro.log":
            path = trash / source
            writers.append(threading.Thread(target=lambda: path.open("r+b", buffering=0).close()))
            writers[0].start()
            writers[0].join(0.2)
            assert writers[0].is_alive()

    permission = Granted()
    with before_rename(monkeypatch, change), pytest.raises(LocalCopyInUse, match="registro"):
        remove(judge, directory, proven, permission=permission)
    writers[0].join(30)
    assert (directory / "registro.log").exists()
    remove(judge, directory, proven, permission=permission)
    assert os.listdir(root) == ["neighbour"]


@contextlib.contextmanager
def before_rename(monkeypatch: pytest.MonkeyPatch, action: Callable[[str], object]) -> Iterator[None]:
    """Within, something happens before each rename."""
    rename = os.rename

    def act_and_rename(source: str, target: str, **directories: int) -> None:
        action(source)
        rename(source, target, **directories)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", act_and_rename)
        yield


@pytest.mark.parametrize("kind", ["directory", "link"])
def test_a_directory_swapped_before_it_is_renamed_is_not_touched(
    judge: DirectoryJudge, root: Path, directory: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    proven = proven_tree(directory, from_cloud=False)
    moved = root / "moved"
    rename = os.rename

    def swap_and_rename(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        monkeypatch.undo()
        rename(directory, moved)
        if kind == "link":
            directory.symlink_to("neighbour")
        else:
            directory.mkdir()
            make_usual_tree(directory)
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    before = snapshot(directory)
    monkeypatch.setattr(os, "rename", swap_and_rename)
    with pytest.raises(UnsafeSource, match="sustituido"):
        remove(judge, directory, proven)
    assert sorted(os.listdir(root)) == ["e1", "moved", "neighbour"]
    assert directory.is_symlink() == (kind == "link")
    assert snapshot(moved) == before


def test_a_directory_created_again_beside_the_trash_is_not_touched(
    judge: DirectoryJudge, root: Path, directory: Path, trash: Path
) -> None:
    proven = proven_tree(directory, from_cloud=True)
    directory.rename(trash)
    directory.mkdir()
    (directory / "new").write_text("another execution")
    remove(judge, directory, proven)
    assert sorted(os.listdir(root)) == ["e1", "neighbour"]
    assert os.listdir(directory) == ["new"]


def test_what_was_set_aside_before_is_not_taken_for_what_is_there(
    judge: DirectoryJudge, root: Path, directory: Path, trash: Path
) -> None:
    """The row was set back meanwhile, and the execution ran again and was migrated: nothing is recorded of a removal.
    To remove what is left of the first one, and to say that the second one is gone, would be wrong.

    Looked for elsewhere: what a temporary file's removal had set aside is known by its lock and its owner.
    """
    proven = proven_tree(directory, from_cloud=True)
    shutil.copytree(directory, trash, symlinks=True)
    before = contents(root)
    with pytest.raises(UnsafeSource, match="no es el directorio que este programa apartó"):
        remove(judge, directory, proven, permission=Granted())
    assert contents(root) == before


def test_trash_that_differs_stays_beside_a_directory_created_again(
    judge: DirectoryJudge, root: Path, directory: Path, trash: Path
) -> None:
    proven = proven_tree(directory, from_cloud=True)
    append(directory)
    directory.rename(trash)
    directory.mkdir()
    before = contents(root)
    with pytest.raises(LocalCopyDiffers):
        remove(judge, directory, proven)
    assert contents(root) == before


def test_a_link_called_like_the_trash_is_not_followed(
    judge: DirectoryJudge, root: Path, directory: Path, trash: Path, tmp_path: Path
) -> None:
    proven = proven_tree(directory, from_cloud=True)
    outside = tmp_path / "outside"
    directory.rename(outside)
    trash.symlink_to(outside)
    before = snapshot(outside)
    with pytest.raises(SourceUnreadable):
        remove(judge, directory, proven)
    assert snapshot(outside) == before


# What is not removed at all


@pytest.mark.parametrize("renamed", [False, True])
def test_without_roots_nothing_is_removed(root: Path, directory: Path, trash: Path, renamed: bool) -> None:
    proven = proven_tree(directory, from_cloud=False)
    if renamed:
        directory.rename(trash)
    before = contents(root)
    with pytest.raises(UnsafeSource, match="JANITOR_ROOTS"):
        remove(DirectoryJudge([]), directory, proven)
    assert contents(root) == before


def test_outside_the_roots_nothing_is_removed(judge: DirectoryJudge, directory: Path, tmp_path: Path) -> None:
    outside = directory.rename(tmp_path / "outside")
    before = snapshot(outside)
    with pytest.raises(UnsafeSource, match="fuera de JANITOR_ROOTS"):
        remove(judge, outside, proven_tree(outside, from_cloud=False))
    assert snapshot(outside) == before


# What is not there


def test_what_an_earlier_run_was_seen_to_remove_is_gone(judge: DirectoryJudge, root: Path) -> None:
    """It was killed after its last `rmdir`, before it could record that."""
    permission = Granted(RemovalRecord("17", place_of(root)))
    remove_local_copy(judge, execution_at(root / "gone"), not_asked, NEVER, permission)


def test_a_directory_created_again_since_is_not_touched(judge: DirectoryJudge, root: Path, directory: Path) -> None:
    before = contents(root)
    permission = Granted(RemovalRecord("17", place_of(root)))
    remove_local_copy(judge, execution_at(directory), not_asked, NEVER, permission)
    assert contents(root) == before


ABSENCES: dict[str, Callable[[Path], tuple[Path, RemovalRecord]]] = {
    "nothing was ever begun": lambda root: (root / "e1", RemovalRecord()),
    "it was set aside, and not emptied": lambda root: (root / "e1", RemovalRecord("17")),
    "it was emptied in what is not mounted now": lambda root: (root / "e1", RemovalRecord("17", "1:2")),
    "what held it is not there": lambda root: (root / "gone" / "e1", RemovalRecord()),
    "what held it when it was emptied is not there": lambda root: (
        root / "gone" / "e1",
        RemovalRecord("17", place_of(root)),
    ),
}


@pytest.mark.parametrize("absence", ABSENCES)
def test_absence_is_no_removal(judge: DirectoryJudge, root: Path, absence: str) -> None:
    """The disk is not mounted, somebody moved it, the host has another disk: nobody has seen that it was removed.

    Looked for elsewhere: the temporary files count what was unlinked, and a leftover is settled only once a listing has
    shown that its place is empty.
    """
    path, record = ABSENCES[absence](root)
    with pytest.raises(LocalCopyAbsent, match="no consta"):
        remove_local_copy(judge, execution_at(path), not_asked, NEVER, Granted(record))


@pytest.mark.parametrize("taken_away", [["registro.log"], ["resultados/tabla.csv"], None], ids=["one", "below", "all"])
def test_what_is_missing_before_the_removal_was_begun_keeps_everything(
    judge: DirectoryJudge, root: Path, directory: Path, taken_away: list[str] | None
) -> None:
    """So does an empty directory in the place of one that is not mounted. Each entry must be seen to go."""
    proven = proven_tree(directory, from_cloud=True)
    if taken_away is None:
        shutil.rmtree(directory)
        directory.mkdir()
    for name in taken_away or ():
        (directory / name).unlink()
    before = contents(root)
    with pytest.raises(LocalCopyDiffers, match="faltan"):
        remove(judge, directory, proven)
    assert contents(root) == before


@pytest.mark.parametrize("full", [True, False])
def test_a_foreign_directory_of_the_trash_name_is_left_alone(
    judge: DirectoryJudge, root: Path, directory: Path, trash: Path, full: bool
) -> None:
    """Also one that holds what the copy holds; and what has the name of the execution is not touched either."""
    proven = proven_tree(directory, from_cloud=True)
    permission = remembering(directory)
    if full:
        shutil.copytree(directory, trash, symlinks=True)
    else:
        trash.mkdir()
    before = contents(root)
    with pytest.raises(UnsafeSource, match="janitor-trash"):
        remove_local_copy(judge, execution_at(directory), lambda: proven, NEVER, permission)
    keep_local_copy(judge, execution_at(directory), permission.record)
    assert contents(root) == before
    directory.rename(root / "moved")
    before = contents(root)
    with pytest.raises(UnsafeSource, match="janitor-trash"):
        remove_local_copy(judge, execution_at(directory), lambda: proven, NEVER, permission)
    keep_local_copy(judge, execution_at(directory), permission.record)
    assert contents(root) == before


def test_an_empty_directory_of_the_trash_name_that_nobody_knows_is_left_alone(
    judge: DirectoryJudge, root: Path, trash: Path, directory: Path
) -> None:
    """One that a version set aside which did not write down which has the rest of the execution in it."""
    proven = proven_tree(directory, from_cloud=True)
    directory.rename(root / "moved")
    trash.mkdir()
    with pytest.raises(UnsafeSource, match="janitor-trash"):
        remove_local_copy(judge, execution_at(directory), lambda: proven, NEVER, Granted())
    assert sorted(os.listdir(root)) == sorted([trash.name, "moved", "neighbour"])
    trash.rmdir()
    (root / "moved").rename(trash)
    remove_local_copy(judge, execution_at(directory), lambda: proven, NEVER, Granted())
    assert os.listdir(root) == ["neighbour"]


def test_it_is_written_down_before_it_happens_what_is_set_aside_and_that_it_is_empty(
    judge: DirectoryJudge, root: Path, directory: Path, trash: Path
) -> None:
    proven = proven_tree(directory, from_cloud=False)
    inode = str(directory.stat().st_ino)
    seen: list[tuple[str, bool, bool]] = []

    class Watching(Granted):
        def begin(self, inode: str) -> None:
            super().begin(inode)
            seen.append((inode, directory.exists(), trash.exists()))

        def note_emptied(self, parent: str) -> None:
            super().note_emptied(parent)
            seen.append((parent, os.listdir(trash) == [], trash.exists()))

    remove_local_copy(judge, execution_at(directory), lambda: proven, NEVER, Watching())
    assert seen == [(inode, True, False), (place_of(root), True, True)]


def test_nobody_says_that_a_directory_was_emptied_that_was_moved_away_meanwhile(
    judge: DirectoryJudge, root: Path, directory: Path, trash: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has its name by then, or gets it later, is another one."""
    proven = proven_tree(directory, from_cloud=False)
    permission = Granted()
    move = partial(trash.rename, tmp_path / "rescued")
    monkeypatch.setattr(lease_module, "FRESH_SECONDS", 1e9)
    with after_first_unlink(monkeypatch, move), pytest.raises(SourceChanged, match="movió"):
        remove(judge, directory, proven, permission=permission)
    assert permission.record.emptied_in is None


@pytest.mark.parametrize("when", ["before the removal", "after an interrupted one"])
def test_a_removal_is_synced_before_it_is_reported(
    judge: DirectoryJudge, root: Path, directory: Path, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked for elsewhere: `providers/local/provider.py` syncs names and removals of directories are no promise there;
    `jobs/temp_files/clean.py` records nothing.
    """
    proven = proven_tree(directory, from_cloud=False)
    permission = Granted()
    if when == "after an interrupted one":
        shutil.rmtree(directory)
        permission = Granted(RemovalRecord("17", place_of(root)))
    fsync = os.fsync
    synced: list[tuple[str, bool]] = []

    def recorded_fsync(descriptor: int) -> None:
        synced.append((str(Path(f"/proc/self/fd/{descriptor}").readlink()), os.listdir(root) == ["neighbour"]))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    remove_local_copy(judge, execution_at(directory), lambda: proven, NEVER, permission)
    assert synced == [(str(root), True)]


@pytest.mark.parametrize(("code", "is_told"), [(errno.EIO, True), (errno.EINVAL, False)])
def test_a_removal_that_does_not_reach_the_disk_is_none(
    judge: DirectoryJudge, directory: Path, code: int, is_told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But a file system that cannot sync a directory at all answers so whenever it is asked."""
    proven = proven_tree(directory, from_cloud=False)

    def fail(_descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SourceUnreadable) if is_told else contextlib.nullcontext():
        remove(judge, directory, proven)


@pytest.mark.parametrize("uuid", ["😀" * 64, "ñ" * 200])
def test_a_uuid_that_is_too_long_for_a_name_hinders_nothing(
    judge: DirectoryJudge, root: Path, directory: Path, uuid: str
) -> None:
    """64 characters, as many as the column holds, are up to 256 bytes; a name has 255 at most."""
    execution = Execution(7, uuid, str(directory))
    directory.rename(root / trash_name(execution))
    keep_local_copy(judge, execution, RemovalRecord())
    proven = proven_tree(directory, from_cloud=False)
    remove_local_copy(judge, execution, lambda: proven, NEVER, Granted())
    assert os.listdir(root) == ["neighbour"]


# Removal that is not wanted any more


def test_what_was_set_aside_gets_its_name_back(judge: DirectoryJudge, root: Path, directory: Path, trash: Path) -> None:
    directory.rename(trash)
    keep_local_copy(judge, execution_at(directory), RemovalRecord())
    assert sorted(os.listdir(root)) == ["e1", "neighbour"]
    keep_local_copy(judge, execution_at(directory), RemovalRecord())
    assert sorted(os.listdir(root)) == ["e1", "neighbour"]


def test_what_was_set_aside_does_not_replace_a_directory_created_again(
    judge: DirectoryJudge, root: Path, directory: Path, trash: Path
) -> None:
    directory.rename(trash)
    directory.mkdir()
    before = contents(root)
    keep_local_copy(judge, execution_at(directory), RemovalRecord())
    assert contents(root) == before
