"""Requests on kept connections: HTTP/1.1 reduced to the needs of a PUT and a listing.

A general client's work for a small file (a request object, a header map, a pool, a runtime's threads, the hash of the
body for its signature, which is known here) takes longer than all the rest of its way: measured, obstore needs 0.44 ms
of the processor for a file, this 0.24 ms, reading and hashing included. Answers that are not as simple as those that
say "stored" are read by `http.client`. Sources: RFC 9112, RFC 9110.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import re
import select
import socket
import ssl
import time
import urllib.parse
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from providers.base import ANSWER_TIMEOUT_SECONDS, CONNECT_TIMEOUT_SECONDS
from providers.connecting import connect
from providers.errors import ProviderError, ProviderUnavailable
from providers.shared.answers import SLOWEST_ANSWER_BYTES_PER_SECOND, deadline_seconds, unintelligible
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

LONGEST_ANSWER_BYTES = 64 * 1024 * 1024
"""Many times what a page of a thousand of the longest names takes."""

RECEIVE_OF_LONG_BYTES = 256 * 1024

END_OF_LINE = b"\r\n"
END_OF_HEAD = b"\r\n\r\n"

SIZE_OF_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?")

Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer."""

    status: int
    headers: dict[str, str]
    """Their names in lower case."""
    content: bytes = b""


def reaches_directly(url: str, network: Network) -> bool:
    """Whether `DirectHttp` can serve an address: it supports neither proxies nor non-ASCII names."""
    return url.isascii() and network.proxy is None


class DirectHttp:
    """Sends requests to one server, from any number of threads. No I/O until something is sent."""

    def __init__(self, url: str, trust: Trust) -> None:
        """`trust` holds the trusted certificates."""
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

        A refusal contains only the beginning of its body. Ends within the time to connect, for the body to travel
        (`deadline_seconds`) and for the answer. Raises `ProviderError`, without the address, which may hold a secret.
        """
        content = memoryview(body)
        head = _head(method, target, self._host_header, headers, content.nbytes)
        travel_seconds = deadline_seconds(content.nbytes) - deadline_seconds(0)
        with self._connection() as connection:
            due_at = time.monotonic() + travel_seconds + answer_timeout_seconds
            return connection.exchange(method, head, content, due_at)

    def get_long(self, target: str, headers: Headers, answer_timeout_seconds: float) -> Answer:
        """Request a path, as `send`, whose answer may be long: it is read whole, as long as it keeps a minimum pace.
        Raises as `send`, also for more than `LONGEST_ANSWER_BYTES`.
        """
        head = _head("GET", target, self._host_header, headers, 0)
        with self._connection() as connection:
            return connection.exchange_long(head, time.monotonic() + answer_timeout_seconds)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[_Connection]:
        """A connection for one exchange, reused afterwards if that succeeded."""
        with _translated_errors():
            connection = self._kept() or self._new()
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
        self._keep_or_close(connection)

    def close(self) -> None:
        """Close unused connections."""
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
        plain = connect(*self._address, CONNECT_TIMEOUT_SECONDS)
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

    def exchange_long(self, head: bytes, due_at: float) -> Answer:
        """Send a GET for a long answer. Arriving bytes extend `due_at`. Raises as `exchange`."""
        self._limit_wait(due_at)
        self._send(head, memoryview(b""))
        received = self._head_of_answer(due_at)
        success = _begun_success(received)
        if success is None:
            self.ends = True
            arriving = _LongBody(received, self, due_at).arriving
            return _other_answer("GET", _Received(received, arriving), LONGEST_ANSWER_BYTES)
        body = _LongBody(received.partition(END_OF_HEAD)[2], self, due_at)
        if success.headers.get("transfer-encoding", "").lower() == "chunked":
            content = body.chunks()
        else:
            content = body.exactly(int(success.headers["content-length"]))
        self.ends = not body.is_read or success.headers.get("connection", "").lower() == "close"
        return replace(success, content=content)

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

    def _head_of_answer(self, due_at: float) -> bytes:
        """The complete head, with any part of the body that arrived with it."""
        received = b""
        while END_OF_HEAD not in received:
            if len(received) > LONGEST_HEAD_BYTES:
                raise unintelligible("una cabecera sin fin")
            more = self.receive(due_at)
            if not more:
                raise ConnectionResetError  # also within the head, which `http.client` would take for a whole one
            received += more
        return received

    def _answer(self, method: str, due_at: float) -> Answer:
        received = self._head_of_answer(due_at)
        answer = _simple_answer(method, received)
        if answer is None:
            self.ends = True
            return _other_answer(method, _Received(received, partial(self.receive, due_at)), LONGEST_REFUSAL_BYTES)
        self.ends = self.ends or answer.headers.get("connection", "").lower() == "close"
        return answer

    def receive(self, due_at: float, most_bytes: int = RECEIVE_BYTES) -> bytes:
        """The bytes that have arrived, none at the end. Raises `TimeoutError` after the deadline."""
        self._limit_wait(due_at)
        return self._socket.recv(most_bytes)

    def _limit_wait(self, due_at: float) -> None:
        """A new limit is a system call, so one that is right within a second stays, unless it is about to end."""
        remaining_seconds = due_at - time.monotonic()
        if remaining_seconds <= 0:
            raise TimeoutError
        if remaining_seconds < 1 or abs(remaining_seconds - self._timeout_seconds) > 1:
            self._socket.settimeout(remaining_seconds)
            self._timeout_seconds = remaining_seconds


class _LongBody:
    """A body that comes on a connection, its beginning with the head. The longer it is, the longer it may take."""

    def __init__(self, begun: bytes, connection: _Connection, due_at: float) -> None:
        self._come = begun
        self._read_bytes = 0
        """How much of the last received bytes is read."""
        self._connection = connection
        self._due_at = due_at
        self._come_bytes = len(begun)

    @property
    def is_read(self) -> bool:
        """Whether all received bytes are read."""
        return self._read_bytes == len(self._come)

    def exactly(self, size_bytes: int) -> bytes:
        """The next bytes. Raises `OSError` if they do not arrive, or too slowly."""
        end = self._read_bytes + size_bytes
        if end <= len(self._come):
            content = self._come[self._read_bytes : end]
            self._read_bytes = end
            return content
        pieces = [self._come[self._read_bytes :]]
        missing_bytes = end - len(self._come)
        while missing_bytes > 0:
            self._come = self._more()
            self._read_bytes = min(missing_bytes, len(self._come))
            pieces.append(self._come[: self._read_bytes])
            missing_bytes -= self._read_bytes
        return b"".join(pieces)

    def chunks(self) -> bytes:
        """All that comes in chunks, each after a line that says how long it is (RFC 9112, 7.1). Raises as `exactly`."""
        chunks = []
        while size_bytes := _size_of_chunk(self._line()):
            chunks.append(self.exactly(size_bytes))
            if self.exactly(2) != END_OF_LINE:
                raise unintelligible("un trozo sin fin")
        while self._line():
            pass  # ignored trailer fields
        return b"".join(chunks)

    def _line(self) -> bytes:
        while (end := self._come.find(END_OF_LINE, self._read_bytes)) < 0:
            begun = self._come[self._read_bytes :]
            if len(begun) > LONGEST_HEAD_BYTES:
                raise unintelligible("una línea sin fin")
            self._come, self._read_bytes = begun + self._more(), 0
        line = self._come[self._read_bytes : end]
        self._read_bytes = end + len(END_OF_LINE)
        return line

    def _more(self) -> bytes:
        more = self.arriving()
        if not more:
            raise ConnectionResetError
        return more

    def arriving(self) -> bytes:
        """What arrives next, nothing at the end. Raises `TimeoutError`, and `ProviderUnavailable` for too much."""
        due_at = self._due_at + self._come_bytes / SLOWEST_ANSWER_BYTES_PER_SECOND
        more = self._connection.receive(due_at, RECEIVE_OF_LONG_BYTES)
        self._come_bytes += len(more)
        if self._come_bytes > LONGEST_ANSWER_BYTES:
            raise unintelligible("no tiene fin")
        return more


class _Received(io.RawIOBase):
    """What has arrived on a connection and what will, for `http.client`, in place of a socket."""

    def __init__(self, received: bytes, receive: Callable[[], bytes]) -> None:
        self._received = received
        self._receive = receive

    def makefile(self, _mode: str) -> io.BufferedReader:
        """See `socket.socket.makefile`."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._received or self._receive()
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


def _simple_answer(method: str, received: bytes) -> Answer | None:
    """The answer, if it has arrived as a whole: one of success with a body of known size, or one that has none. Nearly
    all are.
    """
    head, _, content = received.partition(END_OF_HEAD)
    status = head[9:12]
    if not head.startswith(b"HTTP/1.1 ") or not status.isdigit():
        return None
    has_no_body = method == "HEAD" or status == b"204"
    if not (status.startswith(b"2") or (has_no_body and status >= b"200")):
        return None
    headers = _headers(head)
    if "transfer-encoding" in headers and not has_no_body:
        return None
    announced = "0" if has_no_body else headers.get("content-length")
    return Answer(int(status), headers, content) if announced == str(len(content)) else None


def _headers(head: bytes) -> dict[str, str]:
    headers = {}
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return headers


def _begun_success(received: bytes) -> Answer | None:
    """The answer without its body, if it is one of success that says how it ends."""
    head = received.partition(END_OF_HEAD)[0]
    if not head.startswith(b"HTTP/1.1 200"):
        return None
    headers = _headers(head)
    coding = headers.get("transfer-encoding")
    if coding is None and not headers.get("content-length", "").isdigit():
        return None
    return Answer(200, headers) if coding is None or coding.lower() == "chunked" else None


def _size_of_chunk(line: bytes) -> int:
    size = SIZE_OF_CHUNK.fullmatch(line)
    if size is None:
        raise unintelligible("un trozo sin tamaño")
    return int(size[1], 16)


def _other_answer(method: str, received: _Received, longest_bytes: int) -> Answer:
    response = http.client.HTTPResponse(received, method=method)  # type: ignore[arg-type]  # all it asks of a socket
    response.begin()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read(longest_bytes))


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
