"""A tree is found as it is, with nothing in it opened that should not be; a file that changes is noticed."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import mmap
import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.errors import RunInterrupted, SourceChanged, SourceUnreadable, UnsafeSource
from config.models import Entry, EntryKind, FileIdentity
from files import walk as tree_module
from files.descriptors import closing_descriptor, open_directory_beneath
from files.tree import Tree
from files.walk import DEEPEST_NESTING, FileSource, hash_file, require_unchanged, walk_quiet_tree, walk_tree
from tests.disks.privileges import unprivileged
from tests.disks.small_disk import mounted_small_disk
from tests.executions.source_mutations import require_file_system_that_notices
from tests.running.skips import NEEDS_ROOT
from tests.stories.trees import make_odd_tree, snapshot

NEVER = threading.Event()
KINDS: dict[object, EntryKind] = {
    stat.S_IFREG: EntryKind.FILE,
    stat.S_IFDIR: EntryKind.DIRECTORY,
    stat.S_IFLNK: EntryKind.LINK,
}
IN_OPEN = 0x20
EVENT_HEADER = struct.Struct("iIII")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An empty execution directory."""
    path = tmp_path / "execution"
    path.mkdir()
    return path


@pytest.fixture
def descriptor(directory: Path) -> Iterator[int]:
    """The same directory, open."""
    with closing_descriptor(os.open(directory, os.O_RDONLY | os.O_DIRECTORY)) as opened:
        yield opened


# Walking


def test_an_odd_tree_is_found_as_it_is(directory: Path, descriptor: int) -> None:
    make_odd_tree(directory)
    expected = snapshot(directory)
    found = {}
    for entry in walk_tree(descriptor).entries:
        common = (entry.kind, entry.mode, entry.mtime_ns)
        rest = {
            EntryKind.FILE: (entry.size_bytes, hash_file(descriptor, entry, NEVER) if entry.size_bytes else ...),
            EntryKind.LINK: (os.fsencode(entry.link_target or ""),),
            EntryKind.DIRECTORY: (),
        }[entry.kind]
        found[os.fsencode(entry.path)] = (*common, *rest)
    assert found == {path: as_found(*described) for path, described in expected.items()}
    assert len(found) > 40


def as_found(file_type: object, *described: object) -> tuple[object, ...]:
    """What the walk says of something that `snapshot` describes; the hash of an empty file is not asked for."""
    *others, last = described
    return (KINDS[file_type], *others, ... if described[2:3] == (0,) else last)


def test_a_directory_comes_before_what_is_in_it(directory: Path, descriptor: int) -> None:
    for path in ("a/b/c", "a.d", "a b", "b"):
        (directory / path).mkdir(parents=True)
    paths = [entry.path for entry in walk_tree(descriptor).entries]
    assert paths == ["", "a", "a b", "a.d", "a/b", "a/b/c", "b"]


def test_sizes_are_those_of_regular_files_alone(directory: Path, descriptor: int) -> None:
    (directory / "file").write_bytes(b"12345")
    (directory / "link").symlink_to("file")
    (directory / "directory").mkdir()
    tree = walk_tree(descriptor)
    assert tree.size_bytes == 5
    assert [entry.path for entry in tree.files] == ["file"]


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(path.parent)  # the path of a socket may have 107 bytes only
        try:
            listener.bind(path.name)
        finally:
            os.chdir(here)


def make_device(path: Path) -> None:
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip(NEEDS_ROOT)


@pytest.mark.timeout(20)  # a FIFO that is opened makes its reader wait for ever
@pytest.mark.parametrize("make", [os.mkfifo, make_socket, make_device])
def test_a_special_file_is_refused_by_name(directory: Path, descriptor: int, make: Callable[[Path], None]) -> None:
    (directory / "below").mkdir()
    make(directory / "below" / "special")
    with pytest.raises(UnsafeSource, match="below/special"):
        walk_tree(descriptor)


def test_nothing_but_directories_is_opened(directory: Path, descriptor: int) -> None:
    (directory / "file").write_bytes(b"content")
    (directory / "link").symlink_to("file")
    (directory / "directory").mkdir()
    os.mkfifo(directory / "fifo")
    with opened_names(directory) as opened:
        with pytest.raises(UnsafeSource, match="fifo"):
            walk_tree(descriptor)
        (directory / "fifo").unlink()
        walk_tree(descriptor)
    assert set(opened) - {""} == {"directory"}


@contextlib.contextmanager
def opened_names(directory: Path) -> Iterator[list[str]]:
    """Within, the kernel notes what is opened in a directory (inotify); afterwards the list holds the names."""
    library = ctypes.CDLL(None, use_errno=True)
    notifications: int = library.inotify_init1(os.O_NONBLOCK)
    names: list[str] = []
    with closing_descriptor(notifications):
        assert library.inotify_add_watch(notifications, os.fsencode(directory), IN_OPEN) >= 0
        yield names
        events = os.read(notifications, 65536)
    while events:
        end = EVENT_HEADER.size + EVENT_HEADER.unpack_from(events)[3]
        names.append(os.fsdecode(events[EVENT_HEADER.size : end].rstrip(b"\0")))
        events = events[end:]


@pytest.mark.parametrize(("levels", "refused"), [(DEEPEST_NESTING, False), (DEEPEST_NESTING + 1, True)])
def test_absurd_nesting_is_refused(directory: Path, descriptor: int, levels: int, refused: bool) -> None:
    (directory / "/".join("d" * levels)).mkdir(parents=True)
    if not refused:
        assert len(walk_tree(descriptor).entries) == levels + 1
        return
    with pytest.raises(UnsafeSource, match=str(DEEPEST_NESTING)):
        walk_tree(descriptor)


def test_no_descriptor_is_left_open(directory: Path, descriptor: int) -> None:
    (directory / "a" / "b").mkdir(parents=True)
    os.mkfifo(directory / "a" / "b" / "fifo")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(UnsafeSource):
            walk_tree(descriptor)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_mount_point_is_refused(directory: Path, descriptor: int) -> None:
    (directory / "disk").mkdir()
    with (
        mounted_small_disk(directory / "disk", 100_000),
        pytest.raises(UnsafeSource, match="disk es un punto de montaje"),
    ):
        walk_tree(descriptor)


def test_an_unreadable_directory_is_named(directory: Path, descriptor: int) -> None:
    (directory / "below" / "locked").mkdir(parents=True)
    (directory / "below" / "locked").chmod(0)
    with unprivileged(), pytest.raises(SourceUnreadable, match="below/locked"):
        walk_tree(descriptor)


def test_what_vanishes_while_it_is_walked_is_a_change(
    directory: Path, descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "gone").touch()
    names = os.listdir(descriptor)
    (directory / "gone").unlink()
    monkeypatch.setattr(tree_module, "sorted_names", lambda _descriptor: iter(names))  # as it was a moment ago
    with pytest.raises(SourceChanged, match="gone"):
        walk_tree(descriptor)


def test_a_directory_that_becomes_a_link_is_not_followed(
    directory: Path, descriptor: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").touch()
    (directory / "inside").mkdir()

    def swap_and_open(parent: int, parts: list[str]) -> int:
        (directory / "inside").rmdir()
        (directory / "inside").symlink_to(tmp_path / "outside")
        return open_directory_beneath(parent, parts)

    monkeypatch.setattr(tree_module, "open_directory_beneath", swap_and_open)
    with pytest.raises(SourceUnreadable, match="inside"):
        walk_tree(descriptor)


# Reading files

CONTENT = bytes(range(256)) * 8
CHUNK_SIZE_BYTES = 1000


def entry_of(descriptor: int, path: str) -> Entry:
    """What the walk says of a file, once the kernel's clock has gone on, so that a new change has a new time."""
    (entry,) = (entry for entry in walk_tree(descriptor).entries if entry.path == path)
    probe = f"/proc/self/fd/{descriptor}/.clock"
    while True:
        Path(probe).touch()
        now_ns = Path(probe).stat().st_ctime_ns
        Path(probe).unlink()
        if entry.identity and now_ns > entry.identity.ctime_ns:
            return entry


@pytest.fixture
def entry(directory: Path, descriptor: int) -> Entry:
    """A file of three chunks."""
    (directory / "below").mkdir()
    (directory / "below" / "file").write_bytes(CONTENT)
    return entry_of(descriptor, "below/file")


@pytest.mark.parametrize("size_bytes", [0, 1, 999, 1000, 1001, 2000, 2001])
def test_chunks_have_the_size_asked_for(directory: Path, descriptor: int, size_bytes: int) -> None:
    (directory / "file").write_bytes(CONTENT[:size_bytes])
    source = FileSource(descriptor, entry_of(descriptor, "file"), NEVER)
    assert source.size_bytes == size_bytes
    for _ in range(2):  # it may be sent again
        chunks = list(source.chunks(CHUNK_SIZE_BYTES))
        assert b"".join(chunks) == CONTENT[:size_bytes]
        assert all(len(chunk) == CHUNK_SIZE_BYTES for chunk in chunks[:-1])
        assert all(chunks)


def test_the_hash_of_a_file_is_that_of_its_bytes(descriptor: int, entry: Entry) -> None:
    assert hash_file(descriptor, entry, NEVER) == hashlib.sha256(CONTENT).hexdigest()


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def shrink(path: Path) -> None:
    os.truncate(path, 1500)


def rewrite_in_place(path: Path) -> None:
    """The same size and, restored, the same time of change: only ctime tells."""
    status = path.stat()
    with path.open("r+b") as file:
        file.write(b"other")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace_by_equal_file(path: Path) -> None:
    status = path.stat()
    other = path.with_name("other")
    other.write_bytes(CONTENT)
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.rename(path)


def replace_by_link(path: Path) -> None:
    path.rename(path.with_name("original"))
    path.symlink_to("original")


def replace_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


MUTATIONS: dict[str, Callable[[Path], None]] = {
    "grown": grow,
    "shrunk": shrink,
    "rewritten in place": rewrite_in_place,
    "replaced by an equal file": replace_by_equal_file,
    "replaced by a link": replace_by_link,
    "replaced by a FIFO": replace_by_fifo,
    "vanished": Path.unlink,
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("chunks_before", [0, 1, 3])
@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_change_is_noticed_whenever_it_happens(
    directory: Path, descriptor: int, entry: Entry, mutation: str, chunks_before: int
) -> None:
    chunks = FileSource(descriptor, entry, NEVER).chunks(CHUNK_SIZE_BYTES)
    read = [next(chunks) for _ in range(chunks_before)]
    assert b"".join(read) == CONTENT[: chunks_before * CHUNK_SIZE_BYTES]
    MUTATIONS[mutation](directory / "below" / "file")
    not_a_file = mutation in ("replaced by a link", "replaced by a FIFO") and not chunks_before
    with pytest.raises(SourceUnreadable if not_a_file else SourceChanged, match="below/file"):
        next(chunks) if chunks_before == 0 else list(chunks)  # not one byte of a file that is another already


def test_a_directory_on_the_way_that_becomes_a_link_is_not_followed(
    directory: Path, descriptor: int, entry: Entry
) -> None:
    (directory / "below").rename(directory / "moved")
    (directory / "below").symlink_to("moved")
    with pytest.raises(SourceUnreadable):
        list(FileSource(descriptor, entry, NEVER).chunks(CHUNK_SIZE_BYTES))


def test_an_unreadable_file_is_named(directory: Path, descriptor: int) -> None:
    (directory / "locked").write_bytes(CONTENT)
    (directory / "locked").chmod(0)
    entry = entry_of(descriptor, "locked")
    with unprivileged(), pytest.raises(SourceUnreadable, match="locked"):
        list(FileSource(descriptor, entry, NEVER).chunks(CHUNK_SIZE_BYTES))


def test_a_request_to_stop_ends_the_reading(descriptor: int, entry: Entry) -> None:
    interruption = threading.Event()
    chunks = FileSource(descriptor, entry, interruption).chunks(CHUNK_SIZE_BYTES)
    next(chunks)
    interruption.set()
    with pytest.raises(RunInterrupted):
        next(chunks)


def test_reading_gives_its_descriptor_back(directory: Path, descriptor: int, entry: Entry) -> None:
    before = len(os.listdir("/proc/self/fd"))
    source = FileSource(descriptor, entry, NEVER)
    next(source.chunks(CHUNK_SIZE_BYTES))  # given up halfway
    grow(directory / "below" / "file")
    with pytest.raises(SourceChanged):
        list(source.chunks(CHUNK_SIZE_BYTES))
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_is_stored_through_a_mapping_after_the_reading_is_noticed(
    directory: Path, descriptor: int, entry: Entry
) -> None:
    """Of a page that is dirty already it would change no time at all."""
    require_file_system_that_notices(directory, "tmpfs", "overlayfs")
    with (directory / "below" / "file").open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as mapping:
        mapping[0:1] = b"!"
        before = walk_tree(descriptor)
        (entry,) = before.files
        assert b"".join(FileSource(descriptor, entry, NEVER).chunks(CHUNK_SIZE_BYTES))[:1] == b"!"
        require_unchanged(before, walk_tree(descriptor))
        mapping[0:1] = b"?"
        with pytest.raises(SourceChanged, match="below/file"):
            require_unchanged(before, walk_tree(descriptor))


# The kernel's clock


def test_a_walk_waits_until_a_later_change_would_have_another_time(directory: Path, descriptor: int) -> None:
    (directory / "file").write_bytes(CONTENT)
    (entry,) = walk_quiet_tree(descriptor, NEVER).files
    assert entry.identity
    assert time.time_ns() - entry.identity.ctime_ns >= tree_module.CLOCK_TICK_NS


@pytest.mark.parametrize(
    ("changed_ns", "waits_seconds"),
    [
        (-1, [0.02]),
        (-19_999_999, [pytest.approx(0.000_000_001)]),
        (-20_000_000, []),
        (5, []),  # in the future: the clock was set back, or is another host's
        (-5_000_000_000, []),
    ],
)
def test_how_long_a_walk_waits(
    monkeypatch: pytest.MonkeyPatch, descriptor: int, changed_ns: int, waits_seconds: list[float]
) -> None:
    assert waits(monkeypatch, descriptor, NOW_NS + 123 + changed_ns) == pytest.approx(waits_seconds, abs=1e-8)


def test_a_file_system_that_keeps_whole_seconds_is_given_one(monkeypatch: pytest.MonkeyPatch, descriptor: int) -> None:
    assert waits(monkeypatch, descriptor, NOW_NS) == pytest.approx([1.0], abs=1e-6)


NOW_NS = 1_700_000_000_000_000_000


def waits(monkeypatch: pytest.MonkeyPatch, descriptor: int, changed_ns: int) -> list[float]:
    """How long a walk waits, by a clock that advances only then, when a file has changed at `changed_ns`."""
    clock_ns = [NOW_NS + 123]
    waited: list[float] = []

    class Clock(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waited.append(timeout or 0.0)
            clock_ns[0] += round(waited[-1] * 1e9)
            return False

    file = FILE._replace(identity=FileIdentity(1, 2, 5, 1, changed_ns))
    monkeypatch.setattr(time, "time_ns", lambda: clock_ns[0])
    monkeypatch.setattr(tree_module, "walk_tree", lambda _descriptor: Tree((file,)))
    assert list(walk_quiet_tree(descriptor, Clock()).files) == [file]
    return waited


def test_files_that_do_not_come_to_rest_are_a_change(
    directory: Path, descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_and_walk(opened: int) -> Tree:
        (directory / "file").write_bytes(CONTENT)
        return walk_tree(opened)

    monkeypatch.setattr(tree_module, "walk_tree", write_and_walk)
    with pytest.raises(SourceChanged, match="no dejan de cambiar"):
        walk_quiet_tree(descriptor, NEVER)


def test_a_request_to_stop_ends_the_waiting(directory: Path, descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_module, "CLOCK_TICK_NS", 3600 * 10**9)  # however slow this machine is
    interruption = threading.Event()
    interruption.set()
    (directory / "file").write_bytes(CONTENT)
    with pytest.raises(RunInterrupted):
        walk_quiet_tree(descriptor, interruption)


# Two walks

FILE = Entry("a", EntryKind.FILE, 0o644, 1, 5, identity=FileIdentity(1, 2, 5, 1, 1))
LINK = Entry("b", EntryKind.LINK, 0o777, 1, link_target="x")


def test_equal_trees_are_unchanged() -> None:
    require_unchanged(Tree((FILE, LINK)), Tree((FILE, LINK)))


@pytest.mark.parametrize(
    ("after", "message"),
    [
        ((FILE,), "desapareció b"),
        ((FILE, LINK, FILE._replace(path="c")), "apareció c"),
        ((FILE, LINK._replace(link_target="y")), "cambió b"),
        ((FILE._replace(mode=0o600), LINK), "cambió a"),
        ((FILE._replace(identity=FileIdentity(1, 2, 5, 1, 2)), LINK), "cambió a"),
        ((FILE._replace(identity=FileIdentity(1, 3, 5, 1, 1)), LINK), "cambió a"),
    ],
)
def test_a_difference_is_a_change(after: tuple[Entry, ...], message: str) -> None:
    with pytest.raises(SourceChanged, match=message):
        require_unchanged(Tree((FILE, LINK)), Tree(after))


@pytest.mark.parametrize("change", ["new", "vanished", "rewritten", "renamed", "mode"])
def test_a_real_change_between_two_walks_is_noticed(
    directory: Path, descriptor: int, entry: Entry, change: str
) -> None:
    before = walk_tree(descriptor)
    require_unchanged(before, walk_tree(descriptor))
    file = directory / "below" / "file"
    changes: dict[str, Callable[[], object]] = {
        "new": lambda: file.with_name("new").touch(),
        "vanished": file.unlink,
        "rewritten": lambda: rewrite_in_place(file),
        "renamed": lambda: file.rename(file.with_name("renamed")),
        "mode": lambda: file.chmod(0o600),
    }
    changes[change]()
    with pytest.raises(SourceChanged):
        require_unchanged(before, walk_tree(descriptor))
