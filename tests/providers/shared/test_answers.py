"""Answers that come at a trickle, damaged, or from somebody else: each call ends in time, and as the contract says."""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

import providers.retries
import providers.s3.provider
from config.errors import MigrationError
from config.models import ProviderRow
from providers import build_provider
from providers.base import PART_SIZE_BYTES, TRANSFER_TIMEOUT_SECONDS, Provider
from providers.errors import ProviderUnavailable
from providers.shared.answers import (
    PATIENCE_SECONDS,
    SLOWEST_ANSWER_BYTES_PER_SECOND,
    Pace,
    deadline_seconds,
    paced_chunks,
)
from providers.sources import BytesSource
from tests.constants import change_constant
from tests.destinations import Destination
from tests.faults.http_effects import (
    address_of,
    answer,
    answer_after,
    answer_slowly,
    behind,
    damage_answer,
    flip_random_bit,
    lose_the_answer,
    truncate_randomly,
)
from tests.faults.http_proxy import ONCE, Fault, HttpFaultProxy, Response

ONE_OF_EACH_KIND = ("s3-rclone", "azure", "gcs")
SEED = int(os.environ.get("WIRE_DAMAGE_SEED", secrets.randbelow(1_000_000)))
DAMAGED_ANSWERS = 60
LARGE_BYTES = 1024 * 1024 * 1024
"""So large that it is asked for in ranges, where there are any."""

THREADS = 8

CALLS: dict[str, Callable[[Provider], object]] = {
    "list": lambda provider: list(provider.list("p/")),
    "stat": lambda provider: provider.stat("p/file"),
    "open": lambda provider: b"".join(provider.open("p/file")),
    "open sized": lambda provider: b"".join(provider.open_sized("p/file", LARGE_BYTES)),
    "put": lambda provider: provider.put("p/other", BytesSource(b"other")),
    "delete": lambda provider: provider.delete("p/other"),
    "discard_unfinished": lambda provider: provider.discard_unfinished("p/"),
}


def calls_of(kind: str) -> list[str]:
    """Those that send a request: unfinished uploads to GCS cannot be asked for."""
    return [name for name in CALLS if (kind, name) != ("gcs", "discard_unfinished")]


def outcome(row: ProviderRow, name: str) -> object:
    """What a call of a new provider gives or raises."""
    with closing(build_provider(row)) as provider:
        try:
            result = CALLS[name](provider)
        except MigrationError as error:
            result = error
    return result


def put_file(destination: Destination) -> None:
    with closing(build_provider(destination.provider_row())) as provider:
        provider.put("p/file", BytesSource(b"content"))


def test_an_answer_at_a_trickle_is_not_waited_for(new_destination: Callable[[str], Destination]) -> None:
    with contextlib.ExitStack() as stack:
        executor = stack.enter_context(ThreadPoolExecutor(len(ONE_OF_EACH_KIND) * len(CALLS)))
        waiting = []
        for name in ONE_OF_EACH_KIND:
            real = new_destination(name)
            put_file(real)
            proxy = stack.enter_context(HttpFaultProxy(address_of(real), Fault("trickle", answer_slowly)))
            row = behind(real, proxy.url).provider_row()
            waiting += [(name, call, executor.submit(outcome, row, call)) for call in calls_of(real.kind)]
        for name, call, future in waiting:
            result = future.result()
            assert type(result) is ProviderUnavailable, f"{name}, {call}: {result}"


SENSELESS = {
    "a login page": Response(200, b"<html><body>login</body></html>", {"Content-Type": "text/html"}),
    "nothing": Response(200),
    "a list": Response(200, b"[]", {"Content-Type": "application/json"}),
    "an object": Response(200, b"{}", {"Content-Type": "application/json"}),
    "an error": Response(200, b"<Error><Code>InternalError</Code></Error>", {"Content-Type": "application/xml"}),
}


@pytest.mark.usefixtures("little_patience")
@pytest.mark.parametrize("name", ONE_OF_EACH_KIND)
@pytest.mark.parametrize("case", SENSELESS)
def test_an_answer_that_makes_no_sense_is_no_listing_and_no_object(
    new_destination: Callable[[str], Destination], name: str, case: str
) -> None:
    real = new_destination(name)
    put_file(real)
    with HttpFaultProxy(address_of(real), Fault("senseless", answer(SENSELESS[case]))) as proxy:
        row = behind(real, proxy.url).provider_row()
        for call in ("list", "stat"):
            result = outcome(row, call)
            assert type(result) is ProviderUnavailable, f"{call}: {result}"


@pytest.mark.filterwarnings("ignore")  # boto3's reader of dates warns of a time zone that a flipped bit has made
@pytest.mark.parametrize("name", ONE_OF_EACH_KIND)
def test_a_damaged_answer_raises_what_the_contract_says_if_anything(
    new_destination: Callable[[str], Destination], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(providers.retries, "LONGEST_PAUSE_SECONDS", 0.05)  # as many tries, but none waited for
    real = new_destination(name)
    put_file(real)
    numbers = iter(range(1_000_000))

    def damage(content: bytes) -> bytes:
        dice = random.Random(f"{SEED} {next(numbers)}")  # noqa: S311 not a secret
        return dice.choice((flip_random_bit, truncate_randomly))(content, dice)

    with HttpFaultProxy(address_of(real), Fault("damaged", damage_answer(damage))) as proxy:
        row = behind(real, proxy.url).provider_row()
        calls = calls_of(real.kind) * DAMAGED_ANSWERS
        with closing(build_provider(row)) as provider, ThreadPoolExecutor(THREADS) as executor:

            def raised(call: str) -> BaseException | None:
                try:
                    CALLS[call](provider)
                except Exception as error:
                    return error
                return None

            errors = list(executor.map(raised, calls))
        # a connection that the proxy has closed may be noticed before a request is sent
        assert proxy.strikes["damaged"] >= 0.8 * len(calls)
    foreign = {repr(error) for error in errors if error is not None and not isinstance(error, MigrationError)}
    assert foreign == set(), f"seed {SEED}"
    assert [error for error in errors if error is not None]


@pytest.mark.parametrize("name", ["s3-swift", "s3-rclone", "azure", "gcs"])
def test_a_lost_answer_to_the_end_of_an_upload_in_parts_is_worth_another_try(
    new_destination: Callable[[str], Destination], name: str
) -> None:
    """What is then discarded is an upload that is there no more, and that must not be told as a missing object."""
    real = new_destination(name)
    content = bytes(PART_SIZE_BYTES) + b"end"
    lose = Fault("lost", lose_the_answer, r"^POST .*uploadId=|^PUT .*comp=blocklist|^PUT /upload/", range(1, 3))
    with (
        HttpFaultProxy(address_of(real), lose) as proxy,
        closing(build_provider(behind(real, proxy.url).provider_row())) as provider,
    ):
        while proxy.strikes["lost"] < 2:
            with contextlib.suppress(ProviderUnavailable):  # where the provider does not repeat the end by itself
                provider.put("p/large", BytesSource(content))
        provider.put("p/large", BytesSource(content))
        assert b"".join(provider.open("p/large")) == content


@pytest.mark.parametrize("name", ONE_OF_EACH_KIND)
def test_a_lost_answer_to_a_removal_is_asked_for_again(
    new_destination: Callable[[str], Destination], name: str
) -> None:
    real = new_destination(name)
    put_file(real)
    with (
        HttpFaultProxy(address_of(real), Fault("lost", lose_the_answer, "^DELETE", ONCE)) as proxy,
        closing(build_provider(behind(real, proxy.url).provider_row())) as provider,
    ):
        with pytest.raises(ProviderUnavailable):
            provider.delete("p/file")
        provider.delete("p/file")
    assert real.everything_stored() == set()


@pytest.mark.parametrize("size_bytes", [300 * 1024, PART_SIZE_BYTES + 1])
def test_what_boto3_carries_has_time_to_travel_too(
    new_destination: Callable[[str], Destination], monkeypatch: pytest.MonkeyPatch, size_bytes: int
) -> None:
    """Files whose names obstore refuses."""
    change_constant("providers__base__ANSWER_TIMEOUT_SECONDS", 0.5, monkeypatch.setattr)
    real = new_destination("s3-rclone")
    line = "^PUT .*%0A"
    with (
        HttpFaultProxy(address_of(real), Fault("late", answer_after(2), line)) as proxy,
        closing(build_provider(behind(real, proxy.url).provider_row())) as provider,
    ):
        provider.put("p/two\nlines", BytesSource(bytes(size_bytes)))
        assert proxy.strikes["late"]
        assert provider.stat("p/two\nlines").size_bytes == size_bytes


LISTINGS = "^GET .*list-type="


@pytest.mark.parametrize(("size_bytes", "has_time"), [(100_000, False), (1_000_000, True)])
def test_a_listing_for_which_a_server_reads_all_that_it_holds_has_the_time_for_it(
    new_destination: Callable[[str], Destination],
    monkeypatch: pytest.MonkeyPatch,
    size_bytes: int,
    has_time: bool,
) -> None:
    """As rclone's server does for the MD5s that it shows; one that answers anything else as late is silent."""
    change_constant("providers__base__ANSWER_TIMEOUT_SECONDS", 0.5, monkeypatch.setattr)
    monkeypatch.setattr(providers.s3.provider, "SLOWEST_HASHING_BYTES_PER_SECOND", 200_000)
    real = new_destination("s3-rclone")
    put_file(real)
    with (
        HttpFaultProxy(address_of(real), Fault("late", answer_after(3), LISTINGS)) as proxy,
        closing(build_provider(behind(real, proxy.url).provider_row())) as provider,
    ):
        with contextlib.nullcontext() if has_time else pytest.raises(ProviderUnavailable):
            assert [stored.key for stored in provider.list_patiently("p/", size_bytes)] == ["p/file"]
        with pytest.raises(ProviderUnavailable):
            list(provider.list("p/"))


def test_such_a_listing_is_not_waited_for_at_a_trickle_either(
    new_destination: Callable[[str], Destination], monkeypatch: pytest.MonkeyPatch
) -> None:
    change_constant("providers__base__ANSWER_TIMEOUT_SECONDS", 0.5, monkeypatch.setattr)
    monkeypatch.setattr(providers.s3.provider, "SLOWEST_HASHING_BYTES_PER_SECOND", 200_000)
    real = new_destination("s3-rclone")
    put_file(real)
    with (
        HttpFaultProxy(address_of(real), Fault("trickle", answer_slowly, LISTINGS)) as proxy,
        closing(build_provider(behind(real, proxy.url).provider_row())) as provider,
        pytest.raises(ProviderUnavailable),
    ):  # after the last byte it would be a listing
        list(provider.list_patiently("p/", 200_000))


def test_a_pace_is_kept_over_all_that_has_come() -> None:
    pace = Pace()
    pace.note(0, PATIENCE_SECONDS)
    pace.note(SLOWEST_ANSWER_BYTES_PER_SECOND, 1)
    with pytest.raises(TimeoutError):
        pace.note(SLOWEST_ANSWER_BYTES_PER_SECOND, 1.1)


def test_the_time_that_a_reader_takes_for_itself_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for chunk in paced_chunks(iter([b"a", b"b", b"c"])):
        now += 2 * PATIENCE_SECONDS
        assert chunk


def test_a_request_has_as_long_as_its_body_needs() -> None:
    assert deadline_seconds(0) == deadline_seconds(256 * 1024) == PATIENCE_SECONDS
    assert deadline_seconds(PART_SIZE_BYTES) == PATIENCE_SECONDS + TRANSFER_TIMEOUT_SECONDS
    assert deadline_seconds(1024 * 1024) < 30
    assert deadline_seconds(10 * PART_SIZE_BYTES) > 1000
