"""Old regular files directly in the temporary directory go; everything else stays, whatever is swapped in."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.logs import logger
from files.descriptors import closing_descriptor
from jobs.temp_files.clean import (
    SET_ASIDE,
    TempDirectoryMissing,
    TempDirectoryUnsafe,
    TempFilesReport,
    clean_temp_files,
    report_cleaning,
)
from tests.disks.file_attributes import clear_attributes, make_immutable
from tests.disks.privileges import unprivileged
from tests.disks.small_disk import make_read_only, mounted_small_disk, use_up_inodes, use_up_space
from tests.repository import REPOSITORY
from tests.running.skips import MAKE_IMMUTABLE, NEEDS_FILE_SYSTEM, needs_root, require_right

NEVER = threading.Event()
RETENTION_HOURS = 24.0
DAY_SECONDS = 24 * 3600
MANY_FILES = 20_000


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The temporary directory, some way down."""
    path = tmp_path / "sage" / "tmp"
    path.mkdir(parents=True)
    return path


def make_file(path: Path, age_seconds: float = 2 * DAY_SECONDS, size_bytes: int = 10) -> Path:
    path.write_bytes(b"x" * size_bytes)
    age(path, age_seconds)
    return path


def age(path: Path, age_seconds: float = 2 * DAY_SECONDS) -> None:
    """Say that something changed so long ago."""
    then_ns = time.time_ns() - int(age_seconds * 1e9)
    os.utime(path, ns=(then_ns, then_ns), follow_symlinks=False)


def clean(directory: Path, retention_hours: float = RETENTION_HOURS, *, dry_run: bool = False) -> TempFilesReport:
    return clean_temp_files(directory, retention_hours, NEVER, dry_run=dry_run)


def names(directory: Path) -> set[str]:
    return set(os.listdir(directory))


# What goes and what stays


def test_a_manifest_is_never_deleted(directory: Path) -> None:
    """A directory of copies that passes for a temporary one keeps what proves them."""
    kept = make_file(directory / "uuid.manifest.json")
    make_file(directory / "otro.manifest.json.tmp")
    assert clean_temp_files(directory, RETENTION_HOURS, NEVER, dry_run=True).deleted_files == 1
    assert clean_temp_files(directory, RETENTION_HOURS, NEVER, dry_run=False).deleted_files == 1
    assert list(directory.iterdir()) == [kept]


def test_old_files_go_and_recent_ones_stay(directory: Path) -> None:
    make_file(directory / "old", size_bytes=1000)
    make_file(directory / "just old enough", DAY_SECONDS + 60, size_bytes=24)
    make_file(directory / "just too young", DAY_SECONDS - 60)
    make_file(directory / "from the future", -DAY_SECONDS)
    make_file(directory / ".hidden", size_bytes=0)
    assert clean(directory) == TempFilesReport(deleted_files=3, deleted_bytes=1024)
    assert names(directory) == {"just too young", "from the future"}
    assert clean(directory) == TempFilesReport()


@pytest.mark.parametrize(
    ("retention_hours", "age_seconds", "goes"),
    [(0, 1, True), (0.5, 1790, False), (0.5, 1810, True), (1e6, 30 * 365 * DAY_SECONDS, False), (1e308, 1e9, False)],
)
def test_the_retention_is_any_number_of_hours(
    directory: Path, retention_hours: float, age_seconds: float, goes: bool
) -> None:
    make_file(directory / "file", age_seconds)
    assert clean(directory, retention_hours).deleted_files == (1 if goes else 0)


def test_the_time_of_change_counts_and_no_other(directory: Path) -> None:
    file = make_file(directory / "read lately")
    os.utime(file, ns=(time.time_ns(), file.stat().st_mtime_ns))
    written = make_file(directory / "written lately", 0)
    os.utime(written, ns=(0, written.stat().st_mtime_ns))
    clean(directory)
    assert names(directory) == {"written lately"}


def test_odd_names_go_too(directory: Path) -> None:
    odd = [b"new\nline", b"latin1 \xff", b"-rf", b"*", b" ", "日本語".encode(), b"x" * 255, b"\x1b[31m"]
    for name in odd:
        path = os.fsdecode(os.fsencode(directory) + b"/" + name)
        make_file(Path(path))
    assert clean(directory).deleted_files == len(odd)
    assert names(directory) == set()


def test_modes_do_not_matter(directory: Path) -> None:
    make_file(directory / "file").chmod(0)
    assert clean(directory).deleted_files == 1


def test_only_regular_files_directly_in_it_go(directory: Path, tmp_path: Path) -> None:
    outside = make_file(tmp_path / "outside")
    make_file(directory / "target")
    (directory / "link to a file").symlink_to(outside)
    (directory / "link to nowhere").symlink_to("nowhere")
    (directory / "link to a directory").symlink_to(tmp_path)
    (directory / "empty").mkdir()
    (directory / "full").mkdir()
    make_file(directory / "full" / "old")
    os.mkfifo(directory / "fifo")
    bind_socket(directory / "socket")
    for name in names(directory) - {"target"}:
        age(directory / name)
    kept = names(directory) - {"target"}
    assert clean(directory, dry_run=True) == TempFilesReport(deleted_files=1, deleted_bytes=10)
    assert clean(directory) == TempFilesReport(deleted_files=1, deleted_bytes=10)
    assert names(directory) == kept
    assert outside.exists()
    assert (directory / "full" / "old").exists()


def bind_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the path of a socket may have 107 bytes only
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


@needs_root
def test_a_device_stays(directory: Path) -> None:
    os.mknod(directory / "null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    age(directory / "null")
    assert clean(directory) == TempFilesReport()
    assert names(directory) == {"null"}


def test_one_of_several_hard_links_goes_alone(directory: Path, tmp_path: Path) -> None:
    outside = make_file(tmp_path / "outside")
    os.link(outside, directory / "link")
    clean(directory)
    assert names(directory) == set()
    assert outside.read_bytes() == b"x" * 10


def test_a_dry_run_counts_and_deletes_nothing(directory: Path) -> None:
    make_file(directory / "old", size_bytes=7)
    make_file(directory / "young", 0)
    assert clean(directory, dry_run=True) == TempFilesReport(deleted_files=1, deleted_bytes=7)
    assert names(directory) == {"old", "young"}


def test_a_run_that_was_asked_to_stop_stops(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        make_file(directory / str(number))
    interruption = threading.Event()
    unlink = os.unlink

    def unlink_and_stop(path: str, *, dir_fd: int) -> None:
        unlink(path, dir_fd=dir_fd)
        interruption.set()

    monkeypatch.setattr(os, "unlink", unlink_and_stop)
    assert clean_temp_files(directory, RETENTION_HOURS, interruption, dry_run=False).deleted_files == 1
    assert len(names(directory)) == 4


def test_nothing_is_skipped_or_gathered_in_a_directory_of_many_files(directory: Path) -> None:
    """It is read in hundreds of pieces, and files are deleted between any two of them; the names of all of them would
    take more than a megabyte.
    """
    with closing_descriptor(os.open(directory, os.O_RDONLY)) as descriptor:
        for number in range(MANY_FILES):
            os.mknod(f"{number:06}", 0o600 | stat.S_IFREG, dir_fd=descriptor)
    make_file(directory / "young", -DAY_SECONDS)
    tracemalloc.start()
    try:
        report = clean(directory, 0)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert report == TempFilesReport(deleted_files=MANY_FILES)
    assert names(directory) == {"young"}
    assert peak_bytes < 500_000


# Directories that are not what they should be


def test_a_missing_directory_is_reported(tmp_path: Path) -> None:
    for path in (tmp_path / "gone", tmp_path / "gone" / "too"):
        with pytest.raises(TempDirectoryMissing, match="no existe"):
            clean(path)


def test_a_relative_directory_is_in_the_working_directory(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_file(directory / "old")
    monkeypatch.chdir(directory.parent)
    for path in ("./tmp", "tmp/", "../sage/tmp"):
        assert clean(Path(path), dry_run=True).deleted_files == 1


def test_a_link_in_any_component_is_refused(directory: Path, tmp_path: Path) -> None:
    make_file(directory / "old")
    for component in (directory, directory.parent):
        elsewhere = tmp_path / "elsewhere"
        component.rename(elsewhere)
        component.symlink_to(elsewhere)
        with pytest.raises(TempDirectoryUnsafe, match="enlace simbólico"):
            clean(directory)
        component.unlink()
        elsewhere.rename(component)
    assert names(directory) == {"old"}


@pytest.mark.timeout(20)
def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    make_file(tmp_path / "file")
    os.mkfifo(tmp_path / "fifo")
    for name in ("file", "fifo"):
        with pytest.raises(TempDirectoryUnsafe, match="no es un directorio"):
            clean(tmp_path / name)
    assert (tmp_path / "file").exists()


def test_a_directory_swapped_while_it_is_cleaned_is_not_followed(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name leads to another directory with files of the same names: those are not touched."""
    victim = tmp_path / "victim"
    victim.mkdir()
    for number in range(5):
        make_file(directory / str(number))
        make_file(victim / str(number))
    moved = tmp_path / "moved"
    unlink = os.unlink

    def swap_and_unlink(path: str, *, dir_fd: int) -> None:
        if not moved.exists():
            directory.rename(moved)
            directory.symlink_to(victim)
        unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", swap_and_unlink)
    assert clean(directory).deleted_files == 5
    assert names(moved) == set()
    assert len(names(victim)) == 5


def test_a_file_that_vanishes_meanwhile_is_nobodys_failure(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        make_file(directory / str(number))
    rename = os.rename

    def somebody_else_first(name: str, new_name: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        (directory / name).unlink()
        rename(name, new_name, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", somebody_else_first)
    assert clean(directory) == TempFilesReport()
    assert names(directory) == set()


SwapBefore = Callable[[Callable[[str], object]], None]


@pytest.fixture
def swap_before_it_is_set_aside(monkeypatch: pytest.MonkeyPatch) -> SwapBefore:
    """Do something between the look at an old file and the first thing that is done to it."""
    rename = os.rename

    def do(swap: Callable[[str], object]) -> None:
        def swap_and_rename(name: str, new_name: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
            monkeypatch.setattr(os, "rename", rename)
            swap(name)
            rename(name, new_name, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

        monkeypatch.setattr(os, "rename", swap_and_rename)

    return do


def test_a_file_that_becomes_a_directory_meanwhile_stays(
    directory: Path, swap_before_it_is_set_aside: SwapBefore
) -> None:
    make_file(directory / "file")

    def swap(name: str) -> None:
        (directory / name).unlink()
        (directory / name).mkdir()
        (directory / name / "in it").touch()

    swap_before_it_is_set_aside(swap)
    assert clean(directory) == TempFilesReport()
    assert names(directory) == {"file"}
    assert (directory / "file" / "in it").exists()


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_comes_under_an_old_name_at_the_last_moment_stays(
    directory: Path, swap_before_it_is_set_aside: SwapBefore, kind: str
) -> None:
    """A program writes a new file beside and renames it: as the removal of local copies, which does likewise."""
    make_file(directory / "name", size_bytes=1000)
    fresh = directory.parent / "fresh"
    old = make_file(directory.parent / "old")
    fresh.symlink_to(old) if kind == "link" else fresh.write_bytes(b"new")
    swap_before_it_is_set_aside(lambda name: fresh.rename(directory / name))
    assert clean(directory) == TempFilesReport()
    assert names(directory) == {"name"}
    assert (directory / "name").is_symlink() if kind == "link" else (directory / "name").read_bytes() == b"new"


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_new_file_gets_its_name_back_where_there_are_no_hard_links(
    directory: Path, swap_before_it_is_set_aside: SwapBefore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Set aside for good, it would be deleted once it is old."""

    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(code, os.strerror(code))

    make_file(directory / "name")
    swap_before_it_is_set_aside(lambda _name: make_file(directory.parent / "fresh", 0, 5).rename(directory / "name"))
    monkeypatch.setattr(os, "link", refuse)
    assert clean(directory) == TempFilesReport()
    assert names(directory) == {"name"}


def test_what_was_replaced_twice_stays_twice(
    directory: Path, swap_before_it_is_set_aside: SwapBefore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is set aside is never put in the place of what came meanwhile; a later run gives it its name if it can."""
    make_file(directory / "name")
    link = os.link

    def swap(name: str) -> None:
        make_file(directory.parent / "fresh", 0, 5).rename(directory / name)

    def swap_again_and_link(name: str, new_name: str, **arguments: object) -> None:
        make_file(directory / "name", 0, 7)
        link(name, new_name, **arguments)  # type: ignore[arg-type] # as they are given

    swap_before_it_is_set_aside(swap)
    monkeypatch.setattr(os, "link", swap_again_and_link)
    report = clean(directory)
    assert (report.deleted_files, report.failures) == (0, 1)
    assert report.first_failure == "name: ya existe"
    assert (directory / "name").stat().st_size == 7
    monkeypatch.setattr(os, "link", link)
    (directory / "name").rename(directory / "another")
    assert clean(directory) == TempFilesReport()
    assert names(directory) == {"another", "name"}
    assert (directory / "name").stat().st_size == 5


def test_what_a_killed_run_had_set_aside_goes_or_gets_its_name_back_as_its_age_says(directory: Path) -> None:
    """Whatever it is: the run may have been killed before it looked again."""
    aside = set_aside(directory)
    make_file(aside / "old", size_bytes=100)
    make_file(aside / "young", 0)
    (aside / "directory").mkdir()
    (aside / "link").symlink_to("elsewhere")
    make_file(aside / "given back", 0)
    os.link(aside / "given back", directory / "given back")
    make_file(directory / f"{SET_ASIDE}file", 0)
    assert clean(directory, dry_run=True) == TempFilesReport()
    assert clean(directory) == TempFilesReport(deleted_files=1, deleted_bytes=100)
    assert names(directory) == {"young", "directory", "link", "given back", f"{SET_ASIDE}file"}
    assert clean(directory) == TempFilesReport()


def set_aside(directory: Path) -> Path:
    """The directory that a run had made when it was killed."""
    path = directory / f"{SET_ASIDE}0123456789abcdef"
    path.mkdir(0o700)
    return path


def test_what_a_killed_run_had_set_aside_where_the_group_is_inherited_goes(directory: Path) -> None:
    """A directory made there inherits the bit, too (`chmod g+s`)."""
    directory.chmod(0o2775)
    aside = set_aside(directory)
    assert stat.S_IMODE(aside.stat().st_mode) == 0o2700
    make_file(aside / "old", size_bytes=100)
    assert clean(directory) == TempFilesReport(deleted_files=1, deleted_bytes=100)
    assert names(directory) == set()


def test_a_run_at_work_is_not_taken_for_a_killed_one(directory: Path) -> None:
    aside = set_aside(directory)
    make_file(aside / "old")
    with closing_descriptor(os.open(aside, os.O_RDONLY)) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert clean(directory) == TempFilesReport()
        assert names(aside) == {"old"}
    assert clean(directory).deleted_files == 1
    assert names(directory) == set()


@needs_root
@pytest.mark.parametrize("whose", ["of another user", "open to others"])
def test_a_directory_of_that_name_that_is_not_ours_stays(directory: Path, whose: str) -> None:
    aside = set_aside(directory)
    make_file(aside / "old")
    os.chown(aside, 65534, -1) if whose == "of another user" else aside.chmod(0o755)
    assert clean(directory) == TempFilesReport()
    assert names(aside) == {"old"}


@pytest.mark.parametrize("call", ["rename", "stat", "unlink", "rmdir"])
def test_a_kill_at_any_step_leaves_nothing_behind_and_counts_nothing_twice(directory: Path, call: str) -> None:
    for number in range(4):
        make_file(directory / str(number))
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_AT, str(directory), call], cwd=REPOSITORY, check=False, timeout=60
    )
    assert killed.returncode == -signal.SIGKILL
    left = sum(path.is_file() for path in directory.rglob("*"))
    assert clean(directory).deleted_files == left
    assert names(directory) == set()


KILLED_AT = """
import os, signal, sys, threading
from pathlib import Path
from jobs.temp_files.clean import clean_temp_files
directory, call = sys.argv[1:]
calls = 0
real = getattr(os, call)
def kill_the_second_time(*arguments, **more):
    global calls
    calls += 1
    if calls == (1 if call == "rmdir" else 2):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **more)
setattr(os, call, kill_the_second_time)
clean_temp_files(Path(directory), 24, threading.Event(), dry_run=False)
"""


@pytest.mark.parametrize("full", [use_up_space, use_up_inodes])
def test_files_go_though_a_full_disk_has_no_room_to_set_them_aside(
    directory: Path, full: Callable[[Path], None]
) -> None:
    with mounted_small_disk(directory, 200_000, inodes=50):
        for number in range(5):
            make_file(directory / str(number))
        full(directory)
        assert clean(directory).deleted_files == 5
        assert not any(name.startswith(SET_ASIDE) for name in names(directory))


# Failures


@pytest.fixture
def immutable_file(directory: Path) -> Iterator[Path]:
    """An old file that not even root can delete."""
    file = make_file(directory / "immutable\nfile")
    require_right(MAKE_IMMUTABLE)
    try:
        make_immutable(file)
    except OSError as error:
        pytest.skip(f"{NEEDS_FILE_SYSTEM}: nothing can be made immutable ({error.strerror})")
    yield file
    clear_attributes(file)


def test_what_cannot_be_deleted_is_counted_and_the_rest_goes(directory: Path, immutable_file: Path) -> None:
    for name in ("before", "z-after"):
        make_file(directory / name)
    report = clean(directory)
    assert (report.deleted_files, report.deleted_bytes, report.failures) == (2, 20, 1)
    assert report.first_failure == "immutable\\nfile: operación no permitida"
    assert names(directory) == {immutable_file.name}


def test_a_read_only_disk_is_a_failure_of_each_file(directory: Path) -> None:
    with mounted_small_disk(directory, 100_000):
        make_file(directory / "a")
        make_file(directory / "b")
        make_read_only(directory)
        report = clean(directory)
        assert (report.deleted_files, report.failures) == (0, 2)
        assert "sistema de ficheros de solo lectura" in report.first_failure


def test_a_directory_without_permission_is_reported(directory: Path) -> None:
    make_file(directory / "old")
    directory.chmod(0)
    with unprivileged(), pytest.raises(TempDirectoryUnsafe, match="no se puede abrir"):
        clean(directory)


def test_no_descriptor_is_left_open(directory: Path, tmp_path: Path) -> None:
    make_file(directory / "old")
    (tmp_path / "link").symlink_to(directory)
    before = len(os.listdir("/proc/self/fd"))
    clean(directory)
    with pytest.raises(TempDirectoryUnsafe):
        clean(tmp_path / "link")
    assert len(os.listdir("/proc/self/fd")) == before


# What is said


Messages = Callable[[], list[tuple[str, str]]]


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Messages:
    """Level and message of what was logged."""
    monkeypatch.setattr(logger, "propagate", True)
    caplog.set_level(logging.INFO, logger.name)
    return lambda: [(record.levelname, record.getMessage()) for record in caplog.records]


def test_the_line_that_operators_look_for(messages: Messages) -> None:
    report_cleaning(TempFilesReport(3, 1_572_864), dry_run=False)
    assert messages() == [("INFO", "Limpieza completada: 3 archivos temporales eliminados (1.50 MB)")]


def test_a_dry_run_does_not_claim_to_have_deleted(messages: Messages) -> None:
    report_cleaning(TempFilesReport(3, 0), dry_run=True)
    assert messages() == [("INFO", "[simulación] Limpieza: se eliminarían 3 archivos temporales (0.00 MB)")]


def test_failures_are_errors(messages: Messages) -> None:
    report_cleaning(TempFilesReport(1, 0, 2, "a: Operation not permitted"), dry_run=False)
    failure = "No se pudieron borrar 2 archivos temporales; el primero, a: Operation not permitted"
    assert messages()[0] == ("ERROR", failure)
    assert messages()[1][1].startswith("Limpieza completada: 1 ")
