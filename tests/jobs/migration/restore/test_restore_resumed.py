"""A restore that was interrupted continues where it stopped, and takes nothing for its own that is not proven to be.

Interruptions that are tried: a connection that is cut, a request to stop, a full disk (in `test_restore_to_odd_disks`),
a kill at each step (`crash/test_kill_at_every_step`). What could be taken for its own by mistake: half a file, a file
of the right size and other bytes, links of both kinds, files of others, what has come to the directory meanwhile,
another copy's remains, and the files of a second restore that runs at the same time.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from config.errors import MigrationError, RunInterrupted
from config.models import ProviderRow
from jobs.migration.restore.errors import DestinationUnusable, RestoreIncomplete
from providers.errors import IntegrityError, ProviderError
from providers.local.provider import LocalProvider
from storage.keys import INCOMPLETE_MARK
from tests.disks.privileges import NOBODY, unprivileged
from tests.executions.restores import PLACE, Copy, contents, restore_copy, store_copy
from tests.faults.faulty_provider import Call, Fault, FaultyProvider, fail, flip_bit, truncate
from tests.running.skips import needs_root

COPY: Copy = {
    "large": os.urandom(3_000_000),
    "d": None,
    "d/empty": b"",
    "d/file": b"some bytes",
    "d/link": "file",
    "last": b"the last bytes",
}
FILES = sorted(path for path, content in COPY.items() if isinstance(content, bytes))


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[LocalProvider]:
    """Holds the copy."""
    (tmp_path / "nas").mkdir()
    with closing(LocalProvider(ProviderRow(1, "nas", "local", None, {"ruta": str(tmp_path / "nas")}, True))) as made:
        store_copy(made, COPY)
        yield made


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "restored"


def cut_after(pieces: int) -> Callable[[Call], Iterator[bytes]]:
    """The connection ends after this many pieces of 64 KiB."""

    def effect(call: Call) -> Iterator[bytes]:
        content = b"".join(call.proceed())
        for number in range(pieces):
            yield content[number * 65536 : (number + 1) * 65536]
        raise ProviderError("cortado")

    return effect


@pytest.fixture
def halfway(provider: LocalProvider, destination: Path) -> Path:
    """A destination in which a restore was interrupted: a third of the largest file is there, `last` is empty."""
    faults = [Fault("open", cut_after(16), key="*/large"), Fault("open", fail(ProviderError("no")), key="*/last")]
    with FaultyProvider(provider, faults) as faulty, pytest.raises(ProviderError):
        restore_copy(faulty, destination)
    assert (destination / "large").stat().st_size == 16 * 65536
    return destination


def opened(provider: LocalProvider, destination: Path) -> list[str]:
    """Restore again; which files were fetched."""
    with FaultyProvider(provider) as watched:
        restore_copy(watched, destination)
        names = sorted(watched.keys("open") + watched.keys("open_from"))
        return [name for name in names if name != PLACE.manifest_key.rpartition("/")[2]]


# What is proven is kept


def test_what_is_there_and_proven_is_not_fetched_again(provider: LocalProvider, halfway: Path) -> None:
    before = (halfway / "d" / "file").stat().st_ino
    assert opened(provider, halfway) == ["large", "last"]
    assert contents(halfway) == COPY
    assert (halfway / "d" / "file").stat().st_ino == before


def test_half_a_file_is_not_fetched_again_from_its_beginning(provider: LocalProvider, halfway: Path) -> None:
    """Of files of every size, by each provider (`test_what_follows_a_beginning_can_be_read_alone` in its contract)."""
    came_bytes: list[int] = []

    def note(call: Call) -> Iterator[bytes]:
        for chunk in call.proceed():
            came_bytes.append(len(chunk))
            yield chunk

    with FaultyProvider(provider, [Fault("open_from", note, key="*/large")]) as watched:
        restore_copy(watched, halfway)
        assert watched.keys("open_from") == ["large"]
    assert sum(came_bytes) == 3_000_000 - 16 * 65536
    assert contents(halfway) == COPY


def test_the_rest_of_a_file_is_cut_off_again_and_again(provider: LocalProvider, halfway: Path) -> None:
    """Each restore continues from where the one before it ended."""

    def cut(call: Call) -> Iterator[bytes]:
        yield next(call.proceed())[:100_000]
        raise ProviderError("cortado")

    for number in (1, 2, 3):
        with (
            FaultyProvider(provider, [Fault("open_from", cut, key="*/large")]) as faulty,
            pytest.raises(ProviderError),
        ):
            restore_copy(faulty, halfway)
        assert (halfway / "large").stat().st_size == 16 * 65536 + number * 100_000
    restore_copy(provider, halfway)
    assert contents(halfway) == COPY


@pytest.mark.parametrize("change", [flip_bit, truncate, lambda rest: rest + b"x"], ids=["bit", "short", "long"])
def test_a_wrong_rest_is_not_believed(provider: LocalProvider, halfway: Path, change: Callable[[bytes], bytes]) -> None:
    """The hash of the whole decides; what was there is kept, and everything is fetched."""

    def lie(call: Call) -> Iterator[bytes]:
        yield change(b"".join(call.proceed()))

    faults = [Fault("open_from", lie, key="*/large", calls=range(1, 100))]
    with FaultyProvider(provider, faults) as faulty:
        restore_copy(faulty, halfway)
    assert contents(halfway) == COPY


def test_how_many_files_were_there_is_reported(provider: LocalProvider, halfway: Path) -> None:
    assert restore_copy(provider, halfway).kept_files == 2  # d/empty and d/file


def test_the_mark_names_the_copy(halfway: Path) -> None:
    named = json.loads((halfway / INCOMPLETE_MARK).read_text())
    assert named["execution"] == "uuid-1"
    assert len(named["manifest_sha256"]) == 64


def test_the_modes_and_times_of_what_was_kept_are_right(provider: LocalProvider, halfway: Path) -> None:
    (halfway / "d" / "file").chmod(0o600)
    os.utime(halfway / "d" / "file", (1, 1))
    (halfway / "d").chmod(0o700)
    restore_copy(provider, halfway)
    status = (halfway / "d" / "file").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o644, 1_700_000_000_123_456_789)
    assert stat.S_IMODE((halfway / "d").stat().st_mode) == 0o755


def test_a_restore_that_was_asked_to_stop_continues_later(provider: LocalProvider, destination: Path) -> None:
    interruption = threading.Event()

    def stop(_call: Call) -> Iterator[bytes]:
        interruption.set()
        raise RunInterrupted("interrumpido")

    fault = Fault("open", stop, key="*/large")
    with FaultyProvider(provider, [fault]) as stopped, pytest.raises(RunInterrupted):
        restore_copy(stopped, destination, interruption)
    assert (destination / INCOMPLETE_MARK).exists()
    restore_copy(provider, destination)
    assert contents(destination) == COPY


def test_damaged_bytes_do_not_keep_a_later_restore_from_going_on(provider: LocalProvider, destination: Path) -> None:
    damaged = Fault("open", lambda call: iter([flip_bit(b"".join(call.proceed()))]), key="*/large", calls=(1, 2))
    with FaultyProvider(provider, [damaged]) as faulty, pytest.raises(IntegrityError, match=r"large.*repita la misma"):
        restore_copy(faulty, destination)
    assert opened(provider, destination) == ["large"]
    assert contents(destination) == COPY


def test_damaged_bytes_of_one_try_are_not_left_where_the_next_one_writes_nothing(
    provider: LocalProvider, destination: Path
) -> None:
    """Zeros are not written, so what is there must be nothing."""
    copy: Copy = {"zeros": bytes(100_000), **COPY}
    store_copy(provider, copy)
    damaged = Fault("open", lambda _call: iter([b"x" * 100_000]), key="*/zeros")
    with FaultyProvider(provider, [damaged]) as faulty:
        restore_copy(faulty, destination)
    assert contents(destination) == copy


@pytest.mark.parametrize("modes", [{"d": "0500", "d/file": "0400"}, {"d": "0000", "d/file": "0000", "large": "0200"}])
def test_an_ordinary_user_continues_with_what_the_executions_own_modes_forbid(
    provider: LocalProvider, tmp_path: Path, modes: dict[str, str]
) -> None:
    store_copy(provider, COPY, modes)
    top = tmp_path / "users"
    top.mkdir()
    if os.geteuid() == 0:
        os.chown(top, NOBODY, NOBODY)
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    destination = top / "restored"
    failing = FaultyProvider(provider, [Fault("open", fail(ProviderError("no")), key="*/last")])
    with unprivileged(), failing as faulty, pytest.raises(ProviderError):
        restore_copy(faulty, destination)
    with unprivileged():
        assert opened(provider, destination) == ["last"]
    with walkable(destination / "d") as found:
        assert found == modes.get("d")
        found_modes = {name: f"{stat.S_IMODE((destination / name).stat().st_mode):04o}" for name in modes}
        assert found_modes == {**modes, "d": "0700"}


@contextlib.contextmanager
def walkable(directory: Path) -> Iterator[str]:
    """Its mode, which it has not while it is looked into."""
    mode = stat.S_IMODE(directory.stat().st_mode)
    directory.chmod(0o700)
    try:
        yield f"{mode:04o}"
    finally:
        directory.chmod(mode)


# What is not proven is neither believed nor touched


@pytest.mark.parametrize("path", ["large", "last", "d/file"])
def test_other_bytes_under_a_files_name_are_kept_and_reported(
    provider: LocalProvider, halfway: Path, path: str
) -> None:
    expected = COPY[path]
    assert isinstance(expected, bytes)
    for foreign in (flip_bit(expected), flip_bit(expected)[:-2], expected + b"x"):
        (halfway / path).write_bytes(foreign)
        with pytest.raises(RestoreIncomplete, match=rf"«{path}».*no es de esta restauración"):
            restore_copy(provider, halfway)
        assert (halfway / path).read_bytes() == foreign
        assert (halfway / INCOMPLETE_MARK).exists()
    (halfway / path).unlink()
    restore_copy(provider, halfway)
    assert contents(halfway) == COPY


def test_what_came_to_the_directory_is_kept_and_reported(provider: LocalProvider, halfway: Path) -> None:
    (halfway / "nota.txt").write_text("mine")
    (halfway / "d" / "more").mkdir()
    with pytest.raises(RestoreIncomplete, match=r"2 cosas que no son de la ejecución \(d/more, nota\.txt\)"):
        restore_copy(provider, halfway)
    found = contents(halfway)
    assert found["nota.txt"] == b"mine"
    assert {path: found[path] for path in COPY} == COPY
    (halfway / "nota.txt").unlink()
    (halfway / "d" / "more").rmdir()
    assert restore_copy(provider, halfway).kept_files == len(FILES)
    assert contents(halfway) == COPY


@pytest.mark.parametrize("kind", ["hard link", "symbolic link", "directory", "fifo"])
def test_what_is_no_file_of_the_restores_own_is_not_taken_for_one(
    provider: LocalProvider, halfway: Path, tmp_path: Path, kind: str
) -> None:
    """Its bytes may be the right ones: by its own name elsewhere somebody else would get the execution's mode."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"some bytes")
    outside.chmod(0o600)
    path = halfway / "d" / "file"
    path.unlink()
    make: dict[str, Callable[[], object]] = {
        "hard link": lambda: path.hardlink_to(outside),
        "symbolic link": lambda: path.symlink_to(outside),
        "directory": path.mkdir,
        "fifo": lambda: os.mkfifo(path),
    }
    make[kind]()
    with pytest.raises(RestoreIncomplete, match="«d/file»"):
        restore_copy(provider, halfway)
    assert (stat.S_IMODE(outside.stat().st_mode), outside.read_bytes()) == (0o600, b"some bytes")


@pytest.mark.parametrize("target", ["file", "elsewhere", None])
def test_a_link_is_kept_where_it_leads_to_the_same(provider: LocalProvider, halfway: Path, target: str | None) -> None:
    link = halfway / "d" / "link"
    link.unlink()
    link.write_text("no link") if target is None else link.symlink_to(target)
    if target == "file":
        restore_copy(provider, halfway)
        assert contents(halfway) == COPY
        return
    with pytest.raises(RestoreIncomplete, match="«d/link»"):
        restore_copy(provider, halfway)
    assert link.exists() is (target is None)


@pytest.mark.parametrize("kind", ["file", "symbolic link"])
def test_nothing_is_restored_through_what_took_a_directorys_place(
    provider: LocalProvider, halfway: Path, tmp_path: Path, kind: str
) -> None:
    outside = tmp_path / "outside"
    (halfway / "d").rename(outside)
    (outside / "file").unlink()
    (halfway / "d").touch() if kind == "file" else (halfway / "d").symlink_to(outside)
    with pytest.raises(RestoreIncomplete, match=r"«d».*3 dentro de directorios"):
        restore_copy(provider, halfway)
    assert sorted(os.listdir(outside)) == ["empty", "link"]


@needs_root
@pytest.mark.parametrize("path", ["d", "d/file"])
def test_what_belongs_to_somebody_else_is_not_taken_for_ones_own(
    provider: LocalProvider, halfway: Path, path: str
) -> None:
    """Whoever owns it could change it after it was proven."""
    os.chown(halfway / path, NOBODY, NOBODY)
    with pytest.raises(RestoreIncomplete, match=f"«{path}»"):
        restore_copy(provider, halfway)
    assert (halfway / path).stat().st_uid == NOBODY


# Whose mark it is


def test_another_copys_remains_are_left_alone(provider: LocalProvider, halfway: Path) -> None:
    before = contents(halfway)
    store_copy(provider, {**COPY, "later": b"another manifest"})
    with pytest.raises(DestinationUnusable, match=r"otra copia, ejecuciones/uuid-1, quedó ahí a medias"):
        restore_copy(provider, halfway)
    assert contents(halfway) == before


@pytest.mark.parametrize("mark", [b"", b"{", b"[]", b'{"place": 1'])
def test_remains_of_which_the_mark_does_not_tell_whose_they_are_stay(
    provider: LocalProvider, halfway: Path, mark: bytes
) -> None:
    """Earlier versions wrote nothing in it."""
    (halfway / INCOMPLETE_MARK).write_bytes(mark)
    with pytest.raises(DestinationUnusable, match="una restauración anterior quedó ahí a medias"):
        restore_copy(provider, halfway)


@pytest.mark.parametrize("mark", [b"", b'{"execution"'])
def test_a_restore_that_was_killed_before_it_had_written_its_mark_begins_again(
    provider: LocalProvider, destination: Path, mark: bytes
) -> None:
    destination.mkdir()
    (destination / INCOMPLETE_MARK).write_bytes(mark)
    restore_copy(provider, destination)
    assert contents(destination) == COPY


@pytest.mark.parametrize(
    "content",
    [
        b"somebody's only file",
        b"[]",
        b'{"place": ""}',
        b'{"place": 0}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"execution": "2',
    ],
)
def test_a_file_that_only_has_the_name_of_a_mark_is_neither_written_to_nor_removed(
    provider: LocalProvider, destination: Path, content: bytes
) -> None:
    """Looked for wherever a restore removes by a name: the mark, and the probe, two tests below."""
    destination.mkdir()
    (destination / INCOMPLETE_MARK).write_bytes(content)
    with pytest.raises(DestinationUnusable, match="no está vacío"):
        restore_copy(provider, destination)
    assert contents(destination) == {INCOMPLETE_MARK: content}


@pytest.mark.parametrize("content", [b"", b'{"execution"', None])
@pytest.mark.parametrize("theirs", ["another name", pytest.param("owner", marks=needs_root)])
def test_a_mark_that_is_somebody_elses_file_is_neither_written_to_nor_removed(
    provider: LocalProvider, halfway: Path, tmp_path: Path, content: bytes | None, theirs: str
) -> None:
    """Even with what a restore would have written in it, `None` here."""
    whole = (halfway / INCOMPLETE_MARK).read_bytes()
    destination = tmp_path / "another"
    destination.mkdir()
    outside = tmp_path / "outside"
    outside.write_bytes(whole if content is None else content)
    if theirs == "owner":
        os.chown(outside, NOBODY, NOBODY)
        outside.rename(destination / INCOMPLETE_MARK)
    else:
        (destination / INCOMPLETE_MARK).hardlink_to(outside)
    with pytest.raises(DestinationUnusable, match=r"otro dueño.*use otro directorio"):
        restore_copy(provider, destination)
    assert contents(destination) == {INCOMPLETE_MARK: whole if content is None else content}


@pytest.mark.parametrize("kind", ["content", "another name", "directory", "symbolic link"])
def test_what_only_has_the_name_of_a_probe_is_not_removed(
    provider: LocalProvider, halfway: Path, tmp_path: Path, kind: str
) -> None:
    probe = halfway / f"{INCOMPLETE_MARK}.probe"
    outside = tmp_path / "outside"
    outside.touch()
    make: dict[str, Callable[[], object]] = {
        "content": lambda: probe.write_bytes(b"somebody's only file"),
        "another name": lambda: probe.hardlink_to(outside),
        "directory": probe.mkdir,
        "symbolic link": lambda: probe.symlink_to(outside),
    }
    make[kind]()
    before = contents(halfway)
    with pytest.raises(DestinationUnusable, match=r"\.probe no es de una restauración"):
        restore_copy(provider, halfway)
    assert contents(halfway) == before


def test_the_probe_of_a_killed_restore_is_no_obstacle(provider: LocalProvider, halfway: Path) -> None:
    (halfway / f"{INCOMPLETE_MARK}.probe").touch()
    restore_copy(provider, halfway)
    assert contents(halfway) == COPY


@pytest.mark.parametrize("kind", ["symbolic link", "directory", "fifo"])
def test_a_mark_that_is_no_file_is_none(provider: LocalProvider, destination: Path, tmp_path: Path, kind: str) -> None:
    destination.mkdir()
    mark = destination / INCOMPLETE_MARK
    outside = tmp_path / "outside"
    outside.touch()
    make: dict[str, Callable[[], object]] = {
        "symbolic link": lambda: mark.symlink_to(outside),
        "directory": mark.mkdir,
        "fifo": lambda: os.mkfifo(mark),
    }
    make[kind]()
    with pytest.raises(DestinationUnusable):
        restore_copy(provider, destination)
    assert outside.read_bytes() == b""
    assert os.listdir(destination) == [INCOMPLETE_MARK]


def test_a_directory_with_something_in_it_and_no_mark_is_refused(provider: LocalProvider, destination: Path) -> None:
    destination.mkdir()
    (destination / "last").write_bytes(b"")
    with pytest.raises(
        DestinationUnusable, match=r"no está vacío; .* ya está hecho; si no, indique uno vacío o nuevo$"
    ):
        restore_copy(provider, destination)
    assert contents(destination) == {"last": b""}


def test_a_second_restore_at_the_same_time_is_refused(provider: LocalProvider, halfway: Path) -> None:
    refused: list[str] = []

    def begin_another(call: Call) -> Iterator[bytes]:
        with pytest.raises(DestinationUnusable, match="otra restauración") as second:
            restore_copy(provider, halfway)
        refused.append(str(second.value))
        yield from call.proceed()

    with FaultyProvider(provider, [Fault("open_from", begin_another, key="*/large")]) as faulty:
        restore_copy(faulty, halfway)
    assert len(refused) == 1
    assert contents(halfway) == COPY


def test_a_disk_without_locks_is_no_obstacle(
    provider: LocalProvider, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(95, os.strerror(95))

    monkeypatch.setattr(fcntl, "flock", refuse)
    restore_copy(provider, destination)
    assert contents(destination) == COPY


# One object that cannot be had


def test_what_one_missing_object_leaves_is_restored_nevertheless(provider: LocalProvider, destination: Path) -> None:
    for name in ("large", "d/file"):
        provider.delete(PLACE.key_of(name))
    with pytest.raises(MigrationError, match=r"y 1 ficheros más"):
        restore_copy(provider, destination)
    found = contents(destination)
    assert (found["last"], found["d/link"]) == (COPY["last"], COPY["d/link"])
    assert INCOMPLETE_MARK in found


def test_nobody_waits_for_very_many_objects_that_cannot_be_had(
    provider: LocalProvider, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_copy(provider, {f"{number:03}": b"x" for number in range(100)})
    for number in range(100):
        provider.delete(PLACE.key_of(f"{number:03}"))
    monkeypatch.setattr("jobs.migration.restore.losses.MOST_FAILED_OBJECTS", 5)
    with FaultyProvider(provider) as watched, pytest.raises(MigrationError):
        restore_copy(watched, destination)
    assert len(watched.keys("open")) <= 10
