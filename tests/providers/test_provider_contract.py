"""One suite for every kind of destination: each promise of `providers.base.Provider`, on real servers.

A promise that a server cannot show (moto takes wrong keys, say) is left out there by name, with the reason.
"""

from __future__ import annotations

import base64
import functools
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest

from config.errors import MigrationError, SourceChanged
from config.models import Evidence, PutReceipt, StoredObject
from providers import build_provider
from providers.base import PART_SIZE_BYTES, Provider
from providers.errors import (
    AccessDenied,
    ConditionFailed,
    ConnectionDenied,
    DestinationMissing,
    InvalidProviderSettings,
    ObjectNotFound,
    ProviderUnavailable,
)
from providers.file_trees import temporary_name
from providers.probes import CONDITIONS_NAME, FOLDING_NAME, PROBE_CONTENT
from providers.sources import BytesSource, Source
from tests.destinations import DESTINATIONS, Destination
from tests.executions.sources import FailingSource, MisannouncedSource, PatternSource, sha256_of
from tests.processes import wait_until
from tests.repository import REPOSITORY
from tests.servers.azurite import Azurite
from tests.servers.base import S3Server, random_name
from tests.servers.gcs_emulator import GcsEmulator
from tests.servers.sftp.ssh import new_key_pair

Result = TypeVar("Result")

MEBIBYTE = 1024 * 1024
LARGE_SIZE_BYTES = 200_000_000
LARGEST_MEMORY_GROWTH_BYTES = 160 * MEBIBYTE
"""Well below the large file's size, and above what an upload may hold: 96 MiB of parts, and the SDK's own buffers."""

GIVE_UP_SECONDS = 15.0
GIVEN_UP_AT_ONCE = 3
"""More clients than these, made at the same time, would be timed for their own making."""

THREADS_END_SECONDS = 2.0
THREADS = 16

ODD_NAMES = [
    "plain",
    "a b",
    " leading space",
    "trailing space ",
    "#%?+&=;@!$,:*|<>()[]{}^`~",
    "a%20b%2Fc",
    "q'u\"o",
    "new\nline",
    "carriage\rreturn",
    "tab\tx",
    "\x01\x1b\x7f",
    ".hidden",
    "..two dots",
    "...",
    "trailing.",
    "trailing..",
    "back\\slash",
    "n\u0303",
    "\u00f1",
    "日本語 🗂",
    "x" * 255,
    "\u00f1" * 127 + "y",
    os.fsdecode(b"no utf-8 \xff\xfe\x80"),
    os.fsdecode(b"\xc3"),
    "\u201b",
    "\u201bFE",
    "\u201b\u201b",
    "\uff3c\u240a\u2421\uff0e",
    "\u240a",
    "full stop\uff0e",
    "\ufffd\ufffe",
    "CON",
    "-rf",
]

UNREADABLE_FOR_RCLONE = {"\u201b", "\u201bFE", "\u201b\u201b", "\ufffd\ufffe"}
"""Names that rclone itself misreads in a local directory (its quote character) or in a listing (no XML character)."""

UNREADABLE_FROM_THE_GCS_EMULATOR = {name for name in ODD_NAMES if not {"%", "#", "?", "\t", "\x01"}.isdisjoint(name)}
"""The emulator gives rclone links to download in which it has not quoted these characters."""

UNKNOWN_TO_MOTO = {"new\nline"}
"""moto answers 404 before it looks at the bucket: its URL patterns stop at a line end."""

DESTINATION_FIELD = {"s3": "bucket", "minio": "bucket", "azure": "container", "gcs": "bucket", "sftp": "base_path"}
"""The field of `configuracion` without which a kind knows no place."""

KEEPS_OBJECTS_AS_FILES = {"s3-rclone", "minio-rclone"}
WITHOUT_NETWORK = {"local"}
TAKES_ANY_KEY = {
    "s3-moto": "moto checks no signature",
    "gcs": "the emulator asks for no identity",
    "local": "there are no credentials",
}

networked = pytest.mark.parametrize("destinations", sorted(DESTINATIONS.keys() - WITHOUT_NETWORK), indirect=True)
one_of_each_kind = pytest.mark.parametrize("destinations", ["s3-swift", "azure", "gcs", "sftp-openssh"], indirect=True)
each_server_once = pytest.mark.parametrize(
    "destinations", sorted(DESTINATIONS.keys() - {"minio-rclone"}), indirect=True
)
"""For what takes long: `minio` on rclone is the same code and the same server as `s3` on rclone."""

each_behaviour_once = pytest.mark.parametrize(
    "destinations", sorted(DESTINATIONS.keys() - {"minio-rclone", "s3-moto"}), indirect=True
)
"""For what moves many bytes in many cases: two servers of S3 will do."""

each_client_once = pytest.mark.parametrize(
    "destinations", ["s3-rclone", "azure", "gcs", "sftp-openssh", "local"], indirect=True
)
"""For what depends on our side alone, on the quickest server."""

with_credentials = pytest.mark.parametrize("destinations", sorted(DESTINATIONS.keys() - TAKES_ANY_KEY), indirect=True)


@pytest.fixture
def provider(destinations: Destination) -> Iterator[Provider]:
    """The provider for the test's destination."""
    made = build_provider(destinations.provider_row())
    yield made
    made.close()


def prove(provider: Provider, key: str, receipt: PutReceipt) -> Evidence:
    """Assert, by new requests, that exactly the bytes of `receipt` are under `key`, as the daemon does: by the
    checksum in the listing, or else by their digest. Returns how it was proven.
    """
    listed = [stored for stored in provider.list(key) if stored.key == key]
    assert [stored.size_bytes for stored in listed] == [receipt.size_bytes]
    assert provider.stat(key).size_bytes == receipt.size_bytes
    if listed[0].checksum in receipt.checksums:
        return Evidence.CHECKSUM
    [digest] = provider.digests([key])
    assert (digest.key, digest.sha256) == (key, receipt.sha256)
    assert digest.evidence in {Evidence.CHECKSUM, Evidence.READ_BACK}
    return digest.evidence


def as_callers_do(action: Callable[[], Result]) -> Result:
    """What `action` gives, tried again where that is worth trying.

    `rclone serve s3`, for one, stumbles now and then when two objects make the same directory, and Azurite may close
    an idle connection just when it is used again.
    """
    for _ in range(ProviderUnavailable.tries - 1):
        with suppress(ProviderUnavailable):
            return action()
    return action()


def put(provider: Provider, key: str, source: Source) -> PutReceipt:
    """`put` as its callers do it."""
    return as_callers_do(lambda: provider.put(key, source))


def put_bytes(provider: Provider, *keys: str) -> None:
    """Store a few bytes, the key's own, under each key, from several threads."""
    with ThreadPoolExecutor(THREADS) as executor:
        list(executor.map(lambda key: put(provider, key, BytesSource(bytes_of(key))), keys))


def bytes_of(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


def content(provider: Provider, key: str) -> bytes:
    return b"".join(provider.open(key))


def content_of_size(provider: Provider, key: str, size_bytes: int) -> bytes:
    """What is stored under a key, for who knows how much it is."""
    return as_callers_do(lambda: b"".join(provider.open_sized(key, size_bytes)))


def keys(provider: Provider, prefix: str) -> list[str]:
    return sorted(stored.key for stored in provider.list(prefix))


def error_of(action: Callable[[], object]) -> MigrationError:
    """The error that `action` ends with. Nothing but a `MigrationError` may come out of a provider."""
    with pytest.raises(MigrationError) as caught:
        action()
    return caught.value


def every_call(provider: Provider, key: str = "p/a") -> dict[str, Callable[[], object]]:
    """Each thing that can be asked of a provider's server, on one key."""
    calls: dict[str, Callable[[], object]] = {
        "put": lambda: provider.put(key, BytesSource(b"x")),
        "put in parts": lambda: provider.put(key, PatternSource(2 * PART_SIZE_BYTES)),
        "open": lambda: content(provider, key),
        "open sized": lambda: b"".join(provider.open_sized(key, LARGE_SIZE_BYTES)),
        "stat": lambda: provider.stat(key),
        "list": lambda: list(provider.list("p")),
        "delete": lambda: provider.delete(key),
        "discard_unfinished": lambda: provider.discard_unfinished("p"),
        "digests": lambda: list(provider.digests([key])),
        "check": lambda: provider.check("p"),
        "replace": lambda: provider.replace(key, BytesSource(b"x"), None),
        "replace in parts": lambda: provider.replace(key, PatternSource(2 * PART_SIZE_BYTES), None),
        "delete exactly": lambda: provider.delete_exactly(StoredObject(key, 1, "etag:0", "0")),
    }
    if provider.kind == "gcs":  # tells nobody its unfinished uploads, so there is nothing to ask
        del calls["discard_unfinished"]
    return calls


def assert_silent(destination: Destination, *errors: BaseException, log: str = "") -> None:
    """No secret of the destination may show in any of these errors, however they are printed, or in the log."""
    texts = [log]
    for error in errors:
        texts += [str(error), repr(error), *traceback.format_exception(error)]
    assert not [secret for secret in destination.secrets if secret in "\n".join(texts)]


# Bytes go in and come out


@pytest.mark.parametrize("size_bytes", [0, 1, PART_SIZE_BYTES - 1, PART_SIZE_BYTES, PART_SIZE_BYTES + 1, 20 * MEBIBYTE])
@each_server_once
def test_what_is_put_is_what_is_read(provider: Provider, size_bytes: int) -> None:
    source = PatternSource(size_bytes)
    receipt = provider.put("p/file", source)
    assert (receipt.size_bytes, receipt.sha256) == (size_bytes, source.sha256())
    assert sha256_of(provider.open("p/file")) == receipt.sha256
    evidence = prove(provider, "p/file", receipt)
    assert prove(provider, "p/file", provider.measure(source)) == evidence


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> int:
    """The size of the ranges in which S3 is asked for objects that are larger."""
    monkeypatch.setattr("providers.s3.provider.RANGE_SIZE_BYTES", 8000)
    return 8000


def test_what_is_put_is_what_is_read_by_who_knows_how_much_it_is(provider: Provider, small_ranges: int) -> None:
    for size_bytes in (0, 1, small_ranges, small_ranges + 1, 3 * small_ranges, 40 * small_ranges + 1):
        source = PatternSource(size_bytes)
        put(provider, "p/file", source)
        assert sha256_of([content_of_size(provider, "p/file", size_bytes)]) == source.sha256()


def test_what_follows_a_beginning_can_be_read_alone(provider: Provider, small_ranges: int) -> None:
    size_bytes = 5 * small_ranges + 1
    source = PatternSource(size_bytes)
    put(provider, "p/file", source)
    whole = content(provider, "p/file")
    for start_bytes in (1, small_ranges - 1, small_ranges, 4 * small_ranges + 7, size_bytes - 1):
        rest = b"".join(provider.open_from("p/file", size_bytes, start_bytes))
        assert rest == whole[start_bytes:], start_bytes
    with pytest.raises(ObjectNotFound):
        b"".join(provider.open_from("p/not there", size_bytes, 1))


@each_client_once
def test_a_large_file_needs_little_memory(provider: Provider) -> None:
    provider.check()  # whatever is loaded at first use is not the file's
    source = PatternSource(LARGE_SIZE_BYTES)
    before_bytes = reset_peak_memory()
    receipt = provider.put("p/large", source)
    assert receipt.sha256 == large_sha256()
    prove(provider, "p/large", receipt)
    assert peak_memory_bytes() - before_bytes < LARGEST_MEMORY_GROWTH_BYTES


@functools.cache
def large_sha256() -> str:
    return PatternSource(LARGE_SIZE_BYTES).sha256()


def reset_peak_memory() -> int:
    """Make the kernel forget this process' highest memory use, and return the present one (proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_memory_bytes()


def peak_memory_bytes() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


@pytest.mark.parametrize(
    ("first_bytes", "second_bytes"), [(10, 10), (PART_SIZE_BYTES + 1, 5), (5, PART_SIZE_BYTES + 1)]
)
@each_server_once
def test_overwriting_replaces_and_old_evidence_is_void(provider: Provider, first_bytes: int, second_bytes: int) -> None:
    old = provider.put("p/file", PatternSource(first_bytes, seed=1))
    new = provider.put("p/file", PatternSource(second_bytes, seed=2))
    prove(provider, "p/file", new)
    assert provider.stat("p/file").checksum not in old.checksums
    with pytest.raises(AssertionError):
        prove(provider, "p/file", PutReceipt(new.size_bytes, old.sha256, old.checksums))


def test_stat_and_list_agree(provider: Provider) -> None:
    put_bytes(provider, "p/a", "p/b")
    listed = sorted(provider.list("p/"), key=lambda stored: stored.key)
    looked_up = [provider.stat("p/a"), provider.stat("p/b")]
    assert [stored._replace(version=None) for stored in looked_up] == listed
    assert all(looked.is_same_as(stored) for looked, stored in zip(looked_up, listed, strict=True))


@each_server_once
def test_sixteen_threads_at_once(provider: Provider) -> None:
    def story(number: int) -> PutReceipt:
        key = f"p/{number}/file"
        size_bytes = PART_SIZE_BYTES + number if number % 8 == 0 else number
        receipt = put(provider, key, PatternSource(size_bytes, seed=number))
        put(provider, f"p/{number}/gone", BytesSource(b"gone"))
        assert as_callers_do(lambda: provider.stat(key)).size_bytes == size_bytes
        assert as_callers_do(lambda: sha256_of(provider.open(key))) == receipt.sha256
        as_callers_do(lambda: provider.delete(f"p/{number}/gone"))
        assert as_callers_do(lambda: keys(provider, f"p/{number}/")) == [key]
        return receipt

    with ThreadPoolExecutor(THREADS) as executor:
        receipts = list(executor.map(story, range(2 * THREADS)))
    for number, receipt in enumerate(receipts):
        prove(provider, f"p/{number}/file", receipt)


# Names


@each_server_once
def test_every_name_that_a_file_can_have(provider: Provider, destinations: Destination) -> None:
    odd_keys = sorted(key for name in names_for(destinations) for key in (f"p/{name}", f"q/{name}/x"))
    put_bytes(provider, *odd_keys)
    assert keys(provider, "") == odd_keys
    for prefix in [*odd_keys, *(key[:-1] for key in odd_keys)]:
        assert keys(provider, prefix) == [key for key in odd_keys if key.startswith(prefix)], ascii(prefix)
    assert {key: provider.stat(key).size_bytes for key in odd_keys} == {key: len(bytes_of(key)) for key in odd_keys}
    assert {key: content(provider, key) for key in odd_keys} == {key: bytes_of(key) for key in odd_keys}
    assert [digest.sha256 for digest in provider.digests(odd_keys)] == [sha256_of([bytes_of(key)]) for key in odd_keys]
    for key in odd_keys:
        provider.delete(key)
    assert destinations.everything_stored() == set()


def names_for(destination: Destination) -> set[str]:
    return set(ODD_NAMES) - (UNKNOWN_TO_MOTO if destination.name == "s3-moto" else set())


@each_server_once
def test_odd_names_of_what_is_read_in_ranges(
    provider: Provider, destinations: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("providers.s3.provider.RANGE_SIZE_BYTES", 3)
    odd_keys = sorted(f"p/{name[:20]}" for name in names_for(destinations))
    put_bytes(provider, *odd_keys)
    for key in odd_keys:
        assert content_of_size(provider, key, len(bytes_of(key))) == bytes_of(key), ascii(key)


@pytest.mark.parametrize("name", ["tab\tand %2F+", os.fsdecode(b"\xff\xfe"), "back\\slash."])
@each_behaviour_once
def test_odd_names_of_large_files(provider: Provider, name: str) -> None:
    """Large files go up by other requests than small ones."""
    receipt = provider.put(f"p/{name}", PatternSource(PART_SIZE_BYTES + 1))
    prove(provider, f"p/{name}", receipt)


def test_another_program_reads_the_same_files(provider: Provider, destinations: Destination, tmp_path: Path) -> None:
    original = tmp_path / "original"
    unreadable = UNREADABLE_FROM_THE_GCS_EMULATOR if destinations.name == "gcs" else set()
    for name in sorted(names_for(destinations) - UNREADABLE_FOR_RCLONE - unreadable):
        path = original / name / name
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes_of(name) * 100)
        provider.put(f"prefix/{name}/{name}", BytesSource(path.read_bytes()))
    destinations.rclone("check", "--download", str(original), destinations.rclone_remote("prefix"))


# Listing


BEYOND_ONE_PAGE = {"s3-rclone": 1_050}
"""rclone sends a thousand keys at a time. The others send fewer than `BEYOND_A_SMALL_PAGE`: Swift and moto because the
tests ask for that, sftp-server by itself; Azure's test has pages of its own size. GCS' emulator knows no pages.
"""

BEYOND_A_SMALL_PAGE = 250


@each_server_once
def test_a_listing_is_complete_beyond_one_page(provider: Provider, destinations: Destination) -> None:
    many = sorted(f"p/{number}" for number in range(BEYOND_ONE_PAGE.get(destinations.name, BEYOND_A_SMALL_PAGE)))
    put_bytes(provider, *many)
    listed = list(provider.list("p/"))
    assert sorted(stored.key for stored in listed) == many
    assert {stored.key: stored.size_bytes for stored in listed} == {key: len(key) for key in many}


def test_a_prefix_is_the_beginning_of_a_text(provider: Provider) -> None:
    put_bytes(provider, "p/ab", "p/abc/x", "p/b", "pq")
    expected = {
        "": ["p/ab", "p/abc/x", "p/b", "pq"],
        "p": ["p/ab", "p/abc/x", "p/b", "pq"],
        "p/": ["p/ab", "p/abc/x", "p/b"],
        "p/a": ["p/ab", "p/abc/x"],
        "p/abc": ["p/abc/x"],
        "p/abc/": ["p/abc/x"],
        "p/ab/": [],
        "p/b": ["p/b"],
        "p/c": [],
        "nothing/at/all": [],
    }
    assert {prefix: keys(provider, prefix) for prefix in expected} == expected


# What is not there


def test_what_is_not_there_is_not_found(provider: Provider) -> None:
    put_bytes(provider, "p/a")
    for key in ("absent", "absent/too", "p", "p/a/b", "p/aa"):
        for name in ("open", "open sized", "stat", "digests"):
            assert isinstance(error_of(every_call(provider, key)[name]), ObjectNotFound), (key, name)


def test_deleting_what_is_not_there_is_no_error(provider: Provider, destinations: Destination) -> None:
    put_bytes(provider, "p/a")
    for key in ("absent", "absent/too", "p", "p/a/b", "p/aa"):
        if destinations.name in KEEPS_OBJECTS_AS_FILES and key in {"p", "p/a/b"}:
            continue  # that server takes a directory for an object
        provider.delete(key)
        assert destinations.everything_stored() == {"p/a"}


def test_delete_removes_one_object_and_nothing_else(provider: Provider, destinations: Destination) -> None:
    put_bytes(provider, "p/a", "p/ab", "p/deep/er/x")
    provider.delete("p/a")
    provider.delete("p/deep/er/x")
    assert destinations.everything_stored() == {"p/ab"}
    provider.delete("p/ab")
    assert destinations.everything_stored() == set()


def test_check_leaves_nothing(provider: Provider, destinations: Destination) -> None:
    provider.check()
    provider.check("some/prefix")
    assert destinations.everything_stored() == set()


# Conditions


CANNOT_BE_SAFE = {"gcs": "the emulator ignores every condition"}
"""Whose late requests may replace what others have stored."""

SIZES_BY_WAY = {"small": 100, "whole": MEBIBYTE, "in parts": PART_SIZE_BYTES + 1}
"""Objects of these sizes are stored by different requests."""


@pytest.mark.parametrize("size_bytes", SIZES_BY_WAY.values(), ids=SIZES_BY_WAY.keys())
def test_nothing_is_replaced_but_what_was_expected(provider: Provider, size_bytes: int) -> None:
    first = provider.replace("p/a", PatternSource(size_bytes), None)
    prove(provider, "p/a", first)
    seen = provider.stat("p/a")
    assert isinstance(error_of(lambda: provider.replace("p/a", BytesSource(b"x"), None)), ConditionFailed)
    prove(provider, "p/a", first)
    second = provider.replace("p/a", BytesSource(b"second"), seen)
    assert content(provider, "p/a") == b"second"
    late = error_of(lambda: provider.replace("p/a", PatternSource(size_bytes), seen))
    assert isinstance(late, ConditionFailed)
    prove(provider, "p/a", second)
    provider.delete("p/a")
    assert isinstance(error_of(lambda: provider.replace("p/a", PatternSource(size_bytes), seen)), ConditionFailed)
    assert keys(provider, "") == []


class Overtaken(PatternSource):
    """Bytes, while which are read others do something."""

    def __init__(self, size_bytes: int, action: Callable[[], object]) -> None:
        super().__init__(size_bytes)
        self._action = action

    def chunks(self, chunk_size_bytes: int) -> Iterator[bytes]:
        """See `Source`."""
        yield from super().chunks(chunk_size_bytes)
        self._action()


@pytest.mark.parametrize("size_bytes", SIZES_BY_WAY.values(), ids=SIZES_BY_WAY.keys())
@pytest.mark.parametrize("is_first", [True, False])
def test_what_others_store_while_an_object_is_sent_stays(
    provider: Provider, destinations: Destination, size_bytes: int, is_first: bool
) -> None:
    """However long it takes to send it."""
    if destinations.name in CANNOT_BE_SAFE:
        return
    if not is_first:
        provider.put("p/a", BytesSource(b"old"))
    seen = None if is_first else provider.stat("p/a")
    others = build_provider(destinations.provider_row())
    source = Overtaken(size_bytes, lambda: others.put("p/a", BytesSource(b"newer")))
    assert isinstance(error_of(lambda: provider.replace("p/a", source, seen)), ConditionFailed)
    others.close()
    assert content(provider, "p/a") == b"newer"
    provider.discard_unfinished("p/a")
    assert destinations.everything_stored() == {"p/a"}


@pytest.mark.parametrize("size_bytes", SIZES_BY_WAY.values(), ids=SIZES_BY_WAY.keys())
def test_what_others_store_while_a_new_object_is_sent_stays(
    provider: Provider, destinations: Destination, size_bytes: int
) -> None:
    """Also without a look before: a file that was not there when its place was looked at is stored by one request. A
    second small file goes together with it.
    """
    if destinations.name not in CREATES_SAFELY:
        return
    others = build_provider(destinations.provider_row())
    source = Overtaken(size_bytes, lambda: others.put("p/a", BytesSource(b"newer")))
    beside = {"p/b": BytesSource(b"beside")} if size_bytes == min(SIZES_BY_WAY.values()) else {}
    assert isinstance(error_of(lambda: list(provider.put_new_many({**beside, "p/a": source}))), ConditionFailed)
    others.close()
    assert content(provider, "p/a") == b"newer"
    provider.discard_unfinished("p/")
    assert destinations.everything_stored() - {"p/b"} == {"p/a"}


def test_an_object_of_the_same_size_is_another_one(provider: Provider, destinations: Destination) -> None:
    """To a server of SFTP, which tells whole seconds, one that was stored in another second."""
    provider.put("p/a", BytesSource(b"old"))
    if destinations.kind == "sftp":
        os.utime(destinations.directory / "p/a", (1_000_000_000, 1_000_000_000))
    seen = provider.stat("p/a")
    assert provider.stat("p/a") == seen
    assert seen.version
    provider.put("p/a", BytesSource(b"new"))
    assert provider.stat("p/a").version != seen.version
    assert isinstance(error_of(lambda: provider.replace("p/a", BytesSource(b"x"), seen)), ConditionFailed)
    assert isinstance(error_of(lambda: provider.delete_exactly(seen)), ConditionFailed)
    assert content(provider, "p/a") == b"new"


def test_only_the_very_object_is_deleted(provider: Provider, destinations: Destination) -> None:
    put_bytes(provider, "p/a", "p/deep/er/x")
    provider.delete_exactly(provider.stat("p/deep/er/x"))
    assert destinations.everything_stored() == {"p/a"}
    [listed] = provider.list("p/a")
    provider.delete_exactly(listed)
    assert destinations.everything_stored() == set()
    for key in ("absent", "absent/too", "p/a"):
        provider.delete_exactly(listed._replace(key=key))


@pytest.mark.parametrize("name", ["tab\tand %2F+", os.fsdecode(b"\xff\xfe"), "back\\slash.", "\u00f1 \u65e5"])
@pytest.mark.parametrize("size_bytes", SIZES_BY_WAY.values(), ids=SIZES_BY_WAY.keys())
@each_behaviour_once
def test_odd_names_can_be_replaced_and_deleted_exactly(provider: Provider, name: str, size_bytes: int) -> None:
    provider.replace(f"p/{name}", PatternSource(size_bytes), None)
    old = provider.stat(f"p/{name}")
    provider.replace(f"p/{name}", PatternSource(size_bytes + 1), old)
    assert isinstance(error_of(lambda: provider.delete_exactly(old)), ConditionFailed)
    provider.delete_exactly(provider.stat(f"p/{name}"))
    assert keys(provider, "") == []


DELETES_SAFELY = {"s3-moto", "s3-swift", "azure"}
"""Servers that compare before they delete; on the others there is a moment between the look and the deletion."""


CREATES_SAFELY = {"s3-moto", "azure", "sftp-openssh", "sftp-asyncssh", "local"}
"""Where a file that arrives late replaces nothing. The others, and the emulator of GCS, ignore `If-None-Match`."""


@pytest.mark.parametrize("size_bytes", SIZES_BY_WAY.values(), ids=SIZES_BY_WAY.keys())
@each_behaviour_once
def test_what_is_new_is_stored_and_can_be_read(provider: Provider, size_bytes: int) -> None:
    sources = {f"p/{name}": PatternSource(size_bytes) for name in ("a", "odd\t %2F+ñ/b")}
    receipts = dict(provider.put_new_many(sources))
    assert receipts.keys() == sources.keys()
    for key, source in sources.items():
        measured = provider.measure(source)  # with every checksum that a server may show, as it may not be known yet
        assert (receipts[key].size_bytes, receipts[key].sha256) == (measured.size_bytes, measured.sha256)
        assert receipts[key].checksums <= measured.checksums
    assert keys(provider, "p/") == sorted(sources)
    for key, source in sources.items():
        assert b"".join(provider.open(key)) == b"".join(source.chunks(MEBIBYTE))


def test_whether_late_requests_are_harmless_is_known_and_nothing_is_left_of_finding_out(
    provider: Provider, destinations: Destination
) -> None:
    assert provider.replaces_safely() == (destinations.name not in CANNOT_BE_SAFE)
    assert provider.creates_safely("some/prefix") == (destinations.name in CREATES_SAFELY)
    assert provider.deletes_safely("some/prefix") == (destinations.name in DELETES_SAFELY)
    assert not provider.folds_names("some/prefix")
    assert destinations.everything_stored() == set()


def test_what_a_killed_probe_has_left_does_not_mislead_the_next_one_and_is_removed(
    provider: Provider, destinations: Destination
) -> None:
    for name in (CONDITIONS_NAME, FOLDING_NAME):
        provider.put(f"p/{name}", BytesSource(PROBE_CONTENT))
    assert provider.replaces_safely("p") == (destinations.name not in CANNOT_BE_SAFE)
    assert not provider.folds_names("p")
    if destinations.kind in {"s3", "minio", "gcs"}:
        provider.delete(f"p/{FOLDING_NAME}")
    elif destinations.kind != "azure":
        provider.delete(f"p/{CONDITIONS_NAME}")
    if destinations.kind != "azure":
        assert destinations.everything_stored() == set()


def test_one_unfinished_upload_is_discarded_and_none_of_a_longer_name(
    provider: Provider, destinations: Destination
) -> None:
    """The unfinished upload of one key: none of a key that begins so, or that lies below it as below a directory.

    Looked for besides: whatever is called with a key at the end of which no `/` stands, which is the manifest's.
    """
    others = ("p/m.bak", "p/m/below", "p/m.bak/below", "p/m.bak.manifest.json", "p/n")
    begin_uploads(destinations, "p/m", *others)
    if destinations.kind == "gcs":
        return  # tells nobody its unfinished uploads
    provider.discard_unfinished("p/m")
    assert unfinished_of(destinations) == sorted(others)
    provider.discard_unfinished("p/m.bak/")
    assert unfinished_of(destinations) == sorted({*others} - {"p/m.bak/below"})


def begin_uploads(destination: Destination, *keys: str) -> None:
    """Leave behind what a killed process leaves that was storing large objects."""
    match destination.server:
        case S3Server(client=client):
            for key in keys:
                client.create_multipart_upload(Bucket=destination.options["bucket"], Key=key)
        case Azurite(client=client):
            container = client.get_container_client(destination.options["container"])
            for key in keys:
                container.get_blob_client(key).stage_block("block", b"x")
        case GcsEmulator():
            pass
        case _:
            for key in keys:
                directory, _, name = key.rpartition("/")
                (destination.directory / directory).mkdir(parents=True, exist_ok=True)
                (destination.directory / directory / temporary_name(name)).write_bytes(b"x")


def unfinished_of(destination: Destination) -> list[str]:
    """The keys of all unfinished uploads. What an unfinished file is to be is told by its mark alone."""
    stored = destination.everything_stored()
    if destination.kind not in {"sftp", "local"}:
        return sorted(name.removesuffix(" (unfinished)") for name in stored)
    marks = {
        temporary_name(key.rpartition("/")[2]).split("-")[1]: key
        for key in ("p/m", "p/m.bak", "p/m/below", "p/m.bak.manifest.json", "p/n")
    }
    return sorted(f"{name.rpartition('/')[0]}/{marks[name.split('-')[1]].rpartition('/')[2]}" for name in stored)


# Sources that fail


FAILING_SOURCES = {
    "small, at the first byte": (100, 0),
    "small, after the last byte": (100, 100),
    "one part, in the middle": (PART_SIZE_BYTES, PART_SIZE_BYTES // 2),
    "parts, at the first byte": (5 * PART_SIZE_BYTES, 0),
    "parts, in the middle": (5 * PART_SIZE_BYTES, 3 * PART_SIZE_BYTES + MEBIBYTE),
    "parts, after the last byte": (2 * PART_SIZE_BYTES, 2 * PART_SIZE_BYTES),
    "empty": (0, 0),
}


@pytest.mark.parametrize("case", FAILING_SOURCES)
@each_behaviour_once
def test_a_source_that_raises_leaves_nothing(provider: Provider, destinations: Destination, case: str) -> None:
    error = SourceChanged("cambió mientras se leía")
    assert error_of(lambda: provider.put("p/new", FailingSource(*FAILING_SOURCES[case], error))) is error
    assert keys(provider, "") == []
    assert isinstance(error_of(lambda: provider.stat("p/new")), ObjectNotFound)
    require_abandoned(provider, destinations, set())


@pytest.mark.parametrize("case", FAILING_SOURCES)
@each_behaviour_once
def test_a_source_that_raises_leaves_the_old_object(provider: Provider, destinations: Destination, case: str) -> None:
    old = provider.put("p/old", BytesSource(b"old"))
    error = SourceChanged("cambió mientras se leía")
    assert error_of(lambda: provider.put("p/old", FailingSource(*FAILING_SOURCES[case], error))) is error
    prove(provider, "p/old", old)
    require_abandoned(provider, destinations, {"p/old"})
    assert content(provider, "p/old") == b"old"


@pytest.mark.parametrize(
    ("announced_bytes", "yielded_bytes"),
    [
        (0, 1),
        (1, 0),
        (100, 99),
        (100, 101),
        (MEBIBYTE, 2 * MEBIBYTE),
        (3 * PART_SIZE_BYTES, 2 * PART_SIZE_BYTES),
        (3 * PART_SIZE_BYTES, 3 * PART_SIZE_BYTES - 1),
        (2 * PART_SIZE_BYTES, 2 * PART_SIZE_BYTES + 1),
    ],
)
@each_behaviour_once
def test_a_source_of_another_size_is_refused(
    provider: Provider, destinations: Destination, announced_bytes: int, yielded_bytes: int
) -> None:
    source = MisannouncedSource(announced_bytes, yielded_bytes)
    error_of(lambda: provider.put("p/file", source))
    assert keys(provider, "") == []
    require_abandoned(provider, destinations, set())


def require_abandoned(provider: Provider, destinations: Destination, kept: set[str]) -> None:
    """`discard_unfinished` leaves what is to be kept, and nothing else was ever finished.

    A part that the server was still taking in may show after a first `discard_unfinished`.
    """

    def is_abandoned() -> bool:
        provider.discard_unfinished("p/")
        assert set(keys(provider, "")) == kept
        return destinations.everything_stored() == kept

    wait_until(is_abandoned, 20)


KILLED_WHILE_UPLOADING = """
import json, os, signal, sys
from config.models import ProviderRow
from providers import build_provider
from providers.base import PART_SIZE_BYTES
from tests.executions.sources import PatternSource

class DeadlySource(PatternSource):
    def chunks(self, chunk_size_bytes):
        sent_bytes = 0
        for chunk in super().chunks(chunk_size_bytes):
            if sent_bytes > 10 * PART_SIZE_BYTES:
                os.kill(os.getpid(), signal.SIGKILL)
            yield chunk
            sent_bytes += len(chunk)

row = ProviderRow(**json.load(sys.stdin))
build_provider(row).put("p/victim", DeadlySource(12 * PART_SIZE_BYTES))
"""


@each_behaviour_once
def test_a_killed_upload_is_invisible_and_can_be_abandoned(provider: Provider, destinations: Destination) -> None:
    row = destinations.provider_row()
    written = json.dumps({name: getattr(row, name) for name in row.__slots__})
    command = [sys.executable, "-c", KILLED_WHILE_UPLOADING]
    result = subprocess.run(command, check=False, input=written, text=True, cwd=REPOSITORY, timeout=60)
    assert result.returncode == -signal.SIGKILL
    assert keys(provider, "") == []
    remains = destinations.everything_stored()
    provider.discard_unfinished("other/")
    assert destinations.everything_stored() >= remains
    put_bytes(provider, "p/finished")
    require_abandoned(provider, destinations, {"p/finished"})


# Providers that are away, deny, or know no such place


@networked
def test_a_refused_port_is_soon_found_out(
    destinations: Destination, refused_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert_given_up(at_port(destinations, refused_port), caplog)


@one_of_each_kind
def test_a_server_that_never_answers_is_given_up(
    destinations: Destination, silent_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    # a part of a large file is given longer, as it has to travel
    assert_given_up(at_port(destinations, silent_port), caplog, {"put in parts", "replace in parts"})


def assert_given_up(destination: Destination, caplog: pytest.LogCaptureFixture, exempt: Set[str] = frozenset()) -> None:
    """Each call, of a provider of its own, must soon end in `ProviderUnavailable`."""

    def outcome(name: str) -> tuple[str, MigrationError, float]:
        provider = build_provider(destination.provider_row())
        started = time.monotonic()
        error = error_of(every_call(provider)[name])
        seconds = time.monotonic() - started
        provider.close()
        return name, error, seconds

    names = sorted(every_call(build_provider(destination.provider_row())).keys() - exempt)
    with ThreadPoolExecutor(GIVEN_UP_AT_ONCE) as executor:
        outcomes = list(executor.map(outcome, names))
    assert [(name, type(error)) for name, error, _ in outcomes] == [(name, ProviderUnavailable) for name in names]
    assert not [(name, seconds) for name, _, seconds in outcomes if seconds > GIVE_UP_SECONDS]
    assert_silent(destination, *(error for _, error, _ in outcomes), log=caplog.text)


@networked
def test_nothing_continues_once_the_call_has_returned(destinations: Destination, refused_port: int) -> None:
    """An SDK that keeps trying in a thread of its own would hammer a provider that the tick has left alone."""
    before = set(threading.enumerate())
    provider = build_provider(at_port(destinations, refused_port).provider_row())
    error_of(every_call(provider)["list"])
    error_of(every_call(provider)["put"])
    provider.close()
    wait_until(lambda: set(threading.enumerate()) <= before, THREADS_END_SECONDS)


@pytest.fixture
def refused_port() -> Iterator[int]:
    """A port that is taken, so that nobody else gets it, but on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port on which the kernel accepts connections and nobody ever answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield listener.getsockname()[1]


def at_port(destination: Destination, port: int) -> Destination:
    """The destination as it would look if its server listened elsewhere."""
    if destination.kind == "sftp":
        return destination.with_credentials(port=port)
    field = "account_url" if destination.kind == "azure" else "endpoint_url"
    return destination.with_options(**{field: re.sub(r":\d+", f":{port}", destination.options[field])})


@with_credentials
def test_wrong_credentials_are_denied(destinations: Destination, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    put_bytes(build_provider(destinations.provider_row()), "p/a")
    wrong = with_wrong_secret(destinations)
    provider = build_provider(wrong.provider_row())
    errors = {name: error_of(call) for name, call in every_call(provider).items()}
    provider.close()
    assert {name for name, error in errors.items() if not isinstance(error, AccessDenied)} == set()
    assert_silent(wrong, *errors.values(), log=caplog.text)
    assert destinations.everything_stored() == {"p/a"}


def with_wrong_secret(destination: Destination) -> Destination:
    """The same user with a secret of the right form that is not his; and that must show just as little."""
    match destination.kind:
        case "azure":
            field, secret = "account_key", base64.b64encode(random_name("wrong").encode()).decode()
        case "sftp" if "private_key" in (destination.credentials or {}):
            field, secret = "private_key", new_key_pair()[0]
        case "sftp":
            field, secret = "password", random_name("wrong")
        case _:
            field, secret = "secret_key", random_name("wrong")
    changed = destination.with_credentials(**{field: secret})
    secrets = tuple(line for line in secret.splitlines() if "PRIVATE KEY" not in line)
    return replace_secrets(changed, secrets)


def replace_secrets(destination: Destination, secrets: tuple[str, ...]) -> Destination:
    return Destination(**{**vars(destination), "secrets": secrets})


@pytest.mark.parametrize("destinations", ["sftp-openssh", "sftp-asyncssh"], indirect=True)
def test_another_host_key_is_refused(destinations: Destination) -> None:
    _, other_host_key = new_key_pair()
    provider = build_provider(destinations.with_credentials(host_key=other_host_key).provider_row())
    errors = {name: type(error_of(call)) for name, call in every_call(provider).items()}
    assert errors == dict.fromkeys(errors, ConnectionDenied)
    assert destinations.everything_stored() == set()


def test_a_missing_destination_is_never_made(destinations: Destination) -> None:
    missing = elsewhere(destinations)
    provider = build_provider(missing.provider_row())
    calls = every_call(provider)
    for name in ("put", "put in parts", "list", "check"):
        assert isinstance(error_of(calls[name]), DestinationMissing), name
    for name in (
        "stat",
        "open",
        "open sized",
    ):  # where a server answers these with a bare 404, the object is missing, too
        assert isinstance(error_of(calls[name]), DestinationMissing | ObjectNotFound), name
    provider.close()
    with pytest.raises(Exception):  # noqa: B017, PT011 each SDK has its own way to say that there is no such place
        missing.everything_stored() if destinations.kind not in {"sftp", "local"} else missing.directory.stat()


def elsewhere(destination: Destination) -> Destination:
    """A place on the same server that does not exist."""
    field = DESTINATION_FIELD.get(destination.kind, "ruta")
    return destination.with_options(**{field: f"{destination.options[field]}-missing"})


def test_a_missing_field_is_named_and_no_value_is(destinations: Destination) -> None:
    required = {**dict.fromkeys(["endpoint_url"] if destinations.kind == "minio" else [], "options")}
    required[DESTINATION_FIELD.get(destinations.kind, "ruta")] = "options"
    required |= dict.fromkeys(["host", "username"] if destinations.kind == "sftp" else [], "credentials")
    for field, column in required.items():
        change = destinations.with_options if column == "options" else destinations.with_credentials
        with pytest.raises(InvalidProviderSettings, match=field) as caught:
            build_provider(change(**{field: None}).provider_row())
        assert_silent(destinations, caught.value)
