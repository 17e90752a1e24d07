"""A long listing is asked for in several parts at the same time, and proves no less than one that is read in one go."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import pytest

import storage.uploading.proof
from config.models import EVERYTHING, Evidence, Span, StoredObject
from providers import build_provider
from providers.base import Provider
from providers.errors import IntegrityError, ProviderUnavailable
from providers.s3.provider import S3Provider
from providers.s3.requests import Listed, S3Requests
from providers.sources import BytesSource
from tests.constants import change_constant
from tests.destinations import Destination
from tests.faults import http_proxy
from tests.faults.faulty_provider import Fault, FaultyProvider, flip_bit, store, store_nothing
from tests.faults.http_effects import address_of, answer_after, behind
from tests.faults.http_proxy import HttpFaultProxy
from tests.storage.test_upload import MANIFEST, Bench, bench, failed_attempt, platform, pool, shared_platform

__all__ = ["bench", "platform", "pool", "shared_platform"]  # fixtures

ODD_NAMES = ("A", "a", "a b", "a%20b", "a+b", "b/b", "a.txt", "á", "z\udcffz", "ñ/ñ", "\U0001f600", "￿")
"""Whose order differs between bytes, code points of UTF-16 and alphabets."""

PAGE = 1000
"""What a real server lists at once."""


@pytest.fixture(params=["s3-swift", "s3-rclone"])
def destination(request: pytest.FixtureRequest, new_destination: Callable[[str], Destination]) -> Destination:
    return new_destination(str(request.param))


@pytest.fixture
def provider(destination: Destination) -> Iterator[S3Provider]:
    with closing(build_provider(destination.provider_row())) as made:
        assert isinstance(made, S3Provider)
        yield made


def keys_in(provider: Provider, span: Span) -> list[str]:
    return [stored.key for stored in provider.list_patiently("p/", 0, span)]


# What a provider gives


def test_every_key_is_in_one_of_the_spans_between_any_keys(provider: S3Provider) -> None:
    """Each span holds what the store's order has between its bounds, and not its lower bound."""
    for name in ODD_NAMES:
        provider.put(f"p/{name}", BytesSource(b"x"))
    keys = keys_in(provider, EVERYTHING)
    assert sorted(keys) == sorted(f"p/{name}" for name in ODD_NAMES)
    for after, up_to in itertools.combinations([None, *keys, None], 2):
        first = 0 if after is None else keys.index(after) + 1
        last = len(keys) if up_to is None else keys.index(up_to) + 1
        assert keys_in(provider, Span(after, up_to)) == keys[first:last], (after, up_to)


@pytest.mark.parametrize("destination", ["s3-rclone"], indirect=True)
def test_a_span_of_whole_pages_costs_no_request_more(destination: Destination, provider: S3Provider) -> None:
    keys = [f"p/{number:05}" for number in range(2 * PAGE + 1)]
    for key in keys:
        provider.put(key, BytesSource(b""))
    with (
        HttpFaultProxy(address_of(destination)) as proxy,
        closing(build_provider(behind(destination, proxy.url).provider_row())) as counted,
    ):
        bounds = [None, keys[PAGE - 1], keys[2 * PAGE - 1], None]
        found = [keys_in(counted, Span(after, up_to)) for after, up_to in itertools.pairwise(bounds)]
        assert found == [keys[:PAGE], keys[PAGE : 2 * PAGE], keys[2 * PAGE :]]
        assert len(proxy.seen) == 3, proxy.seen


@pytest.fixture
def beginnings_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not know `start-after`."""
    really_list = S3Requests.list

    def list_all(self: S3Requests, prefix: str, _after: str | None = None) -> Iterator[Listed]:
        return really_list(self, prefix)

    monkeypatch.setattr(S3Requests, "list", list_all)


@pytest.mark.usefixtures("beginnings_are_ignored")
def test_a_server_that_begins_at_the_beginning_does_no_harm(provider: S3Provider) -> None:
    for name in "abc":
        provider.put(f"p/{name}", BytesSource(b"x"))
    assert keys_in(provider, Span("p/a", "p/b")) == ["p/b"]
    assert keys_in(provider, Span("p/b", None)) == ["p/c"]


def test_a_server_has_as_much_more_time_as_it_is_asked_for_at_once(
    destination: Destination, provider: S3Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that goes through its whole bucket for each page shares its time between the spans."""
    change_constant("providers__base__ANSWER_TIMEOUT_SECONDS", 0.5, monkeypatch.setattr)
    for name in "ab":
        provider.put(f"p/{name}", BytesSource(b"x"))
    late = http_proxy.Fault("late", answer_after(1), "^GET .*list-type=", http_proxy.EVERY)
    with (
        HttpFaultProxy(address_of(destination), late) as proxy,
        closing(build_provider(behind(destination, proxy.url).provider_row())) as delayed,
    ):
        assert keys_in(delayed, Span("p/a", None)) == ["p/b"]
        with pytest.raises(ProviderUnavailable):
            keys_in(delayed, EVERYTHING)


# What an attempt makes of it


@dataclass(frozen=True)
class Listing:
    """What was listed: in which span, and what was found."""

    span: Span
    keys: Sequence[str]


class ListedBySpans(FaultyProvider):
    """A provider that lists one object at a time, in any order that it is given."""

    listed_at_once = 1

    def __init__(self, provider: Provider, faults: Sequence[Fault], order: Callable[[str], str] = str) -> None:
        super().__init__(provider, faults)
        self._order = order
        self.listings: list[Listing] = []

    def list_patiently(self, prefix: str, size_bytes: int, span: Span = EVERYTHING) -> Iterator[StoredObject]:
        found = sorted(super().list_patiently(prefix, size_bytes), key=lambda stored: self._order(stored.key))
        keys = [stored.key for stored in found]
        if span.after in keys:
            found = found[keys.index(span.after) + 1 :]
        if span.up_to is not None:
            found = list(itertools.takewhile(lambda stored: stored.key <= str(span.up_to), found))
        self.listings.append(Listing(span, [stored.key for stored in found]))
        yield from found


@pytest.fixture
def short_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage.uploading.proof, "PAGES_WORTH_A_SPAN", 1)


pytestmark = pytest.mark.usefixtures("short_spans")
with_checksums = pytest.mark.parametrize("bench", ["s3-rclone"], indirect=True)


@with_checksums
def test_a_copy_is_proven_by_spans_that_hold_everything_once(bench: Bench) -> None:
    with ListedBySpans(bench.real_provider(), ()) as provider:
        copy, manifest = bench.upload(provider)
    bench.require_complete(copy, manifest)
    assert copy.evidence is Evidence.CHECKSUM
    before, *proof = provider.listings
    assert before == Listing(EVERYTHING, [])
    names = sorted(path.name for path in bench.directory.iterdir())
    assert sorted(key.rpartition("/")[2] for listing in proof for key in listing.keys) == names
    assert [len(listing.keys) for listing in proof] == [1] * len(names)
    assert {listing.span for listing in proof if None in (listing.span.after, listing.span.up_to)} != {EVERYTHING}


@with_checksums
@pytest.mark.parametrize("effect", [store(flip_bit), store_nothing])
def test_what_is_damaged_or_missing_in_a_span_is_sent_again(bench: Bench, effect: Callable[..., object]) -> None:
    with ListedBySpans(bench.real_provider(), [Fault("put", effect, key="*/registro.log")]) as provider:
        copy, manifest = bench.upload(provider)
    bench.require_complete(copy, manifest)
    sent_again = {key for key in provider.keys("put") if provider.keys("put").count(key) > 1}
    assert sent_again == {"registro.log", MANIFEST}


@with_checksums
def test_what_is_missing_for_good_is_not_believed(bench: Bench) -> None:
    fault = Fault("put", store_nothing, key="*/registro.log", calls=range(1, 100))
    with ListedBySpans(bench.real_provider(), [fault]) as provider, pytest.raises(IntegrityError, match="1 objetos"):
        bench.upload(provider)


@with_checksums
def test_a_server_with_an_order_of_its_own_is_asked_for_everything(bench: Bench) -> None:
    """Spans miss what lies elsewhere in its order; nothing is sent again for that."""
    with ListedBySpans(bench.real_provider(), (), order=lambda key: key[::-1]) as provider:
        copy, manifest = bench.upload(provider)
    bench.require_complete(copy, manifest)
    assert provider.listings[-1].span == EVERYTHING
    assert len(provider.listings[-1].keys) == copy.file_count
    seen_before = {key for listing in provider.listings[1:-1] for key in listing.keys}
    assert len(seen_before) < copy.file_count, "the order made no difference"
    assert provider.keys("put").count("registro.log") == 1


@with_checksums
def test_after_an_earlier_attempt_everything_is_listed_in_one_go(bench: Bench) -> None:
    """There may be more than what should be there, wherever in the order, and that is to go."""
    failed_attempt(bench)
    (bench.directory / "registro.log").unlink()
    with ListedBySpans(bench.real_provider(), ()) as provider:
        copy, manifest = bench.upload(provider)
    bench.require_complete(copy, manifest)
    assert {listing.span for listing in provider.listings} == {EVERYTHING}
