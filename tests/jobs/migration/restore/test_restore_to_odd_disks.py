"""A restore to a disk on which two names are one, or which keeps no modes, times or links: nothing is lost in silence.

Where else the same mistake can be made: wherever an entry is made by name. Files, directories and links are tried here,
each with names that differ in case, in composition, and in final dots and spaces, alone and with a second entry that
they meet; and so are names that are refused. Providers that fold names are looked at by `Provider.folds_names`.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from config.models import ProviderRow
from jobs.migration.restore import destination as destination_module
from jobs.migration.restore.errors import DestinationFull, DestinationUnusable, RestoreIncomplete
from providers.errors import ProviderError
from providers.local.provider import LocalProvider
from storage.keys import INCOMPLETE_MARK
from tests.disks.small_disk import MEBIBYTE, mounted_small_disk, mounted_thin_disk
from tests.executions.restores import Copy, contents, folding_calls, restore_copy, store_copy
from tests.faults.faulty_provider import Call, Fault, FaultyProvider
from tests.servers.odd_file_system import Rules, mounted_odd_file_system

BLIND_TO_CASE = Rules(folds_case=True)
COMPOSING = Rules(composes=True)
LIKE_WINDOWS = Rules(folds_case=True, drops_final_dots=True)

OddDisk = Callable[[Rules], contextlib.AbstractContextManager[Path]]


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[LocalProvider]:
    """On an ordinary disk."""
    (tmp_path / "nas").mkdir()
    with closing(LocalProvider(ProviderRow(1, "nas", "local", None, {"ruta": str(tmp_path / "nas")}, True))) as made:
        yield made


@pytest.fixture
def mounted_disk(tmp_path: Path) -> OddDisk:
    """A directory of a file system that is mounted with these rules."""

    @contextlib.contextmanager
    def disk(rules: Rules) -> Iterator[Path]:
        top = tmp_path / "odd"
        top.mkdir()
        with mounted_odd_file_system(top, rules):
            yield top / "restored"

    return disk


@pytest.fixture(params=["mounted", "calls"])
def folding_disk(
    request: pytest.FixtureRequest, tmp_path: Path, mounted_disk: OddDisk, monkeypatch: pytest.MonkeyPatch
) -> OddDisk:
    """A directory in which names are folded: by a file system, and by the calls of the system where none is mounted."""

    @contextlib.contextmanager
    def disk(rules: Rules) -> Iterator[Path]:
        with folding_calls(monkeypatch, rules, tmp_path / "restored"):
            yield tmp_path / "restored"

    return mounted_disk if request.param == "mounted" else disk


# Names


ALIASES: dict[str, tuple[Rules, Copy, tuple[str, str]]] = {
    "case of files": (
        BLIND_TO_CASE,
        {"Informe.txt": b"one", "informe.TXT": b"the other"},
        ("Informe.txt", "informe.TXT"),
    ),
    "case of an empty file": (BLIND_TO_CASE, {"A": b"", "a": b"not empty"}, ("A", "a")),
    "equal files": (BLIND_TO_CASE, {"A": b"same", "a": b"same"}, ("A", "a")),
    "case of directories": (
        BLIND_TO_CASE,
        {"Datos": None, "Datos/x": b"one", "datos": None, "datos/x": b"the other", "datos/y": b"y"},
        ("Datos", "datos"),
    ),
    "case of links": (BLIND_TO_CASE, {"L": "x", "l": "y"}, ("L", "l")),
    "a file and a directory": (BLIND_TO_CASE, {"A": b"file", "a": None, "a/b": b"below"}, ("A", "a")),
    "a file and a link": (BLIND_TO_CASE, {"A": "target", "a": b"file"}, ("A", "a")),
    "composition": (COMPOSING, {"caf\u00e9": b"one", "cafe\u0301": b"the other"}, ("caf\u00e9", "cafe\u0301")),
    "final dots": (LIKE_WINDOWS, {"a": b"one", "a.": b"the other"}, ("a", "a.")),
    "final spaces of directories": (LIKE_WINDOWS, {"d": None, "d ": None, "d /x": b"x"}, ("d", "d ")),
    "deep below": (BLIND_TO_CASE, {"d": None, "d/A": b"one", "d/a": b"the other"}, ("d/A", "d/a")),
}
REST: Copy = {"zz": None, "zz/file": b"another file", "zz/link": "file"}


@pytest.mark.parametrize("name", ALIASES)
def test_two_names_that_are_one_there_are_both_named_and_neither_replaces_the_other(
    provider: LocalProvider, folding_disk: OddDisk, name: str
) -> None:
    rules, copy, aliases = ALIASES[name]
    store_copy(provider, {**copy, **REST})
    with folding_disk(rules) as destination:
        for _ in range(2):  # the second one continues, and fares no better
            with pytest.raises(RestoreIncomplete) as failed:
                restore_copy(provider, destination)
            assert "«{}» y «{}» son el mismo nombre".format(*aliases) in str(failed.value) or (
                "«{1}» y «{0}» son el mismo nombre".format(*aliases) in str(failed.value)
            )
            found = contents(destination)
            assert INCOMPLETE_MARK in found
            assert {path: found.get(path) for path in REST} == REST
            assert set(found) <= {*copy, *REST, INCOMPLETE_MARK}
            there = set(found) & set(copy)
            assert len(there) < len(copy)
            for path in there - set(aliases):
                assert found[path] == copy[path], path
            assert found[(there & set(aliases)).pop()] in {copy[alias] for alias in aliases}


@pytest.mark.parametrize(
    ("rules", "name", "listed"),
    [
        (LIKE_WINDOWS, "acaba en punto.", "acaba en punto"),
        (LIKE_WINDOWS, "espacio ", "espacio"),
        (COMPOSING, "cafe\u0301", "caf\u00e9"),
    ],
)
@pytest.mark.parametrize("content", [b"file", "link", None])
def test_a_name_that_the_disk_changes_is_reported(
    provider: LocalProvider, folding_disk: OddDisk, rules: Rules, name: str, listed: str, content: bytes | str | None
) -> None:
    below: Copy = {f"{name}/below": b"x"} if content is None else {}
    store_copy(provider, {name: content, **below, **REST})
    with folding_disk(rules) as destination:
        with pytest.raises(RestoreIncomplete, match="quedó con otro nombre") as failed:
            restore_copy(provider, destination)
        assert f"«{name}»" in str(failed.value)
        assert f"«{listed}»" in str(failed.value)
        found = contents(destination)
        assert found[listed] == content
        assert {path: found.get(path) for path in REST} == REST


def test_names_that_differ_in_more_than_the_disk_folds_all_come_back(
    provider: LocalProvider, folding_disk: OddDisk
) -> None:
    copy: Copy = {"A": b"a", "B": None, "B/a": b"ba", "B/l": "../A", **REST}
    store_copy(provider, copy)
    with folding_disk(LIKE_WINDOWS) as destination:
        assert restore_copy(provider, destination).unkept == ()
        assert contents(destination) == copy


@pytest.mark.parametrize("content", [b"file", "link", None])
def test_a_name_that_the_disk_refuses_is_reported_and_the_rest_restored(
    provider: LocalProvider, mounted_disk: OddDisk, content: bytes | str | None
) -> None:
    below: Copy = {"a:b/below": b"x", "a:b/l": "x"} if content is None else {}
    store_copy(provider, {"a:b": content, **below, **REST})
    with mounted_disk(Rules(refused_characters=":")) as destination:
        with pytest.raises(RestoreIncomplete, match="a:b"):
            restore_copy(provider, destination)
        found = dict(contents(destination))
        assert found.pop(INCOMPLETE_MARK)
        assert found == REST


# What is beside the bytes


@pytest.mark.parametrize("how", ["refused", "ignored"])
@pytest.mark.parametrize("attribute", ["modes", "times"])
def test_modes_and_times_that_the_disk_does_not_keep_are_reported_and_everything_is_restored(
    provider: LocalProvider, mounted_disk: OddDisk, attribute: str, how: str
) -> None:
    store_copy(provider, REST, {"zz": "0750", "zz/file": "0600", "": "0711"})
    with mounted_disk(Rules(**{attribute: how})) as destination:  # type: ignore[arg-type]
        restored = restore_copy(provider, destination)
        assert contents(destination) == REST
    (told,) = restored.unkept
    assert told == {"modes": "3 permisos (., zz, zz/file)", "times": "4 fechas (., zz, zz/file, zz/link)"}[attribute]


def test_links_that_the_disk_does_not_have_are_named_and_the_rest_is_restored(
    provider: LocalProvider, mounted_disk: OddDisk
) -> None:
    store_copy(provider, REST)
    with mounted_disk(Rules(has_links=False)) as destination:
        with pytest.raises(RestoreIncomplete, match=r"1 enlace simbólico.*zz/link"):
            restore_copy(provider, destination)
        assert (destination / "zz" / "file").read_bytes() == REST["zz/file"]


def test_a_disk_that_syncs_no_directories_is_no_obstacle(provider: LocalProvider, mounted_disk: OddDisk) -> None:
    store_copy(provider, REST)
    with mounted_disk(Rules(syncs_directories=False)) as destination:
        restore_copy(provider, destination)
        assert contents(destination) == REST


# A full disk

LARGE: Copy = {"large": os.urandom(300_000), **REST}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_called_that(provider: LocalProvider, mounted_disk: OddDisk, code: int) -> None:
    store_copy(provider, LARGE)
    with (
        mounted_disk(Rules(room_bytes=200_000, full=code)) as destination,
        pytest.raises(DestinationFull, match=r"no queda sitio.*repita la misma orden"),
    ):
        restore_copy(provider, destination)


def test_a_restore_continues_once_there_is_room(provider: LocalProvider, tmp_path: Path) -> None:
    store_copy(provider, LARGE)
    (tmp_path / "small").mkdir()
    with mounted_small_disk(tmp_path / "small", 200_000):
        destination = tmp_path / "small" / "restored"
        with pytest.raises(DestinationFull):
            restore_copy(provider, destination)
        assert (destination / INCOMPLETE_MARK).exists()
        os.system(f"mount -o remount,size=2000000 {tmp_path}/small")  # noqa: S605
        restore_copy(provider, destination)
        assert contents(destination) == LARGE


# A disk that did not take what the kernel still has


def test_what_a_disk_lost_is_not_taken_for_restored_by_the_next_restore(
    provider: LocalProvider, tmp_path: Path
) -> None:
    """The kernel tells the error once, and continues showing what was written as if it were on the disk."""
    copy: Copy = {"large": os.urandom(32 * MEBIBYTE)}
    store_copy(provider, copy)
    disk, store = tmp_path / "disk", tmp_path / "store"
    disk.mkdir()
    store.mkdir()
    with mounted_thin_disk(disk, store) as make_room:
        destination = disk / "restored"
        with pytest.raises((DestinationFull, DestinationUnusable)):
            restore_copy(provider, destination)
        make_room()
        with pytest.raises((RestoreIncomplete, DestinationUnusable)):
            restore_copy(provider, destination)
        assert (destination / INCOMPLETE_MARK).exists()
        (destination / "large").unlink()
        restore_copy(provider, destination)
        with (destination / "large").open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert file.read() == copy["large"]


class ForgetfulDisk:
    """Calls of the system as they are on a disk that has lost some files' bytes without saying so any more. The kernel
    shows them until it is told to read the disk, and lets go of nothing that it has not tried to write.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, lost: Path, *, as_a_whole: bool) -> None:
        self._lost = lost.stat().st_ino
        self._has_tried_to_write = False
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self.fsync)
        monkeypatch.setattr(os, "posix_fadvise", self.posix_fadvise)
        monkeypatch.setattr(destination_module, "can_be_synced", lambda _descriptor: as_a_whole)
        monkeypatch.setattr(destination_module, "sync_file_system", self.sync_file_system)

    def fsync(self, descriptor: int) -> None:
        """As `os.fsync`."""
        self._fsync(descriptor)
        if os.fstat(descriptor).st_ino == self._lost:
            self._has_tried_to_write = True

    def sync_file_system(self, _descriptor: int) -> None:
        """As `files.file_systems.sync_file_system`."""
        self._has_tried_to_write = True

    def posix_fadvise(self, descriptor: int, offset: int, length: int, advice: int) -> None:
        """As `os.posix_fadvise`: the lost bytes are zeros from now on."""
        status = os.fstat(descriptor)
        is_all = (offset, length, advice) == (0, 0, os.POSIX_FADV_DONTNEED)
        if is_all and status.st_ino == self._lost and self._has_tried_to_write:
            os.pwrite(descriptor, bytes(status.st_size), 0)


@pytest.mark.parametrize("as_a_whole", [True, False], ids=["the whole file system", "one thing at a time"])
@pytest.mark.parametrize("lost", ["whole", "part"])
def test_what_was_there_before_is_read_from_the_disk_and_not_from_the_kernels_memory(
    provider: LocalProvider, tmp_path: Path, lost: str, as_a_whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways to believe what an earlier restore left: a file that is whole, and the beginning of one."""

    def cut(call: Call) -> Iterator[bytes]:
        yield b"".join(call.proceed())[:100_000]
        raise ProviderError("cortado")

    store_copy(provider, {"whole": b"some bytes", "part": os.urandom(200_000)})
    destination = tmp_path / "restored"
    with FaultyProvider(provider, [Fault("open", cut, key="*/part")]) as faulty, pytest.raises(ProviderError):
        restore_copy(faulty, destination)
    assert (destination / "part").stat().st_size == 100_000
    ForgetfulDisk(monkeypatch, destination / lost, as_a_whole=as_a_whole)
    with pytest.raises(RestoreIncomplete, match=f"«{lost}».*el disco no guardó"):
        restore_copy(provider, destination)
    assert (destination / INCOMPLETE_MARK).exists()


def test_nothing_that_is_new_is_read_from_the_disk_again(
    provider: LocalProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would take the time of a second restore; an error of the disk is told to the process that wrote."""
    advised: list[int] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda descriptor, *_: advised.append(descriptor))
    store_copy(provider, REST)
    restore_copy(provider, tmp_path / "restored")
    assert advised == []
