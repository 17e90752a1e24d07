"""Who may read a log may read its copy, and nobody else; what an ordinary user cannot do is told and left."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from files.open_files import OpenFiles, look_at_open_files
from files.writers import Answer
from jobs.logs.changing import deletion as deletion_module
from jobs.logs.changing import open_logs as open_logs_module
from jobs.logs.changing import replacement as replacement_module
from jobs.logs.changing.compression import write_compressed
from jobs.logs.changing.private_directories import REMOVING
from jobs.logs.check import check_directories
from jobs.logs.report import LogsReport
from jobs.logs.settings import LogsSettings
from tests.disks.privileges import NOBODY
from tests.disks.protection import APPEND_ONLY, IMMUTABLE, protected
from tests.disks.small_disk import make_read_only, mounted_small_disk
from tests.files.test_open_files import opened_by_another
from tests.jobs.logs.log_files import clean, contents, make_log, make_old, require_nothing_left_over
from tests.repository import REPOSITORY
from tests.running.skips import MAKE_IMMUTABLE, needs_root, require_right

ACCESS_LIST = "system.posix_acl_access"
DEFAULT_LIST = "system.posix_acl_default"
USER_OBJECT, USER, GROUP_OBJECT, MASK, OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
NO_ONE = 0xFFFFFFFF


def access_list(*entries: tuple[int, int, int]) -> bytes:
    """As the kernel has it. Source: linux/posix_acl_xattr.h."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NOBODY_MAY_READ = access_list(
    (USER_OBJECT, 6, NO_ONE), (USER, 4, NOBODY), (GROUP_OBJECT, 0, NO_ONE), (MASK, 4, NO_ONE), (OTHER, 0, NO_ONE)
)

NOBODY_MAY_READ_BELOW = access_list(
    (USER_OBJECT, 7, NO_ONE), (USER, 4, NOBODY), (GROUP_OBJECT, 0, NO_ONE), (MASK, 4, NO_ONE), (OTHER, 0, NO_ONE)
)
"""Of a directory: its owner must be able to enter those that are made in it."""


def set_attribute(path: Path, name: str, value: bytes) -> None:
    """Set one, or leave the test out where the file system has none."""
    try:
        os.setxattr(path, name, value)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            pytest.skip("needs a file system of another kind: with extended attributes")
        raise


@pytest.fixture
def open_to_nobody(tmp_path: Path) -> Path:
    """A log directory that an ordinary user reaches."""
    for above in tmp_path.parents:
        above.chmod(above.stat().st_mode | 0o055)
    tmp_path.chmod(0o755)
    directory = tmp_path / "logs"
    directory.mkdir()
    return directory


CLEANED_BY_NOBODY = f"""
import os, sys
from pathlib import Path
from config.process.log_output import configure_logging
from tests.jobs.logs.log_files import clean
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
configure_logging(None, "text", debug=False)
print(clean(Path(sys.argv[1]), dry_run="dry run" in sys.argv).failures)
"""


def cleaned_by_nobody(directory: Path, *, dry_run: bool = False) -> tuple[int, str]:
    """How many logs failed, and what was said, when an ordinary user did the job."""
    command = [sys.executable, "-c", CLEANED_BY_NOBODY, str(directory), *(["dry run"] if dry_run else [])]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60)
    return int(done.stdout), done.stderr


@needs_root
def test_a_copy_has_its_logs_owner_and_group(tmp_path: Path) -> None:
    log = make_log(tmp_path / "app.log", b"content")
    os.chown(log, NOBODY, 12)
    log.chmod(0o4640)
    clean(tmp_path)
    status = (tmp_path / "app.log.gz").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (NOBODY, 12, 0o4640)


def test_a_copy_has_its_logs_extended_attributes_and_access_list(tmp_path: Path) -> None:
    log = make_log(tmp_path / "app.log", b"content")
    set_attribute(log, "user.origin", b"sage")
    set_attribute(log, ACCESS_LIST, NOBODY_MAY_READ)
    mode = log.stat().st_mode
    clean(tmp_path)
    copy = tmp_path / "app.log.gz"
    assert os.getxattr(copy, "user.origin") == b"sage"
    assert os.getxattr(copy, ACCESS_LIST) == NOBODY_MAY_READ
    assert copy.stat().st_mode == mode


def test_a_copy_does_not_inherit_from_the_directory_what_its_log_has_not(tmp_path: Path) -> None:
    """The mode alone would let in whom a default access list names."""
    log = make_log(tmp_path / "app.log", b"content")
    log.chmod(0o640)
    set_attribute(tmp_path, DEFAULT_LIST, NOBODY_MAY_READ_BELOW)
    clean(tmp_path)
    copy = tmp_path / "app.log.gz"
    assert ACCESS_LIST not in os.listxattr(copy)
    assert copy.stat().st_mode & 0o777 == 0o640


@needs_root
def test_nobody_can_read_a_copy_that_is_not_finished(open_to_nobody: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by its mode nor by a way to it, even where the log's own mode would let him read it later."""
    make_log(open_to_nobody / "app.log", b"content").chmod(0o644)
    seen: list[tuple[int, int]] = []

    def look_and_write(source: int, target: int, most_bytes: float, interruption: object) -> int:
        path = Path(f"/proc/self/fd/{target}").readlink()
        seen.append((path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777))
        return write_compressed(source, target, most_bytes, interruption)  # type: ignore[arg-type]

    monkeypatch.setattr(replacement_module, "write_compressed", look_and_write)
    clean(open_to_nobody)
    assert seen == [(0o600, 0o700)]


@needs_root
def test_an_ordinary_user_compresses_and_deletes_his_own_logs(open_to_nobody: Path) -> None:
    os.chown(open_to_nobody, NOBODY, NOBODY)
    for name, days in (("app.log", 10), ("old.log.gz", 91)):
        os.chown(make_log(open_to_nobody / name, b"content", days), NOBODY, NOBODY)
        make_old(open_to_nobody / name, days)
    assert cleaned_by_nobody(open_to_nobody)[0] == 0
    assert contents(open_to_nobody) == {"app.log.gz": b"content"}
    assert (open_to_nobody / "app.log.gz").stat().st_uid == NOBODY


@needs_root
def test_an_ordinary_user_leaves_the_logs_of_others_and_says_why(open_to_nobody: Path) -> None:
    """He could delete them, as the directory is his; but he cannot ask who writes to them, nor give them a copy."""
    os.chown(open_to_nobody, NOBODY, NOBODY)
    make_log(open_to_nobody / "app.log", b"content").chmod(0o644)
    make_log(open_to_nobody / "old.log.gz", days=91).chmod(0o644)
    failures, said = cleaned_by_nobody(open_to_nobody)
    assert failures == 2
    assert "ejecute este programa como ese usuario" in said
    assert sorted(os.listdir(open_to_nobody)) == ["app.log", "old.log.gz"]


@needs_root
@pytest.mark.parametrize("owner", [(0, NOBODY), (NOBODY, 0)], ids=["user", "group"])
def test_what_cannot_have_the_same_owner_is_left(
    open_to_nobody: Path, monkeypatch: pytest.MonkeyPatch, owner: tuple[int, int]
) -> None:
    """As for a user who may ask for writers and not give files away (CAP_LEASE without CAP_CHOWN)."""

    def refuse(descriptor: int, user: int, group: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    os.chown(make_log(open_to_nobody / "app.log", b"content"), *owner)
    make_old(open_to_nobody / "app.log")
    monkeypatch.setattr(os, "fchown", refuse)
    assert clean(open_to_nobody).failures == 1
    assert contents(open_to_nobody) == {"app.log": b"content"}


@needs_root
def test_a_directory_that_may_not_be_written_to_is_reported_once(open_to_nobody: Path) -> None:
    for number in range(3):
        make_log(open_to_nobody / f"{number}.log")
    failures, said = cleaned_by_nobody(open_to_nobody)
    assert failures == 1
    assert "este usuario no puede escribir en él" in said


@needs_root
def test_a_dry_run_says_what_keeps_a_run_from_work(open_to_nobody: Path) -> None:
    make_log(open_to_nobody / "app.log")
    failures, said = cleaned_by_nobody(open_to_nobody, dry_run=True)
    assert failures == 1
    assert "este usuario no puede escribir en él: dele el permiso, o corrija LOGS_PATH" in said
    assert "se comprimirían 0 " in said


@pytest.mark.parametrize("flag", [IMMUTABLE, APPEND_ONLY])
def test_a_protected_directory_is_reported_once_and_nothing_is_made_there(
    tmp_path: Path, flag: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Where only appending is allowed, what a run makes there could never go."""
    require_right(MAKE_IMMUTABLE)
    for name in ("a.log", "b.log"):
        make_log(tmp_path / name)
    with protected(tmp_path, flag):
        for dry_run in (True, False):
            assert clean(tmp_path, dry_run=dry_run) == LogsReport(failures=1)
        (finding,) = check_directories(LogsSettings((str(tmp_path),)), ())
    assert sorted(os.listdir(tmp_path)) == ["a.log", "b.log"]
    advice = "está protegido (lsattr -d muestra i o a): quítelo con chattr -i -a, o corrija LOGS_PATH"
    assert (finding.in_order, finding.text) == (False, advice)
    assert caplog.text.count(advice) == 2


@needs_root
def test_a_disk_that_is_mounted_to_be_read_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The line names the cause, and does not say that root has no right."""
    with mounted_small_disk(tmp_path, 2**20):
        make_log(tmp_path / "app.log")
        make_read_only(tmp_path)
        assert clean(tmp_path) == LogsReport(failures=1)
    assert "su disco está montado solo para leer" in caplog.text


def test_a_log_that_may_not_be_deleted_keeps_no_copy(tmp_path: Path) -> None:
    """Otherwise each night would tell of the same one twice."""
    require_right(MAKE_IMMUTABLE)
    log = make_log(tmp_path / "app.log", b"content")
    with protected(log, APPEND_ONLY):
        assert clean(tmp_path).failures == 1
        assert contents(tmp_path) == {"app.log": b"content"}
    require_nothing_left_over(tmp_path)


@needs_root
def test_what_a_killed_run_of_another_user_has_left_stays_and_keeps_nobody_from_work(open_to_nobody: Path) -> None:
    os.chown(open_to_nobody, NOBODY, NOBODY)
    left = open_to_nobody / f"{REMOVING}0123456789abcdef"
    left.mkdir(mode=0o700)
    make_log(left / "app.log", b"set aside")
    os.chown(make_log(open_to_nobody / "other.log", b"content"), NOBODY, NOBODY)
    make_old(open_to_nobody / "other.log")
    failures, said = cleaned_by_nobody(open_to_nobody)
    assert failures == 0
    assert "es de root; si tiene registros, ejecute «run logs» como root, que los devuelve" in said
    assert sorted(os.listdir(open_to_nobody)) == [left.name, "other.log.gz"]
    clean(open_to_nobody)
    assert sorted(os.listdir(open_to_nobody)) == ["app.log.gz", "other.log.gz"]


def test_a_leftover_that_cannot_be_put_right_is_named_and_the_others_continue(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    require_right(MAKE_IMMUTABLE)
    left = tmp_path / f"{REMOVING}0123456789abcdef"
    left.mkdir(mode=0o700)
    make_log(left / "app.log", b"set aside")
    make_log(tmp_path / "other.log", b"content")
    with protected(left):
        report = clean(tmp_path)
    assert (report.failures, report.compressed_files) == (1, 1)
    assert left.name in caplog.text
    clean(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["app.log.gz", "other.log.gz"]


# Where the kernel does not tell who writes


@pytest.fixture
def no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has none."""
    monkeypatch.setattr(open_logs_module, "take_lease", lambda _descriptor: Answer.NO_LEASES)


@pytest.mark.usefixtures("no_leases")
@pytest.mark.parametrize("name", ["app.log", "app.log.gz"])
def test_a_writer_is_found_in_proc_where_there_are_no_leases(tmp_path: Path, name: str) -> None:
    log = make_log(tmp_path / name, b"content", days=1000)
    with opened_by_another(log, "ab"):
        make_old(log, days=1000)
        assert clean(tmp_path).in_use == 1
        assert os.listdir(tmp_path) == [name]
    report = clean(tmp_path)
    assert report.compressed_files + report.deleted_files == 1


CLEANED_BY_A_WRITER = """
import sys
from pathlib import Path
from files.writers import Answer
from jobs.logs.changing import open_logs
from tests.jobs.logs.log_files import clean
open_logs.take_lease = lambda _descriptor: Answer.NO_LEASES
sys.stdin.read()
sys.exit(clean(Path(sys.argv[1])).in_use)
"""


def test_the_file_to_which_this_process_prints_is_left_also_where_there_are_no_leases(tmp_path: Path) -> None:
    """A look at all processes leaves out the one that looks."""
    log = make_log(tmp_path / "cron.log", b"content")
    with log.open("ab") as output:
        command = [sys.executable, "-c", CLEANED_BY_A_WRITER, str(tmp_path)]
        process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=output)
    process.communicate(timeout=60)  # only now it continues, and nobody else has the file open
    assert process.returncode == 1
    assert contents(tmp_path) == {"cron.log": b"content"}


@pytest.mark.usefixtures("no_leases")
def test_who_opens_a_log_after_the_first_look_is_found_by_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its own name it can be opened until it is set aside."""
    log = make_log(tmp_path / "app.log", b"content")
    other = make_log(tmp_path / "other.log", b"other")
    with contextlib.ExitStack() as stack:

        def open_and_write(*arguments: object) -> int:
            monkeypatch.setattr(replacement_module, "write_compressed", write_compressed)
            stack.enter_context(opened_by_another(log, "ab"))
            return write_compressed(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(replacement_module, "write_compressed", open_and_write)
        report = clean(tmp_path, most_workers=1)
        assert (report.in_use, report.compressed_files) == (1, 1)
        assert contents(tmp_path) == {"app.log": b"content", "other.log.gz": b"other"}
    assert not other.exists()
    require_nothing_left_over(tmp_path)


@pytest.mark.usefixtures("no_leases")
def test_who_opens_an_old_log_after_the_first_look_is_found_by_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = make_log(tmp_path / "app.log.gz", b"content", days=1000)
    make_log(tmp_path / "other.log.gz", b"other", days=1000)
    rename = os.rename
    with contextlib.ExitStack() as stack:

        def open_and_rename(source: str, target: str, **options: int) -> None:
            if source == log.name:
                monkeypatch.setattr(os, "rename", rename)
                stack.enter_context(opened_by_another(log, "ab"))
            rename(source, target, **options)

        monkeypatch.setattr(os, "rename", open_and_rename)
        report = clean(tmp_path)
        assert (report.in_use, report.deleted_files) == (1, 1)
        assert os.listdir(tmp_path) == [log.name]


@pytest.mark.parametrize(
    ("answer", "is_complete", "stays"),
    [
        (Answer.NO_RIGHT, False, True),
        (Answer.NO_RIGHT, True, False),
        (Answer.NO_LEASES, False, False),
        (Answer.NO_LEASES, True, False),
    ],
)
@pytest.mark.parametrize(("name", "days"), [("app.log", 10), ("app.log.gz", 1000)])
def test_where_nobody_can_tell_the_logs_of_others_stay(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: Answer,
    is_complete: bool,
    stays: bool,
    name: str,
    days: float,
) -> None:
    """As with the local copies of executions."""

    def look() -> OpenFiles:
        return replace(look_at_open_files(), is_complete=is_complete)

    monkeypatch.setattr(open_logs_module, "take_lease", lambda _descriptor: answer)
    monkeypatch.setattr(open_logs_module, "look_at_open_files", look)
    monkeypatch.setattr(replacement_module, "look_at_open_files", look)
    monkeypatch.setattr(deletion_module, "look_at_open_files", look)
    make_log(tmp_path / name, b"content", days=days)
    report = clean(tmp_path)
    assert (report.failures == 1, (tmp_path / name).exists()) == (stays, stays)


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_file_systems_without_hard_links_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    make_log(tmp_path / "app.log", b"content")
    left = tmp_path / f"{REMOVING}0123456789abcdef"
    left.mkdir(mode=0o700)
    make_log(left / "app.log", b"set aside")
    assert clean(tmp_path).failures == 0
    assert sorted(contents(tmp_path).values()) == [b"content", b"set aside"]
    require_nothing_left_over(tmp_path)
