"""A proxy between the program and a real HTTP server, which strikes chosen requests with faults and counts them."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import ssl
import struct
import threading
from collections import Counter
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from email.message import Message
from functools import cached_property
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.servers.accepting import AcceptingServer

HOP_BY_HOP = frozenset({"connection", "content-length", "expect", "keep-alive", "transfer-encoding"})
"""Headers that speak of one connection: the proxy has two, and gives each its own."""

LOOKED_AT_BYTES = 2000
"""How much of a body `Fault.body` is looked for in."""

SERVER_TIMEOUT_SECONDS = 60
EVERY = range(1, 1_000_000)
ONCE = range(1, 2)


@dataclass(frozen=True)
class Response:
    """An answer, the server's or one made up."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Exchange:
    """One request on its way, and all that an effect may do with it. What it does last is what the client sees."""

    def __init__(self, handler: BaseHTTPRequestHandler, proxy: HttpFaultProxy) -> None:
        self.method = handler.command
        self.path = handler.path
        self.headers: Message = handler.headers
        self._handler = handler
        self._proxy = proxy

    @cached_property
    def body(self) -> bytes:
        """The request's body, read to its end."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return b"".join(iter(self._chunk, b""))
        return self._handler.rfile.read(self.announced_bytes)

    @property
    def announced_bytes(self) -> int:
        """The length that the request says its body has."""
        return int(self.headers.get("Content-Length") or 0)

    def body_beginning(self, size_bytes: int) -> bytes:
        """The first bytes of the body; the rest is left where it is."""
        if "body" in self.__dict__:  # already read, to find out which file it is
            return self.body[:size_bytes]
        return self._handler.rfile.read(min(size_bytes, self.announced_bytes))

    def _chunk(self) -> bytes:
        size_bytes = int(self._handler.rfile.readline().partition(b";")[0], 16)
        content = self._handler.rfile.read(size_bytes)
        self._handler.rfile.readline()
        return content

    def forward(self, body: bytes | None = None) -> Response:
        """Let the server have the request, with its own body or another one, and give its answer."""
        sent = self.body if body is None else body
        with self._server() as server:
            self._begin(server, len(sent))
            server.send(sent)
            received = server.getresponse()
            headers = {name: self._proxy.own_address(value) for name, value in received.getheaders()}
            return Response(received.status, received.read(), headers)

    def forward_beginning(self, body: bytes) -> None:
        """Let the server have the head and only the beginning of the body, and break the connection to it."""
        with self._server() as server:
            self._begin(server, self.announced_bytes)
            server.send(body)
            if server.sock is not None:
                _reset(server.sock)

    def _server(self) -> contextlib.closing[http.client.HTTPConnection]:
        address = self._proxy.target
        return contextlib.closing(
            http.client.HTTPConnection(str(address.hostname), address.port, timeout=SERVER_TIMEOUT_SECONDS)
        )

    def _begin(self, server: http.client.HTTPConnection, length: int) -> None:
        server.putrequest(self.method, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in HOP_BY_HOP:
                server.putheader(name, value)
        if length or self.method in ("PUT", "POST"):
            server.putheader("Content-Length", str(length))
        server.endheaders()

    def answer(self, response: Response) -> None:
        """Answer the client."""
        self._handler.wfile.write(self._written(response))

    def answer_beginning(self, response: Response, size_bytes: int) -> None:
        """Answer the client with the first bytes, and break the connection."""
        self._handler.wfile.write(self._written(response)[:size_bytes])
        self.reset()

    def answer_damaged(self, response: Response, change: Callable[[bytes], bytes]) -> None:
        """Answer the client with other bytes, from the status to the end of the body, and hang up."""
        self._handler.close_connection = True
        self._handler.wfile.write(change(self._written(response)))

    def answer_slowly(self, response: Response, seconds_per_byte: float) -> None:
        """Answer the client, byte after byte, until it has had enough."""
        for byte in self._written(response):
            self._handler.wfile.write(bytes([byte]))
            if self._proxy.closed.wait(seconds_per_byte):
                return

    def _written(self, response: Response) -> bytes:
        return self._head(response) + (b"" if self.method == "HEAD" else response.body)

    def _head(self, response: Response) -> bytes:
        lines = [f"HTTP/1.1 {response.status} {http.client.responses.get(response.status, 'Answer')}"]
        lines += [f"{name}: {value}" for name, value in response.headers.items() if name.lower() not in HOP_BY_HOP]
        length: object = len(response.body)
        if self.method == "HEAD":
            length = next((text for name, text in response.headers.items() if name.lower() == "content-length"), 0)
        if response.status not in (204, 304):
            lines.append(f"Content-Length: {length}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def read_slowly(self, seconds_per_byte: float) -> None:
        """Take the request byte after byte until the client has had enough."""
        while self._handler.rfile.read(1) and not self._proxy.closed.wait(seconds_per_byte):
            pass

    def reset(self) -> None:
        """Break the client's connection, as a crash or a firewall does."""
        self._handler.close_connection = True
        _reset(self._handler.connection)

    def wait_for_the_end(self) -> None:
        """Say nothing until the client or the test is gone."""
        self._handler.close_connection = True
        self._handler.connection.settimeout(0.2)
        while not self._proxy.closed.is_set():
            with contextlib.suppress(TimeoutError):
                if not self._handler.connection.recv(65536):
                    return


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


Effect = Callable[[Exchange], None]


@dataclass(frozen=True)
class Fault:
    """What happens to certain requests: the nth of those whose line (`PUT /bucket/key?query`) matches.

    `body` is looked for in the beginning of the request's body, where the line does not tell which file it is.
    """

    name: str
    effect: Effect
    request: str = ""
    on: Container[int] = EVERY
    body: bytes = b""

    def concerns(self, exchange: Exchange) -> bool:
        """Whether the request is one of those that are counted."""
        line = f"{exchange.method} {exchange.path}"
        return bool(re.search(self.request, line)) and (
            not self.body or bool(re.search(self.body, exchange.body[:LOOKED_AT_BYTES]))
        )


class HttpFaultProxy:
    """Passes every request on to the server at `target_url`, but for those that a fault strikes.

    The first fault that fits takes a request. `strikes` counts by the faults' names; leaving the context fails for
    faults that never struck. `seen` are the lines of all requests, in the order in which they came.
    """

    def __init__(self, target_url: str, *faults: Fault, tls: ssl.SSLContext | None = None) -> None:
        """With `tls` it speaks HTTPS, the server behind it does not."""
        self.target = urlsplit(target_url)
        self.strikes: Counter[str] = Counter()
        self.seen: list[str] = []
        self._faults = faults
        self._matches: Counter[int] = Counter()
        self._turn = threading.Lock()
        self._server = _Server(self, tls)
        self.closed = self._server.stopped
        self.port: int = self._server.server_address[1]
        self._scheme = "https" if tls else "http"
        self.url = f"{self._scheme}://127.0.0.1:{self.port}"

    def own_address(self, text: str) -> str:
        """A header's value that leads the client back here, where it would have led past."""
        led_back = text.replace(f"{self.target.scheme}://{self.target.netloc}", self.url)
        return re.sub("^http://", f"{self._scheme}://", led_back)  # servers behind TLS do not know of it

    def treat(self, exchange: Exchange) -> None:
        """Strike a request, or let it pass."""
        effect = self._effect(exchange)
        if effect is not None:
            effect(exchange)
        else:
            exchange.answer(exchange.forward())

    def _effect(self, exchange: Exchange) -> Effect | None:
        concerned = [number for number, fault in enumerate(self._faults) if fault.concerns(exchange)]
        with self._turn:
            self.seen.append(f"{exchange.method} {exchange.path}")
            for number in concerned:
                self._matches[number] += 1
                fault = self._faults[number]
                if self._matches[number] in fault.on:
                    self.strikes[fault.name] += 1
                    return fault.effect
        return None

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()
        missed = [fault.name for fault in self._faults if not self.strikes[fault.name]]
        assert kind is not None or not missed, f"never struck: {missed}"


class _Server(AcceptingServer):
    def __init__(self, proxy: HttpFaultProxy, tls: ssl.SSLContext | None) -> None:
        self.proxy = proxy
        super().__init__(_Handler, tls)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no news; anything else is printed as usual."""
        import sys

        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type] # what the base class gives


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        self.server.proxy.treat(Exchange(self, self.server.proxy))

    def finish(self) -> None:
        with contextlib.suppress(OSError):  # an effect may have closed it
            super().finish()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the name is http.server's
        """Say nothing."""
