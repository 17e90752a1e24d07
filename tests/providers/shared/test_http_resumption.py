"""Azure and GCS while requests fail in the middle of a large file, of a reading or of a listing: what failed is asked
for again, and nothing else.

Looked for at every operation that consists of several requests: blocks and their list, parts of a session, ranges,
pages. What is one request is for the caller to repeat (`tests/providers/test_retries.py`); S3's have tests of
their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from urllib.parse import parse_qsl, urlsplit

import pytest

import providers.azure.requests
from config.models import ProviderRow
from providers import build_provider
from providers.azure.errors import BlocksLost
from providers.azure.provider import AzureProvider
from providers.base import PART_SIZE_BYTES, Provider
from providers.errors import ConditionFailed, IntegrityError, ProviderError, ProviderUnavailable, SlowDown
from providers.sources import BytesSource
from tests.destinations import Destination
from tests.executions.sources import PatternSource, sha256_of
from tests.faults.http_effects import (
    address_of,
    answer,
    behind,
    change_body,
    flip_a_bit,
    lose_the_answer,
    refuse,
    reset_at_once,
    reset_in_the_answer,
    reset_in_the_request,
)
from tests.faults.http_proxy import ONCE, Exchange, Fault, HttpFaultProxy, Response
from tests.servers.canned_http import Answer, CannedHttp, Request

pytestmark = pytest.mark.usefixtures("little_patience")

PARTS = 6
PART_BYTES = 1024 * 1024
"""As many requests as with the parts that the program sends, of fewer bytes."""

LARGE_BYTES = PARTS * PART_BYTES
READ_BYTES = 3 * PART_SIZE_BYTES
"""More than the kernel keeps of an answer, and throws away when the connection is reset."""

KEY = "p/ejecuciones/1/file"
SENDS_PART = {"azure": r"^PUT .*comp=block&", "gcs": r"^PUT .*upload_id="}
READS = {"azure": r"^GET .*/p/ejecuciones/1/file", "gcs": r"^GET .*alt=media"}
LISTS = "^GET .*comp=list"
BUSY_CODES = {"azure": "ServerBusy", "gcs": "backendError"}

both = pytest.mark.parametrize("name", ["azure", "gcs"])
in_small_parts = pytest.mark.usefixtures("small_parts")


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large files go up in parts of `PART_BYTES`."""
    for module in ("base", "azure.provider", "gcs.provider", "gcs.upload_sessions", "shared.object_store_put"):
        monkeypatch.setattr(f"providers.{module}.PART_SIZE_BYTES", PART_BYTES)


@pytest.fixture
def destination(name: str, new_destination: Callable[[str], Destination]) -> Destination:
    return new_destination(name)


@contextmanager
def troubled(destination: Destination, *faults: Fault) -> Iterator[tuple[Provider, HttpFaultProxy]]:
    """A provider whose requests pass a proxy that strikes some of them."""
    with (
        HttpFaultProxy(address_of(destination), *faults) as proxy,
        closing(build_provider(behind(destination, proxy.url).provider_row())) as provider,
    ):
        yield provider, proxy


def count(proxy: HttpFaultProxy, request: str) -> int:
    return sum(bool(re.search(request, line)) for line in proxy.seen)


def stored_sha256(destination: Destination) -> str:
    """What lies at the server, asked past the proxy."""
    with closing(build_provider(destination.provider_row())) as provider:
        return sha256_of(provider.open(KEY))


def store(provider: Provider, source: PatternSource) -> None:
    [(_, receipt)] = provider.put_new_many({KEY: source})
    assert receipt.sha256 == source.sha256()


# Storing


@in_small_parts
@both
def test_every_nth_part_is_refused_and_sent_again_by_itself(name: str, destination: Destination) -> None:
    fault = Fault("busy", refuse(name, 503, BUSY_CODES[name]), SENDS_PART[name], on=range(3, 100, 3))
    source = PatternSource(LARGE_BYTES)
    with troubled(destination, fault) as (provider, proxy):
        store(provider, source)
        sent = count(proxy, SENDS_PART[name])
    # After a refusal GCS is asked how far it is: a request of the same form, without a body.
    assert sent <= PARTS + (1 if name == "azure" else 2) * proxy.strikes["busy"]
    assert stored_sha256(destination) == source.sha256()


@in_small_parts
@both
def test_a_connection_that_is_cut_costs_one_part(name: str, destination: Destination) -> None:
    fault = Fault("cut", reset_in_the_request(PART_BYTES // 2), SENDS_PART[name], on=(4,))
    source = PatternSource(LARGE_BYTES)
    with troubled(destination, fault) as (provider, proxy):
        provider.replace(KEY, source, None)
        sent = count(proxy, SENDS_PART[name])
    assert sent == PARTS + (1 if name == "azure" else 2)
    assert stored_sha256(destination) == source.sha256()


@in_small_parts
@both
def test_a_part_whose_answer_is_lost_is_there(name: str, destination: Destination) -> None:
    fault = Fault("lost", lose_the_answer, SENDS_PART[name], on=(2,))
    source = PatternSource(LARGE_BYTES)
    with troubled(destination, fault) as (provider, proxy):
        store(provider, source)
        sent = count(proxy, SENDS_PART[name])
    assert sent == PARTS + 1, "GCS says that it has it, Azure stages it a second time"
    assert stored_sha256(destination) == source.sha256()


@in_small_parts
@both
def test_a_part_that_is_refused_for_good_ends_the_upload(name: str, destination: Destination) -> None:
    fault = Fault("denied", refuse(name, 400, "InvalidHeaderValue"), SENDS_PART[name], on=(3,))
    with troubled(destination, fault) as (provider, _), pytest.raises(Exception, match="rechazó"):
        store(provider, PatternSource(LARGE_BYTES))
    assert KEY not in destination.everything_stored()


# Azure's blocks


@in_small_parts
@pytest.mark.parametrize("name", ["azure"])
def test_a_blob_that_was_made_without_an_answer_is_known_again(destination: Destination) -> None:
    """By its blocks. Otherwise it would be somebody else's, and be sent once more in its place."""
    fault = Fault("lost", lose_the_answer, "comp=blocklist", on=(1,))
    source = PatternSource(LARGE_BYTES)
    with troubled(destination, fault) as (provider, proxy):
        store(provider, source)
        assert count(proxy, SENDS_PART["azure"]) == PARTS
    assert stored_sha256(destination) == source.sha256()


@in_small_parts
@pytest.mark.parametrize("name", ["azure"])
def test_a_blob_of_others_is_not_taken_for_one_without_an_answer(destination: Destination) -> None:
    """They come first, and then an answer is lost."""

    def others_come_first(exchange: Exchange) -> None:
        with closing(build_provider(destination.provider_row())) as others:
            others.put(KEY, PatternSource(LARGE_BYTES, seed=7))
        exchange.reset()

    with (
        troubled(destination, Fault("others", others_come_first, "comp=blocklist", on=(1,))) as (provider, _),
        pytest.raises(ConditionFailed),
    ):
        store(provider, PatternSource(LARGE_BYTES))
    assert stored_sha256(destination) == PatternSource(LARGE_BYTES, seed=7).sha256()


@in_small_parts
@pytest.mark.parametrize("name", ["azure"])
def test_blocks_that_others_discarded_are_for_the_caller_to_send_again(destination: Destination) -> None:
    """As with an upload in parts on S3: all of it once more, not the list of blocks that are not there."""
    lost = Fault("lost", refuse("azure", 400, "InvalidBlockList"), "comp=blocklist", on=(1,))
    source = PatternSource(LARGE_BYTES)
    with troubled(destination, lost) as (provider, _):
        with pytest.raises(BlocksLost) as caught:
            store(provider, source)
        assert not caught.value.given_up
        store(provider, source)
    assert stored_sha256(destination) == source.sha256()


def _begin_and_fail(destination: Destination, source: PatternSource, from_block: int) -> None:
    """A run that gets so far."""
    fault = Fault("dead", reset_at_once, SENDS_PART["azure"], on=range(from_block, 1000))
    with troubled(destination, fault) as (provider, _):
        provider.progress.interruption.set()  # it is killed while it pauses
        with pytest.raises(ProviderUnavailable):
            store(provider, source)
    assert destination.everything_stored() == {f"{KEY} (unfinished)"}


@in_small_parts
@pytest.mark.parametrize("name", ["azure"])
def test_the_next_run_sends_the_blocks_that_are_missing(destination: Destination) -> None:
    source = PatternSource(LARGE_BYTES)
    _begin_and_fail(destination, source, from_block=5)
    with troubled(destination) as (provider, proxy):
        assert isinstance(provider, AzureProvider)
        assert provider.discard_unfinished_but_for("p/ejecuciones/1/", lambda key: key == KEY)
        store(provider, source)
        assert count(proxy, SENDS_PART["azure"]) == PARTS - 4
    assert stored_sha256(destination) == source.sha256()
    assert destination.everything_stored() == {KEY}


@in_small_parts
@pytest.mark.parametrize("name", ["azure"])
def test_blocks_of_other_bytes_are_not_continued(destination: Destination) -> None:
    """Of a file that has changed since: also where a block of it is the same, but not what comes before."""
    _begin_and_fail(destination, PatternSource(LARGE_BYTES, seed=1), from_block=5)
    source = PatternSource(LARGE_BYTES, seed=2)
    with troubled(destination) as (provider, proxy):
        assert isinstance(provider, AzureProvider)
        assert provider.discard_unfinished_but_for("p/ejecuciones/1/", lambda key: key == KEY)
        store(provider, source)
        assert count(proxy, SENDS_PART["azure"]) == PARTS
    assert stored_sha256(destination) == source.sha256()


@in_small_parts
@pytest.mark.parametrize("name", ["azure"])
def test_blocks_that_nobody_wants_are_discarded(destination: Destination) -> None:
    _begin_and_fail(destination, PatternSource(LARGE_BYTES), from_block=5)
    with troubled(destination) as (provider, _):
        assert isinstance(provider, AzureProvider)
        assert not provider.discard_unfinished_but_for("p/ejecuciones/1/", lambda key: False)
    assert destination.everything_stored() == set()


# GCS's sessions


@in_small_parts
@pytest.mark.parametrize("name", ["gcs"])
@pytest.mark.parametrize("status", [404, 410])
def test_a_session_that_is_gone_is_for_the_caller_to_begin_again(destination: Destination, status: int) -> None:
    source = PatternSource(LARGE_BYTES)
    with troubled(destination, Fault("gone", answer(Response(status)), SENDS_PART["gcs"], on=(3,))) as (provider, _):
        with pytest.raises(ProviderUnavailable, match="ya no tiene") as caught:
            store(provider, source)
        assert not caught.value.given_up
        store(provider, source)
    assert stored_sha256(destination) == source.sha256()


@in_small_parts
@pytest.mark.parametrize("name", ["gcs"])
def test_a_part_of_which_only_the_beginning_was_kept_is_ended(destination: Destination) -> None:
    """As Google does it: it keeps whole multiples of 256 KiB."""
    kept_bytes = PART_BYTES // 2

    def keep_the_beginning(exchange: Exchange) -> None:
        first, _, size = re.findall(r"\d+", exchange.headers["Content-Range"])
        exchange.headers.replace_header("Content-Range", f"bytes {first}-{int(first) + kept_bytes - 1}/{size}")
        exchange.answer(exchange.forward(exchange.body[:kept_bytes]))

    source = PatternSource(LARGE_BYTES)
    with troubled(destination, Fault("half", keep_the_beginning, SENDS_PART["gcs"], on=(2,))) as (provider, proxy):
        store(provider, source)
        assert count(proxy, SENDS_PART["gcs"]) == PARTS + 1
    assert stored_sha256(destination) == source.sha256()


@in_small_parts
@pytest.mark.parametrize("name", ["gcs"])
def test_a_session_that_lost_what_it_had_is_begun_again(destination: Destination) -> None:
    lost = answer(Response(308, b"", {"Range": "bytes=0-262143"}))
    with (
        troubled(destination, Fault("lost", lost, SENDS_PART["gcs"], on=(3, 4))) as (provider, _),
        pytest.raises(ProviderUnavailable, match="ya no tiene") as caught,
    ):
        store(provider, PatternSource(LARGE_BYTES))
    assert not caught.value.given_up


@in_small_parts
@pytest.mark.parametrize("name", ["gcs"])
def test_a_damaged_part_is_found_out_at_the_end(destination: Destination) -> None:
    with (
        troubled(destination, Fault("damaged", change_body(flip_a_bit), SENDS_PART["gcs"], on=(2,))) as (provider, _),
        pytest.raises(IntegrityError) as caught,
    ):
        store(provider, PatternSource(LARGE_BYTES))
    assert not caught.value.given_up
    assert destination.everything_stored() == set()


# Reading


@both
def test_a_reading_that_is_cut_continues_behind_what_it_gave(name: str, destination: Destination) -> None:
    source = PatternSource(READ_BYTES)
    cut_at_byte = READ_BYTES * 6 // 10
    lengths: list[int] = []

    def note_length(exchange: Exchange) -> None:
        response = exchange.forward()
        lengths.append(len(response.body))
        exchange.answer(response)

    faults = (
        Fault("cut", reset_in_the_answer(cut_at_byte), READS[name], on=ONCE),
        Fault("rest", note_length, READS[name]),
    )
    with troubled(destination, *faults) as (provider, proxy):
        provider.put(KEY, source)
        assert sha256_of(provider.open(KEY)) == source.sha256()
        assert count(proxy, READS[name]) == 2
    [rest_bytes] = lengths
    assert READ_BYTES - cut_at_byte <= rest_bytes < READ_BYTES - cut_at_byte + PART_SIZE_BYTES


@both
def test_another_object_is_not_read_on(name: str, destination: Destination) -> None:
    def replace_and_cut(exchange: Exchange) -> None:
        response = exchange.forward()
        with closing(build_provider(destination.provider_row())) as others:
            others.put(KEY, PatternSource(READ_BYTES, seed=7))
        exchange.answer_beginning(response, READ_BYTES // 2)

    with troubled(destination, Fault("replaced", replace_and_cut, READS[name], on=ONCE)) as (provider, _):
        provider.put(KEY, PatternSource(READ_BYTES))
        with pytest.raises(IntegrityError, match="cambió"):
            sha256_of(provider.open(KEY))


@pytest.mark.parametrize("name", ["gcs"])
def test_another_range_than_the_one_asked_for_is_not_taken(destination: Destination) -> None:
    """obstore, which reads from Azure, sees to that by itself."""

    def all_of_it(exchange: Exchange) -> None:
        del exchange.headers["Range"]
        exchange.answer(exchange.forward())

    faults = (
        Fault("cut", reset_in_the_answer(READ_BYTES // 2), READS["gcs"], on=ONCE),
        Fault("whole", all_of_it, READS["gcs"]),
    )
    with troubled(destination, *faults) as (provider, _):
        provider.put(KEY, PatternSource(READ_BYTES))
        with pytest.raises(ProviderError, match="partes"):
            sha256_of(provider.open(KEY))


# Listing


@pytest.mark.parametrize("name", ["azure"])
def test_a_page_that_is_refused_is_asked_for_again_by_itself(
    destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers.azure.requests, "LISTING_PAGE", 2)
    keys = [f"p/{number}" for number in range(9)]
    fault = Fault("busy", refuse("azure", 503, "ServerBusy"), LISTS, on=(4,))
    with troubled(destination, fault) as (provider, proxy):
        for key in keys:
            provider.put(key, BytesSource(b"x"))
        assert sorted(stored.key for stored in provider.list("p/")) == keys
        assert count(proxy, LISTS) == 5 + 1


def test_a_page_of_gcs_that_is_refused_is_asked_for_again_by_itself() -> None:
    """The emulator knows no pages."""
    refusals = [Answer(503, b"{}")]

    def listing(request: Request) -> Answer:
        number = int(dict(parse_qsl(urlsplit(request.path).query)).get("pageToken", 0))
        if number == 3 and refusals:
            return refusals.pop()
        page = {"kind": "storage#objects", "items": [{"name": f"p/{number}", "size": "1", "crc32c": "AAAAAA=="}]}
        following = {"nextPageToken": str(number + 1)} if number < 5 else {}
        return Answer(200, json.dumps({**page, **following}).encode(), {"Content-Type": "application/json"})

    with CannedHttp(listing) as server, closing(build_provider(gcs_row(server.url))) as provider:
        assert [stored.key for stored in provider.list("p/")] == [f"p/{number}" for number in range(6)]
        assert len(server.requests) == 6 + 1


def test_a_listing_of_gcs_that_does_not_continue_is_no_listing() -> None:
    page = {"kind": "storage#objects", "items": [], "nextPageToken": "same"}
    same = Answer(200, json.dumps(page).encode(), {"Content-Type": "application/json"})
    with CannedHttp(lambda _: same) as server, closing(build_provider(gcs_row(server.url))) as provider:
        provider.progress.interruption.set()
        with pytest.raises(ProviderUnavailable, match="no avanza"):
            list(provider.list("p/"))


# What servers ask for


@pytest.mark.parametrize(
    ("headers", "code", "seconds"),
    [
        ({"x-ms-retry-after-ms": "1500"}, "ServerBusy", 2.0),
        ({"Retry-After": "7"}, "OperationTimedOut", 7.0),
        ({}, "ServerBusy", 0.0),
    ],
)
def test_azure_says_for_how_long_it_wants_to_be_left_alone(headers: dict[str, str], code: str, seconds: float) -> None:
    with CannedHttp(lambda _: Answer(503, b"", {"x-ms-error-code": code, **headers})) as server:
        credentials = {"account_name": "cuenta", "account_key": "a2V5"}
        options = {"container": "caja", "account_url": f"{server.url}/cuenta"}
        row = ProviderRow(1, "Azure", "azure", credentials, options, active=True)
        with closing(build_provider(row)) as provider:
            for ask in (lambda: provider.stat("x"), lambda: provider.delete("x")):
                with pytest.raises(SlowDown) as caught:
                    ask()
                assert caught.value.pause_seconds == seconds
            provider.progress.interruption.set()
            with pytest.raises(SlowDown) as caught:
                list(provider.list("x"))
            assert caught.value.pause_seconds == seconds


@in_small_parts
@pytest.mark.parametrize(
    ("status", "headers", "seconds"), [(429, {}, 0.0), (503, {"Retry-After": "7"}, 7.0), (429, {"Retry-After": "3"}, 3)]
)
def test_gcs_says_for_how_long_it_wants_to_be_left_alone(status: int, headers: dict[str, str], seconds: float) -> None:
    asks: list[Callable[[Provider], object]] = [
        lambda provider: provider.stat("x"),
        lambda provider: list(provider.list("x")),
        lambda provider: list(provider.open("x")),
        lambda provider: provider.put("x", BytesSource(b"x")),
        lambda provider: provider.put("x", PatternSource(LARGE_BYTES)),
    ]
    with CannedHttp(lambda _: Answer(status, b"{}", headers)) as server:
        for ask in asks:
            with closing(build_provider(gcs_row(server.url))) as provider:
                provider.progress.interruption.set()
                with pytest.raises(SlowDown) as caught:
                    ask(provider)
                assert caught.value.pause_seconds == seconds


def gcs_row(url: str) -> ProviderRow:
    """A row that leads there."""
    return ProviderRow(1, "GCS", "gcs", None, {"bucket": "caja", "endpoint_url": url}, active=True)
