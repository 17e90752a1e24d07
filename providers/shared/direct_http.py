"""Requests whose answers are short, on connections that are kept: HTTP/1.1 reduced to what a PUT needs.

A general client's work for a small file (a request object, a header map, a pool, a runtime's threads, the hash of the
body for its signature, which is known here) takes longer than all the rest of its way: measured, obstore needs 0.44 ms
of the processor for a file, this 0.24 ms, reading and hashing included. Answers that are not as simple as those that
say "stored" are read by `http.client`. Sources: RFC 9112, RFC 9110.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import select
import socket
import ssl
import time
import urllib.parse
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from providers.base import ANSWER_TIMEOUT_SECONDS, CONNECT_TIMEOUT_SECONDS, ProviderError, ProviderUnavailable
from providers.shared.answers import deadline_seconds, unintelligible
from providers.shared.network import Network, Trust
from providers.shared.network_errors import network_error

if TYPE_CHECKING:
    from typing_extensions import Buffer

LARGEST_BODY_BYTES = 256 * 1024
"""Beyond this the client does not count, and a body needs time to travel. It may have any size all the same."""

SENT_WITH_HEAD_BYTES = 256 * 1024
"""A body of up to this size goes into one encrypted piece with the head; a larger one is not copied for that."""

LONGEST_IDLE_SECONDS = 3.0
"""How long a connection without a request is kept: less than the five seconds after which Node's servers close one, and
a request that is just then on its way is lost. A new one costs little beside so long a pause."""

METHODS_WITH_BODY = frozenset(("PUT", "POST"))
"""Some servers refuse these without a length (411)."""

LONGEST_HEAD_BYTES = 64 * 1024
LONGEST_REFUSAL_BYTES = 64 * 1024
RECEIVE_BYTES = 16 * 1024

Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said."""

    status: int
    headers: dict[str, str]
    """Their names in lower case."""
    content: bytes = b""


def reaches_directly(url: str, network: Network) -> bool:
    """Whether `DirectHttp` can serve an address: it knows no proxies, and no names but those of ASCII."""
    return url.isascii() and network.proxy is None


class DirectHttp:
    """Sends requests to one server, from any number of threads. No I/O until something is sent."""

    def __init__(self, url: str, trust: Trust) -> None:
        """`trust` says whose certificates are believed."""
        parts = urllib.parse.urlsplit(url)
        self._host_header = parts.netloc
        self._is_secure = parts.scheme == "https"
        self._address = (parts.hostname or "", parts.port or (443 if self._is_secure else 80))
        self._trust = trust
        self._idle: deque[_Connection] = deque()
        self._ending = weakref.finalize(self, _close_all, self._idle)  # as urllib3's pools do, when nobody says so

    def put(self, target: str, headers: Headers, body: Buffer) -> Answer:
        """As `send`, for a PUT."""
        return self.send("PUT", target, headers, body)

    def send(
        self,
        method: str,
        target: str,
        headers: Headers,
        body: Buffer = b"",
        answer_timeout_seconds: float = ANSWER_TIMEOUT_SECONDS,
    ) -> Answer:
        """Send a request for a path (with its query), both already in percent notation, and give any answer.

        Of a refusal's body there is only the beginning. Ends within the time to connect, for the body to travel
        (`deadline_seconds`) and for the answer. Raises `ProviderError`, without the address, which may hold a secret.
        """
        content = memoryview(body)
        head = _head(method, target, self._host_header, headers, content.nbytes)
        travel_seconds = deadline_seconds(content.nbytes) - deadline_seconds(0)
        with _translated_errors():
            connection = self._kept() or self._new()
            due_at = time.monotonic() + travel_seconds + answer_timeout_seconds
            try:
                answer = connection.exchange(method, head, content, due_at)
            except BaseException:
                connection.close()
                raise
        self._keep_or_close(connection)
        return answer

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self._ending()

    def _kept(self) -> _Connection | None:
        """The connection used last, if it is still open as far as can be seen."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if connection.is_usable:
                return connection
            connection.close()

    def _keep_or_close(self, connection: _Connection) -> None:
        if connection.ends:
            connection.close()
        else:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)

    def _new(self) -> _Connection:
        plain = socket.create_connection(self._address, CONNECT_TIMEOUT_SECONDS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._is_secure:
            return _Connection(plain)
        try:
            return _Connection(self._trust.context.wrap_socket(plain, server_hostname=self._address[0]))
        except BaseException:
            plain.close()
            raise


def _close_all(connections: deque[_Connection]) -> None:
    while connections:
        connections.pop().close()


class _Connection:
    """One connection, for one thread at a time."""

    def __init__(self, connected: socket.socket) -> None:
        self.ends = False
        """Whether nothing more can be sent on it."""
        self.idle_since = 0.0
        self._socket = connected
        self._timeout_seconds = 0.0
        self._readable = select.poll()
        self._readable.register(connected, select.POLLIN)

    @property
    def is_usable(self) -> bool:
        """A server that closes a connection, or says anything without having been asked, makes it readable."""
        return time.monotonic() - self.idle_since < LONGEST_IDLE_SECONDS and not self._readable.poll(0)

    def exchange(self, method: str, head: bytes, body: memoryview, due_at: float) -> Answer:
        """Send a request and read its answer. Raises `OSError`, `http.client.HTTPException`."""
        self._limit_wait(due_at)
        try:
            self._send(head, body)
        except ConnectionError:
            self.ends = True  # it may have refused before it had read all, and its answer may have arrived
        return self._answer(method, due_at)

    def close(self) -> None:
        """End it."""
        self._socket.close()

    def _send(self, head: bytes, body: memoryview) -> None:
        if isinstance(self._socket, ssl.SSLSocket):
            self._send_encrypted(self._socket, head, body)
            return
        sent_bytes = self._socket.sendmsg([head, body])
        if sent_bytes < len(head):
            self._socket.sendall(head[sent_bytes:])
        if sent_bytes < len(head) + body.nbytes:
            self._socket.sendall(body[max(0, sent_bytes - len(head)) :])

    def _send_encrypted(self, encrypted: ssl.SSLSocket, head: bytes, body: memoryview) -> None:
        if body.nbytes <= SENT_WITH_HEAD_BYTES:
            encrypted.sendall(head + body)
            return
        encrypted.sendall(head)
        encrypted.sendall(body)

    def _answer(self, method: str, due_at: float) -> Answer:
        received = b""
        while b"\r\n\r\n" not in received:
            if len(received) > LONGEST_HEAD_BYTES:
                raise unintelligible("una cabecera sin fin")
            more = self.receive(due_at)
            if not more:
                raise ConnectionResetError  # also within the head, which `http.client` would take for a whole one
            received += more
        answer = _simple_success(method, received)
        if answer is None:
            self.ends = True
            return _other_answer(method, _Received(received, self, due_at))
        self.ends = self.ends or answer.headers.get("connection", "").lower() == "close"
        return answer

    def receive(self, due_at: float) -> bytes:
        """What has arrived, nothing at the end. Raises `TimeoutError` when it is too late."""
        self._limit_wait(due_at)
        return self._socket.recv(RECEIVE_BYTES)

    def _limit_wait(self, due_at: float) -> None:
        """A new limit is a system call, so one that is right within a second stays."""
        remaining_seconds = due_at - time.monotonic()
        if remaining_seconds <= 0:
            raise TimeoutError
        if abs(remaining_seconds - self._timeout_seconds) > 1:
            self._socket.settimeout(remaining_seconds)
            self._timeout_seconds = remaining_seconds


class _Received(io.RawIOBase):
    """What has arrived on a connection and what will, for `http.client`, in place of a socket."""

    def __init__(self, received: bytes, connection: _Connection, due_at: float) -> None:
        self._received = received
        self._connection = connection
        self._due_at = due_at

    def makefile(self, _mode: str) -> io.BufferedReader:
        """See `socket.socket.makefile`."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._received or self._connection.receive(self._due_at)
        count = min(len(content), len(buffer))
        buffer[:count] = content[:count]
        self._received = content[count:]
        return count


def _head(method: str, target: str, host: str, headers: Headers, body_bytes: int) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"host: {host}"]
    if body_bytes or method in METHODS_WITH_BODY:
        lines.append(f"content-length: {body_bytes}")
    lines += [f"{name}: {value}" for name, value in headers]
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or not text.isascii():
        raise ProviderError("los ajustes o las credenciales tienen caracteres que no se pueden enviar")
    return f"{text}\r\n\r\n".encode("ascii")


def _simple_success(method: str, received: bytes) -> Answer | None:
    """The answer, if it is one of success that has arrived as a whole, with a body of known size: nearly all are."""
    head, end, content = received.partition(b"\r\n\r\n")
    if not end or not head.startswith(b"HTTP/1.1 2"):
        return None
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "transfer-encoding" in headers or not status[9:12].isdigit():
        return None
    has_no_body = method == "HEAD" or status[9:12] == "204"
    announced = "0" if has_no_body else headers.get("content-length")
    return Answer(int(status[9:12]), headers, content) if announced == str(len(content)) else None


def _other_answer(method: str, received: _Received) -> Answer:
    response = http.client.HTTPResponse(received, method=method)  # type: ignore[arg-type]  # all it asks of a socket
    response.begin()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read(LONGEST_REFUSAL_BYTES))


@contextlib.contextmanager
def _translated_errors() -> Iterator[None]:
    """Turn what the system says into a `ProviderError`."""
    try:
        yield
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionResetError) as error:
        raise ProviderUnavailable("fallo de red: se cortó la conexión") from error
    except ssl.SSLError as error:
        failed = ProviderUnavailable(f"la conexión segura (TLS) con el servidor falló ({error.reason})")
        raise network_error(error) or failed from error
    except TimeoutError as error:
        raise ProviderUnavailable("fallo de red: se agotó el tiempo de espera") from error
    except (ConnectionRefusedError, socket.gaierror) as error:
        raise ProviderUnavailable("fallo de red: no se pudo conectar") from error
    except http.client.HTTPException as error:
        raise unintelligible(type(error).__name__) from error
    except OSError as error:
        raise ProviderUnavailable("fallo de red: se cortó la conexión") from error
