"""One run at a time on a host for one database, and never a lock that nobody holds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from config.errors import ConfigurationError
from jobs.locks import LockHeld, host_lock
from tests.disks.privileges import NOBODY, unprivileged
from tests.disks.small_disk import make_read_only, mounted_small_disk, use_up_inodes, use_up_space
from tests.repository import REPOSITORY
from tests.running.skips import needs_root

IDENTITY = "db.example/5432/sage"

HOLDER = """
import sys
from pathlib import Path
from jobs.locks import LockHeld, host_lock
try:
    with host_lock(Path(sys.argv[1]), sys.argv[2]):
        print("held", flush=True)
        sys.stdin.read()
except LockHeld:
    print("refused", flush=True)
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where locks are, open to all, as `/run/lock` is."""
    path = tmp_path / "lock"
    path.mkdir()
    path.chmod(0o1777)
    return path


@contextmanager
def other_process(directory: Path, identity: str = IDENTITY) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another run, and whether it got the lock. It ends when its input does."""
    command = [sys.executable, "-c", HOLDER, str(directory), identity]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process, process.stdout.readline().strip()


def test_a_second_run_is_refused_until_the_first_one_ends(directory: Path) -> None:
    with other_process(directory) as (_, answer):
        assert answer == "held"
        with pytest.raises(LockHeld, match="en marcha en esta máquina"), host_lock(directory, IDENTITY):
            raise AssertionError
    with host_lock(directory, IDENTITY), other_process(directory) as (_, answer):
        assert answer == "refused"


def test_a_second_run_in_the_same_process_is_refused_too(directory: Path) -> None:
    with host_lock(directory, IDENTITY), pytest.raises(LockHeld), host_lock(directory, IDENTITY):
        raise AssertionError


def test_the_death_of_the_holder_frees_the_lock(directory: Path) -> None:
    with other_process(directory) as (process, answer):
        assert answer == "held"
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        with host_lock(directory, IDENTITY):
            pass


def test_an_error_frees_the_lock(directory: Path) -> None:
    with pytest.raises(ZeroDivisionError), host_lock(directory, IDENTITY):
        raise ZeroDivisionError
    with host_lock(directory, IDENTITY):
        pass


def test_other_databases_have_locks_of_their_own(directory: Path) -> None:
    with host_lock(directory, IDENTITY), other_process(directory, "db.example/5432/other") as (_, answer):
        assert answer == "held"


def test_the_lock_file_stays_and_shows_nothing(directory: Path) -> None:
    with host_lock(directory, IDENTITY):
        pass
    (file,) = directory.iterdir()
    assert file.name.startswith("janitor-daemon-")
    assert "sage" not in file.name
    assert file.read_bytes() == b""


def test_a_link_in_its_place_is_refused(directory: Path, tmp_path: Path) -> None:
    with host_lock(directory, IDENTITY):
        (file,) = directory.iterdir()
    file.unlink()
    target = tmp_path / "target"
    for exists in (False, True):
        if exists:
            target.touch()
        file.symlink_to(target)
        with pytest.raises(ConfigurationError, match="JANITOR_LOCK_DIR"), host_lock(directory, IDENTITY):
            raise AssertionError
        assert target.exists() == exists
        file.unlink()


@pytest.mark.timeout(20)
def test_a_fifo_instead_of_the_file_delays_nothing(directory: Path) -> None:
    with host_lock(directory, IDENTITY):
        (file,) = directory.iterdir()
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(ConfigurationError, match="JANITOR_LOCK_DIR"), host_lock(directory, IDENTITY):
        raise AssertionError


@pytest.mark.parametrize("name", ["gone", "file"])
def test_a_directory_that_is_none_is_reported_with_what_to_do(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="JANITOR_LOCK_DIR"), host_lock(tmp_path / name, IDENTITY):
        raise AssertionError


@pytest.mark.parametrize("umask", [0o022, 0o077])
@needs_root
def test_root_and_an_ordinary_user_share_the_lock(umask: int) -> None:
    """Whatever the umask of the first user: cron runs as the one, a person tries as the other."""
    directory = Path("/tmp") / f"janitor-lock-test-{os.getpid()}"  # noqa: S108 pytest's directories are closed to others
    directory.mkdir()
    directory.chmod(0o1777)
    before = os.umask(umask)
    try:
        for first_is_root in (True, False):
            identity = f"{IDENTITY}/{first_is_root}"
            if first_is_root:
                with host_lock(directory, identity):
                    pass
            with unprivileged(), host_lock(directory, identity):
                pass
            with host_lock(directory, identity):
                pass
        owners = sorted(file.stat().st_uid for file in directory.iterdir())
        assert owners == [0, NOBODY]
    finally:
        os.umask(before)
        for file in directory.iterdir():
            file.unlink()
        directory.rmdir()


# Where no file can be made


@pytest.fixture(params=["no inodes", "read-only"])
def barren(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A directory in which no file can be made."""
    path = tmp_path / "barren"
    path.mkdir()
    with mounted_small_disk(path, 65_536, inodes=20):
        if request.param == "read-only":
            make_read_only(path)
        else:
            use_up_inodes(path)
        yield path


def locks(directory: Path) -> list[Path]:
    return list(directory.glob("*.lock"))


def test_where_no_file_can_be_made_there_is_still_one_run_at_a_time(barren: Path) -> None:
    for _ in range(2):
        with other_process(barren) as (_, answer):
            assert answer == "held"
            with pytest.raises(LockHeld), host_lock(barren, IDENTITY):
                raise AssertionError
            assert locks(barren) == []
    with host_lock(barren, IDENTITY), other_process(barren) as (_, answer):
        assert answer == "refused"


@pytest.mark.parametrize("barren", ["no inodes"], indirect=True)
def test_who_finds_room_for_the_file_waits_for_who_did_not(barren: Path) -> None:
    with host_lock(barren, IDENTITY):
        (barren / "vacío-0").unlink()
        with other_process(barren) as (_, answer):
            assert answer == "refused"
        assert locks(barren) == []
    with host_lock(barren, IDENTITY), other_process(barren) as (_, answer):
        assert answer == "refused"
        assert len(locks(barren)) == 1


def test_a_file_that_is_there_is_used_where_none_could_be_made(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted_small_disk(disk, 65_536):
        with host_lock(disk, IDENTITY):
            pass
        make_read_only(disk)
        with host_lock(disk, IDENTITY), other_process(disk) as (_, answer):
            assert answer == "refused"
        with host_lock(disk, IDENTITY), other_process(disk, "db.example/5432/other") as (_, answer):
            assert answer == "held"


def test_a_disk_whose_every_block_is_used_has_room_for_the_lock(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted_small_disk(disk, 65_536):
        use_up_space(disk)
        with host_lock(disk, IDENTITY), other_process(disk) as (_, answer):
            assert answer == "refused"
