"""Large objects on their way to S3 in parts: what fails is sent again alone, and what is there already is not.

Looked for besides, at their own sizes: pages and ranges (`tests/providers/s3/test_s3_requests.py`), any read
(`tests/providers/shared/test_resumed_reads.py`).
"""

from __future__ import annotations

import contextlib
import re
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from config.errors import SourceChanged
from providers import build_provider
from providers.base import PART_SIZE_BYTES, Provider
from providers.errors import AccessDenied, ConditionFailed, ProviderError, ProviderUnavailable
from providers.sources import BytesSource
from tests.destinations import Destination
from tests.executions.sources import FailingSource, PatternSource, sha256_of
from tests.faults.http_effects import (
    address_of,
    behind,
    change_body,
    flip_a_bit,
    lose_the_answer,
    refuse,
    reset_in_the_request,
)
from tests.faults.http_proxy import Effect, Exchange, Fault, HttpFaultProxy

KEY = "p/ejecuciones/1/large"
DIRECTORY = "p/ejecuciones/1/"
PARTS = 3
LARGE = PatternSource((PARTS - 1) * PART_SIZE_BYTES + 1)
PART = "^PUT .*partNumber="
END = r"^POST .*\?uploadId="
SOME = "s3-rclone", "s3-swift", "s3-moto"

SLOW_DOWN = refuse("s3", 503, "SlowDown")
DENIED = refuse("s3", 403, "AccessDenied")


@dataclass
class Scene:
    """A destination behind a proxy, and what has passed it."""

    destination: Destination
    proxy: HttpFaultProxy

    @contextmanager
    def provider(self) -> Iterator[Provider]:
        """As a new run has it."""
        with closing(build_provider(behind(self.destination, self.proxy.url).provider_row())) as provider:
            yield provider

    def numbers(self) -> list[int]:
        """Of the parts that were sent, in order."""
        found = (re.search(r"^PUT .*partNumber=(\d+)", line) for line in self.proxy.seen)
        return sorted(int(match[1]) for match in found if match)

    def require_stored(self, source: PatternSource) -> None:
        """Nothing but these bytes is there."""
        with closing(build_provider(self.destination.provider_row())) as provider:
            assert sha256_of(provider.open_sized(KEY, source.size_bytes)) == source.sha256()
        assert self.destination.everything_stored() == {KEY}


@pytest.fixture
def scene_with(new_destination: Callable[[str], Destination]) -> Callable[..., Any]:
    @contextmanager
    def make(*faults: Fault, name: str = "s3-rclone") -> Iterator[Scene]:
        destination = new_destination(name)
        with HttpFaultProxy(address_of(destination), *faults) as proxy:
            yield Scene(destination, proxy)

    return make


def part(number: int) -> str:
    return rf"^PUT .*partNumber={number}&"


CUT = reset_in_the_request(PART_SIZE_BYTES // 2)


@pytest.mark.usefixtures("little_patience")
@pytest.mark.parametrize(
    ("effect", "name"),
    [(SLOW_DOWN, name) for name in SOME] + [(CUT, "s3-rclone"), (refuse("s3", 500, "InternalError"), "s3-rclone")],
    ids=[*(f"slow down-{name}" for name in SOME), "cut", "broken"],
)
def test_a_part_that_fails_is_sent_again_and_no_other(
    scene_with: Callable[..., Any], effect: Effect, name: str
) -> None:
    failing = (1, 2) if effect is CUT else (2, 3)  # the third is a byte, which half a part's bytes are the whole of
    faults = [Fault(f"part {number}", effect, part(number), on=(1,)) for number in failing]
    with scene_with(*faults, name=name) as scene:
        with scene.provider() as provider:
            receipt = provider.put(KEY, LARGE)
            assert provider.stat(KEY).checksum in receipt.checksums
        assert receipt.sent_whole
        assert scene.numbers() == sorted([*range(1, PARTS + 1), *failing])
        scene.require_stored(LARGE)


@pytest.mark.parametrize("name", ["s3-swift", "s3-rclone"])
def test_a_part_that_is_damaged_on_its_way_is_sent_again_and_no_other(
    scene_with: Callable[..., Any], name: str
) -> None:
    """`rclone serve s3` takes no second body for a part: there all begins again."""
    with scene_with(Fault("damage", change_body(flip_a_bit), part(2), on=(1,)), name=name) as scene:
        with scene.provider() as provider:
            provider.put(KEY, LARGE)
        assert name == "s3-rclone" or scene.numbers() == [1, 2, 2, 3]
        scene.require_stored(LARGE)


@pytest.mark.parametrize("name", SOME)
def test_a_part_whose_answer_is_lost_is_looked_for_and_not_sent_again(
    scene_with: Callable[..., Any], name: str
) -> None:
    with scene_with(Fault("lost", lose_the_answer, part(2), on=(1,)), name=name) as scene:
        with scene.provider() as provider:
            provider.put(KEY, LARGE)
        assert name == "s3-rclone" or scene.numbers() == [*range(1, PARTS + 1)]  # it does not tell of one part alone
        scene.require_stored(LARGE)


@pytest.mark.parametrize("name", SOME)
def test_an_end_whose_answer_is_lost_sends_no_part_again(scene_with: Callable[..., Any], name: str) -> None:
    """What is there then looks like this object, which is no proof that it is."""
    with scene_with(Fault("end", lose_the_answer, END, on=(1,)), name=name) as scene:
        with scene.provider() as provider:
            provider.put(KEY, LARGE)
        assert scene.numbers() == [*range(1, PARTS + 1)]
        scene.require_stored(LARGE)


def test_an_end_whose_answer_is_lost_meets_its_own_object_under_the_condition(scene_with: Callable[..., Any]) -> None:
    """What is there by then looks like this very object; the upload may be there still all the same."""
    faults = (
        Fault("end", lose_the_answer, END, on=(1,)),
        Fault("refused", refuse("s3", 412, "PreconditionFailed"), END, on=(1,)),
    )
    with scene_with(*faults, name="s3-moto") as scene:
        with scene.provider() as provider:
            [(_, receipt)] = provider.put_new_many({KEY: LARGE})
        assert not receipt.sent_whole
        assert receipt.left_unfinished
        assert scene.numbers() == [*range(1, PARTS + 1)]
        scene.require_stored(LARGE)


def refuse_conditions(status: int, code: str) -> Effect:
    """As servers that know no conditions of this request, and say so."""
    refusal = refuse("s3", status, code)

    def effect(exchange: Exchange) -> None:
        is_conditional = "if-none-match" in exchange.headers or "if-match" in exchange.headers
        refusal(exchange) if is_conditional else exchange.answer(exchange.forward())

    return effect


@pytest.mark.parametrize(
    ("status", "code"), [(501, "NotImplemented"), (400, "InvalidArgument"), (405, "MethodNotAllowed")]
)
def test_a_server_that_refuses_the_condition_of_an_end_is_asked_without_it(
    scene_with: Callable[..., Any], status: int, code: str
) -> None:
    """One that keeps conditions of a PUT. It is asked under a condition once; before each other end it is looked.
    Looked for in the replacement of an object, too, and in PUT and DELETE, where a probe tells.
    """
    with scene_with(Fault("unknown", refuse_conditions(status, code), END), name="s3-moto") as scene:
        with scene.provider() as provider:
            [(_, receipt)] = provider.put_new_many({KEY: LARGE})
            assert receipt.sent_whole
            assert not receipt.left_unfinished
            scene.require_stored(LARGE)
            other = PatternSource(LARGE.size_bytes + 1)
            provider.replace(KEY, other, provider.stat(KEY))
        assert len([line for line in scene.proxy.seen if re.search(END, line)]) == 3
        scene.require_stored(other)


def test_without_a_condition_nothing_takes_the_place_of_what_came_meanwhile(scene_with: Callable[..., Any]) -> None:
    """Between the first part and the end somebody else has stored an object."""
    with scene_with(Fault("unknown", refuse_conditions(501, "NotImplemented"), END), name="s3-moto") as scene:
        small = BytesSource(b"another one's")
        with scene.provider() as provider, closing(build_provider(scene.destination.provider_row())) as other:
            other.put(KEY, small)
            with pytest.raises(ConditionFailed):
                list(provider.put_new_many({KEY: LARGE}))
            assert b"".join(other.open(KEY)) == b"another one's"


def test_a_refusal_for_another_reason_is_no_sign_of_unknown_conditions(scene_with: Callable[..., Any]) -> None:
    refused = Fault("refused", refuse("s3", 400, "EntityTooSmall"), END, on=(1, 2))
    with scene_with(refused, name="s3-moto") as scene:
        with scene.provider() as provider:
            with pytest.raises(ProviderError, match="EntityTooSmall"):
                list(provider.put_new_many({KEY: LARGE}))
            list(provider.put_new_many({KEY: LARGE}))
        assert len([line for line in scene.proxy.seen if re.search(END, line)]) == 3
        scene.require_stored(LARGE)


@pytest.mark.parametrize("name", ["s3-rclone", "s3-swift"])
def test_an_upload_that_the_server_has_lost_is_begun_once_more(scene_with: Callable[..., Any], name: str) -> None:
    """moto answers 500 then."""

    def abandon_first(exchange: Exchange) -> None:
        with closing(build_provider(scene.destination.provider_row())) as others:
            others.discard_unfinished(KEY)
        exchange.answer(exchange.forward())

    with scene_with(Fault("lost", abandon_first, part(PARTS), on=(1,)), name=name) as scene:
        with scene.provider() as provider:
            provider.put(KEY, LARGE)
        scene.require_stored(LARGE)


def test_an_upload_that_is_lost_again_and_again_is_given_up(scene_with: Callable[..., Any]) -> None:
    lost = Fault("lost", refuse("s3", 404, "NoSuchUpload"), part(1))
    with scene_with(lost) as scene, scene.provider() as provider:
        with pytest.raises(ProviderUnavailable, match="se interrumpió en el servidor"):
            provider.put(KEY, LARGE)
        assert scene.numbers().count(1) == 2


# The next attempt


def fail_with_parts(scene: Scene, source: PatternSource = LARGE) -> None:
    """An attempt whose parts arrive, but for the last one."""
    with scene.provider() as provider, pytest.raises(AccessDenied):
        provider.put(KEY, source)
    scene.proxy.seen.clear()


def wants_all(_key: str) -> bool:
    return True


DENIED_ONCE = Fault("denied", DENIED, part(PARTS), on=(1,))


@pytest.mark.parametrize("name", SOME)
def test_the_next_run_sends_only_the_parts_that_are_missing(scene_with: Callable[..., Any], name: str) -> None:
    """What it has not sent is not proven by the checksum of what it has."""
    with scene_with(DENIED_ONCE, name=name) as scene:
        fail_with_parts(scene)
        with scene.provider() as provider:
            assert provider.discard_unfinished_but_for(DIRECTORY, wants_all)
            receipt = provider.put(KEY, LARGE)
            assert provider.stat(KEY).checksum in receipt.checksums
        assert scene.numbers() == [PARTS]
        assert not receipt.sent_whole
        scene.require_stored(LARGE)


@pytest.mark.parametrize("name", SOME)
def test_what_was_begun_with_other_bytes_is_begun_again(scene_with: Callable[..., Any], name: str) -> None:
    """Late requests of the earlier attempt would bring those."""

    class Changed(PatternSource):
        def chunks(self, chunk_size_bytes: int) -> Iterator[bytes]:
            for number, chunk in enumerate(super().chunks(chunk_size_bytes)):
                is_changed = PART_SIZE_BYTES <= number * chunk_size_bytes < 2 * PART_SIZE_BYTES
                yield flip_a_bit(chunk) if is_changed else chunk

    changed = Changed(LARGE.size_bytes)
    with scene_with(DENIED_ONCE, name=name) as scene:
        fail_with_parts(scene)
        with scene.provider() as provider:
            provider.discard_unfinished_but_for(DIRECTORY, wants_all)
            provider.put(KEY, changed)
        assert {*range(1, PARTS)} <= {*scene.numbers()}  # the last one maybe twice, as several are on their way at once
        scene.require_stored(changed)


def test_parts_that_cannot_be_listed_nor_discarded_are_reported(scene_with: Callable[..., Any]) -> None:
    """Until an attempt of which all is answered."""
    faults = (
        DENIED_ONCE,
        Fault("parts", DENIED, r"^GET .*large\?.*uploadId=", on=(1,)),
        Fault("abort", refuse("s3", 503, "InternalError"), "^DELETE .*uploadId=", on=(1,)),
    )
    with scene_with(*faults, name="s3-moto") as scene:
        fail_with_parts(scene)
        with scene.provider() as provider:
            assert provider.discard_unfinished_but_for(DIRECTORY, wants_all)
            assert provider.put(KEY, LARGE).left_unfinished
            provider.discard_unfinished(DIRECTORY)
            assert not provider.put(KEY, LARGE).left_unfinished
        scene.require_stored(LARGE)


def test_a_file_that_is_shorter_by_now_does_not_get_its_old_end(scene_with: Callable[..., Any]) -> None:
    longer, shorter = PatternSource(3 * PART_SIZE_BYTES + 1), PatternSource(PART_SIZE_BYTES + 5)
    with scene_with(Fault("denied", DENIED, part(4), on=(1,)), name="s3-swift") as scene:
        fail_with_parts(scene, longer)
        with scene.provider() as provider:
            provider.discard_unfinished_but_for(DIRECTORY, wants_all)
            provider.put(KEY, shorter)
        scene.require_stored(shorter)


@pytest.mark.parametrize("name", SOME)
def test_what_nobody_wants_any_more_is_discarded(scene_with: Callable[..., Any], name: str) -> None:
    with scene_with(DENIED_ONCE, name=name) as scene:
        fail_with_parts(scene)
        with scene.provider() as provider:
            assert not provider.discard_unfinished_but_for(DIRECTORY, lambda _: False)
        assert scene.destination.everything_stored() == set()


@pytest.mark.parametrize("name", SOME)
def test_of_two_unfinished_uploads_one_stays(scene_with: Callable[..., Any], name: str) -> None:
    with scene_with(Fault("denied", DENIED, part(PARTS), on=(1, 2)), name=name) as scene:
        fail_with_parts(scene)
        fail_with_parts(scene)
        with scene.provider() as provider:
            assert provider.discard_unfinished_but_for(DIRECTORY, wants_all)
            provider.put(KEY, LARGE)
        assert scene.numbers() == [PARTS]
        scene.require_stored(LARGE)


def test_what_was_discarded_meanwhile_is_begun_again(scene_with: Callable[..., Any]) -> None:
    """By somebody else who has the claim by now, and maybe has stored it."""
    with scene_with(DENIED_ONCE) as scene:
        fail_with_parts(scene)
        with scene.provider() as provider, closing(build_provider(scene.destination.provider_row())) as others:
            provider.discard_unfinished_but_for(DIRECTORY, wants_all)
            others.discard_unfinished(DIRECTORY)
            receipt = provider.put(KEY, LARGE)
        assert receipt.sent_whole
        scene.require_stored(LARGE)


@pytest.mark.parametrize("options", [{"storage_class": "STANDARD_IA"}, {"sse": "AES256"}], ids=["class", "encryption"])
def test_parts_that_were_begun_with_other_settings_are_not_used(
    scene_with: Callable[..., Any], options: dict[str, str]
) -> None:
    """No server shows with which encryption."""
    with scene_with(DENIED_ONCE, name="s3-moto") as scene:
        fail_with_parts(scene)
        scene.destination = scene.destination.with_options(**options)
        with scene.provider() as provider:
            assert not provider.discard_unfinished_but_for(DIRECTORY, wants_all)


def test_after_a_source_that_changed_no_part_is_left(scene_with: Callable[..., Any]) -> None:
    with scene_with() as scene:
        source = FailingSource(LARGE.size_bytes, LARGE.size_bytes, SourceChanged("x"))
        with scene.provider() as provider, pytest.raises(SourceChanged):
            provider.put(KEY, source)
        assert scene.destination.everything_stored() == set()


# Late requests of a run that is dead


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("late", ["the end", "a part"])
def test_a_late_request_to_an_upload_that_was_taken_over_changes_nothing(
    scene_with: Callable[..., Any], name: str, late: str
) -> None:
    """The file is another one by now."""
    held: list[Exchange] = []

    def hold(exchange: Exchange) -> None:
        _ = exchange.body
        held.append(exchange)
        exchange.reset()

    request = END if late == "the end" else part(1)
    newer = PatternSource(LARGE.size_bytes, seed=7)
    denied_after = Fault("denied", DENIED, request)
    with scene_with(Fault("held", hold, request, on=(1,)), denied_after, name=name) as scene:
        fail_with_parts(scene)
        with closing(build_provider(scene.destination.provider_row())) as others:
            others.discard_unfinished_but_for(DIRECTORY, wants_all)
            others.put(KEY, newer)
            with contextlib.suppress(ConnectionError):  # refused before it was read
                assert held[0].forward().status >= 400
        scene.require_stored(newer)


# What buckets with Object Lock ask for


def test_every_body_goes_with_its_md5(scene_with: Callable[..., Any]) -> None:
    """Small files by both ways, parts, manifests and probes: a bucket that keeps objects refuses what has none."""
    without: list[str] = []

    def look(exchange: Exchange) -> None:
        if exchange.body and not exchange.headers.get("Content-MD5"):
            without.append(f"{exchange.method} {urllib.parse.urlsplit(exchange.path).path}")
        exchange.answer(exchange.forward())

    with scene_with(Fault("look", look, "^PUT "), name="s3-moto") as scene, scene.provider() as provider:
        for number, size_bytes in enumerate((7, 300_000, PART_SIZE_BYTES, LARGE.size_bytes)):
            source = PatternSource(size_bytes)
            provider.put(f"{KEY}{number}", source)
            list(provider.put_new_many({f"{KEY}{number}-new": source}))
            provider.replace(f"{KEY}{number}", source, provider.stat(f"{KEY}{number}"))
        provider.check("p")
    assert without == []
