"""The listings that the Azure provider asks for itself: pages, names and refusals. Signatures are proven on Azurite."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from config.models import ProviderRow, StoredObject
from providers import build_provider
from providers.base import Provider
from providers.errors import AccessDenied, DestinationMissing, ProviderError, ProviderUnavailable
from tests.servers.canned_http import Answer, CannedHttp, Request

pytestmark = pytest.mark.usefixtures("little_patience")

MD5 = bytes(range(16))
PROPERTIES = (
    "<Properties><Etag>0x1</Etag><Content-Length>5</Content-Length>"
    f"<Content-MD5>{base64.b64encode(MD5).decode()}</Content-MD5></Properties>"
)


def blob(name: str, properties: str = PROPERTIES, encoded: str = "", metadata: str = "") -> str:
    return f"<Blob><Name{encoded}>{name}</Name>{properties}<Metadata>{metadata}</Metadata></Blob>"


def listing(*blobs: str, following: str = "") -> Answer:
    content = f"<EnumerationResults><Blobs>{''.join(blobs)}</Blobs><NextMarker>{following}</NextMarker>"
    return Answer(200, f"\ufeff<?xml version='1.0' encoding='utf-8'?>{content}</EnumerationResults>".encode())


@contextmanager
def provider_of(answer: Callable[[Request], Answer]) -> Iterator[tuple[Provider, list[Request]]]:
    with CannedHttp(answer) as server:
        credentials = {"account_name": "cuenta", "account_key": base64.b64encode(b"key").decode()}
        options = {"container": "caja", "account_url": f"{server.url}/cuenta"}
        row = ProviderRow(1, "Azure", "azure", credentials, options, active=True)
        with closing(build_provider(row)) as provider:
            yield provider, server.requests


def listed(answer: Answer) -> list[StoredObject]:
    with provider_of(lambda _: answer) as (provider, _):
        return [*provider.list("p/")]


def test_a_listing_continues_from_page_to_page() -> None:
    def answer(request: Request) -> Answer:
        return listing(blob("p/b")) if "marker=2%21x%3D" in request.path else listing(blob("p/a"), following="2!x=")

    with provider_of(answer) as (provider, requests):
        assert [*provider.list("p/")] == [StoredObject(f"p/{name}", 5, f"md5:{MD5.hex()}") for name in "ab"]
    assert [request.method for request in requests] == ["GET", "GET"]


def test_a_listing_that_does_not_continue_is_no_listing() -> None:
    with pytest.raises(ProviderUnavailable):
        listed(listing(blob("p/a"), following="same"))


def test_names_are_decoded_only_where_azure_has_encoded_them() -> None:
    found = listed(listing(blob("p/100%25+x", encoded=" Encoded='true'"), blob("p/50%25 &amp; y")))
    assert [stored.key for stored in found] == ["p/100%+x", "p/50%25 & y"]


def test_directories_of_a_hierarchical_namespace_are_no_objects() -> None:
    mark = "<hdi_isfolder>true</hdi_isfolder>"
    assert [stored.key for stored in listed(listing(blob("p/d", metadata=mark), blob("p/d/a")))] == ["p/d/a"]


def test_a_blob_without_a_checksum_has_none() -> None:
    properties = "<Properties><Etag>0x1</Etag><Content-Length>5</Content-Length><Content-MD5/></Properties>"
    assert listed(listing(blob("p/a", properties))) == [StoredObject("p/a", 5)]


@pytest.mark.parametrize(
    "properties",
    [
        "<Properties/>",
        "<Properties><Content-Length>5</Content-Length></Properties>",
        "<Properties><Etag>0x1</Etag></Properties>",
        "<Properties><Etag>0x1</Etag><Content-Length>five</Content-Length></Properties>",
        "<Properties><Etag>0x1</Etag><Content-Length>5</Content-Length><Content-MD5>!</Content-MD5></Properties>",
    ],
)
def test_a_blob_that_is_not_described_is_none(properties: str) -> None:
    with pytest.raises(ProviderUnavailable, match="no se entiende"):
        listed(listing(blob("p/a", properties)))


@pytest.mark.parametrize(
    "content", [b"<html><body>login</body></html>", b"<EnumerationResults/>", b"", b"<EnumerationResults><Blobs>"]
)
def test_what_is_no_listing_is_refused(content: bytes) -> None:
    with pytest.raises(ProviderUnavailable, match="no se entiende"):
        listed(Answer(200, content))


def test_a_blob_without_a_name_is_no_listing() -> None:
    with pytest.raises(ProviderUnavailable, match="no se entiende"):
        listed(listing(blob("")))


@pytest.mark.parametrize(
    ("status", "code", "error_class"),
    [
        (404, "ContainerNotFound", DestinationMissing),
        (403, "AuthenticationFailed", AccessDenied),
        (503, "ServerBusy", ProviderUnavailable),
        (307, "", ProviderError),
    ],
)
def test_an_answer_that_refuses_is_reported_by_its_code(
    status: int, code: str, error_class: type[ProviderError]
) -> None:
    headers = {"x-ms-error-code": code, "Location": "http://127.0.0.1:1/"}
    with pytest.raises(error_class, match=f"HTTP {status} {code}".strip()):
        listed(Answer(status, b"", headers))
