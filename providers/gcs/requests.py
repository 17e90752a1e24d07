"""The two requests that carry whole files to and from Google Cloud Storage: one to store a small one, one to read any.

They use the connections, proxies and certificates of the SDK's own session, but skip the work that the SDK and
`requests` repeat for each request: measured, more than half of a small file's CPU time.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from google.api_core.exceptions import from_http_response
from google.auth.transport.requests import AuthorizedSession, Request

from files.descriptors import CHUNK_SIZE_BYTES
from providers.errors import ProviderError
from providers.shared.answers import unintelligible
from providers.shared.paced_requests import DirectConnections

CONTENT_TYPE = "application/octet-stream"


class GcsRequests:
    """Stores and reads objects of one bucket. Safe to use from several threads.

    Raises `GoogleAPICallError` for an answer that refuses, `urllib3.exceptions.HTTPError` where none comes,
    `GoogleAuthError` when there is no token.
    """

    def __init__(self, session: AuthorizedSession, ask_for_token: Request, endpoint_url: str, bucket_name: str) -> None:
        """The session's credentials renew themselves with `ask_for_token`. No I/O."""
        self._credentials = session.credentials
        self._ask_for_token = ask_for_token
        self._upload_path = f"/upload/storage/v1/b/{bucket_name}/o?uploadType=multipart"
        self._objects_path = f"/download/storage/v1/b/{bucket_name}/o"
        self._to_server = DirectConnections(session, endpoint_url)

    def put(self, properties: Mapping[str, str], content: bytes, only_over: int | None = None) -> None:
        """Store an object with these properties (`name`, and the `crc32c` of the content) in one request. If a
        generation is given, only over that one; with 0, only if there is no object.
        """
        condition = "" if only_over is None else f"&ifGenerationMatch={only_over}"
        boundary = secrets.token_hex(16)
        head = f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{json.dumps(properties)}\r\n"
        head += f"--{boundary}\r\nContent-Type: {CONTENT_TYPE}\r\n\r\n"
        body = b"".join((head.encode(), content, f"\r\n--{boundary}--".encode()))
        answer = self._send(
            "POST", self._upload_path + condition, {"Content-Type": f"multipart/related; boundary={boundary}"}, body
        )
        if not isinstance(json.loads(answer.data), dict):
            raise unintelligible("no describe ningún objeto")

    def read(
        self, name: str, note_checksum: Callable[[str], None], position: int = 0, generation: str | None = None
    ) -> Iterator[bytes]:
        """Yield the bytes of an object as they are stored, in order. Raises if fewer come than announced.

        With a position and generation, starts there. From the beginning, passes the server's `X-Goog-Hash` to
        `note_checksum`.
        """
        path = f"{self._objects_path}/{quote(name, safe='')}?alt=media"
        headers = {"Accept-Encoding": "gzip"}  # or GCS would decompress objects stored compressed
        if position:
            path += "" if generation is None else f"&ifGenerationMatch={generation}"
            headers["Range"] = f"bytes={position}-"
        answer = self._send("GET", path, headers)
        with contextlib.closing(answer):  # and its connection, unless all of it was read
            if not position:
                note_checksum(answer.headers.get("X-Goog-Hash", ""))
            elif not answer.headers.get("Content-Range", "").startswith(f"bytes {position}-"):
                raise ProviderError("el servidor no da partes de un objeto, y su lectura se cortó")
            yield from answer.stream(CHUNK_SIZE_BYTES, decode_content=False)

    def _send(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Any:
        """The answer with only its head read. Renews an expired token once."""
        answer = self._sent(method, path, headers, body)
        if answer.status == 401:
            answer.drain_conn()
            self._credentials.refresh(self._ask_for_token)
            answer = self._sent(method, path, headers, body)
        if answer.status not in {200, 206}:
            raise from_http_response(self._to_server.as_requests_would(answer))
        return answer

    def _sent(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Any:
        own_headers = dict(headers)
        self._credentials.before_request(self._ask_for_token, method, self._to_server.url + path, own_headers)
        return self._to_server.send(method, path, own_headers, body)
