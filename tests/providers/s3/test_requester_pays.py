"""A bucket whose owner lets those pay who ask: every request says so, whatever carries it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace

from providers import build_provider
from providers.base import PART_SIZE_BYTES, Provider
from providers.sources import BytesSource
from tests.destinations import Destination
from tests.faults.http_effects import address_of, behind
from tests.faults.http_proxy import Exchange, Fault, HttpFaultProxy

MakeDestination = Callable[[str], Destination]


@contextlib.contextmanager
def noting_who_pays(destination: Destination, **options: object) -> Iterator[tuple[Provider, list[tuple[str, str]]]]:
    """A provider, and of each request its line and who pays for it."""
    seen: list[tuple[str, str]] = []

    def note(exchange: Exchange) -> None:
        seen.append((f"{exchange.method} {exchange.path}", exchange.headers.get("x-amz-request-payer", "")))
        exchange.answer(exchange.forward())

    with HttpFaultProxy(address_of(destination), Fault("noted", note)) as proxy:
        row = replace(behind(destination, proxy.url), options={**behind(destination, proxy.url).options, **options})
        with contextlib.closing(build_provider(row.provider_row())) as provider:
            yield provider, seen


def use_in_every_way(provider: Provider) -> None:
    """Small and large, with a condition, under a name that goes another way; read, list, discard, delete."""
    small, large = BytesSource(b"x"), BytesSource(bytes(PART_SIZE_BYTES + 1))
    for key, source in {"p/a": small, "p/grande": large, "p/\x01": small}.items():
        provider.put(key, source)
        assert sum(map(len, provider.open(key))) == source.size_bytes
    list(provider.put_new_many({"p/nuevo": small}))
    provider.replace("p/a", small, provider.stat("p/a"))
    provider.discard_unfinished("p/")
    for stored in list(provider.list("p/")):
        provider.delete_exactly(stored)


def test_every_request_says_that_this_account_pays(new_destination: MakeDestination) -> None:
    with noting_who_pays(new_destination("s3-moto"), pagador=True) as (provider, seen):
        use_in_every_way(provider)
    assert [line for line, payer in seen if payer != "requester"] == []
    assert {line.split(" ")[0] for line, _ in seen} == {"GET", "PUT", "POST", "HEAD", "DELETE"}


def test_none_says_so_unasked(new_destination: MakeDestination) -> None:
    with noting_who_pays(new_destination("s3-moto")) as (provider, seen):
        provider.put("p/a", BytesSource(b"x"))
        provider.delete("p/a")
    assert {payer for _, payer in seen} == {""}
