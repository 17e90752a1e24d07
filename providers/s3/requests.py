"""The requests of S3 that every execution needs, signed by botocore and sent through its HTTP session.

boto3 would do the same at two to four times the CPU time, most of it spent on reading dates that nobody asks for; and
it takes 0.3 s to import it and to make its client, which a short run feels.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import ssl
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
from botocore.httpsession import URLLib3Session
from botocore.response import StreamingBody

from providers.base import ANSWER_TIMEOUT_SECONDS, CONNECT_TIMEOUT_SECONDS, IntegrityError
from providers.s3.signature import NOTHING, SHA256_OF_NOTHING, RequestSigner
from providers.shared.answers import PATIENCE_SECONDS, paced, unintelligible
from providers.shared.direct_http import DirectHttp
from providers.shared.network import Network

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
    begun_at: str = field(default="", compare=False)
    """When, as S3 writes it: of two, the later one comes later in the alphabet."""
    storage_class: str = field(default="", compare=False)
    """As the server shows it, if it does."""


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part of an unfinished upload that the server has. `etag` is as S3 shows it."""

    number: int
    size_bytes: int
    etag: str


class LostUpload(ClientError):
    """An unfinished upload can never be completed from what was sent for it."""


class NoSuchUpload(LostUpload):
    """The server knows no such upload; for some (gofakes3, and so rclone's) also: it knows none at all."""


class InvalidPart(LostUpload):
    """The server does not have a part, or another one in its place."""


ACCEPTED = 202

RESTORE_REQUEST = b"<RestoreRequest><Days>7</Days></RestoreRequest>"
"""For a week, by the usual tier of the storage class."""

LOST_UPLOADS = {"NoSuchUpload": NoSuchUpload, "InvalidPart": InvalidPart}

Repeated = Callable[[Callable[[], Any]], Any]
"""Does a step that is one request among several, again where that is worth it. Gives what it gives."""


class S3Requests:
    """Lists, reads and deletes objects of one bucket, and what is unfinished there; stores what needs conditions. Safe
    for several threads.

    Raises what boto3 would: `ClientError` for an answer that refuses, other botocore exceptions where none comes, now
    and then one of urllib3's where one breaks off; or the `ProviderError` that those mean.
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
        """`repeated` is for what follows the first of several requests: that one is for the caller to repeat.

        All but objects on their way back goes by `direct`, where that reaches the server: it takes half the time.
        `every_header` goes with each request.
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

        Or only those that come after a name in that order, at least where there is an object of that name.
        """
        beginning = {} if after is None else {"start-after": after}
        query = {"list-type": "2", "prefix": prefix, **ENCODED}
        for item in self._items(OBJECTS, None, query, beginning):
            yield Listed(item["Key"], int(item["Size"]), item["ETag"])

    def unfinished_uploads(self, prefix: str) -> Iterator[Unfinished]:
        """Every upload in parts, to a name that begins with `prefix`, that was neither finished nor aborted."""
        for item in self._items(UPLOADS, None, {"uploads": "", "prefix": prefix, **ENCODED}):
            yield Unfinished(item["Key"], item["UploadId"], item.get("Initiated", ""), item.get("StorageClass", ""))

    def parts(self, upload: Unfinished) -> Iterator[StoredPart]:
        """Every part that the server has of an unfinished upload."""
        for item in self._items(PARTS, upload.name, {"uploadId": upload.upload_id}):
            yield _stored_part(item)

    def part(self, upload: Unfinished, number: int) -> StoredPart | None:
        """The part of this number that the server has of an unfinished upload, if it has it."""
        query = {"uploadId": upload.upload_id, "part-number-marker": str(number - 1), "max-parts": "1"}
        items, _ = self._page(PARTS, upload.name, query)
        return next((part for part in map(_stored_part, items) if part.number == number), None)

    def _items(
        self, listing: _Listing, name: str | None, query: dict[str, str], beginning: Mapping[str, str] | None = None
    ) -> Iterator[dict[str, str]]:
        """What is listed of an object, or with `None` of the bucket."""
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
        self, listing: _Listing, name: str | None, query: dict[str, str]
    ) -> tuple[Sequence[dict[str, str]], dict[str, str]]:
        return listing.page(self._listed(name, query).content)

    def head(self, name: str) -> Listed:
        """What is stored under `name`."""
        headers = self._send("HEAD", name).headers
        return Listed(name, int(headers["Content-Length"]), headers["ETag"])

    def read(self, name: str, start: int, asked_bytes: int, size_bytes: int) -> Body:
        """So many bytes of an object of `size_bytes`, from a position on.

        A server that knows no ranges sends everything at once: of that, all that follows. Raises `IntegrityError` where
        there are fewer bytes, `ProviderUnavailable` for other bytes than those that were asked for.
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
        """The beginning of an answer, whose body is still to come."""
        answer = self._answer_to(AWSRequest("GET", self._url_of(name), headers=headers, stream_output=True))
        if not _accepts(answer):
            with contextlib.closing(answer.raw):
                content = next(_pieces(answer.raw, None), b"")
            raise _refused(answer, content, "GET")
        return answer

    def delete(self, name: str) -> None:
        """Remove what is stored under `name`; nothing there is no error."""
        self._send("DELETE", name)

    def delete_if(self, name: str, etag: str) -> None:
        """As `delete`, while the object has this ETag, where the server knows such a condition."""
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
            if code not in ("RestoreAlreadyInProgress", "InvalidObjectState"):
                raise
            return code == "RestoreAlreadyInProgress"
        return bool(answer.status_code == ACCEPTED)  # 200: it can be read already, and now does so for longer

    def put(self, name: str, content: bytes, headers: Mapping[str, str]) -> None:
        """Store an object in one request, with these headers besides.

        A bucket that keeps objects from being changed wants the MD5 of each.
        """
        digest = {} if CONTENT_MD5 in headers else content_md5(hashlib.md5(content, usedforsecurity=False).hexdigest())
        self._send("PUT", name, headers={**digest, **headers}, content=content)

    def begin_upload(self, name: str, headers: Mapping[str, str]) -> Unfinished:
        """Begin an upload in parts."""
        root = _parsed(self._send("POST", name, {"uploads": ""}, headers).content)
        upload_id = next((node.text for node in root if _plain(node.tag) == "UploadId"), None)
        if not upload_id:
            raise unintelligible("no es una subida")
        return Unfinished(name, upload_id)

    def put_part(self, upload: Unfinished, number: int, content: bytes, headers: Mapping[str, str]) -> str:
        """Store a part, and give the ETag by which it is called when the upload is completed."""
        query = {"partNumber": str(number), "uploadId": upload.upload_id}
        etag: str = self._send("PUT", upload.name, query, headers, content).headers["ETag"]
        return etag

    def complete(self, upload: Unfinished, part_etags: Sequence[str], headers: Mapping[str, str]) -> None:
        """Make one object of the parts. A server may find out that it cannot after it has said that it can."""
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{xml.sax.saxutils.escape(etag)}</ETag></Part>"
            for number, etag in enumerate(part_etags, start=1)
        )
        content = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        query = {"uploadId": upload.upload_id}
        answer = self._send("POST", upload.name, query, headers, content)
        root = _plain(_parsed(answer.content).tag)
        if root == "Error":
            raise _refused(answer, answer.content, "POST")
        if root != "CompleteMultipartUploadResult":
            raise unintelligible("no dice si se guardó el objeto")

    def abort(self, upload: Unfinished) -> None:
        """Discard the parts of an unfinished upload; one that is finished or aborted meanwhile is no error."""
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
        """The answer to a question for a listing, which is long. Raises `ClientError` for any but a 2xx."""
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
        """The answer, a short one, to a signed request that concerns an object. Raises as `_listed`."""
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
        """Whatever is answered, once the request is signed."""
        for name, value in self._every_header.items():
            request.headers[name] = value
        S3SigV4Auth(self._credentials(), "s3", self._region).add_auth(request)
        return self._http.send(request.prepare())


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer of `DirectHttp`, in the form in which botocore gives one."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes


def new_session(network: Network, answer_timeout_seconds: float = ANSWER_TIMEOUT_SECONDS) -> Any:
    """A session of botocore's that goes where it is told to and gives up on answers at a trickle."""
    session = _SessionOfNetwork(network, answer_timeout_seconds)
    use_paced_connections(session, CONNECT_TIMEOUT_SECONDS + answer_timeout_seconds)
    return session


class _SessionOfNetwork(URLLib3Session):
    """Believes and goes through whom a `Network` names.

    botocore would read its file of certificates for each new connection, which takes longer than to connect.
    """

    def __init__(self, network: Network, answer_timeout_seconds: float) -> None:
        self._network = network
        beginning: Any = super().__init__  # its stubs know neither two timeouts nor what a proxy's certificate is for
        beginning(
            proxies=network.proxies,
            timeout=(CONNECT_TIMEOUT_SECONDS, answer_timeout_seconds),
            max_pool_connections=CONNECTIONS,
        )

    def _get_ssl_context(self) -> Any:
        return self._network.trust.context if self._network.is_secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    def _setup_ssl_cert(self, conn: Any, url: str, verify: object) -> None:
        """Nothing is left to do: the context was made for this."""

    def _setup_proxy_ssl_context(self, proxy_url: str) -> Any:
        return self._network.trust.context if proxy_url.startswith("https:") else None


class Body:
    """The body of an answer, which is read once."""

    def __init__(self, answer: Any, skipped_bytes: int = 0) -> None:
        self.etag: str | None = answer.headers.get("ETag")
        """Of the object, as S3 shows it, if it does."""
        self.announced_bytes = int(answer.headers["Content-Length"])
        self._raw = answer.raw
        self._skipped_bytes = skipped_bytes

    def pieces(self) -> Iterator[bytes]:
        """The bytes, but for those at the beginning that nobody asked for. Raises also when there are too few."""
        skipped_bytes = self._skipped_bytes
        for piece in _pieces(self._raw, self.announced_bytes):
            if skipped_bytes < len(piece):
                yield piece[skipped_bytes:]
            skipped_bytes = max(0, skipped_bytes - len(piece))

    def close(self) -> None:
        """Let the connection go, with what has not been read."""
        self._raw.close()


def use_paced_connections(session: Any, patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Let a session of botocore's give up on answers at a trickle.

    botocore offers no way to say this; `tests/providers/test_answers.py` notices if it has moved.
    """
    session._pool_classes_by_scheme.update(paced(session._pool_classes_by_scheme, patience_seconds))


@dataclass(frozen=True, slots=True)
class _Listing:
    """A form in which S3 lists: the names that the whole can have, that of an item, and the fields that tell where to
    go on.
    """

    roots: frozenset[str]
    item: str
    markers: Mapping[str, str]
    encoded_markers: frozenset[str] = frozenset()
    has_keys: bool = True
    """Whether each item has a name, which may be encoded."""

    def page(self, content: bytes) -> tuple[list[dict[str, str]], dict[str, str]]:
        """A page's items, and the parameters that ask for the next one, none after the last.

        Raises `ProviderUnavailable` for what is no listing, a login page for instance; else what a parser trips over.
        """
        fields, items = self._fields_and_items(content)
        is_encoded = fields.get("EncodingType") == "url"  # which not every server does when it is asked for
        decode = urllib.parse.unquote_plus if is_encoded else str
        for item in items:
            if self.has_keys:
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
        if _plain(root.tag) not in self.roots:
            raise unintelligible("no es un listado")
        return root


OBJECTS = _Listing(frozenset({"ListBucketResult"}), "Contents", {"NextContinuationToken": "continuation-token"})
UPLOADS = _Listing(
    frozenset({"ListMultipartUploadsResult"}),
    "Upload",
    {"NextKeyMarker": "key-marker", "NextUploadIdMarker": "upload-id-marker"},
    frozenset({"NextKeyMarker"}),
)
PARTS = _Listing(
    frozenset({"ListPartsResult", "ListPartsResponse"}),  # the second one is moto's
    "Part",
    {"NextPartNumberMarker": "part-number-marker"},
    has_keys=False,
)

ENCODED = {"encoding-type": "url"}
"""Asks for names in percent notation, as XML cannot hold all of them."""

CONTENT_MD5 = "content-md5"


def content_md5(md5: str | None) -> dict[str, str]:
    """The header that says which MD5, in hexadecimal digits, a body has; none where it is not known."""
    return {CONTENT_MD5: base64.b64encode(bytes.fromhex(md5)).decode()} if md5 else {}


def _stored_part(item: Mapping[str, str]) -> StoredPart:
    return StoredPart(int(item["PartNumber"]), int(item["Size"]), item["ETag"])


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
    """Some servers (`rclone serve s3`) answer with the range that was asked for, but with status 200.

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
    told_headers = {name.lower(): value for name in ("Date", "Retry-After") if (value := headers.get(name))}
    return {"Error": error, "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": told_headers}}
