"""What may happen to an execution's directory while the daemon works on it, the moments at which it happens, and a
checker of what is left, which shares no code with the product.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import mmap
import os
import re
import stat
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import files.walk
import jobs.provider_set
from config.models import ContentDigest, ProviderRow, PutReceipt, StoredObject
from providers import build_provider
from providers.base import Provider
from providers.errors import ProviderUnavailable
from providers.sources import Source
from sql.connection import Connection
from tests.running.skips import NEEDS_FILE_SYSTEM

State = dict[str, dict[str, object]]
"""Path to what a manifest says of it. Special files have the kind `special`."""

UUID = re.compile(r"mutado-\d{4}")
NOBODY = 65534
SECONDS_FOR_A_BLOCKED_WRITER = 1.0


class NothingLeft(Exception):
    """What was to be changed is gone already."""


@dataclass
class Case:
    """One execution: what happens to it and when, and what is known of it afterwards."""

    number: int
    uuid: str
    executions: Path
    outside: Path
    moment: str
    mutation: str
    states: list[State] = field(default_factory=list)
    """What the directory was before and, if it struck, after the mutation."""
    written: list[bytes] = field(default_factory=list)
    """Whole contents of files that the mutation wrote."""
    struck: bool = False
    held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    """Descriptors and mappings of writers."""
    writer: Callable[[bytes], None] | None = None
    at_hand: str = ""
    """What the program is at when the mutation comes. A name that the program itself gives nobody else uses."""
    thread: threading.Thread | None = None
    """Does it, while the program waits."""

    @property
    def directory(self) -> Path:
        """Where the execution lies, by its row."""
        return self.executions / self.uuid

    @property
    def moved(self) -> Path:
        """Where somebody may move the directory."""
        return self.outside / f"{self.uuid}-moved"

    @property
    def places(self) -> list[Path]:
        """Every place where something of it may lie now: its own name, that of the trash, where it was moved."""
        names = os.listdir(self.executions)  # a thousand of them, and asked for ten thousand times
        trash = [name for name in names if name.endswith(self.uuid) and name.startswith(".janitor")]
        paths = (self.directory, *(self.executions / name for name in trash), self.moved)
        return [path for path in paths if path.is_dir() and not path.is_symlink()]

    @property
    def current(self) -> Path:
        """Where it lies at this moment. Raises `NothingLeft`."""
        places = self.places
        if not places:
            raise NothingLeft
        return places[0]

    def file(self) -> Path:
        """The file that the program is at, or one that is still there. Raises `NothingLeft`."""
        names = ["datos.bin", "registro.log", "sub/tabla.csv"]
        start = self.number % len(names)
        for name in [self.at_hand, *names[start:], *names[:start]]:
            path = self.current / name
            if path.is_file() and not path.is_symlink():
                return path
        raise NothingLeft

    def subdirectory(self) -> Path:
        """The subdirectory with a file in it. Raises `NothingLeft`."""
        path = self.current / "sub"
        if not path.is_dir() or path.is_symlink():
            raise NothingLeft
        return path

    def __str__(self) -> str:
        return f"{self.uuid}: {self.mutation}, {self.moment}"


def require_file_system_that_notices(path: Path, *blind: str) -> None:
    """Skip a test about stores through mappings where the file system does not tell of them: tmpfs changes no time of
    the file, overlayfs does not count them as writers.
    """
    command = ["stat", "--file-system", "--format=%T", str(path)]
    kind = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()
    if kind in blind:
        pytest.skip(f"{NEEDS_FILE_SYSTEM}: {kind} does not tell of what is stored through a mapping")


# Mutations. Each is called with the case, changes what is there, and gives the contents that it wrote.


def _change(case: Case, change: Callable[[int], object]) -> list[bytes]:
    """Change a file through one descriptor: opening may have to wait, and the file be called otherwise afterwards."""
    descriptor = os.open(case.file(), os.O_RDWR)
    try:
        change(descriptor)
        return [os.pread(descriptor, 10_000, 0)]
    finally:
        os.close(descriptor)


def _with_times_put_back(descriptor: int, change: Callable[[], object]) -> None:
    times = os.fstat(descriptor)
    change()
    os.utime(descriptor, ns=(times.st_atime_ns, times.st_mtime_ns))


def append(case: Case) -> list[bytes]:
    return _change(case, lambda file: os.pwrite(file, b"appended", os.fstat(file).st_size))


def truncate(case: Case) -> list[bytes]:
    return _change(case, lambda file: os.ftruncate(file, 3))


def rewrite_with_times_put_back(case: Case) -> list[bytes]:
    return _change(case, lambda file: _with_times_put_back(file, lambda: os.pwrite(file, b"#", 0)))


def rewrite_through_a_mapping(case: Case) -> list[bytes]:
    def store(file: int) -> None:
        with mmap.mmap(file, 0) as mapping:
            mapping[0:1] = b"#"

    return _change(case, store)


def make_sparse(case: Case) -> list[bytes]:
    def empty(file: int) -> None:
        size_bytes = os.fstat(file).st_size
        os.ftruncate(file, 0)
        os.ftruncate(file, size_bytes)

    return _change(case, lambda file: _with_times_put_back(file, lambda: empty(file)))


def replace_by_rename(case: Case) -> list[bytes]:
    path = case.file()
    times = path.stat()
    new = case.outside / f"{case.uuid}-new"
    new.write_bytes(b"#" * times.st_size)
    os.utime(new, ns=(times.st_atime_ns, times.st_mtime_ns))
    new.replace(path)
    return [b"#" * times.st_size]


def write_through_an_open_descriptor(case: Case) -> list[bytes]:
    return _use_writer(case)


def store_through_an_open_mapping(case: Case) -> list[bytes]:
    return _use_writer(case)


def _use_writer(case: Case) -> list[bytes]:
    assert case.writer is not None
    path = case.current / "registro.log"
    if not path.is_file():
        raise NothingLeft
    case.writer(b"#")
    return [path.read_bytes()]


def unlink(case: Case) -> list[bytes]:
    case.file().unlink()
    return []


def take_all_rights_of_a_file(case: Case) -> list[bytes]:
    case.file().chmod(0)
    return []


def take_all_rights_of_a_directory(case: Case) -> list[bytes]:
    case.subdirectory().chmod(0)
    return []


def change_mode(case: Case) -> list[bytes]:
    case.file().chmod(0o640)
    return []


def change_owner(case: Case) -> list[bytes]:
    if os.geteuid() == 0:
        os.chown(case.file(), NOBODY, NOBODY)
    else:
        case.file().chmod(0o604)
    return []


def set_attribute(case: Case) -> list[bytes]:
    os.setxattr(case.file(), "user.note", b"seen")
    return []


def new_file(case: Case) -> list[bytes]:
    content = f"late {case.uuid}".encode()
    (case.current / "late.txt").write_bytes(content)
    return [content]


def new_file_below(case: Case) -> list[bytes]:
    content = f"late below {case.uuid}".encode()
    (case.subdirectory() / "late.txt").write_bytes(content)
    return [content]


def new_directory(case: Case) -> list[bytes]:
    (case.current / "late").mkdir()
    return []


def new_hard_link_inside(case: Case) -> list[bytes]:
    os.link(case.file(), case.current / "late link")
    return []


def new_hard_link_outside(case: Case) -> list[bytes]:
    os.link(case.file(), case.outside / f"{case.uuid}-link")
    return []


def directory_becomes_link(case: Case) -> list[bytes]:
    path = case.subdirectory()
    case.moved.mkdir()
    path.rename(case.moved / "sub")
    path.symlink_to(case.outside / "sentinel")
    return []


def file_becomes_link(case: Case) -> list[bytes]:
    path = case.file()
    path.unlink()
    path.symlink_to(case.outside / "sentinel" / "tabla.csv")
    return []


def file_becomes_fifo(case: Case) -> list[bytes]:
    path = case.file()
    path.unlink()
    os.mkfifo(path)
    return []


def file_becomes_directory(case: Case) -> list[bytes]:
    path = case.file()
    path.unlink()
    path.mkdir()
    return []


def rename_subdirectory(case: Case) -> list[bytes]:
    path = case.subdirectory()
    path.rename(path.with_name("renamed"))
    return []


def change_link_target(case: Case) -> list[bytes]:
    link = case.current / "enlace"
    if not link.is_symlink():
        raise NothingLeft
    link.unlink()
    link.symlink_to("registro.log")
    return []


def replace_everything(case: Case) -> list[bytes]:
    case.current.rename(case.moved)
    case.directory.mkdir()
    content = f"another {case.uuid}".encode()
    (case.directory / "another.txt").write_bytes(content)
    return [content]


def replace_everything_by_equal_directory(case: Case) -> list[bytes]:
    case.current.rename(case.moved)
    make_tree(case.directory, case.uuid)
    return []


def replace_everything_by_link(case: Case) -> list[bytes]:
    case.current.rename(case.moved)
    case.directory.symlink_to(case.outside / "sentinel")
    return []


def move_everything_away(case: Case) -> list[bytes]:
    case.current.rename(case.moved)
    return []


Mutation = Callable[[Case], list[bytes]]

MUTATIONS: dict[str, Mutation] = {
    function.__name__.replace("_", " "): function
    for function in (
        *(append, truncate, rewrite_with_times_put_back, rewrite_through_a_mapping, make_sparse, replace_by_rename),
        *(write_through_an_open_descriptor, store_through_an_open_mapping, unlink, take_all_rights_of_a_file),
        *(take_all_rights_of_a_directory, change_mode, change_owner, set_attribute, new_file, new_file_below),
        *(new_directory, new_hard_link_inside, new_hard_link_outside, directory_becomes_link, file_becomes_link),
        *(file_becomes_fifo, file_becomes_directory, rename_subdirectory, change_link_target, replace_everything),
        *(replace_everything_by_equal_directory, replace_everything_by_link, move_everything_away),
    )
}


def mount_another_disk(case: Case) -> list[bytes]:
    return _mount(case, "-t", "tmpfs", "janitor-test")


def mount_what_lies_outside(case: Case) -> list[bytes]:
    return _mount(case, "--bind", str(case.outside / "sentinel"))


def _mount(case: Case, *arguments: str) -> list[bytes]:
    subprocess.run(["mount", *arguments, str(case.subdirectory())], check=True, timeout=30, capture_output=True)
    return []


def unmount_everything(below: Path) -> int:
    """Take away what was mounted; how much that was."""
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    points = [point for point in (line.split()[4] for line in mounts) if point.startswith(f"{below}/")]
    for point in reversed(points):
        subprocess.run(["umount", "--lazy", point], check=True, timeout=30)
    return len(points)


MOUNTS: dict[str, Mutation] = {
    "mount another disk": mount_another_disk,
    "mount what lies outside": mount_what_lies_outside,
}
"""For root only."""

RIGHTS = {
    "take all rights of a file": take_all_rights_of_a_file,
    "take all rights of a directory": take_all_rights_of_a_directory,
}
"""For others than root, who reads what he has no right to."""

WRITERS = ("write through an open descriptor", "store through an open mapping")
"""Mutations that need a writer who has had the file open since before the run."""


IN_PLACE = ("append", "truncate", "rewrite with times put back", "rewrite through a mapping", "make sparse")
"""Mutations that open a file for writing, for which they may have to wait."""

ELSEWHERE = (
    "replace everything",
    "replace everything by equal directory",
    "replace everything by link",
    "move everything away",
)
"""Mutations after which the row's path does not lead to the directory any more."""


def make_tree(directory: Path, mark: str) -> None:
    """Three small files, a link, a directory with a file and an empty one."""
    directory.mkdir()
    (directory / "datos.bin").write_bytes(f"datos de {mark}".encode() * 3)
    (directory / "registro.log").write_bytes(f"registro de {mark}\n".encode() * 2)
    (directory / "sub").mkdir()
    (directory / "sub" / "tabla.csv").write_bytes(f"a,b\n1,{mark}\n".encode())
    (directory / "vacio").mkdir()
    (directory / "enlace").symlink_to("datos.bin")


def make_ready(case: Case) -> None:
    """Make the case's directory, and let its writer, if it has one, open its file and write a first time."""
    make_tree(case.directory, case.uuid)
    if case.mutation in WRITERS:
        file = case.held.enter_context((case.directory / "registro.log").open("r+b", buffering=0))
        if case.mutation == "store through an open mapping":
            mapping = case.held.enter_context(mmap.mmap(file.fileno(), 0))
            mapping[0:1] = b"*"  # its page is dirty now: what is stored next changes no time of the file
            case.writer = lambda content: mapping.__setitem__(slice(0, 1), content)
        else:
            case.writer = lambda content: _with_times_put_back(
                file.fileno(), lambda: os.pwrite(file.fileno(), content, 0)
            )
    case.states.append(state_of(case.directory))


def strike(case: Case) -> None:
    """Let it happen. What is gone already cannot change."""
    try:
        case.written = (MUTATIONS | MOUNTS)[case.mutation](case)
    except NothingLeft:
        return
    case.struck = True


def note_state(case: Case) -> None:
    """Note what the directory is after the mutation; what was mounted is no part of it."""
    if case.struck and case.mutation not in MOUNTS:
        case.states.append(state_of(case.directory, case.states[0]))


# Moments

BOTH = ("before", "after")


def _both(*names: str) -> tuple[str, ...]:
    return tuple(f"{when} {name}" for name in names for when in BOTH)


MIGRATION_MOMENTS = (
    *_both(*(f"listing of directory {number}" for number in range(1, 7))),  # three in each of the two walks
    *_both(*(f"opening of file {number}" for number in range(1, 4))),
    *(f"after the bytes of put {number}" for number in range(1, 4)),
    *_both(*(f"put {number}" for number in range(1, 4)), "put of the manifest", "list 1", "list 2", "stat"),
    *_both("open_attempt", "note_place", "commit_migration"),
)
DIGEST_MOMENTS = _both("digests")
BEFORE_THE_COMMIT = frozenset(MIGRATION_MOMENTS) - set(_both("commit_migration"))

COMPARING_MOMENTS = (
    *_both("rename to the trash"),
    *_both(*(f"listing of directory {number}" for number in range(7, 10))),
    *_both("opening of file 4"),
)
REMOVAL_MOMENTS = (
    *_both(*(f"opening of file {number}" for number in (6, 7, 9))),
    *_both(*(f"rename {number}" for number in (1, 3, 4))),
    *_both(*(f"unlink {number}" for number in (1, 2, 4)), *(f"rmdir {number}" for number in (1, 2, 3))),
    *_both("finish_deletion"),
)


def pairs_of(moments: Iterable[str], mutations: Iterable[str]) -> list[tuple[str, str]]:
    """Every moment with every one of these mutations that can happen then.

    Nothing of what a writer has open is removed, so what follows on the comparison does not come.
    """
    pairs = itertools.product(moments, mutations)
    return [pair for pair in pairs if not (pair[0] in REMOVAL_MOMENTS and pair[1] in WRITERS)]


class Stage:
    """Watches a run of the daemon in this process, and lets each case's mutation happen at its moment."""

    def __init__(self, cases: Iterable[Case], executions: Path) -> None:
        self.cases = {case.uuid: case for case in cases}
        self.reached: Counter[str] = Counter()
        self._executions = f"{executions}/"
        self._counts: Counter[tuple[str, str]] = Counter()
        self._given_back: dict[tuple[str, str], list[int]] = {}
        self._uuid_by_attempt: dict[object, str] = {}
        self._uuid_by_execution_id: dict[object, str] = {}
        self._blocked: list[Case] = []
        self._turn = threading.Lock()

    def watch(self, patch: pytest.MonkeyPatch, uuid_by_execution_id: Mapping[object, str]) -> None:
        """Put the hooks in, until `patch` is undone."""
        self._uuid_by_execution_id = dict(uuid_by_execution_id)
        patch.setattr(jobs.provider_set, "build_provider", lambda row: _WatchedProvider(self, row))
        self._watch_call(patch, files.walk, "sorted_names", self._of_listing)
        self._watch_call(patch, os, "open", self._of_opening)
        for name in ("rename", "unlink", "rmdir"):
            self._watch_call(patch, os, name, self._of_change(name))
        self._watch_statements(patch)

    def finish(self) -> None:
        """Wait for writers that were blocked."""
        for case in self._blocked:
            assert case.thread is not None
            case.thread.join(60)
            assert not case.thread.is_alive(), case
            note_state(case)

    @contextlib.contextmanager
    def around(self, uuid: str | None, name: str | None) -> Iterator[None]:
        """The moments before and after what is done within, which must not have raised."""
        if uuid is None or name is None:
            yield
            return
        self.reach(uuid, f"before {name}")
        yield
        self.reach(uuid, f"after {name}")

    def numbered(self, uuid: str, name: str) -> str:
        """`name 1`, `name 2`, ... of one execution."""
        with self._turn:
            given_back = self._given_back.get((uuid, name))
            if given_back:
                return f"{name} {given_back.pop()}"
            self._counts[uuid, name] += 1
            return f"{name} {self._counts[uuid, name]}"

    @contextlib.contextmanager
    def request(self, uuid: str, name: str) -> Iterator[str]:
        """A numbered request. The server may stumble, as `rclone serve s3` does now and then when two objects make
        the same directory: what is asked again then has the same number, so that the moment after it comes.
        """
        numbered = self.numbered(uuid, name)
        try:
            with self.around(uuid, numbered):
                yield numbered
        except ProviderUnavailable:
            with self._turn:
                self._given_back.setdefault((uuid, name), []).append(int(numbered.rpartition(" ")[2]))
            raise

    def reach(self, uuid: str, moment: str) -> None:
        """One of an execution's moments has come: if it is the case's, its mutation happens, once."""
        case = self.cases.get(uuid)
        with self._turn:
            if case is None or case.moment != moment or case.thread is not None:
                return
            self.reached[moment] += 1
            case.thread = threading.Thread(target=strike, args=[case])
        case.thread.start()
        case.thread.join(SECONDS_FOR_A_BLOCKED_WRITER if case.mutation in IN_PLACE else 60)
        if case.thread.is_alive():  # the program holds a lease on the file that it wants to open for writing
            self._blocked.append(case)
        else:
            note_state(case)

    def _watch_call(
        self, patch: pytest.MonkeyPatch, owner: Any, attribute: str, describe: Callable[..., tuple[str, str] | None]
    ) -> None:
        """Put a moment before and after a call that `describe` says is about a path, and how it is called then."""
        original = getattr(owner, attribute)

        def watched(*arguments: Any, **named: Any) -> Any:
            path, name = describe(*arguments, **named) or ("", "")
            found = UUID.search(path)
            if not found or found[0] not in self.cases:
                return original(*arguments, **named)
            if name != "rename to the trash":
                name = self.numbered(found[0], name)
            case = self.cases[found[0]]
            if case.moment in (f"before {name}", f"after {name}") and ".janitor-removing" not in path:
                case.at_hand = path[found.end() + 1 :]
            with self.around(case.uuid, name):
                return original(*arguments, **named)

        patch.setattr(owner, attribute, watched)

    def _of_listing(self, target: object = ".") -> tuple[str, str] | None:
        path = self._path(target)
        return (path, "listing of directory") if path else None

    def _of_opening(self, name: object, flags: int, *_mode: int, dir_fd: int | None = None) -> tuple[str, str] | None:
        if flags & (os.O_DIRECTORY | os.O_PATH):
            return None
        directory = self._path(dir_fd)
        return None if directory is None else (f"{directory}/{name}", "opening of file")

    def _of_change(self, kind: str) -> Callable[..., tuple[str, str] | None]:
        def describe(name: object, *_rest: object, **named: Any) -> tuple[str, str] | None:
            directory = self._path(named.get("dir_fd", named.get("src_dir_fd")))
            if directory is None:
                return None
            if kind == "rename" and f"{directory}/" == self._executions:
                return (f"{directory}/{name}", "rename to the trash") if UUID.fullmatch(str(name)) else None
            return f"{directory}/{name}", kind

        return describe

    def _path(self, descriptor: object) -> str | None:
        """Where an open directory lies, if it is among the executions."""
        if not isinstance(descriptor, int):
            return None
        path = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 not a path of ours
        return path if f"{path}/".startswith(self._executions) else None

    def _watch_statements(self, patch: pytest.MonkeyPatch) -> None:
        original = Connection.query_once

        def watched(connection: Connection, name: str, parameters: Any = None) -> Any:
            given = parameters or {}
            by_attempt = self._uuid_by_attempt.get(given.get("attempt_id"))
            uuid = self._uuid_by_execution_id.get(given.get("execution_id"), by_attempt)
            with self.around(uuid, name):
                rows = original(connection, name, parameters)
                if name == "open_attempt" and rows and uuid:
                    self._uuid_by_attempt[rows[0]["id"]] = uuid
                return rows

        patch.setattr(Connection, "query_once", watched)


class _WatchedProvider(Provider):
    """Passes everything on to the real provider, with a moment before and after."""

    def __init__(self, stage: Stage, row: ProviderRow) -> None:
        super().__init__(row.id, row.name, row.kind)
        self._stage = stage
        self._provider = build_provider(row)
        self.longest_key_bytes = self._provider.longest_key_bytes  # type: ignore[misc] # one instance's

    def _around(self, key: str, name: str) -> contextlib.AbstractContextManager[None]:
        found = UUID.search(key)
        return self._stage.around(found[0], name) if found else contextlib.nullcontext()

    def put(self, key: str, source: Source) -> PutReceipt:
        if key.endswith(".manifest.json"):
            with self._around(key, "put of the manifest"):
                return self._provider.put(key, source)
        (uuid,) = UUID.findall(key)
        with self._stage.request(uuid, "put") as name:
            return self._provider.put(key, _WatchedSource(self._stage, uuid, name, source))

    def creates_safely(self, prefix: str = "") -> bool:
        return self._provider.creates_safely(prefix)

    def measure(self, source: Source) -> PutReceipt:
        return self._provider.measure(source)

    def open(self, key: str) -> Iterator[bytes]:
        return self._provider.open(key)

    def stat(self, key: str) -> StoredObject:
        with self._around(key, "stat"):
            return self._provider.stat(key)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        found = UUID.search(prefix)
        with self._stage.request(found[0], "list") if found else contextlib.nullcontext():
            return iter(list(self._provider.list(prefix)))

    def delete(self, key: str) -> None:
        self._provider.delete(key)

    def discard_unfinished(self, prefix: str) -> None:
        self._provider.discard_unfinished(prefix)

    def digests(self, keys: Iterable[str]) -> Iterator[ContentDigest]:
        asked = list(keys)
        with self._around(asked[0], "digests"):
            return iter(list(self._provider.digests(asked)))

    def close(self) -> None:
        self._provider.close()


class _WatchedSource:
    """A source with a moment after its bytes and before its last look at the file."""

    def __init__(self, stage: Stage, uuid: str, put: str, source: Source) -> None:
        self._stage, self._uuid, self._put, self._source = stage, uuid, put, source

    @property
    def size_bytes(self) -> int:
        return self._source.size_bytes

    def chunks(self, chunk_size_bytes: int) -> Iterator[bytes]:
        for chunk in self._source.chunks(chunk_size_bytes):
            yield chunk
            self._stage.reach(self._uuid, f"after the bytes of {self._put}")


# The checker


def state_of(directory: Path, known: State | None = None) -> State:
    """What a manifest would have to say of a directory; nothing if there is none.

    What may not be read now is what it was in the state that is `known`.
    """
    found: State = {}
    pending = [directory]
    if directory.is_symlink() or not directory.is_dir():
        return found
    while pending:
        path = pending.pop()
        name = "" if path == directory else str(path.relative_to(directory))
        try:
            found[name] = _entry_of(path)
            if found[name]["kind"] == "directory":
                pending.extend(path.iterdir())
        except PermissionError:
            assert known is not None, path
            found |= {other: entry for other, entry in known.items() if f"{other}/".startswith(f"{name}/")}
            found[name] = {**known[name], "mode": f"{stat.S_IMODE(path.lstat().st_mode):04o}"}
    return found


def _entry_of(path: Path) -> dict[str, object]:
    status = path.lstat()
    common: dict[str, object] = {"mode": f"{stat.S_IMODE(status.st_mode):04o}", "mtime_ns": status.st_mtime_ns}
    if stat.S_ISLNK(status.st_mode):
        return {"kind": "link", **common, "target": str(path.readlink())}
    if stat.S_ISDIR(status.st_mode):
        return {"kind": "directory", **common}
    if stat.S_ISREG(status.st_mode):
        content = path.read_bytes()
        return {"kind": "file", **common, "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return {"kind": "special", **common}


def things(state: State) -> set[tuple[str, object, object]]:
    """What must not be lost: each path with its kind and its content. Modes and times are no content."""
    return {
        (path, entry["kind"], entry.get("sha256", entry.get("target"))) for path, entry in state.items() if path != ""
    }


def hashes(state: State) -> set[object]:
    """The contents of all files."""
    return {entry["sha256"] for entry in state.values() if entry["kind"] == "file"}


@dataclass(frozen=True)
class Row:
    """What the database says of an execution."""

    migrated: bool
    uri: str | None
    state: str
    error_code: str | None
    error: str | None
    local_copy: str
    manifest_sha256: str | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Row:
        """From a row of the platform's table joined with the daemon's."""
        return cls(
            row["migrado_a_nube"], row["ruta_nube"],
            *(row[name] for name in ("state", "error_code", "error", "local_copy", "manifest_sha256")),
        )  # fmt: skip


ROWS = """
SELECT execution.uuid, migrado_a_nube, ruta_nube, state, error_code, error, local_copy, manifest_sha256
FROM ejecuciones_yaml AS execution LEFT JOIN janitor_migrations AS migration ON migration.execution_id = execution.id
"""

Objects = Mapping[str, bytes]


def problems(case: Case, row: Row, stored: Objects) -> Iterator[str]:
    """Everything that is wrong with one case; `stored` are all objects, by key."""
    before, after = case.states[0], case.states[-1]
    copy: State = {}
    if row.migrated:
        copy = yield from _problems_of_copy(case, row, stored)
        if case.mutation in ELSEWHERE and case.moment in BEFORE_THE_COMMIT and case.moved.exists() and copy == before:
            yield "committed, and it was no longer where its row says"
    else:
        yield from _problems_of_failure(case, row)
    local = [state_of(place) for place in case.places]
    kept = things(copy).union(*(things(state) for state in local))
    yield from (f"lost: {thing}" for thing in sorted(things(after) - kept, key=str))
    contents = hashes(copy).union(*(hashes(state) for state in local))
    for content in case.written:
        if hashlib.sha256(content).hexdigest() not in contents:
            yield f"lost: the bytes {content!r}"


def _problems_of_copy(case: Case, row: Row, stored: Objects) -> Any:
    place = (row.uri or "").split("://")[-1].partition("/")[2]
    manifest = stored.get(f"{place}.manifest.json")
    if manifest is None:
        yield f"committed, and there is no manifest at {place}"
        return {}
    if hashlib.sha256(manifest).hexdigest() != row.manifest_sha256:
        yield "the manifest is not the one that was recorded"
    copy: State = {entry.pop("path"): entry for entry in json.loads(manifest)["entries"]}
    objects = {key[len(place) + 1 :]: value for key, value in stored.items() if key.startswith(f"{place}/")}
    described = {path: entry["sha256"] for path, entry in copy.items() if entry["kind"] == "file"}
    if {path: hashlib.sha256(value).hexdigest() for path, value in objects.items()} != described:
        yield f"the objects are not those of the manifest: {sorted(objects)}"
    if copy not in case.states:
        yield f"the copy is no state that the directory ever had: {_difference(case.states, copy)}"
    return copy


def _difference(states: list[State], copy: State) -> str:
    differing = [sorted(p for p in {*copy, *state} if copy.get(p) != state.get(p)) for state in states]
    return f"before and after it differs in {differing}"


def _problems_of_failure(case: Case, row: Row) -> Iterator[str]:
    if row.state not in ("failed", "refused") or not row.error:
        yield f"not migrated, and its failure is not named: {row}"
    if state_of(case.directory) != case.states[-1]:
        yield f"not migrated, and its directory is not what it was: {sorted(state_of(case.directory))}"


def problems_at_rest(case: Case, row: Row, stored: Objects) -> Iterator[str]:
    """The same after a second run without a further change: what can be migrated is, what is proven is gone."""
    yield from problems(case, row, stored)
    if not row.migrated:
        special = any(entry["kind"] == "special" for entry in case.states[-1].values())
        gone = not case.directory.exists()
        if not special and not gone and not case.directory.is_symlink():
            yield f"it could be migrated and is not: {row}"
    elif case.directory.exists() or any(place != case.moved for place in case.places):
        copy = yield from _problems_of_copy(case, row, stored)
        local = set().union(*(things(state_of(place)) for place in case.places if place != case.moved))
        if local <= things(copy) and not case.directory.is_symlink():
            yield f"all of it is proven, and yet it is there: {row}"
        elif row.local_copy == "deleting" and not (row.error_code and row.error):
            yield f"it stays, and nobody says why: {row}"
