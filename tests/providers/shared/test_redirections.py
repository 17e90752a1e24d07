"""A server that sends its clients elsewhere, as proxies do from http to https: nobody follows, and errors say where.

Looked for in every request of the three kinds that speak HTTP. obstore, which sends Azure's files of medium size, does
not show whereto; it follows by itself when it reads an object, but a run has always looked at the place before by a
request that does not.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest

from config.models import ProviderRow
from providers import build_provider
from providers.base import Provider
from providers.errors import InvalidProviderSettings, ProviderError, ProviderUnavailable
from providers.sources import BytesSource
from tests.executions.sources import PatternSource
from tests.servers.canned_http import Answer, CannedHttp

pytestmark = pytest.mark.usefixtures("little_patience")

CREDENTIALS = {
    "s3": {"access_key": "a", "secret_key": "clave"},
    "azure": {"account_name": "cuenta", "account_key": "Y2xhdmU="},
    "gcs": None,
}
MEDIUM_BYTES = 1024 * 1024
REQUESTS: dict[str, Callable[[Provider], object]] = {
    "stat": lambda provider: provider.stat("key"),
    "small": lambda provider: provider.put("key", BytesSource(b"x")),
    "medium": lambda provider: provider.put("key", PatternSource(MEDIUM_BYTES)),
    "list": lambda provider: list(provider.list("key/")),
    "delete": lambda provider: provider.delete("key"),
}


def shown(kind: str, request_name: str, server: str) -> str:
    return "otra dirección" if (kind, request_name) == ("azure", "medium") else server


def error_of(kind: str, answer: Answer, use: Callable[[Provider], object]) -> ProviderError:
    with CannedHttp(lambda _: answer) as server:
        options = {
            "s3": {"bucket": "cubo", "endpoint_url": server.url},
            "azure": {"container": "caja", "account_url": f"{server.url}/cuenta"},
            "gcs": {"bucket": "cubo", "endpoint_url": server.url},
        }[kind]
        row = ProviderRow(1, "Nube", kind, CREDENTIALS[kind], options, active=True)
        with closing(build_provider(row)) as provider:
            provider.progress.interruption.set()  # a request ends instead of being repeated
            with pytest.raises(ProviderError) as caught:
                use(provider)
    return caught.value


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("kind", CREDENTIALS)
def test_a_server_that_has_moved_is_named_and_waits_for_a_person(kind: str, request_name: str) -> None:
    elsewhere = {"Location": "https://user:secreto@nuevo.test:1/cubo/key?sig=secreto"}
    error = error_of(kind, Answer(301, b"<html></html>", elsewhere), REQUESTS[request_name])
    assert isinstance(error, InvalidProviderSettings), error
    assert f"manda a {shown(kind, request_name, 'https://nuevo.test:1')} (HTTP 301)" in str(error)
    assert "corrija la dirección en configuracion" in str(error)
    assert "secreto" not in str(error)


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("kind", CREDENTIALS)
def test_a_server_that_sends_elsewhere_for_now_is_unavailable(kind: str, request_name: str) -> None:
    """As the login page of a network does."""
    portal = {"Location": "http://portal.test/login"}
    error = error_of(kind, Answer(302, b"<html></html>", portal), REQUESTS[request_name])
    assert type(error) is ProviderUnavailable, error
    assert f"manda a {shown(kind, request_name, 'http://portal.test')} (HTTP 302)" in str(error)


@pytest.mark.parametrize("location", ["/other", "http://[", ""])
@pytest.mark.parametrize("status", [301, 308])
@pytest.mark.parametrize("kind", CREDENTIALS)
def test_an_address_that_names_no_server_is_not_repeated(kind: str, status: int, location: str) -> None:
    error = error_of(kind, Answer(status, headers={"Location": location}), REQUESTS["small"])
    assert isinstance(error, InvalidProviderSettings), error
    assert f"manda a otra dirección (HTTP {status})" in str(error)
