"""An HTTP proxy like those that companies have: it forwards to any server, asks for a password, and counts."""

from __future__ import annotations

import base64
import contextlib
import re
import select
import socket
import ssl
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self

LONGEST_HEAD_BYTES = 65536
NOT_FOR_SERVERS = re.compile(rb"(?im)^(?:proxy-[a-z]+|connection|expect):[^\n]*\n")
AUTHORIZATION = re.compile(rb"(?im)^proxy-authorization:\s*basic\s+(\S+)")
ONE_REQUEST = b"Connection: close\r\n"
ASKS_FOR_PASSWORD = (
    b'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="x"\r\n'
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)


class ForwardingProxy:
    """Forwards what comes to it in tunnels (CONNECT) and in absolute form.

    `routes` are addresses (`name:port`) that no resolver knows, and the ports of this machine that they stand for.
    `seen` are the lines of all requests that were let through (`CONNECT name:443`), `refused` is how many were not.
    """

    def __init__(
        self,
        login: tuple[str, str] | None = None,
        routes: Mapping[str, int] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.seen: list[str] = []
        self.refused = 0
        self._login = login and base64.b64encode(":".join(login).encode())
        self._routes = dict(routes or {})
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            client = stack.enter_context(self._tls.wrap_socket(plain, server_side=True) if self._tls else plain)
            head, rest = _head_and_rest(client)
            authorization = AUTHORIZATION.search(head)
            if self._login and (authorization is None or authorization[1] != self._login):
                self.refused += 1
                client.sendall(ASKS_FOR_PASSWORD)
                _read_to_the_end(client)  # or the client might be told of a broken connection instead
                return
            line, _, headers = head.partition(b"\r\n")
            method, target, _ = line.decode().split(" ", 2)
            self.seen.append(f"{method} {target}")
            if method == "CONNECT":
                server = stack.enter_context(self._connected(target))
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                server.sendall(rest)
                _pump(client, server, b"")
                return
            address, _, path = target.removeprefix("http://").partition("/")
            server = stack.enter_context(self._connected(address))
            if b"100-continue" in headers.lower():
                client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            headers = NOT_FOR_SERVERS.sub(b"", headers)
            server.sendall(f"{method} /{path} HTTP/1.1\r\n".encode() + ONE_REQUEST + headers + rest)
            _pump(client, server, ONE_REQUEST)

    def _connected(self, address: str) -> socket.socket:
        port = self._routes.get(address)
        if port is not None:
            return socket.create_connection(("127.0.0.1", port))
        host, _, own_port = address.partition(":")
        return socket.create_connection((host, int(own_port or 80)))


def _head_and_rest(client: socket.socket) -> tuple[bytes, bytes]:
    received = b""
    while b"\r\n\r\n" not in received:
        more = client.recv(LONGEST_HEAD_BYTES)
        if not more:
            raise ConnectionResetError
        received += more
    head, _, rest = received.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


def _read_to_the_end(client: socket.socket) -> None:
    client.settimeout(5)
    client.shutdown(socket.SHUT_WR)
    while client.recv(65536):
        pass


def _pump(client: socket.socket, server: socket.socket, told_in_answer: bytes) -> None:
    """Carry bytes both ways until either side ends. A header is added to the first answer."""
    while True:
        pending = isinstance(client, ssl.SSLSocket) and client.pending()
        readable = [client] if pending else select.select([client, server], [], [])[0]
        for source in readable:
            content = source.recv(65536)
            if not content:
                return
            if source is server and told_in_answer:
                status, _, rest = content.partition(b"\r\n")
                content, told_in_answer = status + b"\r\n" + told_in_answer + rest, b""
            (server if source is client else client).sendall(content)
