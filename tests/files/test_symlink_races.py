"""Whoever may write beside an execution swaps names for links while the daemon, as root, works on them: nothing outside
is touched, read or even opened.

Each race is run many times, and only counts when it was met in both states: done some times, refused other times.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from config.errors import SourceError
from config.models import Execution, ProviderRow
from files import walk
from files.walk import FileSource, require_unchanged, walk_tree
from jobs.migration.directories import DirectoryJudge
from jobs.migration.removal.removal import remove_local_copy
from jobs.migration.restore.errors import DestinationUnusable, RestoreIncomplete
from jobs.migration.restore.filling import Download
from jobs.migration.restore.run import Restore
from jobs.temp_files.clean import TempDirectoryUnsafe, clean_temp_files
from providers.local.provider import LocalProvider
from storage.keys import place_of
from storage.traffic.transfers import TransferPool
from tests.disks.racing import Listener, Swapper, linux_only
from tests.executions.manifests import hashed, manifest_of_hashed
from tests.executions.permissions import after_a_begun_removal
from tests.stories.trees import snapshot

pytestmark = linux_only

NEVER = threading.Event()
ROUNDS = 200
SWAPS_AT_LEAST = ROUNDS // 4
LONGER_WHEN_BUSY = 20
OWN = b"our own bytes"
FOREIGN = b"somebody's else"
EXECUTION_PATH = Path("data", "executions", "2026", "e1")
OLD_NS = 1_000_000_000 * 10**9


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for the disk nor for the kernel's clock to go on: what is raced with is to be quick."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
    monkeypatch.setattr(walk, "CLOCK_TICK_NS", 0)


@pytest.fixture
def tmp_path(quick_directory: Path) -> Path:
    """Hundreds of times the same files."""
    return quick_directory


@dataclass
class Outcomes:
    """How the rounds of a race ended."""

    done: int = 0
    refused: int = 0

    def rounds(self, swapper: Swapper) -> Iterator[int]:
        """`ROUNDS` of them, and more where a busy machine has left the swapper too few turns so far."""
        for number in range(ROUNDS * LONGER_WHEN_BUSY):
            if number >= ROUNDS and self.done and self.refused and swapper.swaps > SWAPS_AT_LEAST:
                return
            yield number

    def require_both(self, swapper: Swapper) -> None:
        """The race was met: in one state often enough, in the other, too, and with swaps within rounds."""
        assert self.done > 0, (self, swapper.swaps)
        assert self.refused > 0, (self, swapper.swaps)
        assert swapper.swaps > SWAPS_AT_LEAST


def fill(directory: Path, content: bytes) -> None:
    """What lies in an execution's directory, as own or as foreign bytes."""
    (directory / "sub" / "deeper").mkdir(parents=True, exist_ok=True)
    for name in ("a", "sub/file", "sub/deeper/b"):
        (directory / name).write_bytes(content)


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[LocalProvider]:
    """Where executions go."""
    (tmp_path / "nas").mkdir()
    row = ProviderRow(1, "nas", "local", None, {"ruta": str(tmp_path / "nas")}, active=True)
    with contextlib.closing(LocalProvider(row)) as made:
        yield made


def migrate_and_remove(judge: DirectoryJudge, execution: Execution, provider: LocalProvider) -> None:
    """The steps of the product that touch an execution's files, in its order."""
    place = place_of("", execution.uuid)
    judge.exists(execution)
    with judge.open(execution) as directory:
        seen = walk_tree(directory.descriptor)
        hashes = {
            file.path: provider.put(place.key_of(file.path), FileSource(directory.descriptor, file, NEVER)).sha256
            for file in seen.files
        }
        require_unchanged(seen, walk_tree(directory.descriptor))
        proven = hashed(seen, hashes)
    remove_local_copy(judge, execution, lambda: proven, NEVER, after_a_begun_removal(execution))


# From the top of the path down to a file
COMPONENTS = ["data", "data/executions", "data/executions/2026", str(EXECUTION_PATH)]
INSIDE = [f"{EXECUTION_PATH}/sub", f"{EXECUTION_PATH}/sub/deeper", f"{EXECUTION_PATH}/sub/file"]


@pytest.mark.parametrize("component", [*COMPONENTS, *INSIDE])
def test_no_component_of_a_directory_leads_out_of_it(tmp_path: Path, provider: LocalProvider, component: str) -> None:
    execution = Execution(1, "uuid-1", str(tmp_path / EXECUTION_PATH))
    judge = DirectoryJudge([str(tmp_path / "data" / "executions")])
    outside, decoy = make_outside(tmp_path, component)
    swapper = Swapper(tmp_path / component, decoy)
    outcomes = Outcomes()
    before = snapshot(outside)
    with Listener(outside) as listener:
        listener.heard()
        for _ in outcomes.rounds(swapper):
            fill(tmp_path / EXECUTION_PATH, OWN)
            try:
                with swapper.racing():
                    migrate_and_remove(judge, execution, provider)
                outcomes.done += 1
            except SourceError:
                outcomes.refused += 1
            put_back_in_place(tmp_path, component, decoy, outside)
        assert listener.heard() == set()
    assert snapshot(outside) == before
    assert {path.read_bytes() for path in (tmp_path / "nas").rglob("*") if path.is_file()} == {OWN}
    outcomes.require_both(swapper)


def make_outside(top: Path, component: str) -> tuple[Path, Path]:
    """What a link in place of `component` would lead to, with all below it that the product will look for; the link."""
    outside = top / "outside"
    outside.mkdir()
    whole = outside / "whole"
    fill(whole / EXECUTION_PATH, FOREIGN)
    decoys = top / "decoys"
    decoys.mkdir()
    decoy = decoys / "link"
    decoy.symlink_to(whole / component)
    fill(top / EXECUTION_PATH, OWN)
    return outside, decoy


def put_back_in_place(top: Path, component: str, decoy: Path, outside: Path) -> None:
    """Whatever a round left: the real thing under its name again, the link under the decoy's."""
    if (top / component).is_symlink():
        (top / component).unlink()
    if not decoy.is_symlink():
        shutil.rmtree(decoy) if decoy.is_dir() else decoy.unlink(missing_ok=True)
        decoy.symlink_to(outside / "whole" / component)


# The temporary directory


@pytest.mark.parametrize("component", ["sage", "sage/tmp"])
def test_no_component_of_the_temporary_directory_leads_out_of_it(tmp_path: Path, component: str) -> None:
    outside, decoy = make_temporary_files(tmp_path, component)
    swapper = Swapper(tmp_path / component, decoy, SHORT_PAUSES_SECONDS)
    outcomes = Outcomes()
    before = snapshot(outside)
    with Listener(outside) as listener:
        for _ in outcomes.rounds(swapper):
            make_old_files(tmp_path / "sage" / "tmp", OWN)
            try:
                with swapper.racing():
                    assert clean_temp_files(tmp_path / "sage" / "tmp", 24, NEVER, dry_run=False).failures == 0
                outcomes.done += 1
            except TempDirectoryUnsafe:
                outcomes.refused += 1
        assert listener.heard() == set()
    assert snapshot(outside) == before
    outcomes.require_both(swapper)


def test_a_file_in_the_temporary_directory_leads_nowhere(tmp_path: Path) -> None:
    """Found as an old file, it is a link when it is to be deleted. What it leads to stays; so does a link, if it is
    found as one.
    """
    outside, decoy = make_temporary_files(tmp_path, "sage/tmp/a")
    file = tmp_path / "sage" / "tmp" / "a"
    swapper = Swapper(file, decoy, SHORT_PAUSES_SECONDS)
    outcomes = Outcomes()
    before = snapshot(outside)
    with Listener(outside) as listener:
        for _ in outcomes.rounds(swapper):
            make_old_files(tmp_path / "sage" / "tmp", OWN)
            with swapper.racing():
                clean_temp_files(tmp_path / "sage" / "tmp", 24, NEVER, dry_run=False)
            deleted = not os.path.lexists(file)
            outcomes.done += deleted
            outcomes.refused += not deleted
            put_back_in_place(tmp_path, "sage/tmp/a", decoy, outside)
        assert listener.heard() == set()
    assert snapshot(outside) == before
    outcomes.require_both(swapper)


SHORT_PAUSES_SECONDS = (0.0001, 0.0005, 0.002)
"""Cleaning three files is soon done."""


def make_temporary_files(top: Path, component: str) -> tuple[Path, Path]:
    """As `make_outside`."""
    make_old_files(top / "sage" / "tmp", OWN)
    make_old_files(top / "outside" / "whole" / "sage" / "tmp", FOREIGN)
    decoys = top / "decoys"
    decoys.mkdir()
    (decoys / "link").symlink_to(top / "outside" / "whole" / component)
    os.utime(decoys / "link", ns=(OLD_NS, OLD_NS), follow_symlinks=False)
    return top / "outside", decoys / "link"


def make_old_files(directory: Path, content: bytes) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("a", "b", "c"):
        (directory / name).write_bytes(content)
        os.utime(directory / name, ns=(OLD_NS, OLD_NS))


# The destination of a restore


@pytest.mark.parametrize("component", ["up/destination", "up/destination/sub", "up/destination/sub/deeper"])
def test_no_component_of_a_restores_destination_leads_out_of_it(
    tmp_path: Path, provider: LocalProvider, component: str
) -> None:
    """Whoever may write to the destination, or beside it, swaps it while it is filled. Links above it are the
    operator's, who named that path: they lead where they lead when the restore begins.
    """
    store_copy(tmp_path, provider)
    whole = tmp_path / "outside" / "whole"
    (whole / "up" / "destination").mkdir(parents=True)
    if component.count("/") > 1:  # below an empty destination nothing is yet: it is swapped once it is there
        (whole / "up" / "destination" / "sub" / "deeper").mkdir(parents=True)
    (tmp_path / "decoys").mkdir()
    decoy = tmp_path / "decoys" / "link"
    decoy.symlink_to(whole / component)
    outcomes = Outcomes()
    before = snapshot(tmp_path / "outside")
    swapper = Swapper(tmp_path / component, decoy)
    with Listener(tmp_path / "outside") as listener, contextlib.closing(TransferPool(1)) as pool:
        for _ in outcomes.rounds(swapper):
            (tmp_path / "up" / "destination").mkdir(parents=True)
            try:
                with swapper.racing():
                    Restore(Download(provider, COPY, pool, NEVER)).run(tmp_path / "up" / "destination", None)
                outcomes.done += 1
            except (DestinationUnusable, RestoreIncomplete):
                outcomes.refused += 1
            put_back_in_place(tmp_path, component, decoy, tmp_path / "outside")
            shutil.rmtree(tmp_path / "up")
        assert listener.heard() == set()
    assert snapshot(tmp_path / "outside") == before
    outcomes.require_both(swapper)


def test_a_link_put_where_a_file_is_to_be_made_is_not_written_through(
    tmp_path: Path, provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right before the file is made."""
    store_copy(tmp_path, provider)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(FOREIGN)
    planted: list[str] = []
    open_file = os.open

    def plant_and_open(name: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if name == "file" and flags & os.O_CREAT and not planted:
            os.symlink(outside / "file", name, dir_fd=dir_fd)
            planted.append(name)
        return open_file(name, flags, mode, dir_fd=dir_fd)

    with Listener(outside) as listener, contextlib.closing(TransferPool(1)) as pool:
        monkeypatch.setattr(os, "open", plant_and_open)
        with pytest.raises(RestoreIncomplete, match="ya hay ahí algo con ese nombre"):
            Restore(Download(provider, COPY, pool, NEVER)).run(tmp_path / "destination", None)
        assert listener.heard() == set()
    assert len(planted) == 1
    assert (outside / "file").read_bytes() == FOREIGN


COPY = place_of("", "uuid-1")


def store_copy(top: Path, provider: LocalProvider) -> None:
    """A proven copy, to be restored."""
    fill(top / "original", OWN)
    execution = Execution(1, "uuid-1", str(top / "original"))
    with DirectoryJudge([str(top)]).open(execution) as directory:
        seen = walk_tree(directory.descriptor)
        hashes = {
            file.path: provider.put(COPY.key_of(file.path), FileSource(directory.descriptor, file, NEVER)).sha256
            for file in seen.files
        }
        provider.put(COPY.manifest_key, manifest_of_hashed(execution, seen, hashes))


# The tools themselves


def test_the_listener_hears_whatever_is_done(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_bytes(OWN)
    deeds: dict[str, Callable[[], object]] = {
        "opened": partial(os.listdir, tmp_path / "sub"),
        "read": (tmp_path / "sub" / "a").read_bytes,
        "attributes changed": partial(os.utime, tmp_path / "sub" / "a"),
        "created": (tmp_path / "sub" / "b").touch,
        "deleted": (tmp_path / "sub" / "b").unlink,
    }
    with Listener(tmp_path) as listener:
        assert listener.heard() == set()
        for event, deed in deeds.items():
            deed()
            assert any(heard.endswith(f": {event}") for heard in listener.heard()), event


def test_the_swapper_swaps_and_puts_everything_back(tmp_path: Path) -> None:
    (tmp_path / "name").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    swapper = Swapper(tmp_path / "name", tmp_path / "link")
    seen: set[bool] = set()
    with swapper.racing():
        deadline = time.monotonic() + 30
        while len(seen) < 2 and time.monotonic() < deadline:
            seen.add((tmp_path / "name").is_symlink())
    assert seen == {True, False}
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "name").is_dir()
