"""An S3 server that keeps of each object its name, its size and its MD5, and nothing else.

For executions of very many files: what `rclone serve s3` does for one page of a listing grows with all that the bucket
holds, so that at a million files a run would measure the server alone, for hours. This one answers any request in some
fifty microseconds, looks at no signature, and forgets the bytes.

python -m benchmarks.arena.bare_s3 PORT
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import sys
import urllib.parse
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import cast
from xml.sax.saxutils import escape

from demo.servers.process import answers_http
from tests.servers.base import CommandServer, S3Server, python_module

HEAD_END = b"\r\n\r\n"
KEYS_PER_PAGE = 1000
NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
LAST_MODIFIED = "2026-01-01T00:00:00.000Z"

Query = Mapping[str, str]


class BareS3(CommandServer, S3Server):
    """The server as a child process."""

    name = "bare S3"
    access_key = "bare"
    secret_key = "bare"  # noqa: S105 nobody checks it

    def start(self) -> None:
        self.endpoint_url = f"http://127.0.0.1:{self.port}"
        super().start()

    def command(self) -> Sequence[str]:
        return python_module("benchmarks.arena.bare_s3", str(self.port))

    def answers(self) -> bool:
        return answers_http(self.port)


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of an object, or of a part of one."""

    size_bytes: int
    etag: str


EMPTY = Kept(0, hashlib.md5(b"", usedforsecurity=False).hexdigest())


def execution_name(number: int) -> str:
    """The name of one of the executions that `Bucket.fill` adds."""
    return f"execution-{number:06}"


def file_names(files: int) -> list[str]:
    """The names of the files of each."""
    return [f"{number:04}.csv" for number in range(files)]


@dataclass(slots=True)
class Bucket:
    """What one bucket holds. Its names are sorted when they are asked for after a change."""

    objects: dict[str, Kept] = field(default_factory=dict)
    uploads: dict[str, dict[int, Kept]] = field(default_factory=dict)
    _sorted: list[str] | None = None

    def store(self, name: str, kept: Kept) -> None:
        """Keep an object, and replace what had its name."""
        if name not in self.objects:
            self._sorted = None
        self.objects[name] = kept

    def remove(self, name: str) -> None:
        """Forget an object, if it is there."""
        if self.objects.pop(name, None) is not None:
            self._sorted = None

    def fill(self, executions: int, files: int) -> None:
        """Add executions of empty files, with their manifests: far quicker than by requests."""
        for number in range(executions):
            place = f"ejecuciones/{execution_name(number)}"
            self.store(f"{place}.manifest.json", EMPTY)
            for name in file_names(files):
                self.store(f"{place}/{name}", EMPTY)

    def page(self, prefix: str, after: str) -> tuple[list[str], bool]:
        """The next names with a prefix, and whether there are more."""
        if self._sorted is None:
            self._sorted = sorted(self.objects, key=str.encode)
        start = bisect_right(self._sorted, max(after, prefix[:-1]).encode(), key=str.encode)
        following = map(self._sorted.__getitem__, range(start, len(self._sorted)))
        begun = itertools.dropwhile(lambda name: not name.startswith(prefix) and name < prefix, following)
        wanted = itertools.takewhile(lambda name: name.startswith(prefix), begun)
        names = list(itertools.islice(wanted, KEYS_PER_PAGE + 1))
        return names[:KEYS_PER_PAGE], len(names) > KEYS_PER_PAGE


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, without what all have."""

    status: str = "200 OK"
    body: bytes = b""
    headers: str = ""


NOT_FOUND = Answer("404 Not Found", b"<Error><Code>NoSuchKey</Code></Error>")
DONE = Answer("204 No Content")


class Service:
    """All buckets."""

    def __init__(self) -> None:
        self._buckets: dict[str, Bucket] = {}
        self._numbers = itertools.count(1)

    def answer(self, method: str, target: str, body: bytes) -> Answer:
        """The answer to one request."""
        path, _, text = target.partition("?")
        bucket_name, _, quoted = path[1:].partition("/")
        query = dict(urllib.parse.parse_qsl(text, keep_blank_values=True))
        if not quoted:
            return self._answer_for_bucket(method, bucket_name, query)
        bucket, name = self._buckets.get(bucket_name), urllib.parse.unquote(quoted)
        if bucket is None:
            return NOT_FOUND
        if "uploads" in query or "uploadId" in query:
            return self._answer_for_parts(method, bucket, name, query, body)
        return self._answer_for_object(method, bucket, name, body)

    def _answer_for_bucket(self, method: str, name: str, query: Query) -> Answer:
        if method == "PUT":
            bucket = self._buckets.setdefault(name, Bucket())
            if "executions" in query:
                bucket.fill(int(query["executions"]), int(query["files"]))
        elif method == "DELETE":
            self._buckets.pop(name, None)
            return DONE
        elif method == "GET" and "uploads" in query:
            return Answer(body=f"<ListMultipartUploadsResult {NAMESPACE}></ListMultipartUploadsResult>".encode())
        elif method == "GET" and name in self._buckets:
            return self._list(self._buckets[name], query)
        elif name not in self._buckets:
            return NOT_FOUND
        return Answer()

    def _list(self, bucket: Bucket, query: Query) -> Answer:
        """Without a delimiter, which nobody needs for what is one directory."""
        names, more = bucket.page(query.get("prefix", ""), query.get("continuation-token", ""))
        encoded = query.get("encoding-type") == "url"
        quote = urllib.parse.quote if encoded else escape
        contents = "".join(
            f"<Contents><Key>{quote(name)}</Key><LastModified>{LAST_MODIFIED}</LastModified>"
            f'<ETag>"{bucket.objects[name].etag}"</ETag><Size>{bucket.objects[name].size_bytes}</Size></Contents>'
            for name in names
        )
        following = f"<NextContinuationToken>{escape(names[-1])}</NextContinuationToken>" if more else ""
        return Answer(
            body=f"<ListBucketResult {NAMESPACE}><IsTruncated>{str(more).lower()}</IsTruncated>{following}"
            f"{'<EncodingType>url</EncodingType>' if encoded else ''}{contents}</ListBucketResult>".encode()
        )

    def _answer_for_object(self, method: str, bucket: Bucket, name: str, body: bytes) -> Answer:
        if method == "PUT":
            kept = Kept(len(body), hashlib.md5(body, usedforsecurity=False).hexdigest())
            bucket.store(name, kept)
            return Answer(headers=f'ETag: "{kept.etag}"\r\n')
        if method == "DELETE":
            bucket.remove(name)
            return DONE
        found = bucket.objects.get(name)
        if method != "HEAD" or found is None:
            return NOT_FOUND
        modified = formatdate(usegmt=True)
        return Answer(
            headers=f'ETag: "{found.etag}"\r\nContent-Length: {found.size_bytes}\r\nLast-Modified: {modified}\r\n'
        )

    def _answer_for_parts(self, method: str, bucket: Bucket, name: str, query: Query, body: bytes) -> Answer:
        if "uploads" in query:
            upload_id = f"upload-{next(self._numbers)}"
            bucket.uploads[upload_id] = {}
            return _document("InitiateMultipartUploadResult", name, f"<UploadId>{upload_id}</UploadId>")
        parts = bucket.uploads.get(query["uploadId"])
        if parts is None:
            return NOT_FOUND
        if method == "PUT":
            part = Kept(len(body), hashlib.md5(body, usedforsecurity=False).hexdigest())
            parts[int(query["partNumber"])] = part
            return Answer(headers=f'ETag: "{part.etag}"\r\n')
        del bucket.uploads[query["uploadId"]]
        if method == "DELETE":
            return DONE
        whole = _joined([parts[number] for number in sorted(parts)])
        bucket.store(name, whole)
        return _document("CompleteMultipartUploadResult", name, f'<ETag>"{whole.etag}"</ETag>')


def _document(root: str, name: str, said: str) -> Answer:
    return Answer(body=f"<{root} {NAMESPACE}><Bucket>-</Bucket><Key>{escape(name)}</Key>{said}</{root}>".encode())


def _joined(parts: Sequence[Kept]) -> Kept:
    """As S3 has it: the MD5 of the parts' MD5s, and how many they are."""
    md5 = hashlib.md5(b"".join(bytes.fromhex(part.etag) for part in parts), usedforsecurity=False)
    return Kept(sum(part.size_bytes for part in parts), f"{md5.hexdigest()}-{len(parts)}")


class Connection(asyncio.Protocol):
    """Takes requests apart, as far as the clients here go: a length, or no body."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._received = bytearray()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._received += data
        while (end := self._received.find(HEAD_END)) >= 0:
            request, *lines = self._received[:end].decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            length = int(headers.get("content-length", "0"))
            start = end + len(HEAD_END)
            if "expect" in headers and len(self._received) == start:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if len(self._received) < start + length:
                return
            body = bytes(self._received[start : start + length])
            del self._received[: start + length]
            method, target, _ = request.split(" ")
            self._reply(method, self._service.answer(method, target, body))

    def _reply(self, method: str, answer: Answer) -> None:
        length = "" if "Content-Length" in answer.headers else f"Content-Length: {len(answer.body)}\r\n"
        head = f"HTTP/1.1 {answer.status}\r\n{answer.headers}{length}\r\n".encode()
        self._transport.write(head if method == "HEAD" else head + answer.body)


async def _serve(port: int) -> None:
    service = Service()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(service), "127.0.0.1", port)
    await server.serve_forever()


def require_names(server: BareS3, bucket: str, prefix: str, original: Path) -> None:
    """Raises `RuntimeError` unless every file of a directory is below the prefix, with its size and its MD5."""
    pages = server.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    found = {
        each["Key"]: (each["Size"], each["ETag"].strip('"')) for page in pages for each in page.get("Contents", ())
    }
    for path in (path for path in original.rglob("*") if path.is_file()):
        content = path.read_bytes()
        expected = (len(content), hashlib.md5(content, usedforsecurity=False).hexdigest())
        if found.get(str(Path(prefix, path.relative_to(original)))) != expected:
            raise RuntimeError(f"{path} did not arrive as it was")


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
