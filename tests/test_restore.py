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

from jobs.keys import Place
from jobs.restore import Restore
from jobs.transfers import TransferPool
from providers import build_provider
from providers.base import BytesSource, Provider
from tests.destinations import Destination
from tests.faults.http_effects import address_of, behind
from tests.faults.http_proxy import HttpFaultProxy
from tests.sources import PatternSource

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
        Restore(provider, PLACE, pool, threading.Event()).run(tmp_path / "destination", None)
    restored = {path: (tmp_path / "destination" / path).read_bytes() for path in CONTENTS}
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
    monkeypatch.setattr("providers.s3.RANGE_SIZE_BYTES", range_bytes)
    real = new_destination("s3-rclone")
    store(real)
    with (
        HttpFaultProxy(address_of(real)) as proxy,
        closing(build_provider(behind(real, proxy.url).provider_row())) as provider,
        closing(TransferPool(4)) as pool,
    ):
        Restore(provider, PLACE, pool, threading.Event()).run(tmp_path / "destination", None)
    restored = {path: (tmp_path / "destination" / path).read_bytes() for path in CONTENTS}
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
        Restore(provider, PLACE, pool, threading.Event()).run(tmp_path / "restored", None)
    assert [key for key in seen if key != PLACE.manifest_key] == [PLACE.key_of(path) for path in "dbac"]
