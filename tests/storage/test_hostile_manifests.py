"""A manifest that an attacker wrote: a restore stays in its destination, and gives nobody anything; a removal does not
believe it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from config.errors import UnsafeSource
from config.logs import logger
from config.models import Execution, ProviderRow
from config.process.preparation import keep_rights_of_owner
from files.descriptors import closing_descriptor
from files.walk import hash_file, walk_tree
from jobs.migration.directories import DirectoryJudge
from jobs.migration.removal.entries import LocalCopyDiffers
from jobs.migration.removal.removal import remove_local_copy
from jobs.migration.restore.filling import Download
from jobs.migration.restore.run import Restore
from providers.errors import IntegrityError
from providers.local.provider import LocalProvider
from providers.sources import BytesSource
from storage import manifest as manifest_module
from storage.keys import INCOMPLETE_MARK, Place
from storage.manifest import MAXIMUM_SIZE_BYTES, fetch_manifest, make_manifest, read_manifest
from storage.traffic.transfers import TransferPool
from tests.disks.racing import Listener, linux_only
from tests.executions.manifests import hashed, manifest_of_hashed
from tests.executions.permissions import Granted
from tests.faults.faulty_provider import Call, Fault, FaultyProvider
from tests.repository import REPOSITORY
from tests.stories.trees import make_odd_tree, snapshot

NEVER = threading.Event()
PLACE = Place("ejecuciones/uuid-1")
CONTENT = b"what is stored"


def directory(path: object = "", **changes: object) -> dict[str, Any]:
    return {"path": path, "kind": "directory", "mode": "0755", "mtime_ns": 1, **changes}


def file(path: object, **changes: object) -> dict[str, Any]:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    fields = {"mode": "0644", "mtime_ns": 2, "size_bytes": len(CONTENT), "sha256": sha256}
    return {"path": path, "kind": "file", **fields, **changes}


def link(path: str, target: str) -> dict[str, Any]:
    return {"path": path, "kind": "link", "mode": "0777", "mtime_ns": 3, "target": target}


def written(*entries: object) -> bytes:
    return json.dumps({"format": "janitor-manifest", "version": 1, "entries": entries}).encode()


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[LocalProvider]:
    """Holds what the attacker wants it to."""
    (tmp_path / "nas").mkdir()
    with contextlib.closing(LocalProvider(row_of(tmp_path))) as made:
        yield made


def row_of(tmp_path: Path) -> ProviderRow:
    return ProviderRow(1, "nas", "local", None, {"ruta": str(tmp_path / "nas")}, active=True)


@pytest.fixture
def pool() -> Iterator[TransferPool]:
    """Two at a time."""
    with contextlib.closing(TransferPool(2)) as made:
        yield made


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory of somebody else."""
    path = tmp_path / "outside"
    (path / "sub").mkdir(parents=True)
    for name in ("a", "sub/b"):
        (path / name).write_text("somebody else's")
    return path


class ObligingProvider(LocalProvider):
    """Has every object that anybody may ask for, however it is called."""

    def open(self, key: str) -> Iterator[bytes]:
        return super().open(key) if key == PLACE.manifest_key else iter([CONTENT])


Restoring = Callable[[bytes], Path]


@pytest.fixture
def restore(tmp_path: Path, provider: LocalProvider, pool: TransferPool) -> Restoring:
    """Store a manifest and restore what it says, every file of it being `CONTENT`; give the destination."""

    def do(manifest: bytes) -> Path:
        provider.put(PLACE.manifest_key, BytesSource(manifest))
        destination = tmp_path / "destination"
        with contextlib.closing(ObligingProvider(row_of(tmp_path))) as obliging:
            Restore(Download(obliging, PLACE, pool, NEVER)).run(destination, None)
        return destination

    return do


def test_a_manifest_written_by_hand_is_restored(restore: Restoring) -> None:
    """What is hostile below is hostile for no other reason."""
    destination = restore(written(directory(), directory("d"), file("d/a"), link("l", "d/a")))
    assert (destination / "l").read_bytes() == CONTENT


HOSTILE: dict[str, bytes] = {
    "nothing at all": written(),
    "no top": written(file("a")),
    "a file at the top": written(file("")),
    "a link at the top": written(link("", "/etc")),
    "two tops": written(directory(), directory()),
    "a path twice": written(directory(), file("a"), file("a")),
    "a link and a file of one name": written(directory(), link("a", "../outside/a"), file("a")),
    "a file that is a directory, too": written(directory(), file("a"), directory("a"), file("a/b")),
    "a file below a file": written(directory(), file("a"), file("a/b")),
    "a file below a link": written(directory(), link("a", "../outside"), file("a/a")),
    "a directory below a link": written(directory(), link("a", "../outside"), directory("a/sub"), file("a/sub/b")),
    "a link below a link": written(directory(), link("a", "../outside"), link("a/c", "x")),
    "a file below what is not there": written(directory(), file("a/b/c")),
    "an absolute path": written(directory(), file("/etc/janitor-test")),
    "a path upwards": written(directory(), file("../outside/a")),
    "a path upwards, encoded": written(directory(), file("\u201b2E\u201b2E/outside/a")),
    "a slash, encoded": written(directory(), file("..\u201b2Foutside\u201b2Fa")),
    "a null": written(directory(), file("a\0b")),
    "a null, encoded": written(directory(), file("a\u201b00b")),
    "a null in a target": written(directory(), link("a", "b\0c")),
    "a null in a target, encoded": written(directory(), link("a", "b\u201b00c")),
    "an empty target": written(directory(), link("a", "")),
    "an endless target": written(directory(), link("a", "x" * 4096)),
    "half a character in a path": written(directory(), file("\ud800")),
    "half a character in a target": written(directory(), link("a", "\udfff")),
    "a negative size": written(directory(), file("a", size_bytes=-1)),
    "a size that is no number": written(directory(), file("a", size_bytes="14")),
    "a size that is true": written(directory(), file("a", size_bytes=True)),
    "half a byte": written(directory(), file("a", size_bytes=1.5)),
    "NaN bytes": written(directory(), file("a", size_bytes=float("nan"))),
    "more bytes than any disk has": written(directory(), file("a", size_bytes=2**63)),
    "a time that cannot be": written(directory(), file("a", mtime_ns=10**40)),
    "a time that cannot be, before": written(directory(mtime_ns=-(10**40))),
    "a number of a million digits": b'{"format": "janitor-manifest", "version": '
    + b"1" * 1_000_000
    + b', "entries": []}',
    "no hash": written(directory(), file("a", sha256=None)),
    "a hash that is none": written(directory(), file("a", sha256="../../a")),
    "a hash in capitals": written(directory(), file("a", sha256=hashlib.sha256(CONTENT).hexdigest().upper())),
    "a path that is a number": written(directory(), file(7)),
    "a path that is a list": written(directory(), file(["a"])),
    "a mode that is a number": written(directory(), file("a", mode=0o644)),
    "a device": written(directory(), file("null", kind="device", device=[1, 3])),
    "a fifo": written(directory(), file("fifo", kind="fifo")),
    "an entry that is a text": written(directory(), "a"),
    "an abyss in an entry": written(directory()).replace(b"0755", b"[" * 50_000),
    "entries that are an abyss": b'{"format": "janitor-manifest", "version": 1, "entries": ' + b'{"a":' * 50_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_manifest_is_refused_before_anything_is_written(
    restore: Restoring, tmp_path: Path, outside: Path, name: str
) -> None:
    before = snapshot(outside)
    with pytest.raises(IntegrityError, match="manifiesto"):
        restore(HOSTILE[name])
    assert not (tmp_path / "destination").exists()
    assert snapshot(outside) == before


@linux_only
def test_links_to_outside_are_restored_as_they_are_and_never_followed(
    restore: Restoring, outside: Path, tmp_path: Path
) -> None:
    targets = {"a": "../outside/a", "d": str(outside), "e": "../outside/sub/b", "f": "/proc/self/root", "g": "."}
    before = snapshot(outside)
    with Listener(outside) as listener:
        destination = restore(written(directory(), *(link(*item) for item in targets.items()), file("h")))
        assert listener.heard() == set()
    assert {name: str((destination / name).readlink()) for name in targets} == targets
    assert snapshot(outside) == before


def test_the_order_of_entries_does_not_matter(restore: Restoring) -> None:
    destination = restore(
        written(file("a/b/c"), link("a/l", "b"), directory("a/b", mode="0500"), directory("a"), directory())
    )
    assert (destination / "a" / "l" / "c").read_bytes() == CONTENT
    assert stat.S_IMODE((destination / "a" / "b").stat().st_mode) == 0o500


# Rights


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What was warned of."""
    monkeypatch.setattr(logger, "propagate", True)
    caplog.set_level(logging.WARNING, logger.name)
    return lambda: [record.getMessage() for record in caplog.records]


def test_a_file_comes_back_without_setuid_and_setgid_and_a_warning_says_so(
    restore: Restoring, warnings: Callable[[], list[str]]
) -> None:
    """Otherwise a user who may write in an execution would get a shell of root's when root restores it."""
    modes = {"a": "4755", "b": "2755", "c": "6777", "d": "1644", "e": "0600"}
    destination = restore(written(directory(), *(file(name, mode=mode) for name, mode in modes.items())))
    found = {name: stat.S_IMODE((destination / name).stat().st_mode) for name in modes}
    assert found == {"a": 0o755, "b": 0o755, "c": 0o777, "d": 0o1644, "e": 0o600}
    (warning,) = warnings()
    assert warning.startswith("3 ficheros tenían setuid o setgid")
    assert warning.endswith("el primero, a")


def test_directories_come_back_with_all_their_bits(restore: Restoring, warnings: Callable[[], list[str]]) -> None:
    destination = restore(written(directory(mode="2750"), directory("tmp", mode="1777")))
    assert stat.S_IMODE(destination.stat().st_mode) == 0o2750
    assert stat.S_IMODE((destination / "tmp").stat().st_mode) == 0o1777
    assert warnings() == []


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_the_umask_changes_no_mode(restore: Restoring, umask: int) -> None:
    """As an ordinary user: to root, who needs no rights, each of them would be none. The program begins so, too."""
    before = os.umask(umask)
    try:
        keep_rights_of_owner()
        destination = restore(written(directory(), directory("d", mode="0775"), file("d/a", mode="0664")))
    finally:
        assert os.umask(before) == umask & 0o077
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (destination, destination / "d", destination / "d" / "a")]
    assert modes == [0o755, 0o775, 0o664]


def test_nobody_else_can_look_into_a_file_before_it_is_whole(
    tmp_path: Path, provider: LocalProvider, pool: TransferPool
) -> None:
    """Its own mode may forbid that, and is given last."""
    seen: list[int] = []
    provider.put(PLACE.key_of("d/a"), BytesSource(CONTENT))
    provider.put(PLACE.manifest_key, BytesSource(written(directory(), directory("d"), file("d/a"))))

    def look(call: Call) -> Iterator[bytes]:
        for path in ("d", "d/a"):
            seen.append(stat.S_IMODE((tmp_path / "destination" / path).stat().st_mode))
        return call.proceed()  # type: ignore[no-any-return]

    with FaultyProvider(provider, [Fault("open", look, key="*/d/a")]) as watched:
        Restore(Download(watched, PLACE, pool, NEVER)).run(tmp_path / "destination", None)
    assert seen == [0o700, 0o600]


# A file of the mark's own name


@pytest.mark.parametrize("kind", [file, directory])
def test_what_is_called_like_the_mark_comes_back_too(restore: Restoring, kind: Callable[[str], dict[str, Any]]) -> None:
    """It is what an interrupted restore leaves, so it may well be in an execution. The mark took its place."""
    destination = restore(written(directory(), kind(INCOMPLETE_MARK), file(f"{INCOMPLETE_MARK}-2"), file("a")))
    assert sorted(os.listdir(destination)) == [INCOMPLETE_MARK, f"{INCOMPLETE_MARK}-2", "a"]
    if kind is file:
        assert (destination / INCOMPLETE_MARK).read_bytes() == CONTENT


def test_an_interrupted_restore_shows_its_mark_beside_such_a_file(
    tmp_path: Path, provider: LocalProvider, pool: TransferPool
) -> None:
    provider.put(PLACE.key_of(INCOMPLETE_MARK), BytesSource(CONTENT))
    provider.put(PLACE.manifest_key, BytesSource(written(directory(), file(INCOMPLETE_MARK), file("gone"))))
    with pytest.raises(Exception, match="gone"):
        Restore(Download(provider, PLACE, pool, NEVER)).run(tmp_path / "destination", None)
    assert json.loads((tmp_path / "destination" / f"{INCOMPLETE_MARK}-2").read_bytes())["execution"] == "uuid-1"
    provider.put(PLACE.key_of("gone"), BytesSource(CONTENT))
    Restore(Download(provider, PLACE, pool, NEVER)).run(tmp_path / "destination", None)
    assert sorted(os.listdir(tmp_path / "destination")) == [INCOMPLETE_MARK, "gone"]


# More than announced


def endless(handed_out: list[int]) -> Iterator[bytes]:
    """Bytes without end; counts how many were asked for."""
    while True:
        handed_out.append(65536)
        yield bytes(65536)


@pytest.mark.timeout(60)
def test_an_object_without_end_fills_no_disk(tmp_path: Path, provider: LocalProvider, pool: TransferPool) -> None:
    provider.put(PLACE.manifest_key, BytesSource(written(directory(), file("a", size_bytes=100_000))))
    handed_out: list[int] = []
    fault = Fault("open", lambda _call: endless(handed_out), key="*/a", calls=(1, 2))
    with (
        FaultyProvider(provider, [fault]) as endless_provider,
        pytest.raises(IntegrityError, match="más que los 100000 bytes"),
    ):
        Restore(Download(endless_provider, PLACE, pool, NEVER)).run(tmp_path / "destination", None)
    assert sum(handed_out) <= 2 * 131_072  # each of two tries stops with the first chunk too many
    assert (tmp_path / "destination" / "a").stat().st_size <= 100_000


@pytest.mark.timeout(60)
def test_a_manifest_without_end_fills_no_memory(provider: LocalProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAXIMUM_SIZE_BYTES > 100_000_000
    monkeypatch.setattr(manifest_module, "MAXIMUM_SIZE_BYTES", 1_000_000)
    handed_out: list[int] = []
    fault = Fault("open", lambda _call: endless(handed_out), calls=(1, 2))
    with FaultyProvider(provider, [fault]) as endless_provider, pytest.raises(IntegrityError, match="demasiado grande"):
        fetch_manifest(endless_provider, PLACE, "ab" * 32, NEVER)
    assert sum(handed_out) <= 2 * 1_100_000


def test_a_manifest_is_not_looked_into_unless_it_is_the_recorded_one(provider: LocalProvider) -> None:
    """What takes memory and time is to understand it."""
    provider.put(PLACE.manifest_key, BytesSource(b'{"format": ' + b"[" * 1_000_000))
    with pytest.raises(IntegrityError, match="no es el que se guardó"):
        fetch_manifest(provider, PLACE, "ab" * 32, NEVER)


def written_here(*entries: object) -> bytes:
    """A manifest in the shape that this program gives it."""
    tree = read_manifest(written(*entries))
    return b"".join(make_manifest(Execution(1, "uuid-1", "/data/e"), tree, "installation-1").chunks(1000))


SHAPES: dict[str, Callable[[Any], bytes]] = {
    "an entry in each line": lambda content: content,
    "one line": lambda content: json.dumps(json.loads(content)).encode(),
    "lines after its end": lambda content: content + b"\n" * 1000,
}
"""Those in which a manifest is written here, and others that are understood too."""


@pytest.mark.parametrize("chunk_bytes", [7, 100_000])
@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_server_that_shows_another_manifest_the_second_time_is_not_believed(
    provider: LocalProvider, monkeypatch: pytest.MonkeyPatch, shape: str, recorded: bool, chunk_bytes: int
) -> None:
    """A large one is read once to compare it with its record, and once more to understand it. What is understood must
    have been read to its end, where it is compared again, however it comes in pieces.

    Looked for elsewhere, too: a small one is kept, and what is restored is compared with the manifest as it is written.
    """
    honest, other = (SHAPES[shape](written_here(directory(), file(name))) for name in ("a", "b"))
    assert len(honest) == len(other)
    monkeypatch.setattr(manifest_module, "KEPT_SIZE_BYTES", len(honest) - 1)
    provider.put(PLACE.manifest_key, BytesSource(honest))
    sha256 = hashlib.sha256(honest).hexdigest() if recorded else None

    def in_pieces(content: bytes) -> Callable[[Call], Iterator[bytes]]:
        pieces = [content[start : start + chunk_bytes] for start in range(0, len(content), chunk_bytes)]
        return lambda _call: iter(pieces)

    with FaultyProvider(provider, [Fault("open", in_pieces(honest), calls=range(1, 9))]) as same:
        assert [entry.path for entry in fetch_manifest(same, PLACE, sha256, NEVER).entries] == ["", "a"]
    two_faced = Fault("open", in_pieces(other), calls=range(2, 9))
    with FaultyProvider(provider, [two_faced]) as lying, pytest.raises(IntegrityError, match="cambió mientras se leía"):
        fetch_manifest(lying, PLACE, sha256, NEVER)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_large_manifest_that_grows_without_end_the_second_time_is_given_up(
    provider: LocalProvider, monkeypatch: pytest.MonkeyPatch, shape: str
) -> None:
    honest = SHAPES[shape](written_here(directory(), file("a")))
    monkeypatch.setattr(manifest_module, "KEPT_SIZE_BYTES", len(honest) - 1)
    monkeypatch.setattr(manifest_module, "MAXIMUM_SIZE_BYTES", 10 * len(honest))
    provider.put(PLACE.manifest_key, BytesSource(honest))
    handed_out: list[int] = []

    def honest_and_on(_call: Call) -> Iterator[bytes]:
        yield honest
        while True:
            handed_out.append(len(honest))
            yield b"\n" * len(honest)

    with (
        FaultyProvider(provider, [Fault("open", honest_and_on, calls=range(2, 9))]) as lying,
        pytest.raises(IntegrityError, match="cambió mientras se leía"),
    ):
        fetch_manifest(lying, PLACE, None, NEVER)
    assert sum(handed_out) < 100 * len(honest)


def test_an_execution_whose_manifest_could_not_be_read_again_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").touch()
    with closing_descriptor(os.open(tmp_path, os.O_RDONLY)) as descriptor:
        tree = hashed(walk_tree(descriptor), {"a": "ab" * 32})
        size_bytes = make_manifest(Execution(1, "u", "/u"), tree, "installation-1").size_bytes
        monkeypatch.setattr(manifest_module, "MAXIMUM_SIZE_BYTES", size_bytes - 1)
        with pytest.raises(UnsafeSource, match="demasiados ficheros: 2"):
            make_manifest(Execution(1, "u", "/u"), tree, "installation-1")


LARGE = """
import resource, sys
from storage.manifest import read_manifest
from tests.storage.test_hostile_manifests import directory, file, written
content = written(directory(), *(file(f"{number:07}-{'x' * 60}") for number in range(int(sys.argv[1]))))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert len(read_manifest(content).files) == int(sys.argv[1])
print(len(content), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def test_the_memory_for_a_large_manifest_is_a_small_multiple_of_it() -> None:
    """100 MB, half a million files, take ten times as long and as much as this."""
    command = [sys.executable, "-c", LARGE, "40000"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=120)
    size_bytes, memory_bytes = map(int, done.stdout.split())
    assert size_bytes > 8_000_000
    assert memory_bytes < 12 * size_bytes


# A removal


def test_a_removal_believes_no_manifest_but_the_recorded_one(tmp_path: Path, provider: LocalProvider) -> None:
    """Who may write to the cloud replaces the manifest by one in which changed files are as they should be."""
    root = tmp_path / "root"
    (root / "e1").mkdir(parents=True)
    make_odd_tree(root / "e1")
    execution = Execution(1, "uuid-1", str(root / "e1"))
    with closing_descriptor(os.open(root / "e1", os.O_RDONLY)) as descriptor:
        tree = walk_tree(descriptor)
        hashes = {entry.path: hash_file(descriptor, entry, NEVER) for entry in tree.files}
    provider.put(PLACE.manifest_key, manifest_of_hashed(execution, tree, hashes))
    before = snapshot(root / "e1")
    with pytest.raises(IntegrityError, match="no es el que se guardó"):
        remove_local_copy(
            DirectoryJudge([str(root)]),
            execution,
            lambda: fetch_manifest(provider, PLACE, "ab" * 32, NEVER),
            NEVER,
            Granted(),
        )
    assert snapshot(root / "e1") == before


@pytest.mark.parametrize("name", HOSTILE)
def test_a_removal_with_a_hostile_manifest_removes_nothing(
    tmp_path: Path, provider: LocalProvider, outside: Path, name: str
) -> None:
    """Even if its hash is the recorded one, or none is recorded."""
    root = tmp_path / "root"
    (root / "e1").mkdir(parents=True)
    (root / "e1" / "a").symlink_to(outside)
    provider.put(PLACE.manifest_key, BytesSource(HOSTILE[name]))
    before = (snapshot(root / "e1"), snapshot(outside))
    with pytest.raises(IntegrityError, match="manifiesto"):
        remove_local_copy(
            DirectoryJudge([str(root)]),
            Execution(1, "uuid-1", str(root / "e1")),
            lambda: fetch_manifest(provider, PLACE, None, NEVER),
            NEVER,
            Granted(),
        )
    assert (snapshot(root / "e1"), snapshot(outside)) == before


def test_a_link_in_the_tree_is_not_followed_by_what_a_manifest_says_of_it(tmp_path: Path, outside: Path) -> None:
    """The manifest says that a directory is there, with a file in it; on the disk it is a link to outside."""
    root = tmp_path / "root"
    (root / "e1").mkdir(parents=True)
    (root / "e1" / "sub").symlink_to(outside / "sub")
    sha256 = hashlib.sha256(b"somebody else's").hexdigest()
    proven = read_manifest(written(directory(), directory("sub"), file("sub/b", size_bytes=15, sha256=sha256)))
    before = snapshot(outside)
    execution = Execution(1, "u", str(root / "e1"))
    with pytest.raises(LocalCopyDiffers):
        remove_local_copy(DirectoryJudge([str(root)]), execution, lambda: proven, NEVER, Granted())
    assert snapshot(outside) == before
    assert (root / "e1" / "sub").is_symlink()
