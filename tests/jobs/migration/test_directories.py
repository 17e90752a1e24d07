"""What a row names is touched only where it may be, and never through a symbolic link."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from config.errors import SourceUnreadable, UnsafeSource
from config.models import Execution
from jobs.migration.directories import DirectoryJudge, DirectoryMissing
from tests.disks.privileges import unprivileged
from tests.disks.small_disk import mounted_small_disk


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root, some way down, with one execution some way down in it."""
    path = tmp_path / "data" / "executions"
    (path / "2026" / "january" / "e1").mkdir(parents=True)
    (path / "2026" / "january" / "e1" / "file").write_text("own")
    return path


@pytest.fixture
def judge(root: Path) -> DirectoryJudge:
    """Knows that root and one more."""
    return DirectoryJudge(["/srv/other", str(root)])


def at(directory: object) -> Execution:
    return Execution(1, "uuid-1", None if directory is None else str(directory))


def refusals(judge: DirectoryJudge, directory: object) -> list[str]:
    """What every way to a directory answers; all of them must refuse."""
    messages = []
    assert not judge.is_acceptable(at(directory))
    for way in (judge.exists, enter(judge.open), enter(judge.open_parent)):
        with pytest.raises(UnsafeSource) as caught:
            way(at(directory))
        messages.append(str(caught.value))
    return messages


def enter(way: Callable[[Execution], object]) -> Callable[[Execution], None]:
    def open_and_close(execution: Execution) -> None:
        with way(execution):  # type: ignore[attr-defined]
            raise AssertionError("it was opened")

    return open_and_close


HOSTILE_PATHS: dict[str, Callable[[Path], object]] = {
    "NULL": lambda _root: None,
    "empty": lambda _root: "",
    "a slash": lambda _root: "/",
    "slashes": lambda _root: "///",
    "relative": lambda _root: "2026/january/e1",
    "without its first slash": lambda root: f"{root}/2026/january/e1".removeprefix("/"),
    "relative to here": lambda _root: "./2026",
    "home": lambda _root: "~/e1",
    "the root": lambda root: root,
    "the root with slashes": lambda root: f"//{root}///",
    "the root's parent": lambda root: root.parent,
    "the root's grandparent": lambda root: root.parent.parent,
    "the root by way of a directory": lambda root: f"{root}/2026/..",
    "out of the root": lambda root: f"{root}/../../etc",
    "back into the root": lambda root: f"{root}/../{root.name}/2026/january/e1",
    "a dot": lambda root: f"{root}/2026/./january/e1",
    "only a dot": lambda root: f"{root}/.",
    "a name that begins like the root": lambda root: f"{root}-old/e1",
    "outside": lambda _root: "/etc/passwd",
    "the other root": lambda _root: "/srv/other/",
    "the other root's parent": lambda _root: "/srv",
    "a null character": lambda root: f"{root}/2026/january/e1\0",
    "a line break outside": lambda _root: "/nowhere/a\n2026-01-01 00:00:00,000 - janitor_daemon - INFO - forged",
}


@pytest.mark.parametrize("hostile", HOSTILE_PATHS)
def test_a_hostile_path_is_refused_in_one_line(judge: DirectoryJudge, root: Path, hostile: str) -> None:
    for message in refusals(judge, HOSTILE_PATHS[hostile](root)):
        assert "ruta_directorio" in message
        assert message.isprintable()


def test_a_root_in_a_root_is_no_execution(root: Path) -> None:
    judge = DirectoryJudge([str(root), str(root / "2026" / "january")])
    for path in (root / "2026", root / "2026" / "january", root):
        assert all("contiene una de las raíces" in message for message in refusals(judge, path))
    with judge.open(at(root / "2026" / "january" / "e1")):
        pass


@pytest.mark.parametrize("form", ["{}/2026/january/e1", "/{}//2026///january/e1/", "{}/2026/january/e1//"])
def test_a_path_beneath_a_root_is_opened(judge: DirectoryJudge, root: Path, form: str) -> None:
    with judge.open(at(form.format(root))) as directory:
        assert os.listdir(directory.descriptor) == ["file"]
    with judge.open_parent(at(form.format(root))) as (parent, name):
        assert (os.listdir(parent), name) == (["e1"], "e1")


@pytest.mark.parametrize(
    "name", ["con espacio", "ñandú", "..e1", "e1..", "...", "-rf", "$(id)", "%s", "salto\nde línea"]
)
def test_an_odd_name_is_opened(judge: DirectoryJudge, root: Path, name: str) -> None:
    (root / name).mkdir()
    with judge.open(at(root / name)) as directory:
        assert directory.path == str(root / name)


# Symbolic links


def test_a_link_in_any_component_is_refused(judge: DirectoryJudge, root: Path, tmp_path: Path) -> None:
    """Also above the root: what the administrator configured must be the real path."""
    execution = root / "2026" / "january" / "e1"
    components = [
        path for path in (execution, *execution.parents) if path.is_relative_to(tmp_path) and path != tmp_path
    ]
    assert len(components) == 5
    for component in components:
        elsewhere = tmp_path / "elsewhere"
        component.rename(elsewhere)
        component.symlink_to(elsewhere)
        with pytest.raises(UnsafeSource, match="enlace simbólico"), judge.open(at(execution)):
            raise AssertionError(component)
        if component != execution:
            with pytest.raises(UnsafeSource, match="enlace simbólico"), judge.open_parent(at(execution)):
                raise AssertionError(component)
        component.unlink()
        elsewhere.rename(component)
    with judge.open(at(execution)):
        pass


def test_an_open_directory_stays_what_it_was(judge: DirectoryJudge, root: Path, tmp_path: Path) -> None:
    execution = root / "2026" / "january" / "e1"
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").touch()
    with judge.open(at(execution)) as directory:
        (root / "2026").rename(root / "moved")
        (root / "2026" / "january").mkdir(parents=True)
        execution.symlink_to(outside)
        assert os.listdir(directory.descriptor) == ["file"]


# What is there, and what is not


def test_what_is_not_there_is_missing(judge: DirectoryJudge, root: Path) -> None:
    for path in (root / "2026" / "january" / "e2", root / "2025" / "january" / "e1"):
        assert not judge.exists(at(path))
        with pytest.raises(DirectoryMissing), judge.open(at(path)):
            raise AssertionError
    with pytest.raises(DirectoryMissing), judge.open_parent(at(root / "2025" / "january" / "e1")):
        raise AssertionError


def test_whatever_is_there_exists(judge: DirectoryJudge, root: Path) -> None:
    assert judge.exists(at(root / "2026" / "january" / "e1"))
    (root / "dangling").symlink_to("nowhere")  # to be refused, which is more than to be missing
    assert judge.exists(at(root / "dangling"))


@pytest.mark.timeout(20)
def test_what_is_no_directory_is_refused(judge: DirectoryJudge, root: Path) -> None:
    (root / "file").touch()
    os.mkfifo(root / "fifo")
    (root / "dangling").symlink_to("nowhere")
    for name in ("file", "fifo", "dangling", "file/below"):
        with pytest.raises(UnsafeSource, match="no es un directorio"), judge.open(at(root / name)):
            raise AssertionError


@pytest.mark.parametrize("part", ["x" * 256, "ñ" * 128, "x/" * 3000])
def test_a_path_that_is_too_long_is_refused_or_missing(judge: DirectoryJudge, root: Path, part: str) -> None:
    assert not judge.exists(at(root / part))
    with pytest.raises((UnsafeSource, DirectoryMissing)), judge.open(at(root / part)):
        raise AssertionError


def test_an_unreadable_directory_is_unreadable() -> None:
    with tempfile.TemporaryDirectory() as root:  # everybody may pass there, unlike pytest's own directories
        Path(root).chmod(0o755)
        execution = Path(root, "e1")
        execution.mkdir(mode=0)
        with unprivileged(), pytest.raises(SourceUnreadable), DirectoryJudge([root]).open(at(execution)):
            raise AssertionError


def test_a_mount_point_is_refused(judge: DirectoryJudge, root: Path) -> None:
    execution = root / "2026" / "january" / "e1"
    with mounted_small_disk(execution, 100_000):
        with pytest.raises(UnsafeSource, match="punto de montaje"), judge.open(at(execution)):
            raise AssertionError
        (execution / "below").mkdir()
        with judge.open(at(execution / "below")):  # a disk on which executions lie is no danger
            pass


def test_no_descriptor_is_left_open(judge: DirectoryJudge, root: Path) -> None:
    shutil.copytree(root / "2026", root / "2025")
    (root / "link").symlink_to("2025")
    before = len(os.listdir("/proc/self/fd"))
    for name in ("2025/january/e1", "link", "link/january", "2026/january/e1/file", "gone", "2026/gone/e1"):
        for way in (judge.open, judge.open_parent):
            try:
                with way(at(root / name)):
                    pass
            except (UnsafeSource, DirectoryMissing):
                continue
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_directory_that_cannot_be_looked_at_is_not_taken_for_missing() -> None:
    """A missing directory is another host's; one below a directory without permission is this host's trouble."""
    with tempfile.TemporaryDirectory() as root:
        Path(root).chmod(0o755)
        (Path(root) / "locked" / "e1").mkdir(parents=True)
        (Path(root) / "locked").chmod(0)
        judge = DirectoryJudge([root])
        with unprivileged():
            assert judge.exists(at(f"{root}/locked/e1"))
            assert not judge.exists(at(f"{root}/other/e1"))
            with pytest.raises(SourceUnreadable), judge.open(at(f"{root}/locked/e1")):
                raise AssertionError


# Copies, which a mounted directory may hold within the roots


def test_a_directory_of_copies_is_no_execution(root: Path, tmp_path: Path) -> None:
    copies = root / "nas" / "prefix" / "ejecuciones"
    (copies / "uuid" / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to(root / "nas")
    judge = DirectoryJudge([str(root)])
    judge.keep_out_of([f"{tmp_path}/link//prefix/ejecuciones", "/not/there", "a\0b"])
    for path in (copies, copies / "uuid", copies / "uuid" / "sub", copies.parent, root / "nas"):
        assert all("copias" in message for message in refusals(judge, path))
    for beside in ("ejecuciones-2", "prefix/trabajo"):
        (root / "nas" / beside).mkdir()
        with judge.open(at(root / "nas" / beside)):
            pass


@pytest.mark.parametrize("below", ["", "sub", "sub/sub"])
def test_a_manifest_beside_a_directory_shows_a_copy(judge: DirectoryJudge, root: Path, below: str) -> None:
    (root / "copies" / "uuid" / "sub" / "sub").mkdir(parents=True)
    (root / "copies" / "uuid.manifest.json").touch()
    with (
        pytest.raises(UnsafeSource, match="es o está en una copia"),
        judge.open(at(root / "copies" / "uuid" / below)),
    ):
        raise AssertionError


# Without roots


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/home", "/home/", "//tmp", "/var", "/var/lib", "/root", "/srv", "/mnt/", "/opt"),
        *("/etc", "/etc/cron.d", "/usr/share/doc", "/proc/self", "/dev/x", "/run/lock", "/var/log/x", "/boot"),
    ],
)
def test_without_roots_the_systems_own_directories_are_refused(path: str) -> None:
    assert all("sistema" in message for message in refusals(DirectoryJudge([]), path))


def test_without_roots_executions_anywhere_else_are_accepted(root: Path) -> None:
    judge = DirectoryJudge([])
    assert not judge.may_delete
    for path in ("/etcetera/e1", "/home/sage/e1", "/srv/sage", "/data"):
        assert judge.is_acceptable(at(path))
    with judge.open(at(root / "2026" / "january" / "e1")):
        pass


def test_roots_allow_deleting(judge: DirectoryJudge) -> None:
    assert judge.may_delete
