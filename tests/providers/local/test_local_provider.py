"""What is special to directories on this host, beyond `test_provider_contract.py`."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from config.models import ProviderRow
from files import file_systems
from files.descriptors import (
    closing_descriptor,
    make_directories_beneath,
    open_directory_beneath,
    open_directory_path,
    open_file_beneath,
)
from providers.errors import (
    AccessDenied,
    DestinationMissing,
    IntegrityError,
    InvalidKey,
    InvalidProviderSettings,
    ObjectNotFound,
    ProviderError,
    StorageFull,
)
from providers.file_trees import FORSAKEN_AFTER_SECONDS, temporary_name
from providers.local import batch as batch_module
from providers.local import provider as provider_module
from providers.local.provider import LocalProvider
from providers.sources import BytesSource
from tests.disks.small_disk import make_read_only, mounted_small_disk
from tests.executions.sources import FailingSource, PatternSource
from tests.repository import REPOSITORY
from tests.running.skips import strace_program

DISK_SIZE_BYTES = 2_000_000


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The directory that the provider keeps things in."""
    path = tmp_path / "nas"
    path.mkdir()
    return path


@pytest.fixture
def provider(directory: Path) -> Iterator[LocalProvider]:
    made = provider_at(str(directory))
    yield made
    made.close()


def provider_at(path: object) -> LocalProvider:
    return LocalProvider(ProviderRow(1, "nas", "local", None, {"ruta": path}, active=True))


def files_below(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir()}


def open_descriptors() -> int:
    """How many lead to files and directories. Sockets and pipes come and go with what else this process does."""
    descriptors = Path("/proc/self/fd")
    count = 0
    for descriptor in os.listdir(descriptors):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            count += (descriptors / descriptor).readlink().is_absolute()
    return count


@pytest.mark.parametrize("path", [None, "", "relative/path", 7, "/with\0null"])
def test_the_directory_must_be_an_absolute_path(path: object) -> None:
    with pytest.raises(InvalidProviderSettings, match=r"configuracion\.ruta"):
        provider_at(path)


def test_an_unmounted_directory_is_not_filled_below(provider: LocalProvider, directory: Path) -> None:
    provider.put("a", BytesSource(b"on the mounted disk"))
    directory.rename(directory.with_name("unmounted"))
    directory.mkdir()
    for action in every_action(provider):
        with pytest.raises(DestinationMissing):
            action()
    directory.rmdir()
    for action in every_action(provider):
        with pytest.raises(DestinationMissing):
            action()
    assert not directory.exists()


def every_action(provider: LocalProvider) -> list[Callable[[], object]]:
    return [
        lambda: provider.put("a", BytesSource(b"x")),
        lambda: list(provider.open("a")),
        lambda: provider.stat("a"),
        lambda: list(provider.list("")),
        lambda: provider.delete("a"),
        lambda: provider.discard_unfinished(""),
    ]


def test_no_link_is_followed(provider: LocalProvider, directory: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    unfinished = outside / temporary_name("file")
    unfinished.write_bytes(b"of somebody else")
    (directory / "link").symlink_to(outside)
    (directory / "file").symlink_to(outside / "secret")

    with pytest.raises(InvalidKey):
        provider.put("link/new", BytesSource(b"x"))
    for key in ("link/secret", "file", "link"):
        with pytest.raises(ObjectNotFound):
            provider.stat(key)
        with pytest.raises(ObjectNotFound):
            list(provider.open(key))
    assert list(provider.list("")) == list(provider.list("link/")) == []
    provider.delete("link/secret")
    provider.discard_unfinished("")
    provider.discard_unfinished("link/")
    assert files_below(outside) == {"secret", unfinished.name}
    provider.put("file", BytesSource(b"replaces the link"))
    assert (outside / "secret").read_bytes() == b"secret"


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a\0b", ".janitor-0123456789abcdef-0123456789abcdef.part"]
)
def test_a_key_that_is_no_file_name_is_refused(provider: LocalProvider, directory: Path, key: str) -> None:
    with pytest.raises(InvalidKey):
        provider.put(key, BytesSource(b"x"))
    assert list(directory.iterdir()) == []


def test_a_file_and_a_directory_cannot_share_a_name(provider: LocalProvider, directory: Path) -> None:
    provider.put("file", BytesSource(b"x"))
    provider.put("directory/file", BytesSource(b"x"))
    for key in ("file/below", "directory"):
        with pytest.raises(InvalidKey):
            provider.put(key, BytesSource(b"y"))
    provider.delete("directory")
    assert files_below(directory) == {"file", "directory/file"}


def test_the_bytes_are_on_the_disk_before_the_name(
    provider: LocalProvider, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    fsync, rename = os.fsync, os.rename

    def recorded_fsync(descriptor: int) -> None:
        steps.append(("fsync", Path(f"/proc/self/fd/{descriptor}").readlink().name))
        fsync(descriptor)

    def recorded_rename(old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        steps.append(("rename", new))
        rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "rename", recorded_rename)
    provider.put("one/two/file", BytesSource(b"x"))
    [written] = {name for step, name in steps if name.endswith(".part")}
    assert steps == [
        ("fsync", directory.name),
        ("fsync", "one"),
        ("fsync", written),
        ("rename", "file"),
        ("fsync", "two"),
    ]


TOGETHER = ["mkdir", "mkdir", "sync all", "rename", "rename", "rename", "sync all"]
ONE_BY_ONE = ["mkdir", "file", "mkdir", "file", "file", "rename", "rename", "rename", "directory", "directory"]


def have_it_synced_as_a_whole(monkeypatch: pytest.MonkeyPatch, can_be_synced: bool) -> None:
    """Let the provider find that its file system can, or cannot, be synced as a whole."""
    for module in (batch_module, provider_module):
        monkeypatch.setattr(module, "can_be_synced", lambda _descriptor: can_be_synced)


@pytest.mark.parametrize(("can_be_synced", "expected"), [(True, TOGETHER), (False, ONE_BY_ONE)])
def test_many_files_are_on_the_disk_before_their_names_and_cost_one_sync(
    provider: LocalProvider, directory: Path, monkeypatch: pytest.MonkeyPatch, can_be_synced: bool, expected: list[str]
) -> None:
    steps: list[str] = []
    rename = os.rename

    def recorded_fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        steps.append("file" if path.is_file() else "directory" if path != directory else "mkdir")

    def recorded_rename(old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        steps.append("rename")
        rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "rename", recorded_rename)
    have_it_synced_as_a_whole(monkeypatch, can_be_synced)
    monkeypatch.setattr(batch_module, "sync_file_system", lambda _descriptor: steps.append("sync all"))
    sources = {key: BytesSource(key.encode()) for key in ("a/1", "b/1", "a/2")}
    receipts = dict(provider.put_many(sources))
    assert steps == expected
    assert {key: receipt.size_bytes for key, receipt in receipts.items()} == dict.fromkeys(sources, 3)
    assert files_below(directory) == set(sources)


def test_many_empty_files_get_their_names_at_once_and_cost_one_sync(
    provider: LocalProvider, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside others they wait until those are on the disk; without, there is nothing to wait for."""
    steps: list[str] = []
    (directory / "a").mkdir()
    rename = os.rename

    def recorded_rename(old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        steps.append("rename")
        rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    def recorded_sync(_descriptor: int) -> None:
        steps.append(f"sync all, then {sorted(name for name in files_below(directory) if 'janitor' not in name)}")

    monkeypatch.setattr(os, "rename", recorded_rename)
    have_it_synced_as_a_whole(monkeypatch, True)
    monkeypatch.setattr(batch_module, "sync_file_system", recorded_sync)
    receipts = dict(provider.put_many({"a/1": BytesSource(b""), "a/2": BytesSource(b"")}))
    assert steps == ["sync all, then ['a/1', 'a/2']"]
    assert {key: receipt.size_bytes for key, receipt in receipts.items()} == {"a/1": 0, "a/2": 0}
    steps.clear()
    list(provider.put_many({"a/3": BytesSource(b""), "a/4": BytesSource(b"x")}))
    assert steps == [
        "sync all, then ['a/1', 'a/2']",
        "rename",
        "sync all, then ['a/1', 'a/2', 'a/3', 'a/4']",
    ]


def test_many_empty_files_replace_what_has_their_names(
    provider: LocalProvider, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    have_it_synced_as_a_whole(monkeypatch, True)
    outside = tmp_path / "outside"
    outside.write_bytes(b"secret")
    (directory / "file").write_bytes(b"old")
    (directory / "link").symlink_to(outside)
    (directory / "dangling").symlink_to(tmp_path / "nothing")
    list(provider.put_many({key: BytesSource(b"") for key in ("file", "link", "dangling", "new")}))
    before = open_descriptors()
    assert {path.name: path.read_bytes() for path in directory.iterdir() if not path.is_symlink()} == dict.fromkeys(
        ("file", "link", "dangling", "new"), b""
    )
    assert outside.read_bytes() == b"secret"
    assert not (tmp_path / "nothing").exists()
    (directory / "below").mkdir()
    with pytest.raises(InvalidKey):
        list(provider.put_many({"below": BytesSource(b""), "other": BytesSource(b"")}))
    assert files_below(directory) <= {"file", "link", "dangling", "new", "other"}
    assert open_descriptors() == before


def test_what_turns_out_not_to_be_empty_is_not_stored(
    provider: LocalProvider, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    have_it_synced_as_a_whole(monkeypatch, True)
    grown = BytesSource(b"")
    monkeypatch.setattr(grown, "chunks", lambda _size: iter([b"x"]))
    with pytest.raises(IntegrityError):
        list(provider.put_many({"first": BytesSource(b""), "grown": grown}))
    assert files_below(directory) == set()


class HangingSource(BytesSource):
    """Gives nothing before it is told to go on."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.is_read = threading.Event()
        self.go_on = threading.Event()

    def chunks(self, chunk_size_bytes: int) -> Iterator[bytes]:
        self.is_read.set()
        assert self.go_on.wait(60)
        yield from super().chunks(chunk_size_bytes)


def test_a_source_that_hangs_holds_up_no_other_files(
    provider: LocalProvider, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    have_it_synced_as_a_whole(monkeypatch, True)
    hanging = HangingSource(b"late")
    with ThreadPoolExecutor(2) as threads:
        late = threads.submit(dict, provider.put_many({"a/1": hanging, "a/2": BytesSource(b"late")}))
        try:
            assert hanging.is_read.wait(60)
            others = threads.submit(dict, provider.put_many({"b/1": BytesSource(b"1"), "b/2": BytesSource(b"2")}))
            assert set(others.result(30)) == {"b/1", "b/2"} <= files_below(directory)
        finally:
            hanging.go_on.set()
        assert set(late.result(60)) == {"a/1", "a/2"}


def test_of_many_files_none_is_stored_where_the_disk_could_not_be_written(
    provider: LocalProvider, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    provider.put("a/1", BytesSource(b"old"))
    before = open_descriptors()
    have_it_synced_as_a_whole(monkeypatch, True)
    monkeypatch.setattr(batch_module, "sync_file_system", no_room)
    with pytest.raises(StorageFull):
        list(provider.put_many({"a/1": BytesSource(b"new"), "b/1": BytesSource(b"new")}))
    assert (directory / "a/1").read_bytes() == b"old"
    assert files_below(directory) == {"a/1"}
    assert open_descriptors() == before


def test_only_a_file_system_on_a_disk_is_synced_as_a_whole(tmp_path: Path) -> None:
    with closing_descriptor(os.open("/proc", os.O_RDONLY)) as processes:
        assert not file_systems.can_be_synced(processes)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    file_systems.sync_file_system(descriptor)
    os.close(descriptor)
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        file_systems.sync_file_system(descriptor)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "the source's own"), SystemExit()])
def test_what_the_source_raises_comes_out_and_nothing_stays(
    provider: LocalProvider, directory: Path, error: BaseException
) -> None:
    provider.put("a/file", BytesSource(b"old"))
    before = open_descriptors()
    with pytest.raises(type(error)) as caught:
        provider.put("a/file", FailingSource(3_000_000, 2_000_000, error))  # type: ignore[arg-type]
    assert caught.value is error
    assert (directory / "a/file").read_bytes() == b"old"
    assert files_below(directory) == {"a/file"}
    assert open_descriptors() == before


def test_no_descriptor_stays_open(provider: LocalProvider, directory: Path) -> None:
    provider.put("a/b/file", BytesSource(b"x"))
    (directory / "a/link").symlink_to("/")
    before = open_descriptors()
    for key in ("a/b/file", "a/b/none", "a/none/file", "a/link/etc", "a/b", "a/b/file/below"):
        for action in (provider.stat, lambda key: list(provider.open(key)), lambda key: list(provider.list(key))):
            try:
                action(key)
            except ProviderError:
                continue
    next(provider.open("a/b/file"))
    next(provider.list(""))
    assert open_descriptors() == before


def test_a_full_disk_is_reported_and_left_clean(provider: LocalProvider, directory: Path) -> None:
    with mounted_small_disk(directory, DISK_SIZE_BYTES):
        provider.put("old", BytesSource(b"old"))
        free_bytes = os.statvfs(directory).f_bavail
        with pytest.raises(StorageFull):
            provider.put("old", BytesSource(bytes(DISK_SIZE_BYTES)))
        assert os.statvfs(directory).f_bavail == free_bytes
        assert files_below(directory) == {"old"}
        make_read_only(directory)
        with pytest.raises(AccessDenied):
            provider.put("new", BytesSource(b"x"))
        with pytest.raises(AccessDenied):
            provider.delete("old")
        provider.close()


def test_abandon_in_a_shared_directory_takes_only_its_own_and_what_is_old_and_anybodys(
    provider: LocalProvider, directory: Path
) -> None:
    """An unfinished file beside `executions/1` may be the manifest of `executions/2`, just being stored, or by a host
    that is stopped: that one stays, however old. Only earlier releases made names that do not tell whose they are.
    """
    own, below = temporary_name("1"), temporary_name("file")
    old, new, longer = temporary_name("2"), temporary_name("2"), temporary_name("10")
    of_an_earlier_release, old_of_an_earlier_release = (f".janitor-{digit * 16}.part" for digit in "ab")
    provider.put("executions/1/kept", BytesSource(b"x"))
    (directory / "executions/1/empty").mkdir()
    beside = (own, old, new, longer, of_an_earlier_release, old_of_an_earlier_release)
    for name in (*beside, f"1/{below}", f"1/empty/{below}"):
        (directory / "executions" / name).write_bytes(b"unfinished")
    long_ago = time.time() - 2 * FORSAKEN_AFTER_SECONDS
    for name in (old, old_of_an_earlier_release):
        os.utime(directory / "executions" / name, (long_ago, long_ago))
    assert [stored.key for stored in provider.list("executions/")] == ["executions/1/kept"]
    provider.discard_unfinished("executions/1")
    provider.discard_unfinished("executions/1/")
    assert files_below(directory) == {
        f"executions/{name}" for name in (old, new, longer, of_an_earlier_release, "1/kept")
    }
    assert not (directory / "executions/1/empty").exists()


@pytest.mark.parametrize("hours_off", [-5, 5])
def test_a_clock_that_is_not_the_servers_makes_no_unfinished_file_old(
    provider: LocalProvider, directory: Path, monkeypatch: pytest.MonkeyPatch, hours_off: int
) -> None:
    """A NAS dates files by its own clock. Looked for besides: SFTP."""
    new, old = (f".janitor-{digit * 16}.part" for digit in "ab")
    for name in (new, old):
        (directory / name).write_bytes(b"unfinished")
    long_ago = time.time() - 2 * FORSAKEN_AFTER_SECONDS
    os.utime(directory / old, (long_ago, long_ago))
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + hours_off * 3600)
    provider.discard_unfinished("1.manifest.json")
    assert files_below(directory) == {new}


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_link_in_any_component_is_refused(tmp_path: Path, position: int) -> None:
    names = ["a", "b", "c"]
    tmp_path.joinpath(*names).mkdir(parents=True)
    os.close(open_directory_path(str(tmp_path.joinpath(*names))))
    linked = tmp_path.joinpath(*names[: position + 1])
    linked.rename(tmp_path / "moved")
    linked.symlink_to(tmp_path / "moved")
    before = open_descriptors()
    with pytest.raises(OSError, match=r"directory|symbolic") as caught:
        open_directory_path(str(tmp_path.joinpath(*names)))
    assert caught.value.errno in {errno.ELOOP, errno.ENOTDIR}
    assert open_descriptors() == before


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0"])
def test_a_part_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    root = open_directory_path(str(tmp_path))
    for action in (open_directory_beneath, open_file_beneath, make_directories_beneath):
        with pytest.raises(OSError, match="Invalid argument"):
            action(root, [name])
    os.close(root)
    assert list(tmp_path.iterdir()) == []


def test_only_a_regular_file_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("/etc/passwd")
    root = open_directory_path(str(tmp_path))
    before = open_descriptors()
    for name, code in (("fifo", errno.EINVAL), ("directory", errno.EINVAL), ("link", errno.ELOOP)):
        with pytest.raises(OSError, match=name) as caught:
            open_file_beneath(root, [name])
        assert caught.value.errno == code
    assert open_descriptors() == before
    os.close(root)


# What is left by a process that dies in the middle

KILLED_AT_EVERY_STEP = """
import itertools, json, os, signal, sys
from config.models import ProviderRow
from providers.base import BytesSource
from providers.local.provider import LocalProvider

STEPS = ("mkdir", "open", "write", "fsync", "rename", "unlink", "rmdir")

def die_at(number, moment):
    counter = itertools.count(1)
    def watched(step):
        def call(*arguments, **options):
            reached = next(counter) == number
            if reached and moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return step(*arguments, **options)
            finally:
                if reached:
                    os.kill(os.getpid(), signal.SIGKILL)
        return call
    for name in STEPS:
        setattr(os, name, watched(getattr(os, name)))

def provider():
    return LocalProvider(ProviderRow(1, "nas", "local", None, {"ruta": sys.argv[1]}, active=True))

def store_and_delete(number, moment):
    die_at(number, moment)
    used = provider()
    used.put("p/executions/1/a/b/file", BytesSource(b"x"))
    used.put("p/executions/1.manifest", BytesSource(b"{}"))
    used.delete("p/executions/1/a/b/file")

def remove_leftovers():
    used = provider()
    used.discard_unfinished("p/executions/1/")
    used.discard_unfinished("p/executions/1.manifest")
    for stored in list(used.list("p/executions/1/")):
        used.delete(stored.key)
    used.delete("p/executions/1.manifest")
    used.close()

for number in itertools.count(1):
    for moment in ("before", "after"):
        child = os.fork()
        if child == 0:
            store_and_delete(number, moment)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        remove_leftovers()
        print(number, moment, json.dumps(os.listdir(sys.argv[1])), flush=True)
    if status == 0:
        break
"""


def test_what_a_death_at_any_step_leaves_is_removed(directory: Path) -> None:
    """Before and after each change to the disk, and each opening, by storing an object and a manifest and deleting the
    object. No file stays, and no directory that was made.
    """
    command = [sys.executable, "-c", KILLED_AT_EVERY_STEP, str(directory)]
    result = subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPOSITORY, timeout=120)
    lines = [line.split(" ", 2) for line in result.stdout.splitlines()]
    assert [line for line in lines if json.loads(line[2]) != []] == []
    assert len(lines) > 2 * 20


STORE_NEW_TWICE = """
import sys
from config.models import ProviderRow
from providers.base import BytesSource, ProviderError
from providers.local.provider import LocalProvider
provider = LocalProvider(ProviderRow(1, "nas", "local", None, {"ruta": sys.argv[1]}, active=True))
for content in b"first", b"second":
    try:
        list(provider.put_new_many({"a/1": BytesSource(content), "a/2": BytesSource(content)}))
    except ProviderError as error:
        print(type(error).__name__)
"""

WITHOUT_THE_CONDITION = "renameat2:error=EINVAL"
WITHOUT_LINKS = "linkat:error=EPERM"


@pytest.mark.parametrize("missing", [[], [WITHOUT_THE_CONDITION], [WITHOUT_THE_CONDITION, WITHOUT_LINKS]])
def test_new_files_replace_nothing_whatever_the_file_system_offers(directory: Path, missing: list[str]) -> None:
    """Many shares, NFS for one, offer no rename under that condition, and others no hard links either."""
    command = [sys.executable, "-c", STORE_NEW_TWICE, str(directory)]
    injected = [option for call in missing for option in ("-e", f"inject={call}")]
    strace = [strace_program(), "-f", "-qq", "-e", "trace=renameat2,linkat", *injected, "-o", "/dev/null"]
    result = subprocess.run([*strace, *command], check=True, capture_output=True, text=True, cwd=REPOSITORY, timeout=60)
    assert result.stdout == "ConditionFailed\n"
    assert {path.name: path.read_bytes() for path in (directory / "a").iterdir()} == dict.fromkeys("12", b"first")


@pytest.mark.parametrize("content", [b"", b"content"])
def test_new_files_take_the_name_of_no_directory_or_link(
    provider: LocalProvider, directory: Path, content: bytes
) -> None:
    """It is said what is in the way: there is no object that others could have stored. `put_many`: see above."""
    (directory / "below").mkdir()
    (directory / "link").symlink_to("nothing")
    for key in ("below", "link"):
        with pytest.raises(InvalidKey, match=f"ya hay un directorio con ese nombre, u otra cosa.*: {key}"):
            list(provider.put_new_many({key: BytesSource(content), "other": BytesSource(content)}))
        (directory / "other").unlink(missing_ok=True)
    assert {path.name for path in directory.iterdir()} == {"below", "link"}


READ_BACK = """
import sys
from config.models import ProviderRow
from providers.local.provider import LocalProvider
provider = LocalProvider(ProviderRow(1, "nas", "local", None, {"ruta": sys.argv[1]}, active=True))
print([digest.sha256 for digest in provider.digests(["a/file"])])
"""


def test_what_is_read_back_is_first_taken_out_of_the_kernels_memory(
    provider: LocalProvider, directory: Path, tmp_path: Path
) -> None:
    """Else the proof could be of what was written, not of what has arrived on the disk."""
    source = PatternSource(3_000_000)
    provider.put("a/file", source)
    trace = tmp_path / "trace"
    strace = [strace_program(), "-f", "-qq", "-y", "-e", "trace=fadvise64,read,pread64", "-o", str(trace)]
    command = [*strace, sys.executable, "-c", READ_BACK, str(directory)]
    result = subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPOSITORY, timeout=60)
    assert source.sha256() in result.stdout
    calls = [line.split()[1].partition("(")[0] for line in trace.read_text().splitlines() if "/a/file>" in line]
    assert calls[0] == "fadvise64"
    assert "POSIX_FADV_DONTNEED" in trace.read_text()
    assert set(calls[1:]) == {"read"}


def test_a_file_system_that_folds_names_is_seen(
    provider: LocalProvider, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that takes no heed of case finds a file under names that it does not have; no kernel here can mount one."""
    stat_of = os.stat

    def folding(name: Any, **options: Any) -> os.stat_result:
        if "dir_fd" in options:
            names = {other.casefold(): other for other in os.listdir(options["dir_fd"])}
            name = names.get(str(name).casefold(), name)
        return stat_of(name, **options)

    assert not provider.folds_names("p")
    with closing(LocalProvider(ProviderRow(1, "NAS", "local", None, {"ruta": str(directory)}, active=True))) as blind:
        with monkeypatch.context() as patched:
            patched.setattr(os, "stat", folding)
            assert blind.folds_names("p")
        assert blind.folds_names("q")  # it is remembered
    assert list(directory.iterdir()) == []
