"""The requests that the S3 provider signs itself: pages, names and refusals as the servers of this world tell them."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from email.utils import formatdate
from urllib.parse import parse_qs, quote_plus, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest
import urllib3.connection

import providers.retries
import providers.s3.provider
import providers.s3.session
from config.errors import MigrationError
from config.models import ProviderRow, StoredObject
from providers import build_provider
from providers.base import Provider
from providers.errors import (
    AccessDenied,
    DestinationMissing,
    IntegrityError,
    ObjectNotFound,
    ProviderError,
    ProviderUnavailable,
)
from providers.sources import BytesSource
from tests.constants import change_constant
from tests.servers.canned_http import Answer, CannedHttp, Request

pytestmark = pytest.mark.usefixtures("little_patience")

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


@pytest.mark.parametrize("true", ["true", "True", "TRUE"])
def test_a_listing_continues_from_page_to_page(true: str) -> None:
    def answer(request: Request) -> Answer:
        if "continuation-token=1%2Fx%3D%2B%20" in request.path:
            return listing("p/b")
        return listing(
            "p/a", fields=f"<IsTruncated>{true}</IsTruncated><NextContinuationToken>1/x=+ </NextContinuationToken>"
        )

    with provider_of(answer) as (provider, requests):
        assert [*provider.list("p/")] == [StoredObject(f"p/{name}", 5, f"etag:{ETAG}") for name in "ab"]
    assert [request.method for request in requests] == ["GET", "GET"]


REFUSED_FOR_A_WHILE = {
    "slow down": Answer(503, b"<Error><Code>SlowDown</Code></Error>"),
    "broken": Answer(500),
    "cut": Answer(200, b"<ListBucketResult>" + b" " * 100, cut_after_bytes=50),
    "senseless": Answer(200, b"<html>"),
}


@pytest.mark.parametrize("case", REFUSED_FOR_A_WHILE)
def test_a_page_that_fails_once_is_asked_for_once_more_and_no_other(case: str) -> None:
    """Looked for in the listings of objects, of unfinished uploads and of their parts, which are one function."""
    failing = iter([REFUSED_FOR_A_WHILE[case]])

    def answer(request: Request) -> Answer:
        found = re.search(r"continuation-token=(\d)", request.path)
        page = int(found[1]) if found else 0
        if page == 3:
            return next(failing, listing("p/3"))
        fields = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{page + 1}</NextContinuationToken>"
        return listing(f"p/{page}", fields=fields)

    with provider_of(answer) as (provider, requests):
        assert [stored.key for stored in provider.list("p/")] == [f"p/{page}" for page in range(4)]
    assert len(requests) == 5


@pytest.mark.parametrize("retry_after", ["2", "date"])
def test_a_server_that_asks_to_be_left_alone_is(retry_after: str) -> None:
    """Seconds or a date. Looked for in each way to send: `tests/providers/shared/test_direct_http.py` has the other."""
    asked_at: list[float] = []

    def answer(_: Request) -> Answer:
        asked_at.append(time.monotonic())
        if len(asked_at) == 2:
            text = retry_after if retry_after == "2" else formatdate(time.time() + 3, usegmt=True)
            return Answer(503, headers={"Retry-After": text})
        if len(asked_at) > 2:
            return listing("p/b")
        return listing("p/a", fields="<IsTruncated>true</IsTruncated><NextContinuationToken>1</NextContinuationToken>")

    with provider_of(answer) as (provider, _):
        assert len(list(provider.list("p/"))) == 2
    assert 1.9 <= asked_at[2] - asked_at[1] <= 5


@pytest.mark.parametrize(
    "fields",
    [
        "<IsTruncated>true</IsTruncated><NextContinuationToken>same</NextContinuationToken>",
        "<IsTruncated>true</IsTruncated>",
    ],
)
def test_a_listing_that_does_not_continue_is_no_listing(fields: str) -> None:
    with pytest.raises(ProviderUnavailable):
        keys_of(listing("p/a", fields=fields))


@pytest.mark.parametrize("true", ["true", "True", "TRUE"])
def test_unfinished_uploads_are_found_on_every_page_before_the_first_is_discarded(true: str) -> None:
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
        return page("%20a", f"<IsTruncated>{true}</IsTruncated>{following}")

    with provider_of(answer) as (provider, requests):
        provider.discard_unfinished("p/")
    assert [request.method for request in requests] == ["GET", "GET", "DELETE", "DELETE"]
    assert [request.path for request in requests[2:]] == [
        "/cubo/p/%20a?uploadId=%2520a-id",
        "/cubo/p/b?uploadId=b-id",
    ]


ODD_UPLOAD_ID = "a+b/c=&<d> é"
"""Of characters that mean something else in an address or in XML."""


@pytest.mark.parametrize(
    "name", ["a&b<c>\"'", "tab\tand %2F+", "new\nline", "?uploads=#x", "\u00f1 日本", "back\\slash."]
)
@pytest.mark.parametrize("encoded", [True, False])
def test_an_unfinished_upload_of_an_odd_name_is_discarded_by_that_name(name: str, encoded: bool) -> None:
    """The key and the server's own name for the upload go from XML to an address. XML that is not encoded besides holds
    no control characters but these two.
    """
    shown = quote_plus(f"p/{name}") if encoded else escape(f"p/{name}")
    upload = f"<Upload><Key>{shown}</Key><UploadId>{escape(ODD_UPLOAD_ID)}</UploadId></Upload>"
    encoding = "<EncodingType>url</EncodingType>" if encoded else ""
    listed = f"<ListMultipartUploadsResult {NAMESPACE}>{encoding}{upload}</ListMultipartUploadsResult>"

    for prefix in ("p/", f"p/{name}"):
        with provider_of(lambda request: Answer(204 if request.method == "DELETE" else 200, listed.encode())) as (
            provider,
            requests,
        ):
            provider.discard_unfinished(prefix)
        address = urlsplit(requests[-1].path)
        assert requests[-1].method == "DELETE"
        assert unquote(address.path) == f"/cubo/p/{name}"
        assert parse_qs(address.query, strict_parsing=True) == {"uploadId": [ODD_UPLOAD_ID]}


def server_without_conditions(*ends: Answer) -> Callable[[Request], Answer]:
    """One that stores in parts, each of which has the ETag `"e"`; what it answers to the ends of uploads, in turn."""
    result = "InitiateMultipartUploadResult"
    answers = iter(ends)

    def answer(request: Request) -> Answer:
        if request.method == "HEAD":
            return Answer(404)
        if request.method == "GET":
            return Answer(200, b"<ListMultipartUploadsResult/>")
        if request.method == "PUT":
            return Answer(501 if "partNumber" not in request.path else 200, headers={"ETag": '"e"'})
        if request.method == "POST" and "uploads" in request.path:
            return Answer(200, f"<{result} {NAMESPACE}><UploadId>id</UploadId></{result}>".encode())
        return next(answers) if request.path.startswith("/cubo/p/a?") and request.method == "POST" else Answer(204)

    return answer


COMPLETED = Answer(200, b"<CompleteMultipartUploadResult/>")


def completed_late(code: str) -> Answer:
    """S3 may say that it could not in an answer of success, which it begins while it is still at work; spaces come
    before.
    """
    return Answer(200, f"  <Error><Code>{code}</Code></Error>".encode())


def test_an_upload_that_cannot_be_completed_after_all_is_reported() -> None:
    server = server_without_conditions(completed_late("EntityTooSmall"))
    with provider_of(server) as (provider, requests), pytest.raises(ProviderError):
        provider.replace("p/a", BytesSource(b"x"), None)
    assert requests[-1].method == "DELETE"
    assert "uploadId=id" in requests[-1].path


@pytest.mark.parametrize("code", ["InternalError", "SlowDown"])
def test_the_end_of_an_upload_that_fails_once_is_repeated_alone(code: str) -> None:
    with provider_of(server_without_conditions(completed_late(code), COMPLETED)) as (provider, requests):
        provider.replace("p/a", BytesSource(b"x"), None)
    sent = [request.method for request in requests if re.match(r"/cubo/p/a\?(partNumber|uploadId)=", request.path)]
    assert sent == ["PUT", "POST", "POST"]


def test_names_are_decoded_only_where_the_server_has_encoded_them() -> None:
    assert keys_of(listing("p/a%2Bb+c%0A", fields="<EncodingType>url</EncodingType>")) == ["p/a+b c\n"]
    assert keys_of(listing("p/a%2Bb+c &amp; d")) == ["p/a%2Bb+c & d"]


def test_a_listing_without_a_namespace_is_one_too() -> None:
    assert keys_of(listing("p/a", namespace="")) == ["p/a"]


@pytest.mark.parametrize("status", [200, 403])
def test_what_is_no_listing_is_refused(status: int) -> None:
    with pytest.raises(ProviderUnavailable if status == 200 else AccessDenied):
        keys_of(Answer(status, b"<html><body>login</body></html>"))


def test_an_answer_that_refuses_is_reported_by_its_code() -> None:
    with pytest.raises(DestinationMissing, match="HTTP 404 NoSuchBucket"):
        keys_of(Answer(404, b"<Error><Code>NoSuchBucket</Code><Resource>/secret</Resource></Error>"))


def test_an_ordinary_bucket_is_used_without_boto3() -> None:
    """It takes 0.3 s of processor to import it and to make its client: more than all the rest of a short run."""
    program = (
        "import contextlib, sys; from config.models import ProviderRow; from providers import build_provider\n"
        "from providers.errors import ProviderUnavailable; from providers.sources import BytesSource\n"
        "options = {'bucket': 'cubo', 'endpoint_url': 'http://127.0.0.1:1'}\n"
        "row = ProviderRow(1, 'S3', 's3', {'access_key': 'a', 'secret_key': 'b'}, options, active=True)\n"
        "provider = build_provider(row)\n"
        "with contextlib.suppress(ProviderUnavailable):\n"
        "    sys.exit(f'{list(provider.list(str()))} is listed where no server is')\n"
        "with contextlib.suppress(ProviderUnavailable):\n"
        "    sys.exit(f'{provider.put(str(1), BytesSource(bytes()))} is stored where no server is')\n"
        "sys.exit('boto3' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


CONTENT = bytes(range(250))
RANGE_BYTES = 100
RANGES = ["bytes=0-99", "bytes=100-199", "bytes=200-249"]


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers.s3.provider, "RANGE_SIZE_BYTES", RANGE_BYTES)


def asked(request: Request) -> tuple[int, int]:
    """The first and the last byte that a request asks for."""
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers["Range"])
    assert found
    return int(found[1]), int(found[2])


def as_amazon(request: Request) -> Answer:
    first, last = asked(request)
    return Answer(206, CONTENT[first : last + 1], {"Content-Range": f"bytes {first}-{last}/{len(CONTENT)}"})


def as_rclone(request: Request) -> Answer:
    first, last = asked(request)
    return Answer(200, CONTENT[first : last + 1])


def everything(_request: Request) -> Answer:
    return Answer(200, CONTENT)


@pytest.mark.parametrize(
    ("answer", "ranges"),
    [(as_amazon, RANGES), (as_rclone, RANGES), (everything, RANGES[:1])],
    ids=["as Amazon", "as rclone", "everything"],
)
@pytest.mark.usefixtures("small_ranges")
def test_a_large_object_comes_in_ranges_or_all_at_once(answer: Callable[[Request], Answer], ranges: list[str]) -> None:
    with provider_of(answer) as (provider, requests):
        assert b"".join(provider.open_sized("p/large", len(CONTENT))) == CONTENT
    assert [request.headers["Range"] for request in requests] == ranges
    assert {(request.method, request.path) for request in requests} == {("GET", "/cubo/p/large")}


@pytest.mark.usefixtures("small_ranges")
def test_an_object_of_the_size_of_a_range_is_asked_for_whole() -> None:
    whole = Answer(200, CONTENT[:100], {"Last-Modified": "Fri, 01 Jan 2021 00:00:00 GMT", "ETag": '"x"'})
    with provider_of(lambda _: whole) as (provider, requests):
        assert b"".join(provider.open_sized("p/small", RANGE_BYTES)) == whole.body
    assert ["Range" in request.headers for request in requests] == [False]


@pytest.mark.usefixtures("small_ranges")
def test_what_does_not_end_where_it_was_announced_is_given_as_it_is() -> None:
    """Whoever reads sees that there is more, and does not believe it."""
    with provider_of(lambda _: Answer(200, CONTENT * 2)) as (provider, requests):
        assert b"".join(provider.open_sized("p/large", len(CONTENT))) == CONTENT * 2
    assert len(requests) == 1


SECOND = {"Content-Range": "bytes 100-199/250"}
SECRET = b"<Error><Code>%b</Code><Message>FILTRADO</Message></Error>"

WRONG_ANSWERS: dict[str, tuple[Answer, type[MigrationError]]] = {
    "more than was asked for": (Answer(206, CONTENT[100:201], SECOND), ProviderUnavailable),
    "another range": (Answer(206, CONTENT[:100], {"Content-Range": "bytes 0-99/250"}), ProviderUnavailable),
    "no length": (Answer(206, CONTENT[100:200], {"Content-Length": "FILTRADO"}), ProviderUnavailable),
    "less than was asked for": (Answer(206, CONTENT[100:150], SECOND), IntegrityError),
    "no such range": (Answer(416, SECRET % b"InvalidRange"), IntegrityError),
    "a connection that breaks": (Answer(206, CONTENT[100:200], SECOND, cut_after_bytes=50), ProviderUnavailable),
    "a connection that breaks at once": (Answer(206, CONTENT[100:200], SECOND, 0), ProviderUnavailable),
    "no such object": (Answer(404, SECRET % b"NoSuchKey"), ObjectNotFound),
    "no such bucket": (Answer(404, SECRET % b"NoSuchBucket"), DestinationMissing),
    "denied": (Answer(403, SECRET % b"AccessDenied"), AccessDenied),
    "denied by half": (Answer(403, SECRET % b"AccessDenied", cut_after_bytes=20), AccessDenied),
    "busy": (Answer(503, SECRET % b"SlowDown"), ProviderUnavailable),
}


PASSING = [case for case, (_, error_class) in WRONG_ANSWERS.items() if error_class is ProviderUnavailable]


def once_wrong(wrong: Answer) -> Callable[[Request], Answer]:
    """As Amazon, but for the first answer to the second range."""
    answers = iter([wrong])

    def answer(request: Request) -> Answer:
        return next(answers, as_amazon(request)) if asked(request)[0] == RANGE_BYTES else as_amazon(request)

    return answer


@pytest.mark.parametrize("case", [case for case in WRONG_ANSWERS if case not in PASSING])
@pytest.mark.usefixtures("small_ranges")
def test_what_is_not_the_range_that_was_asked_for_is_an_error(case: str) -> None:
    wrong, error_class = WRONG_ANSWERS[case]
    with provider_of(once_wrong(wrong)) as (provider, requests):
        pieces = provider.open_sized("p/large", len(CONTENT))
        assert next(pieces) == CONTENT[:RANGE_BYTES]
        with pytest.raises(MigrationError) as caught:
            list(pieces)
    assert type(caught.value) is error_class
    assert "FILTRADO" not in "".join(traceback.format_exception(caught.value))
    assert [request.headers["Range"] for request in requests] == RANGES[:2]


@pytest.mark.parametrize("case", PASSING)
@pytest.mark.usefixtures("small_ranges")
def test_a_range_that_fails_once_is_asked_for_once_more_and_no_other(case: str) -> None:
    """What has come of it is not asked for again, either. Looked for in every request of a read: see
    `tests/providers/shared/test_resumed_reads.py`; in listings:
    `test_a_page_that_fails_once_is_asked_for_once_more_and_no_other`.
    """
    with provider_of(once_wrong(WRONG_ANSWERS[case][0])) as (provider, requests):
        assert b"".join(provider.open_sized("p/large", len(CONTENT))) == CONTENT
    missing = "bytes=150-199" if case == "a connection that breaks" else RANGES[1]
    assert [request.headers["Range"] for request in requests] == [*RANGES[:2], missing, RANGES[2]]


@pytest.mark.usefixtures("small_ranges")
def test_a_server_without_ranges_that_cuts_sends_everything_again_and_nothing_is_read_twice() -> None:
    cut = iter([Answer(200, CONTENT, cut_after_bytes=170)])
    with provider_of(lambda _: next(cut, Answer(200, CONTENT))) as (provider, requests):
        assert b"".join(provider.open_sized("p/large", len(CONTENT))) == CONTENT
    assert [request.headers["Range"] for request in requests] == ["bytes=0-99", "bytes=170-199"]


@pytest.mark.usefixtures("small_ranges")
def test_an_object_that_changes_between_two_ranges_is_an_error() -> None:
    def answer(request: Request) -> Answer:
        first, last = asked(request)
        content_range = f"bytes {first}-{last}/{len(CONTENT)}"
        return Answer(206, CONTENT[first : last + 1], {"Content-Range": content_range, "ETag": f'"{first // 200}"'})

    with provider_of(answer) as (provider, requests), pytest.raises(IntegrityError, match="cambió"):
        list(provider.open_sized("p/large", len(CONTENT)))
    assert len(requests) == len(RANGES)


@pytest.mark.parametrize("key", ["p/small", "p/new\nline"])
def test_a_small_object_is_read_on_where_it_was_cut(key: str) -> None:
    """By the general client and by our own requests."""
    whole = {"Last-Modified": "Fri, 01 Jan 2021 00:00:00 GMT", "ETag": '"x"'}

    def answer(request: Request) -> Answer:
        if "Range" not in request.headers:
            return Answer(200, CONTENT, whole, cut_after_bytes=120)
        found = re.fullmatch(r"bytes=(\d+)-249", request.headers["Range"])
        assert found
        first = int(found[1])
        return Answer(206, CONTENT[first:], {"Content-Range": f"bytes {first}-249/250", "ETag": '"x"'})

    with provider_of(answer) as (provider, requests):
        assert b"".join(provider.open(key)) == CONTENT
    assert [request.headers.get("Range") for request in requests] == [None, "bytes=120-249"]


@pytest.mark.usefixtures("small_ranges")
def test_the_first_range_may_be_too_short_too() -> None:
    with provider_of(lambda _: Answer(206, CONTENT[:50])) as (provider, _), pytest.raises(IntegrityError):
        list(provider.open_sized("p/large", len(CONTENT)))


@pytest.mark.usefixtures("small_ranges")
@pytest.mark.parametrize("answer", [Answer(206, CONTENT[:100], SECOND), Answer(403, b"x" * 100)], ids=["range", "no"])
def test_a_range_at_a_trickle_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> None:
    change_constant("providers__base__ANSWER_TIMEOUT_SECONDS", 0.5, monkeypatch.setattr)
    monkeypatch.setattr(providers.s3.session, "CONNECT_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(providers.retries, "RETRY_BUDGET_SECONDS", 0.5)  # less than the patience, as it is
    slow = replace(answer, headers={}, seconds_per_byte=0.1)
    with provider_of(lambda _: slow) as (provider, _), pytest.raises(ProviderUnavailable):  # at its end: another error
        list(provider.open_sized("p/large", len(CONTENT)))


@pytest.mark.usefixtures("small_ranges")
def test_ranges_of_one_object_share_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    really_connect = urllib3.connection.HTTPConnection.connect

    def connect(connection: urllib3.connection.HTTPConnection) -> None:
        made.append(connection)
        really_connect(connection)

    monkeypatch.setattr(urllib3.connection.HTTPConnection, "connect", connect)
    with provider_of(as_amazon) as (provider, _):
        list(provider.open_sized("p/large", len(CONTENT)))
    assert len(made) == 1
