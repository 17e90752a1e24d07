"""What becomes of each file in a log directory."""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import logging
import lzma
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from config.errors import ConfigurationError
from config.process.log_output import LOG_FILE_NAME
from config.settings import load_settings
from jobs.logs.changing.compression import write_compressed
from jobs.logs.errors import left_for
from jobs.logs.guard import KeptApart, kept_apart_from_logs
from jobs.logs.report import LogsReport
from tests.files.test_mounts import bound
from tests.files.test_open_files import opened_by_another
from tests.jobs.logs.log_files import clean, contents, make_log, make_old, require_nothing_left_over, text


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An empty one for logs."""
    made = tmp_path / "logs"
    made.mkdir()
    return made


def test_an_old_log_becomes_its_gz_with_the_same_mode_and_times(directory: Path) -> None:
    content = text(3_000_000)
    log = make_log(directory / "app.log", content)
    log.chmod(0o640)
    before = log.stat()
    report = clean(directory)
    assert contents(directory) == {"app.log.gz": content}
    subprocess.run(["gunzip", "-t", directory / "app.log.gz"], check=True, timeout=60)
    after = (directory / "app.log.gz").stat()
    assert (after.st_mtime_ns, after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mtime_ns, before.st_mode, before.st_uid, before.st_gid,
    )  # fmt: skip
    assert (report.compressed_files, report.bytes_before, report.bytes_after) == (1, len(content), after.st_size)
    assert report.freed_bytes == len(content) - after.st_size > 0
    assert report.failures == 0


def test_only_what_is_older_than_the_days_is_compressed(directory: Path) -> None:
    make_log(directory / "young.log", days=6.99)
    make_log(directory / "old.log", days=7.01)
    clean(directory)
    assert set(contents(directory)) == {"young.log", "old.log.gz"}


def test_compressed_logs_older_than_the_retention_are_deleted(directory: Path) -> None:
    for name, days in (("a.log.gz", 91), ("b.log.1.gz", 89), ("c.log.2.xz", 91), ("d.txt.gz", 91), ("e.log", 5)):
        make_log(directory / name, gzip.compress(b"content"), days)
    report = clean(directory)
    assert sorted(os.listdir(directory)) == ["b.log.1.gz", "d.txt.gz", "e.log"]
    assert (report.deleted_files, report.deleted_bytes) == (2, 2 * len(gzip.compress(b"content")))


def test_a_log_is_never_compressed_and_deleted_by_the_same_run(directory: Path) -> None:
    """Whoever turns the job on has a day to see what it does to logs of years."""
    make_log(directory / "app.log", b"content", days=1000)
    clean(directory)
    assert contents(directory) == {"app.log.gz": b"content"}
    clean(directory)
    assert contents(directory) == {}


def test_without_compression_only_compressed_logs_are_deleted(directory: Path) -> None:
    make_log(directory / "a.log", days=1000)
    make_log(directory / "b.log.gz", days=1000)
    clean(directory, compression_enabled=False)
    assert os.listdir(directory) == ["a.log"]


def test_only_names_that_match_a_pattern_are_logs(directory: Path) -> None:
    names = ["app.log", "app.log.1", "notes.txt", ".hidden.log", "blog"]
    for name in names:
        make_log(directory / name)
    clean(directory)
    assert sorted(os.listdir(directory)) == [".hidden.log", "app.log.1.gz", "app.log.gz", "blog", "notes.txt"]
    clean(directory, patterns=("*.txt",))
    assert "notes.txt.gz" in os.listdir(directory)


def test_directories_below_are_left(directory: Path) -> None:
    (directory / "sub.log").mkdir()
    make_log(directory / "sub.log" / "app.log")
    make_old(directory / "sub.log")
    assert clean(directory) == LogsReport()
    assert os.listdir(directory / "sub.log") == ["app.log"]


def test_links_hard_links_and_special_files_are_left(directory: Path, tmp_path: Path) -> None:
    outside = make_log(tmp_path / "outside.log", b"outside")
    (directory / "link.log").symlink_to(outside)
    make_old(directory / "link.log")
    make_log(directory / "one.log", b"two names")
    (directory / "two.log").hardlink_to(directory / "one.log")
    os.mkfifo(directory / "fifo.log")
    make_old(directory / "fifo.log")
    assert clean(directory) == LogsReport()
    assert sorted(os.listdir(directory)) == ["fifo.log", "link.log", "one.log", "two.log"]
    assert outside.read_bytes() == b"outside"


ZSTD = b"\x28\xb5\x2f\xfd\x04\x00\x29\x00\x00content"


@pytest.mark.parametrize(
    "content",
    [gzip.compress(b"content"), bz2.compress(b"content"), lzma.compress(b"content"), ZSTD],
    ids=["gzip", "bzip2", "xz", "zstd"],
)
def test_compressed_contents_are_never_compressed_whatever_their_name(directory: Path, content: bytes) -> None:
    make_log(directory / "app.log.1", content)
    assert clean(directory) == LogsReport()
    assert (directory / "app.log.1").read_bytes() == content
    make_old(directory / "app.log.1", days=91)
    assert clean(directory).deleted_files == 1


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2", ".xz"])
def test_what_is_called_compressed_is_never_compressed(directory: Path, suffix: str) -> None:
    make_log(directory / f"app.log{suffix}", b"plain text")
    assert clean(directory) == LogsReport()


def test_a_text_that_begins_as_bzip2_does_is_compressed(directory: Path) -> None:
    make_log(directory / "app.log", b"BZh9 is no magic number alone")
    assert clean(directory).compressed_files == 1


@pytest.mark.parametrize(("mode", "how"), [("ab", "open"), ("r+b", "mapped")])
def test_a_log_that_is_open_for_writing_is_left_and_named_whatever_its_age(
    directory: Path, mode: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    log = make_log(directory / "app.log", b"content", days=1000)
    with opened_by_another(log, mode, how):
        make_old(log, days=1000)
        report = clean(directory)
        assert contents(directory) == {"app.log": b"content"}
    assert (report.in_use, report.compressed_files, report.failures) == (1, 0, 0)
    assert "app.log como está: un programa lo tiene abierto para escribir" in caplog.text
    clean(directory)
    assert contents(directory) == {"app.log.gz": b"content"}


def test_a_compressed_log_that_is_open_for_writing_is_not_deleted(directory: Path) -> None:
    log = make_log(directory / "app.log.gz", gzip.compress(b"content"), days=1000)
    with opened_by_another(log, "ab"):
        make_old(log, days=1000)
        assert clean(directory).in_use == 1
    assert clean(directory).deleted_files == 1


def test_a_log_that_is_only_read_is_compressed(directory: Path) -> None:
    log = make_log(directory / "app.log")
    with opened_by_another(log, "rb"):
        assert clean(directory).compressed_files == 1


def test_the_log_of_this_program_is_left_and_its_rotated_ones_are_not(directory: Path) -> None:
    make_log(directory / LOG_FILE_NAME)
    make_log(directory / f"{LOG_FILE_NAME}.1")
    clean(directory)
    assert sorted(os.listdir(directory)) == [LOG_FILE_NAME, f"{LOG_FILE_NAME}.1.gz"]


# Copies that are there already


def test_a_log_whose_copy_is_equal_goes(directory: Path) -> None:
    content = text(100_000)
    make_log(directory / "app.log", content)
    (directory / "app.log.gz").write_bytes(gzip.compress(content[:5000]) + gzip.compress(content[5000:]))
    copy = (directory / "app.log.gz").read_bytes()
    report = clean(directory)
    assert (report.duplicate_files, report.duplicate_bytes, report.compressed_files) == (1, len(content), 0)
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == {"app.log.gz": copy}


@pytest.mark.parametrize(
    "other", [b"other bytes", b"content and more", b"cont", b""], ids=["other", "longer", "shorter", "empty"]
)
def test_a_log_whose_copy_differs_gets_a_name_that_says_so(directory: Path, other: bytes) -> None:
    log = make_log(directory / "app.log.1", b"content")
    os.utime(log, (1_700_000_000, 1_700_000_000))
    make_log(directory / "app.log.1.gz", gzip.compress(other), days=1)
    report = clean(directory)
    expected = {"app.log.1.gz": other, "app.log.1.distinto-20231114T221320Z.gz": b"content"}
    assert contents(directory) == expected
    assert (report.compressed_files, report.differing_copies, report.failures) == (1, 1, 0)
    make_log(log, b"another one")
    os.utime(log, (1_700_000_000, 1_700_000_000))
    clean(directory, retention_days=10_000)
    assert contents(directory) == expected | {"app.log.1.distinto-20231114T221320Z-2.gz": b"another one"}


@pytest.mark.parametrize("damage", ["cut", "flipped", "no gzip", "garbage behind"])
def test_a_damaged_copy_is_not_taken_for_the_log(directory: Path, damage: str) -> None:
    content = text(200_000)
    make_log(directory / "app.log", content)
    copy = gzip.compress(content)
    damaged = {
        "cut": copy[:-1],
        "flipped": copy[:-6] + bytes([copy[-6] ^ 1]) + copy[-5:],
        "no gzip": content,
        "garbage behind": copy + b"garbage",
    }[damage]
    (directory / "app.log.gz").write_bytes(damaged)
    assert clean(directory).differing_copies == 1
    assert (directory / "app.log.gz").read_bytes() == damaged
    (other,) = directory.glob("app.log.distinto-*.gz")
    assert gzip.decompress(other.read_bytes()) == content


def test_a_link_or_a_directory_under_the_copys_name_is_not_followed(directory: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(gzip.compress(b"content"))
    for name in ("a.log", "b.log"):
        make_log(directory / name, b"content")
    (directory / "a.log.gz").symlink_to(outside)
    (directory / "b.log.gz").mkdir()
    assert clean(directory).differing_copies == 2
    assert (directory / "a.log.gz").is_symlink()


def test_a_copy_that_somebody_is_writing_leaves_the_log_alone(directory: Path) -> None:
    """As when another program compresses it at this moment."""
    make_log(directory / "app.log", b"content")
    (directory / "app.log.gz").write_bytes(b"half")
    with opened_by_another(directory / "app.log.gz", "ab"):
        assert clean(directory).in_use == 1
    assert sorted(os.listdir(directory)) == ["app.log", "app.log.gz"]


def test_old_copies_are_not_deleted_while_their_log_is_there(directory: Path) -> None:
    """What a run has left that was killed between the two."""
    make_log(directory / "app.log", b"content", days=1000)
    make_log(directory / "app.log.gz", gzip.compress(b"content"), days=1000)
    report = clean(directory)
    assert contents(directory) == {"app.log.gz": b"content"}
    assert (report.duplicate_files, report.deleted_files) == (1, 0)


# Directories


def test_several_directories_are_cleaned_and_a_missing_one_is_reported(
    directory: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    make_log(directory / "a.log")
    make_log(other / "b.log")
    report = clean(directory, tmp_path / "missing", other)
    assert (report.compressed_files, report.missing_directories, report.failures) == (2, 1, 0)
    assert f"No existe el directorio de registros {tmp_path / 'missing'}: créelo o corrija LOGS_PATH" in caplog.text


def test_a_directory_behind_a_link_is_not_used(directory: Path, tmp_path: Path) -> None:
    make_log(directory / "app.log")
    (tmp_path / "link").symlink_to(directory)
    assert clean(tmp_path / "link").failures == 1
    assert os.listdir(directory) == ["app.log"]


@pytest.mark.parametrize("path", ["/", "/etc", "/usr/share", "/var/log", "/var", "/root", "/var/lib/dpkg/info"])
def test_a_directory_of_the_system_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="del sistema"):
        clean(Path(path))


def test_nothing_is_touched_when_one_directory_is_refused(directory: Path) -> None:
    make_log(directory / "app.log")
    with pytest.raises(ConfigurationError):
        clean(directory, Path("/etc"))
    assert os.listdir(directory) == ["app.log"]


@pytest.mark.parametrize("below", ["", "logs"])
def test_a_directory_in_a_root_is_refused_also_by_another_path(tmp_path: Path, below: str) -> None:
    root = tmp_path / "executions"
    (root / below).mkdir(parents=True)
    (tmp_path / "link").symlink_to(root)
    for path in (root, tmp_path / "link"):
        apart = (KeptApart("una de las raíces de JANITOR_ROOTS", str(path)),)
        with pytest.raises(ConfigurationError, match="es o está en una de las raíces"):
            clean(root / below, apart=apart)


@pytest.mark.parametrize("is_root_bound", [False, True], ids=["", "root bound, too"])
def test_a_part_of_a_root_is_refused_also_where_it_is_mounted_elsewhere(tmp_path: Path, is_root_bound: bool) -> None:
    """Nothing above that path shows what it is a part of."""
    for name in ("executions/e1/logs/app", "elsewhere", "root", "beside"):
        (tmp_path / name).mkdir(parents=True)
    apart = (KeptApart("una de las raíces", str(tmp_path / ("root" if is_root_bound else "executions"))),)
    with contextlib.ExitStack() as mounted:
        if is_root_bound:
            mounted.enter_context(bound(tmp_path / "executions", tmp_path / "root"))
        mounted.enter_context(bound(tmp_path / "executions/e1/logs", tmp_path / "elsewhere"))
        for path in (tmp_path / "elsewhere", tmp_path / "elsewhere/app"):
            with pytest.raises(ConfigurationError, match="es o está en una de las raíces"):
                clean(path, apart=apart)
    with bound(tmp_path / "beside", tmp_path / "elsewhere"):
        assert clean(tmp_path / "elsewhere", apart=apart) == LogsReport()


@pytest.mark.parametrize("variable", ["JANITOR_ROOTS", "TEMP_DIR", "BACKUP_PATH"])
def test_directories_that_hold_something_else_are_kept_apart(tmp_path: Path, variable: str) -> None:
    (tmp_path / "kept" / "below").mkdir(parents=True)
    environment = {"DATABASE_URL": "postgresql://", "TEMP_DIR": str(tmp_path / "tmp"), "JANITOR_LOG_DIR": "/logs"}
    settings = load_settings({**environment, variable: str(tmp_path / "kept")})
    for directory in (tmp_path / "kept", tmp_path / "kept" / "below"):
        with pytest.raises(ConfigurationError, match=f"es o está en .*{variable}"):
            clean(directory, apart=kept_apart_from_logs(settings))
    clean(tmp_path, apart=kept_apart_from_logs(settings))


def test_a_directory_in_a_copy_is_refused(directory: Path) -> None:
    """A local provider's copies are proven; to compress a file of one would make the proof a lie."""
    (directory.parent / f"{directory.name}.manifest.json").touch()
    with pytest.raises(ConfigurationError, match="manifiesto"):
        clean(directory)


# Runs


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    make_log(directory / "app.log", b"content")
    make_log(directory / "old.log.gz", days=91)
    busy = make_log(directory / "busy.log")
    before = {path: path.stat() for path in (directory, *directory.iterdir())}
    with opened_by_another(busy, "ab"):
        report = clean(directory, dry_run=True)
    after = {path: path.stat() for path in (directory, *directory.iterdir())}
    assert {path: (status.st_mtime_ns, status.st_ctime_ns) for path, status in after.items()} == {
        path: (status.st_mtime_ns, status.st_ctime_ns) for path, status in before.items()
    }
    assert (report.compressed_files, report.deleted_files, report.in_use) == (1, 1, 1)
    assert f"[simulación] se comprimiría {directory}/app.log" in caplog.text
    assert f"[simulación] se eliminaría {directory}/old.log.gz" in caplog.text


def test_an_interrupted_run_leaves_the_rest_for_the_next(directory: Path) -> None:
    make_log(directory / "app.log")
    interruption = threading.Event()
    interruption.set()
    assert clean(directory, interruption=interruption) == LogsReport()
    assert os.listdir(directory) == ["app.log"]


def test_many_logs_are_compressed_by_several_threads(directory: Path) -> None:
    originals = {f"app.log.{number}": text(20_000, number) for number in range(150)}
    for name, content in originals.items():
        make_log(directory / name, content)
    report = clean(directory, most_workers=4)
    assert (report.compressed_files, report.failures) == (150, 0)
    assert contents(directory) == {f"{name}.gz": content for name, content in originals.items()}
    require_nothing_left_over(directory)


def test_a_second_run_has_nothing_to_do(directory: Path) -> None:
    make_log(directory / "app.log")
    clean(directory)
    assert clean(directory) == LogsReport()


def test_what_fails_is_named_and_the_others_are_compressed(
    directory: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = make_log(directory / "bad.log", b"on a bad block")
    make_log(directory / "app.log")

    def write(source: int, target: int, most_bytes: float, interruption: threading.Event) -> int:
        if os.path.samestat(os.fstat(source), bad.stat()):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return write_compressed(source, target, most_bytes, interruption)

    monkeypatch.setattr("jobs.logs.changing.replacement.write_compressed", write)
    report = clean(directory)
    assert (report.compressed_files, report.failures) == (1, 1)
    assert "bad.log como está" in caplog.text
    assert sorted(os.listdir(directory)) == ["app.log.gz", "bad.log"]


def test_odd_names_are_names(directory: Path) -> None:
    names = [os.fsdecode(b"\xff\xfe.log"), "with\nline end.log", " .log", "-rf.log", "ñandú.log"]
    for name in names:
        make_log(directory / name, name.encode("utf-8", "surrogateescape"))
    clean(directory)
    assert contents(directory) == {f"{name}.gz": name.encode("utf-8", "surrogateescape") for name in names}


def test_an_empty_log_becomes_a_gz_of_nothing(directory: Path) -> None:
    make_log(directory / "app.log", b"")
    assert clean(directory).compressed_files == 1
    assert contents(directory) == {"app.log.gz": b""}


def test_a_small_log_frees_no_negative_nothing(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_log(directory / "app.log", b"")
    with caplog.at_level(logging.INFO):
        assert clean(directory).freed_bytes < 0
    assert ", 0.00 MB liberados" in caplog.text


def test_a_missing_right_is_reported_with_those_it_takes() -> None:
    for code in (errno.EACCES, errno.EPERM):
        assert "este usuario necesita leerlo y escribir en su directorio" in str(left_for(OSError(code, "x")))
    assert "este usuario" not in str(left_for(OSError(errno.EIO, "x")))
    assert "lsattr" in str(left_for(OSError(errno.EPERM, "x")))  # root may do all, but not what `chattr` forbids
    assert "lsattr" not in str(left_for(OSError(errno.EACCES, "x")))


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_directory_whose_disk_goes_meanwhile_stops_no_other(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, dry_run: bool
) -> None:
    """The kernel answers EIO to whatever is asked of that disk, once the directory is open.

    Where else a loss may come in the middle: what concerns a single log is named with it, and the rest is done.
    """
    gone = tmp_path / "gone"
    gone.mkdir()
    for place in (gone, directory):
        make_log(place / "a.log", text(50_000))
    device_and_inode = gone.stat().st_dev, gone.stat().st_ino

    def of_a_good_disk(ask: Callable[[int], Any]) -> Callable[[int], Any]:
        def asked(descriptor: int) -> Any:
            status = os.fstat(descriptor)
            if (status.st_dev, status.st_ino) == device_and_inode:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return ask(descriptor)

        return asked

    asked_first = "scandir" if dry_run else "fstatvfs"
    monkeypatch.setattr(os, asked_first, of_a_good_disk(getattr(os, asked_first)))
    report = clean(gone, directory, dry_run=dry_run)
    assert (report.failures, report.compressed_files) == (1, 1)
    assert f"No se puede trabajar en el directorio de registros {gone}: " in caplog.text


def with_holes(path: Path, size_bytes: int, content: bytes) -> os.stat_result:
    """An old log that ends with its only contents; all before them is a hole."""
    with path.open("wb") as file:
        file.seek(size_bytes - len(content))
        file.write(content)
    make_old(path)
    return path.stat()


def test_a_log_of_holes_stays_as_its_copy_would_take_more(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No run could free anything: that is no failure."""
    before = with_holes(directory / "app.log", 64 * 1024 * 1024, b"end\n")
    assert clean(directory) == LogsReport()
    assert os.listdir(directory) == ["app.log"]
    assert (directory / "app.log").stat().st_ctime_ns == before.st_ctime_ns
    assert "casi todo él son huecos" in caplog.text


def test_what_is_freed_is_what_was_occupied(directory: Path) -> None:
    content = text(256 * 1024)
    before = with_holes(directory / "app.log", 4 * 1024 * 1024, content)
    report = clean(directory, dry_run=True)
    assert report.bytes_before == before.st_blocks * 512 < before.st_size
    report = clean(directory)
    assert contents(directory) == {"app.log.gz": bytes(before.st_size - len(content)) + content}
    assert report.bytes_before == before.st_blocks * 512
    with_holes(directory / "old.log.gz", 4 * 1024 * 1024, content)
    make_old(directory / "old.log.gz", days=91)
    assert clean(directory).deleted_bytes == before.st_blocks * 512


def test_nothing_is_freed_while_another_name_keeps_the_bytes(directory: Path, tmp_path: Path) -> None:
    make_log(directory / "elsewhere.log.gz", text(9000), days=91)
    os.link(directory / "elsewhere.log.gz", tmp_path / "kept")
    make_log(directory / "both.log.gz", text(5000), days=91)
    os.link(directory / "both.log.gz", directory / "both.log.1.gz")
    assert clean(directory, dry_run=True).deleted_bytes == 0
    report = clean(directory)
    assert (report.deleted_files, report.deleted_bytes, report.freed_bytes) == (3, 5000, 5000)


def test_what_was_deleted_counts_though_the_disk_goes_then(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_log(directory / "old.log.gz", b"x" * 100, days=91)
    make_log(directory / "app.log")
    room = os.fstatvfs

    def asked(descriptor: int) -> os.statvfs_result:
        if not (directory / "old.log.gz").exists():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return room(descriptor)

    monkeypatch.setattr(os, "fstatvfs", asked)
    assert clean(directory) == LogsReport(deleted_files=1, deleted_bytes=100, failures=1)


@pytest.mark.parametrize("length", [252, 253, 255])
def test_a_name_that_leaves_no_room_for_gz_is_no_failure(
    directory: Path, length: int, caplog: pytest.LogCaptureFixture
) -> None:
    """No run can ever compress it, so its name is reported."""
    name = f"{'n' * (length - 4)}.log"
    make_log(directory / name)
    assert clean(directory, dry_run=True).compressed_files == int(length <= 252)
    report = clean(directory)
    assert report.failures == 0
    assert os.listdir(directory) == [name if length > 252 else f"{name}.gz"]
    assert ("no deja sitio para .gz" in caplog.text) is (length > 252)


def test_a_long_name_has_shorter_ones_for_other_bytes(directory: Path) -> None:
    name = f"{'n' * 248}.log"
    make_log(directory / name, b"content")
    make_log(directory / f"{name}.gz", gzip.compress(b"other"))
    assert clean(directory).differing_copies == 1
    assert sorted(contents(directory).values()) == [b"content", b"other"]
