"""The requests that the S3 provider signs itself: pages, names and refusals as the servers of this world tell them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from config.models import ProviderRow, StoredObject
from providers import build_provider
from providers.base import AccessDenied, DestinationMissing, Provider, ProviderUnavailable
from tests.servers.canned_http import Answer, CannedHttp, Request

NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
ETAG = "5d41402abc4b2a76b9719d911017c592"


def item(name: str) -> str:
    return f'<Contents><Key>{name}</Key><Size>5</Size><ETag>"{ETAG}"</ETag><Owner><ID>x</ID></Owner></Contents>'


def listing(*names: str, fields: str = "", namespace: str = NAMESPACE) -> Answer:
    items = "".join(map(item, names))
    content = f"<?xml version='1.0' encoding='UTF-8'?><ListBucketResult {namespace}>{fields}{items}</ListBucketResult>"
    return Answer(200, content.encode())


@contextmanager
def provider_of(answer: Callable[[Request], Answer]) -> Iterator[tuple[Provider, list[Request]]]:
    with CannedHttp(answer) as server:
        options = {"bucket": "cubo", "endpoint_url": server.url}
        row = ProviderRow(1, "S3", "s3", {"access_key": "a", "secret_key": "b"}, options, active=True)
        with closing(build_provider(row)) as provider:
            yield provider, server.requests


def keys_of(answer: Answer) -> list[str]:
    with provider_of(lambda _: answer) as (provider, _):
        return [stored.key for stored in provider.list("p/")]


def test_a_listing_goes_on_from_page_to_page() -> None:
    def answer(request: Request) -> Answer:
        if "continuation-token=1%2Fx%3D%2B%20" in request.path:
            return listing("p/b")
        return listing(
            "p/a", fields="<IsTruncated>true</IsTruncated><NextContinuationToken>1/x=+ </NextContinuationToken>"
        )

    with provider_of(answer) as (provider, requests):
        assert [*provider.list("p/")] == [StoredObject(f"p/{name}", 5, f"etag:{ETAG}") for name in "ab"]
    assert [request.method for request in requests] == ["GET", "GET"]


@pytest.mark.parametrize(
    "fields",
    [
        "<IsTruncated>true</IsTruncated><NextContinuationToken>same</NextContinuationToken>",
        "<IsTruncated>true</IsTruncated>",
    ],
)
def test_a_listing_that_does_not_go_on_is_no_listing(fields: str) -> None:
    with pytest.raises(ProviderUnavailable):
        keys_of(listing("p/a", fields=fields))


def test_unfinished_uploads_are_found_on_every_page_before_the_first_is_discarded() -> None:
    def page(name: str, fields: str = "") -> Answer:
        upload = f"<Upload><Key>p/{name}</Key><UploadId>{name}-id</UploadId></Upload>"
        fields = f"<EncodingType>url</EncodingType>{fields}"
        root = "ListMultipartUploadsResult"
        return Answer(200, f"<{root} {NAMESPACE}>{fields}{upload}</{root}>".encode())

    def answer(request: Request) -> Answer:
        if request.method == "DELETE":
            return Answer(404, b"<Error><Code>NoSuchUpload</Code></Error>")
        if "key-marker=p%2F%20a" in request.path and "upload-id-marker=a-id" in request.path:
            return page("b")
        following = "<NextKeyMarker>p/%20a</NextKeyMarker><NextUploadIdMarker>a-id</NextUploadIdMarker>"
        return page("%20a", f"<IsTruncated>true</IsTruncated>{following}")

    with provider_of(answer) as (provider, requests):
        provider.abandon("p/")
    assert [request.method for request in requests] == ["GET", "GET", "DELETE", "DELETE"]
    assert [request.path for request in requests[2:]] == [
        "/cubo/p/%20a?uploadId=%2520a-id",
        "/cubo/p/b?uploadId=b-id",
    ]


def test_names_are_decoded_only_where_the_server_has_encoded_them() -> None:
    assert keys_of(listing("p/a%2Bb+c%0A", fields="<EncodingType>url</EncodingType>")) == ["p/a+b c\n"]
    assert keys_of(listing("p/a%2Bb+c &amp; d")) == ["p/a%2Bb+c & d"]


def test_a_listing_without_a_namespace_is_one_too() -> None:
    assert keys_of(listing("p/a", namespace="")) == ["p/a"]


@pytest.mark.parametrize("status", [200, 403])
def test_what_is_no_listing_is_refused(status: int) -> None:
    with pytest.raises(ProviderUnavailable if status == 200 else AccessDenied):
        keys_of(Answer(status, b"<html><body>login</body></html>"))


def test_an_answer_that_refuses_is_told_by_its_code() -> None:
    with pytest.raises(DestinationMissing, match="HTTP 404 NoSuchBucket"):
        keys_of(Answer(404, b"<Error><Code>NoSuchBucket</Code><Resource>/secret</Resource></Error>"))


def test_an_ordinary_bucket_is_used_without_boto3() -> None:
    """It takes 0.3 s of processor to import it and to make its client: more than all the rest of a short run."""
    program = (
        "import sys; from config.models import ProviderRow; from providers import build_provider\n"
        "options = {'bucket': 'cubo', 'endpoint_url': 'http://127.0.0.1:1'}\n"
        "row = ProviderRow(1, 'S3', 's3', {'access_key': 'a', 'secret_key': 'b'}, options, active=True)\n"
        "provider = build_provider(row)\n"
        "provider._requests, provider._upload\n"
        "sys.exit('boto3' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
