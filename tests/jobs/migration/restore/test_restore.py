"""What a restore asks of a provider, counted. What it must not do is in `test_hostile_manifests.py`."""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from config.text.amounts import UNLIMITED
from jobs.migration.restore import destination as destination_module
from jobs.migration.restore.errors import DestinationUnusable
from jobs.migration.restore.filling import Download
from jobs.migration.restore.run import Restore, restore_execution
from providers import build_provider
from providers.base import Provider
from providers.errors import IntegrityError
from providers.sources import BytesSource
from storage.keys import INCOMPLETE_MARK, Place
from storage.traffic.transfers import TransferPool
from tests.databases.platform_database import Platform
from tests.destinations import Destination
from tests.executions.sources import PatternSource
from tests.faults.http_effects import address_of, behind
from tests.faults.http_proxy import HttpFaultProxy

PLACE = Place("ejecuciones/uuid-1")
CONTENTS = {f"directory/{number}": os.urandom(100 + number) for number in range(20)}
ASKED_AGAIN_AT_MOST = 2
"""A machine that is too busy answers late, and is asked again; twice for each file would be another matter."""

LARGE_BYTES = 24 * 1024 * 1024
LARGEST_PIECE_BYTES = 1024 * 1024


def store(destination: Destination) -> None:
    """Store an execution of a few small files, with its manifest."""
    with closing(build_provider(destination.provider_row())) as provider:
        store_in(provider, CONTENTS)


def store_in(provider: Provider, contents: Mapping[str, bytes]) -> None:
    """Store an execution of these files, at the top or in `directory`, with its manifest."""
    entries: list[dict[str, object]] = [
        {"path": path, "kind": "directory", "mode": "0755", "mtime_ns": 1} for path in ("", "directory")
    ]
    for path, content in contents.items():
        receipt = provider.put(PLACE.key_of(path), BytesSource(content))
        said = {"size_bytes": receipt.size_bytes, "sha256": receipt.sha256}
        entries.append({"path": path, "kind": "file", "mode": "0644", "mtime_ns": 2, **said})
    manifest = {"format": "janitor-manifest", "version": 1, "entries": entries}
    provider.put(PLACE.manifest_key, BytesSource(json.dumps(manifest).encode()))


@pytest.mark.parametrize("name", ["s3-rclone", "azure", "gcs"])
def test_a_restore_asks_once_for_each_file_and_for_the_manifest_and_for_nothing_else(
    new_destination: Callable[[str], Destination], tmp_path: Path, name: str
) -> None:
    real = new_destination(name)
    store(real)
    with (
        HttpFaultProxy(address_of(real)) as proxy,
        closing(build_provider(behind(real, proxy.url).provider_row())) as provider,
        closing(TransferPool(4)) as pool,
    ):
        Restore(Download(provider, PLACE, pool, threading.Event())).run(tmp_path / "restored", None)
    restored = {path: (tmp_path / "restored" / path).read_bytes() for path in CONTENTS}
    assert restored == CONTENTS
    assert len(set(proxy.seen)) == len(CONTENTS) + 1
    assert len(proxy.seen) <= len(CONTENTS) + 1 + ASKED_AGAIN_AT_MOST
    assert {line.partition(" ")[0] for line in proxy.seen} == {"GET"}


@pytest.mark.parametrize("name", ["s3-rclone", "azure"])
def test_a_large_object_comes_by_one_request_and_a_little_at_a_time(
    new_destination: Callable[[str], Destination], name: str
) -> None:
    real = new_destination(name)
    source = PatternSource(LARGE_BYTES)
    with (
        HttpFaultProxy(address_of(real)) as proxy,
        closing(build_provider(real.provider_row())) as direct,
        closing(build_provider(behind(real, proxy.url).provider_row())) as provider,
    ):
        direct.put("p/large", source)
        sizes = [len(piece) for piece in provider.open("p/large")]
    assert (sum(sizes), max(sizes) <= LARGEST_PIECE_BYTES) == (LARGE_BYTES, True)
    assert {line.partition(" ")[0] for line in proxy.seen} == {"GET"}
    assert len(proxy.seen) == 1


def test_a_restore_from_s3_asks_for_large_objects_in_ranges(
    new_destination: Callable[[str], Destination], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    range_bytes = 50
    monkeypatch.setattr("providers.s3.provider.RANGE_SIZE_BYTES", range_bytes)
    real = new_destination("s3-rclone")
    store(real)
    with (
        HttpFaultProxy(address_of(real)) as proxy,
        closing(build_provider(behind(real, proxy.url).provider_row())) as provider,
        closing(TransferPool(4)) as pool,
    ):
        Restore(Download(provider, PLACE, pool, threading.Event())).run(tmp_path / "restored", None)
    restored = {path: (tmp_path / "restored" / path).read_bytes() for path in CONTENTS}
    assert restored == CONTENTS
    ranges = sum(math.ceil(len(content) / range_bytes) for content in CONTENTS.values())
    assert len(set(proxy.seen)) == len(CONTENTS) + 1
    assert ranges + 1 <= len(proxy.seen) <= ranges + 1 + ASKED_AGAIN_AT_MOST * math.ceil(120 / range_bytes)
    assert {line.partition(" ")[0] for line in proxy.seen} == {"GET"}


def test_large_files_come_before_the_small_ones_so_that_none_is_alone_at_the_end(
    new_destination: Callable[[str], Destination], tmp_path: Path
) -> None:
    sizes = {"a": 10, "b": 2_000_000, "c": 20, "d": 3_000_000}
    seen: list[str] = []
    with closing(build_provider(new_destination("local").provider_row())) as provider, closing(TransferPool(1)) as pool:
        store_in(provider, {path: os.urandom(size) for path, size in sizes.items()})
        really_open = provider.open
        provider.open = lambda key: seen.append(key) or really_open(key)  # type: ignore[method-assign,func-returns-value]
        Restore(Download(provider, PLACE, pool, threading.Event())).run(tmp_path / "restored", None)
    assert [key for key in seen if key != PLACE.manifest_key] == [PLACE.key_of(path) for path in "dbac"]


# On the disk before success is said


class Watched:
    """A restore whose steps towards the disk are written down, with whether all is there and whether the mark is."""

    def __init__(self, destination: Path, monkeypatch: pytest.MonkeyPatch, *, as_a_whole: bool) -> None:
        self.destination = destination
        self.steps: list[tuple[str, bool, bool]] = []
        fsync, unlink = os.fsync, os.unlink

        def watched_fsync(descriptor: int) -> None:
            self.note(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
            fsync(descriptor)

        def watched_unlink(path: str, *, dir_fd: int | None = None) -> None:
            if path.startswith(INCOMPLETE_MARK):
                self.note("the mark goes")
            unlink(path, dir_fd=dir_fd)

        monkeypatch.setattr(os, "fsync", watched_fsync)
        monkeypatch.setattr(os, "unlink", watched_unlink)
        monkeypatch.setattr(destination_module, "can_be_synced", lambda _descriptor: as_a_whole)
        monkeypatch.setattr(destination_module, "sync_file_system", lambda _descriptor: self.note("all"))

    def note(self, what: str) -> None:
        """One step."""
        present = {path: (self.destination / path) for path in CONTENTS}
        is_whole = all(path.exists() and path.read_bytes() == CONTENTS[name] for name, path in present.items())
        is_whole = is_whole and (self.destination / "directory").stat().st_mtime_ns == 1
        self.steps.append((what, is_whole, (self.destination / INCOMPLETE_MARK).exists()))

    def run(self, provider: Provider) -> None:
        """Restore everything."""
        with closing(TransferPool(1)) as pool:
            Restore(Download(provider, PLACE, pool, threading.Event())).run(self.destination, None)


@pytest.mark.parametrize("as_a_whole", [True, False], ids=["the whole file system", "each by itself"])
def test_everything_is_on_the_disk_before_the_mark_goes_and_that_before_success(
    new_destination: Callable[[str], Destination], tmp_path: Path, as_a_whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a power failure leaves files that are empty, in what looks like a whole execution; killed right before
    the mark goes it says that it is incomplete, and right after it is whole.
    """
    destination = tmp_path / "restored"
    with closing(build_provider(new_destination("local").provider_row())) as provider:
        store_in(provider, CONTENTS)
        watched = Watched(destination, monkeypatch, as_a_whole=as_a_whole)
        watched.run(provider)
    names = [step[0] for step in watched.steps]
    mark = names.index("the mark goes")
    assert watched.steps[mark] == ("the mark goes", True, True)
    named, before, after = names[:2], names[2:mark], watched.steps[mark + 1 :]
    assert named == [str(destination / INCOMPLETE_MARK), str(destination)]
    if as_a_whole:
        assert before == [str(destination), "all"]
    else:
        files = {str(destination / path) for path in CONTENTS}
        assert {*files, str(destination / "directory"), str(destination)} == set(before)
    assert [step for step in after if step[0] == str(destination)][-1] == (str(destination), True, False)
    assert after[-1] == (str(tmp_path), True, False)


@pytest.mark.parametrize("failing", ["fsync", "sync_file_system"])
def test_what_does_not_reach_the_disk_is_not_restored(
    new_destination: Callable[[str], Destination], tmp_path: Path, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with closing(build_provider(new_destination("local").provider_row())) as provider, closing(TransferPool(1)) as pool:
        store_in(provider, CONTENTS)
        monkeypatch.setattr(destination_module, "can_be_synced", lambda _descriptor: failing == "sync_file_system")
        monkeypatch.setattr(*((os, "fsync") if failing == "fsync" else (destination_module, failing)), fail)
        with pytest.raises(DestinationUnusable, match="error de entrada y salida"):
            Restore(Download(provider, PLACE, pool, threading.Event())).run(tmp_path / "restored", None)
    assert (tmp_path / "restored" / INCOMPLETE_MARK).exists()


# Several rows of one uuid


@pytest.mark.parametrize("hash_is_of", ["the first row", "another row"])
def test_of_several_rows_of_a_uuid_a_restore_warns_and_believes_the_recorded_manifest_only(
    new_destination: Callable[[str], Destination],
    database_url: str,
    tmp_path: Path,
    hash_is_of: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whose data lies at the place is told by the hash alone, whichever row it was recorded for."""
    destination = new_destination("local")
    with closing(build_provider(destination.provider_row())) as provider:
        store_in(provider, CONTENTS)
    with closing(Platform(database_url)) as platform:
        provider_id = platform.add_provider(destination.kind, destination.options)
        older, newer = (platform.add_execution(f"/data/{number}", "uuid-1").id for number in (1, 2))
        platform.sql(
            "UPDATE ejecuciones_yaml SET migrado_a_nube = true, ruta_nube = 'cloud://local/ejecuciones/uuid-1', "
            "nube_provider_id = %s",
            provider_id,
        )
        recorded = newer if hash_is_of == "the first row" else older
        platform.sql(
            "INSERT INTO janitor_migrations (execution_id, uuid, state, host, run_id, fencing_token, provider_id, uri, "
            "manifest_sha256) VALUES (%s, 'uuid-1', 'migrated', 'h', 1, 1, %s, 'cloud://local/ejecuciones/uuid-1', %s)",
            recorded, provider_id, "ab" * 32,
        )  # fmt: skip
        with pytest.raises(IntegrityError, match="manifiesto"):
            restore_execution(platform.database(), "uuid-1", tmp_path / "d", 1, UNLIMITED, threading.Event())
    (warning,) = [record for record in caplog.records if vars(record).get("event") == "several_rows"]
    assert f"id {newer}" in warning.message
    assert f"id {older}" in warning.message
