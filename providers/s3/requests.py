"""The S3 requests that every execution needs, signed by botocore and sent through its HTTP session.

boto3 would take two to four times the CPU time, mostly for parsing unused dates; and importing it and making its client
takes 0.3 s, which is noticeable in a short run.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import urllib.parse
import xml.sax.saxutils
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any
from xml.etree import ElementTree

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest, HeadersDict
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError
from botocore.response import StreamingBody

from providers.base import ANSWER_TIMEOUT_SECONDS
from providers.errors import CannotUnarchive, IntegrityError
from providers.retries import Repeated
from providers.s3.session import new_session
from providers.s3.signature import NOTHING, SHA256_OF_NOTHING, RequestSigner
from providers.s3.xml_answers import OBJECTS, PARTS, UPLOADS, Listing, parsed_xml, plain_tag
from providers.shared.answers import unintelligible
from providers.shared.direct_http import DirectHttp
from providers.shared.network import Network

NOT_OFFERED = ("MethodNotAllowed", "NotImplemented")
"""How servers without an archive refuse a request to bring something back from it."""

PIECE_SIZE_BYTES = 256 * 1024
"""How much of an object is read at a time: large enough for Python, small enough to stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One object as S3 describes it. `name` is the stored name; `etag` is as S3 shows it."""

    name: str
    size_bytes: int
    etag: str


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An unfinished upload in parts: its stored name and the server's id for it."""

    name: str
    upload_id: str
    begun_at: str = field(default="", compare=False)
    """When it began, in S3's notation, which sorts by time."""
    storage_class: str = field(default="", compare=False)
    """As the server shows it, if at all."""


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A stored part of an unfinished upload. `etag` is as S3 shows it."""

    number: int
    size_bytes: int
    etag: str


class LostUpload(ClientError):
    """An unfinished upload can never be completed from the parts sent."""


class NoSuchUpload(LostUpload):
    """The server has no such upload; some (gofakes3, and so rclone's) also answer this if they have none at all."""


class InvalidPart(LostUpload):
    """The server lacks a part, or has a different one."""


ACCEPTED = 202

RESTORE_REQUEST = b"<RestoreRequest><Days>7</Days></RestoreRequest>"
"""For a week, by the usual tier of the storage class."""

LOST_UPLOADS = {"NoSuchUpload": NoSuchUpload, "InvalidPart": InvalidPart}


class S3Requests:
    """Lists, reads and deletes objects and unfinished uploads of one bucket; stores objects under conditions. Safe for
    several threads.

    Raises as boto3: `ClientError` for a refusal, other botocore exceptions without an answer, sometimes urllib3's for a
    broken one; or the `ProviderError` with that meaning.
    """

    def __init__(
        self,
        bucket_url: str,
        region: str,
        credentials: Callable[[], ReadOnlyCredentials],
        network: Network,
        answer_timeout_seconds: float = ANSWER_TIMEOUT_SECONDS,
        repeated: Repeated = lambda step: step(),
        direct: DirectHttp | None = None,
        every_header: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`repeated` retries the requests after the first of several; the caller retries the first.

        Everything except downloads uses `direct` if it reaches the server: it takes half the time. `every_header` is
        sent with each request.
        """
        self._direct = direct
        self._signer = RequestSigner(bucket_url, region, credentials, every_header)
        self._every_header = every_header
        self._answer_timeout_seconds = answer_timeout_seconds
        self._repeated = repeated
        self._bucket_url = bucket_url
        self._region = region
        self._credentials = credentials
        self._http = new_session(network, answer_timeout_seconds)

    def list(self, prefix: str, after: str | None = None) -> Iterator[Listed]:
        """Every object whose stored name begins with `prefix`, in the server's order, a page at a time.

        With `after`, only names after it in that order, provided that there is an object with that name.
        """
        beginning = {} if after is None else {"start-after": after}
        query = {"list-type": "2", "prefix": prefix, **ENCODED}
        for item in self._items(OBJECTS, None, query, beginning):
            yield Listed(item["Key"], int(item["Size"]), item["ETag"])

    def unfinished_uploads(self, prefix: str) -> Iterator[Unfinished]:
        """Every unfinished upload in parts to a name that begins with `prefix`."""
        for item in self._items(UPLOADS, None, {"uploads": "", "prefix": prefix, **ENCODED}):
            yield Unfinished(item["Key"], item["UploadId"], item.get("Initiated", ""), item.get("StorageClass", ""))

    def parts(self, upload: Unfinished) -> Iterator[StoredPart]:
        """Every stored part of an unfinished upload."""
        for item in self._items(PARTS, upload.name, {"uploadId": upload.upload_id}):
            yield _stored_part(item)

    def part(self, upload: Unfinished, number: int) -> StoredPart | None:
        """The stored part with this number of an unfinished upload, if any."""
        query = {"uploadId": upload.upload_id, "part-number-marker": str(number - 1), "max-parts": "1"}
        items, _ = self._page(PARTS, upload.name, query)
        return next((part for part in map(_stored_part, items) if part.number == number), None)

    def _items(
        self, listing: Listing, name: str | None, query: dict[str, str], beginning: Mapping[str, str] | None = None
    ) -> Iterator[dict[str, str]]:
        """The listed items of an object, or of the bucket if `None`."""
        following = dict(beginning or {})
        items, next_following = self._page(listing, name, {**query, **following})
        while True:
            yield from items
            if not next_following:
                return
            if next_following == following:
                raise unintelligible("un listado que no avanza")
            following = next_following
            page = partial(self._page, listing, name, {**query, **following})
            items, next_following = self._repeated(page)

    def _page(
        self, listing: Listing, name: str | None, query: dict[str, str]
    ) -> tuple[Sequence[dict[str, str]], dict[str, str]]:
        return listing.page(self._listed(name, query).content)

    def head(self, name: str) -> Listed:
        """The object stored under `name`."""
        headers = self._send("HEAD", name).headers
        return Listed(name, int(headers["Content-Length"]), headers["ETag"])

    def read(self, name: str, start: int, asked_bytes: int, size_bytes: int) -> Body:
        """`asked_bytes` of an object of `size_bytes`, from a position on.

        From a server without ranges, which sends everything, returns all bytes from there. Raises `IntegrityError` if
        there are fewer bytes, `ProviderUnavailable` for bytes that were not requested.
        """
        answer = self._answer_with_body(name, {"Range": f"bytes={start}-{start + asked_bytes - 1}"})
        with _closing_after_error(answer.raw):
            body = Body(answer)
            content_range = answer.headers.get("Content-Range")
            is_everything = body.announced_bytes > asked_bytes and body.announced_bytes >= size_bytes
            if answer.status_code == 200 and content_range is None and is_everything:
                return Body(answer, skipped_bytes=start)
            _require_range(content_range, body.announced_bytes, start, asked_bytes)
            return body

    def read_all(self, name: str) -> Body:
        """All bytes of an object."""
        answer = self._answer_with_body(name, {})
        with _closing_after_error(answer.raw):
            return Body(answer)

    def _answer_with_body(self, name: str, headers: Mapping[str, str]) -> Any:
        """The head of an answer, whose body is not yet read."""
        answer = self._answer_to(AWSRequest("GET", self._url_of(name), headers=headers, stream_output=True))
        if not _accepts(answer):
            with contextlib.closing(answer.raw):
                content = next(_pieces(answer.raw, None), b"")
            raise _refused(answer, content, "GET")
        return answer

    def delete(self, name: str) -> None:
        """Remove the object under `name`; a missing one is not an error."""
        self._send("DELETE", name)

    def delete_if(self, name: str, etag: str) -> None:
        """As `delete`, only if the object has this ETag, provided that the server supports the condition."""
        self._send("DELETE", name, headers={"If-Match": etag})

    def request_restore(self, name: str) -> bool:
        """Ask for an archived object; see `Provider.request_restore`.

        Source: Amazon S3 API Reference, RestoreObject, "Special errors".
        """
        digest = content_md5(hashlib.md5(RESTORE_REQUEST, usedforsecurity=False).hexdigest())
        try:
            answer = self._send("POST", name, {"restore": ""}, digest, RESTORE_REQUEST)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in NOT_OFFERED:
                raise CannotUnarchive(f"este servidor no tiene archivo del que sacar nada ({code})") from error
            if code not in ("RestoreAlreadyInProgress", "InvalidObjectState"):
                raise
            return code == "RestoreAlreadyInProgress"
        return bool(answer.status_code == ACCEPTED)  # 200: it is readable already, and now for longer

    def put(self, name: str, content: bytes, headers: Mapping[str, str]) -> None:
        """Store an object in one request, with these additional headers.

        A bucket that protects objects from changes requires the MD5 of each.
        """
        digest = {} if CONTENT_MD5 in headers else content_md5(hashlib.md5(content, usedforsecurity=False).hexdigest())
        self._send("PUT", name, headers={**digest, **headers}, content=content)

    def begin_upload(self, name: str, headers: Mapping[str, str]) -> Unfinished:
        """Begin an upload in parts."""
        root = parsed_xml(self._send("POST", name, {"uploads": ""}, headers).content)
        upload_id = next((node.text for node in root if plain_tag(node.tag) == "UploadId"), None)
        if not upload_id:
            raise unintelligible("no es una subida")
        return Unfinished(name, upload_id)

    def put_part(self, upload: Unfinished, number: int, content: bytes, headers: Mapping[str, str]) -> str:
        """Store a part, and return the ETag that identifies it when the upload is completed."""
        query = {"partNumber": str(number), "uploadId": upload.upload_id}
        etag: str = self._send("PUT", upload.name, query, headers, content).headers["ETag"]
        return etag

    def complete(self, upload: Unfinished, part_etags: Sequence[str], headers: Mapping[str, str]) -> None:
        """Make one object of the parts. A server may report a failure after a successful status."""
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{xml.sax.saxutils.escape(etag)}</ETag></Part>"
            for number, etag in enumerate(part_etags, start=1)
        )
        content = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        query = {"uploadId": upload.upload_id}
        answer = self._send("POST", upload.name, query, headers, content)
        root = plain_tag(parsed_xml(answer.content).tag)
        if root == "Error":
            raise _refused(answer, answer.content, "POST")
        if root != "CompleteMultipartUploadResult":
            raise unintelligible("no dice si se guardó el objeto")

    def abort(self, upload: Unfinished) -> None:
        """Discard the parts of an unfinished upload; one finished or aborted meanwhile is not an error."""
        with contextlib.suppress(NoSuchUpload):
            self._send("DELETE", upload.name, {"uploadId": upload.upload_id})

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _url_of(self, name: str | None) -> str:
        if name is None:
            return self._bucket_url
        return f"{self._bucket_url}/{_quoted(name, '/')}"

    def _listed(self, name: str | None, query: Mapping[str, str]) -> Any:
        """The long answer to a listing request. Raises `ClientError` for any but a 2xx."""
        text = _query_text(query)
        if self._direct is None:
            return _accepted("GET", self._answer_to(AWSRequest("GET", f"{self._url_of(name)}?{text}")))
        target, signed = self._signer.sign(name, SHA256_OF_NOTHING, NOTHING, text, "GET")
        answer = self._direct.get_long(target, signed, self._answer_timeout_seconds)
        return _accepted("GET", _Answer(answer.status, HeadersDict(answer.headers), answer.content))

    def _send(
        self,
        method: str,
        name: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
    ) -> Any:
        """The short answer to a signed request about an object. Raises as `_listed`."""
        text = _query_text(query or {})
        if self._direct is None:
            url = self._url_of(name)
            request = AWSRequest(
                method,
                f"{url}?{text}" if text else url,
                headers=headers,
                data=content if method == "PUT" else content or None,
            )
            return _accepted(method, self._answer_to(request))
        more = {name.lower(): value for name, value in (headers or {}).items()}
        target, signed = self._signer.sign(name, hashlib.sha256(content).hexdigest(), more, text, method)
        answer = self._direct.send(method, target, signed, content, self._answer_timeout_seconds)
        return _accepted(method, _Answer(answer.status, HeadersDict(answer.headers), answer.content))

    def _answer_to(self, request: AWSRequest) -> Any:
        """Sign the request and return any answer."""
        for name, value in self._every_header.items():
            request.headers[name] = value
        S3SigV4Auth(self._credentials(), "s3", self._region).add_auth(request)
        return self._http.send(request.prepare())


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer of `DirectHttp` in botocore's form."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes


class Body:
    """The body of an answer, which is read once."""

    def __init__(self, answer: Any, skipped_bytes: int = 0) -> None:
        self.etag: str | None = answer.headers.get("ETag")
        """Of the object, as S3 shows it, if it does."""
        self.announced_bytes = int(answer.headers["Content-Length"])
        self._raw = answer.raw
        self._skipped_bytes = skipped_bytes

    def pieces(self) -> Iterator[bytes]:
        """The bytes, without unrequested ones at the beginning. Raises also if there are too few."""
        skipped_bytes = self._skipped_bytes
        for piece in _pieces(self._raw, self.announced_bytes):
            if skipped_bytes < len(piece):
                yield piece[skipped_bytes:]
            skipped_bytes = max(0, skipped_bytes - len(piece))

    def close(self) -> None:
        """Release the connection, with any unread bytes."""
        self._raw.close()


ENCODED = {"encoding-type": "url"}
"""Requests percent-encoded names, because XML cannot hold all of them."""

CONTENT_MD5 = "content-md5"


def content_md5(md5: str | None) -> dict[str, str]:
    """The header with a body's MD5, given in hexadecimal digits; none if it is unknown."""
    return {CONTENT_MD5: base64.b64encode(bytes.fromhex(md5)).decode()} if md5 else {}


def _stored_part(item: Mapping[str, str]) -> StoredPart:
    return StoredPart(int(item["PartNumber"]), int(item["Size"]), item["ETag"])


def _quoted(text: str, safe: str = "") -> str:
    """As the signature requires: everything except letters, digits and `-_.~` percent-encoded."""
    return urllib.parse.quote(text, safe=safe)


def _query_text(query: Mapping[str, str]) -> str:
    return "&".join(f"{name}={_quoted(value)}" for name, value in sorted(query.items()))


def _accepted(method: str, answer: Any) -> Any:
    if not _accepts(answer):
        raise _refused(answer, answer.content, method)
    return answer


def _accepts(answer: Any) -> bool:
    return bool(200 <= answer.status_code < 300)


def _refused(answer: Any, content: bytes, method: str) -> ClientError:
    refusal: Any = _refusal(answer.status_code, content, answer.headers)
    error_class = LOST_UPLOADS.get(refusal["Error"]["Code"], ClientError)
    return error_class(refusal, method)


def _require_range(content_range: str | None, announced_bytes: int, start: int, asked_bytes: int) -> None:
    """Some servers (`rclone serve s3`) answer with the requested range but status 200.

    Source: RFC 9110, 14.4, for the form of `Content-Range`.
    """
    if announced_bytes < asked_bytes:
        raise IntegrityError(f"en la nube faltan bytes: {announced_bytes} de {asked_bytes} a partir del {start}")
    if announced_bytes > asked_bytes or (content_range and not re.match(rf"bytes {start}-", content_range)):
        raise unintelligible("no es la parte que se pidió")


@contextlib.contextmanager
def _closing_after_error(raw: Any) -> Iterator[None]:
    try:
        yield
    except BaseException:
        raw.close()
        raise


def _pieces(raw: Any, announced_bytes: int | None) -> Iterator[bytes]:
    """A body as it arrives. Raises also if it ends before its announced length."""
    body: Any = StreamingBody  # its stubs do not know that a length may be missing
    yield from body(raw, announced_bytes).iter_chunks(PIECE_SIZE_BYTES)


def _refusal(status: int, content: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    """A refusal in boto3's form: the status serves as the code if there is none."""
    try:
        told = {plain_tag(node.tag): node.text or "" for node in ElementTree.fromstring(content)}  # noqa: S314 as above
    except ElementTree.ParseError:
        told = {}
    error = {
        "Code": told.get("Code") or str(status),
        "Message": told.get("Message", ""),
        "Region": headers.get("x-amz-bucket-region") or told.get("Region") or "",
    }
    told_headers = {name.lower(): value for name in ("Date", "Location", "Retry-After") if (value := headers.get(name))}
    return {"Error": error, "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": told_headers}}
