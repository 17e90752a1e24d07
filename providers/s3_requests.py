"""The requests of S3 that every execution needs, signed by botocore and sent through its HTTP session.

boto3 would do the same at two to four times the CPU time, most of it spent on reading dates that nobody asks for; and
it takes 0.3 s to import it and to make its client, which a short run feels.
"""

from __future__ import annotations

import contextlib
import re
import urllib.parse
import xml.sax.saxutils
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from xml.etree import ElementTree

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError
from botocore.httpsession import URLLib3Session
from botocore.response import StreamingBody
from botocore.utils import get_environ_proxies

from providers.answers import PATIENCE_SECONDS, paced, unintelligible
from providers.base import ANSWER_TIMEOUT_SECONDS, CONNECT_TIMEOUT_SECONDS, IntegrityError

CONNECTIONS = 32
"""Connections that are kept open: more than the threads that anyone uses."""

PIECE_SIZE_BYTES = 256 * 1024
"""How much of an object is read at a time: large enough for Python, and still in the processor's cache afterwards."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One object as S3 tells of it. `name` is the stored one; `etag` is as S3 shows it."""

    name: str
    size_bytes: int
    etag: str


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An upload in parts that was begun: to which stored name, and the server's own name for it."""

    name: str
    upload_id: str


class NoSuchUpload(ClientError):
    """The server knows no such upload; for some (gofakes3, and so rclone's) also: it knows none at all."""


class S3Requests:
    """Lists, reads and deletes objects of one bucket, and what is unfinished there; stores what needs conditions. Safe
    for several threads.

    Raises what boto3 would: `ClientError` for an answer that refuses, other botocore exceptions where none comes, now
    and then one of urllib3's where one breaks off.
    """

    def __init__(
        self,
        bucket_url: str,
        region: str,
        credentials: Callable[[], ReadOnlyCredentials],
        certificates: str,
        answer_timeout_seconds: float = ANSWER_TIMEOUT_SECONDS,
        every_header: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`every_header` goes with each request."""
        self._bucket_url = bucket_url
        self._region = region
        self._credentials = credentials
        self._every_header = every_header
        session: Any = URLLib3Session  # its stubs know neither a file of certificates nor two timeouts
        self._http = session(
            verify=certificates,
            proxies=get_environ_proxies(bucket_url),
            timeout=(CONNECT_TIMEOUT_SECONDS, answer_timeout_seconds),
            max_pool_connections=CONNECTIONS,
        )
        use_paced_connections(self._http, CONNECT_TIMEOUT_SECONDS + answer_timeout_seconds)

    def list(self, prefix: str, after: str | None = None) -> Iterator[Listed]:
        """Every object whose stored name begins with `prefix`, in the server's order, a page at a time.

        Or only those that come after a name in that order, at least where there is an object of that name.
        """
        beginning = {} if after is None else {"start-after": after}
        for item in self._items(OBJECTS, {"list-type": "2", "prefix": prefix}, beginning):
            yield Listed(item["Key"], int(item["Size"]), item["ETag"])

    def unfinished_uploads(self, prefix: str) -> Iterator[Unfinished]:
        """Every upload in parts, to a name that begins with `prefix`, that was neither finished nor aborted."""
        for item in self._items(UPLOADS, {"uploads": "", "prefix": prefix}, {}):
            yield Unfinished(item["Key"], item["UploadId"])

    def _items(self, listing: _Listing, query: dict[str, str], beginning: dict[str, str]) -> Iterator[dict[str, str]]:
        following = beginning
        while True:
            answer = self._send("GET", self._bucket_url, {**query, "encoding-type": "url", **following})
            items, next_following = listing.page(answer.content)
            yield from items
            if not next_following:
                return
            if next_following == following:
                raise unintelligible("un listado que no avanza")
            following = next_following

    def head(self, name: str) -> Listed:
        """What is stored under `name`."""
        headers = self._send("HEAD", self._url_of(name)).headers
        return Listed(name, int(headers["Content-Length"]), headers["ETag"])

    def read_in_ranges(self, name: str, size_bytes: int, range_bytes: int) -> Iterator[bytes]:
        """The bytes under `name`, of which there should be so many, by requests for ranges, one after another.

        A server that knows no ranges sends everything at once, and that is read through. Raises `IntegrityError` when
        there are fewer bytes, `ProviderUnavailable` for other bytes than those that were asked for.
        """
        for start in range(0, size_bytes, range_bytes):
            asked_bytes = min(range_bytes, size_bytes - start)
            answer = self._answer_with_range(name, start, asked_bytes)
            with contextlib.closing(answer.raw):
                announced_bytes = int(answer.headers["Content-Length"])
                is_everything = start == 0 and answer.status_code == 200 and announced_bytes > asked_bytes
                if not is_everything:
                    _require_range(answer.headers.get("Content-Range"), announced_bytes, start, asked_bytes)
                yield from _pieces(answer.raw, announced_bytes)
            if is_everything:
                return

    def _answer_with_range(self, name: str, start: int, size_bytes: int) -> Any:
        """The beginning of an answer, whose body is still to come."""
        request = AWSRequest("GET", self._url_of(name), stream_output=True)
        request.headers["Range"] = f"bytes={start}-{start + size_bytes - 1}"
        answer = self._answer_to(request)
        if not _accepts(answer):
            with contextlib.closing(answer.raw):
                content = next(_pieces(answer.raw, None), b"")
            raise _refused(answer.status_code, content, "GET", answer.headers)
        return answer

    def delete(self, name: str) -> None:
        """Remove what is stored under `name`; nothing there is no error."""
        self._send("DELETE", self._url_of(name))

    def delete_if(self, name: str, etag: str) -> None:
        """As `delete`, while the object has this ETag, where the server knows such a condition."""
        self._send("DELETE", self._url_of(name), headers={"If-Match": etag})

    def put(self, name: str, content: bytes, headers: Mapping[str, str]) -> None:
        """Store an object in one request, with these headers besides."""
        self._send("PUT", self._url_of(name), headers=headers, content=content)

    def begin_upload(self, name: str, headers: Mapping[str, str]) -> Unfinished:
        """Begin an upload in parts."""
        root = _parsed(self._send("POST", self._url_of(name), {"uploads": ""}, headers).content)
        upload_id = next((node.text for node in root if _plain(node.tag) == "UploadId"), None)
        if not upload_id:
            raise unintelligible("no es una subida")
        return Unfinished(name, upload_id)

    def put_part(self, upload: Unfinished, number: int, content: bytes) -> str:
        """Store a part, and give the ETag by which it is called when the upload is completed."""
        query = {"partNumber": str(number), "uploadId": upload.upload_id}
        etag: str = self._send("PUT", self._url_of(upload.name), query, content=content).headers["ETag"]
        return etag

    def complete(self, upload: Unfinished, part_etags: Sequence[str], headers: Mapping[str, str]) -> None:
        """Make one object of the parts. A server may find out that it cannot after it has said that it can."""
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{xml.sax.saxutils.escape(etag)}</ETag></Part>"
            for number, etag in enumerate(part_etags, start=1)
        )
        content = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        query = {"uploadId": upload.upload_id}
        answer = self._send("POST", self._url_of(upload.name), query, headers, content)
        root = _plain(_parsed(answer.content).tag)
        if root == "Error":
            raise _refused(answer.status_code, answer.content, "POST", answer.headers)
        if root != "CompleteMultipartUploadResult":
            raise unintelligible("no dice si se guardó el objeto")

    def abort(self, upload: Unfinished) -> None:
        """Discard the parts of an unfinished upload; one that is finished or aborted meanwhile is no error."""
        with contextlib.suppress(NoSuchUpload):
            self._send("DELETE", self._url_of(upload.name), {"uploadId": upload.upload_id})

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _url_of(self, name: str) -> str:
        return f"{self._bucket_url}/{_quoted(name, '/')}"

    def _send(
        self,
        method: str,
        url: str,
        query: dict[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> Any:
        """The answer to a signed request. Raises `ClientError` for any but a 2xx."""
        text = "&".join(f"{name}={_quoted(value)}" for name, value in sorted((query or {}).items()))
        answer = self._answer_to(AWSRequest(method, f"{url}?{text}" if text else url, headers=headers, data=content))
        if not _accepts(answer):
            raise _refused(answer.status_code, answer.content, method, answer.headers)
        return answer

    def _answer_to(self, request: AWSRequest) -> Any:
        """Whatever is answered, once the request is signed."""
        for name, value in self._every_header.items():
            request.headers[name] = value
        S3SigV4Auth(self._credentials(), "s3", self._region).add_auth(request)
        return self._http.send(request.prepare())


def use_paced_connections(session: Any, patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Let a session of botocore's give up on answers at a trickle.

    botocore offers no way to say this; `tests/test_answers.py` notices if it has moved.
    """
    session._pool_classes_by_scheme.update(paced(session._pool_classes_by_scheme, patience_seconds))


@dataclass(frozen=True, slots=True)
class _Listing:
    """A form in which S3 lists: the names of the whole and of an item, and the fields that tell where to go on."""

    root: str
    item: str
    markers: Mapping[str, str]
    encoded_markers: frozenset[str] = frozenset()

    def page(self, content: bytes) -> tuple[list[dict[str, str]], dict[str, str]]:
        """A page's items, and the parameters that ask for the next one, none after the last.

        Raises `ProviderUnavailable` for what is no listing, a login page for instance; else what a parser trips over.
        """
        fields, items = self._fields_and_items(content)
        is_encoded = fields.get("EncodingType") == "url"  # which not every server does when it is asked for
        decode = urllib.parse.unquote_plus if is_encoded else str
        for item in items:
            item["Key"] = decode(item["Key"])
        if fields.get("IsTruncated", "false").lower() != "true":
            return items, {}
        return items, {
            parameter: decode(fields[field]) if field in self.encoded_markers else fields[field]
            for field, parameter in self.markers.items()
        }

    def _fields_and_items(self, content: bytes) -> tuple[dict[str, str], list[dict[str, str]]]:
        fields: dict[str, str] = {}
        items = []
        for node in self._parsed(content):
            if _plain(node.tag) == self.item:
                items.append({_plain(child.tag): child.text or "" for child in node})
            else:
                fields[_plain(node.tag)] = node.text or ""
        return fields, items

    def _parsed(self, content: bytes) -> ElementTree.Element:
        root = _parsed(content)
        if _plain(root.tag) != self.root:
            raise unintelligible("no es un listado")
        return root


OBJECTS = _Listing("ListBucketResult", "Contents", {"NextContinuationToken": "continuation-token"})
UPLOADS = _Listing(
    "ListMultipartUploadsResult",
    "Upload",
    {"NextKeyMarker": "key-marker", "NextUploadIdMarker": "upload-id-marker"},
    frozenset({"NextKeyMarker"}),
)


def _parsed(content: bytes) -> ElementTree.Element:
    """The root of an answer, before which a server that takes its time may send spaces."""
    try:
        return ElementTree.fromstring(content.strip())  # noqa: S314 expat refuses to blow up entities since 2.4
    except ElementTree.ParseError as error:
        raise unintelligible("no es XML") from error


def _plain(tag: str) -> str:
    """Without the namespace, which some servers leave out."""
    return tag.rpartition("}")[2]


def _quoted(text: str, safe: str = "") -> str:
    """As the signature wants it: everything but letters, digits and `-_.~` in percent notation."""
    return urllib.parse.quote(text, safe=safe)


def _accepts(answer: Any) -> bool:
    return bool(200 <= answer.status_code < 300)


def _refused(status: int, content: bytes, method: str, headers: Mapping[str, str]) -> ClientError:
    refusal: Any = _refusal(status, content, headers)
    error_class = NoSuchUpload if refusal["Error"]["Code"] == "NoSuchUpload" else ClientError
    return error_class(refusal, method)


def _require_range(content_range: str | None, announced_bytes: int, start: int, asked_bytes: int) -> None:
    """Some servers (`rclone serve s3`) answer with the range that was asked for, but with status 200.

    Source: RFC 9110, 14.4, for the form of `Content-Range`.
    """
    if announced_bytes < asked_bytes:
        raise IntegrityError(f"en la nube faltan bytes: {announced_bytes} de {asked_bytes} a partir del {start}")
    if announced_bytes > asked_bytes or (content_range and not re.match(rf"bytes {start}-", content_range)):
        raise unintelligible("no es la parte que se pidió")


def _pieces(raw: Any, announced_bytes: int | None) -> Iterator[bytes]:
    """A body as it comes. Raises also when it ends before what was announced has come."""
    body: Any = StreamingBody  # its stubs do not know that a length may be missing
    yield from body(raw, announced_bytes).iter_chunks(PIECE_SIZE_BYTES)


def _refusal(status: int, content: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """An answer that refuses, in the form in which boto3 gives it: the status is the code where none is told."""
    try:
        told = {_plain(node.tag): node.text or "" for node in ElementTree.fromstring(content)}  # noqa: S314 as above
    except ElementTree.ParseError:
        told = {}
    error = {
        "Code": told.get("Code") or str(status),
        "Message": told.get("Message", ""),
        "Region": headers.get("x-amz-bucket-region") or told.get("Region") or "",
    }
    date = {"date": headers.get("Date") or ""}
    return {"Error": error, "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": date}}
