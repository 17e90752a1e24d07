"""An HTTP server that gives answers made up by a test, for what no real server can be brought to say."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from types import TracebackType

from requests.structures import CaseInsensitiveDict

from tests.servers.accepting import AcceptingServer


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What it is answered. With `cut_after_bytes` the connection closes in the middle of the body; with
    `seconds_per_byte` the body comes byte after byte.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after_bytes: int | None = None
    seconds_per_byte: float | None = None


class CannedHttp:
    """Answers each request with what `answer` makes of it, and remembers all requests in order.

    `connections` is how many were opened. With `tls` it speaks HTTPS. Port 0 is any free one.
    """

    def __init__(self, answer: Callable[[Request], Answer], tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self._scheme = "https" if tls else "http"
        requests = self.requests
        count_connection = self._count_connection

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                count_connection()
                super().setup()

            def handle_one_request(self) -> None:
                try:
                    self._answer_one()
                except ConnectionError:
                    self.close_connection = True

            def _answer_one(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(self.command, self.path, CaseInsensitiveDict(self.headers.items()), body)
                requests.append(request)
                self._send(answer(request))

            def _send(self, made: Answer) -> None:
                self.send_response_only(made.status)
                usual = {"Date": self.date_time_string(), "Content-Length": str(len(made.body))}
                for name, value in {**usual, **made.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                pieces = _slowly(made) if made.seconds_per_byte else [made.body[: made.cut_after_bytes]]
                self.wfile.writelines(pieces if self.command != "HEAD" else [])
                self.close_connection = made.cut_after_bytes is not None

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the name is http.server's
                """Say nothing."""

        self._server = AcceptingServer(Handler, tls, port)

    def _count_connection(self) -> None:
        self.connections += 1

    @property
    def url(self) -> str:
        """Where the server listens, without a final slash."""
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> CannedHttp:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()


def _slowly(made: Answer) -> Iterator[bytes]:
    for byte in made.body:
        yield bytes([byte])
        time.sleep(made.seconds_per_byte or 0)
