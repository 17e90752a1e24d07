"""A name of several addresses, of which some never answer, is connected to within the time of a single one.

Looked for in all ways by which requests go: our own connections, those of urllib3 for each SDK, and SSH. obstore's
client, in Rust, shares its time between the addresses itself.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

import pytest

from config.models import ProviderRow
from providers import build_provider
from providers.base import Provider
from providers.connecting import connect
from providers.errors import ProviderError
from providers.sources import BytesSource
from tests.faults.sftp_line import unroutable_port
from tests.servers.canned_http import Answer, CannedHttp

NAME = "many.test"
LONG_SECONDS = 60.0
"""Longer than a test may take, for one address that does not answer."""

SILENT_ADDRESSES = 16
"""As many as names of Google's have."""

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS"


@dataclass(frozen=True)
class Port:
    """A port at which 127.0.0.1 answers, and other addresses never do."""

    server: CannedHttp
    silent: Sequence[str]

    @property
    def number(self) -> int:
        return int(self.server.url.rpartition(":")[2])


@pytest.fixture(scope="module")
def port() -> Iterator[Port]:
    with CannedHttp(lambda _: Answer(404)) as server, ExitStack() as stack:
        port = Port(server, [f"127.0.1.{number}" for number in range(1, SILENT_ADDRESSES + 1)])
        for address in port.silent:
            stack.enter_context(unroutable_port(address, port.number))
        yield port


NO_FAMILY = "::1"
"""An address of a kind that this machine does not have, as IPv6 ones where that is off."""


def give_name(monkeypatch: pytest.MonkeyPatch, addresses: Sequence[str]) -> None:
    """Let `NAME` have these addresses, in this order."""
    look_up = socket.getaddrinfo

    def found(host: str, port: int, *more: int, **named: int) -> object:
        if host != NAME:
            return look_up(host, port, *more, **named)
        return [
            (socket.AF_IPX if address == NO_FAMILY else socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port))
            for address in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", found)


@pytest.mark.timeout(40)
def test_the_next_address_is_tried_while_the_first_one_is_silent(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    give_name(monkeypatch, [port.silent[0], "127.0.0.1"])
    with connect(NAME, port.number, LONG_SECONDS) as connected:
        assert connected.getpeername()[0] == "127.0.0.1"
        assert connected.gettimeout() == LONG_SECONDS


def test_an_address_that_refuses_is_followed_by_the_next(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    give_name(monkeypatch, ["127.0.2.1", "127.0.2.2", "127.0.0.1"])
    with connect(NAME, port.number, LONG_SECONDS) as connected:
        assert connected.getpeername()[0] == "127.0.0.1"


@pytest.mark.timeout(40)
def test_silent_addresses_share_the_time_of_one(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    give_name(monkeypatch, port.silent)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(TimeoutError):
        connect(NAME, port.number, 4.0)
    assert len(os.listdir("/proc/self/fd")) <= before, "an attempt is left open"


def test_addresses_that_all_refuse_are_a_refusal(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    give_name(monkeypatch, ["127.0.2.1", "127.0.2.2"])
    with pytest.raises(ConnectionRefusedError):
        connect(NAME, port.number, LONG_SECONDS)


def test_addresses_of_a_kind_that_this_machine_lacks_are_passed_over(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_name(monkeypatch, [NO_FAMILY, "127.0.0.1"])
    connect(NAME, port.number, LONG_SECONDS).close()
    give_name(monkeypatch, ["127.0.2.1", NO_FAMILY])
    with pytest.raises(ConnectionRefusedError):
        connect(NAME, port.number, LONG_SECONDS)
    give_name(monkeypatch, [NO_FAMILY])
    with pytest.raises(OSError, match="not supported"):
        connect(NAME, port.number, LONG_SECONDS)


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".test"])
def test_a_name_that_cannot_be_has_no_address(name: str) -> None:
    with pytest.raises(socket.gaierror):
        connect(name, 80, LONG_SECONDS)


@pytest.mark.timeout(40)
@pytest.mark.parametrize("use", ["stat", "put"])
@pytest.mark.parametrize("kind", ["s3", "azure", "gcs", "sftp"])
def test_every_kind_of_provider_reaches_the_address_that_answers(
    kind: str, use: str, port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_name(monkeypatch, [*port.silent, "127.0.0.1"])
    connections = port.server.connections
    with closing(provider_at(kind, port.number)) as provider:
        provider.progress.interruption.set()  # a request ends instead of being repeated
        with pytest.raises(ProviderError) as caught:
            provider.stat("key") if use == "stat" else provider.put("key", BytesSource(b"x"))
    assert port.server.connections > connections, caught.value


def provider_at(kind: str, port: int) -> Provider:
    url = f"http://{NAME}:{port}"
    credentials, options = {
        "s3": ({"access_key": "a", "secret_key": "s"}, {"bucket": "box", "endpoint_url": url}),
        "azure": ({"account_name": "account", "account_key": "a2V5"}, {"container": "box", "account_url": url}),
        "gcs": (None, {"bucket": "box", "endpoint_url": url}),
        "sftp": (
            {"host": NAME, "port": port, "username": "u", "password": "p", "host_key": HOST_KEY},
            {"base_path": "/box"},
        ),
    }[kind]
    return build_provider(ProviderRow(1, "Destino", kind, credentials, options, active=True))
