"""Small bodies sent without a general HTTP client: what servers may do to such a connection, and how it is signed."""

from __future__ import annotations

import hashlib
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from botocore import auth
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from config.fields import Fields
from config.models import ProviderRow
from providers import build_provider
from providers.base import Provider
from providers.errors import (
    AccessDenied,
    ConditionFailed,
    DestinationMissing,
    IntegrityError,
    ProviderError,
    ProviderUnavailable,
    SlowDown,
    StorageFull,
)
from providers.s3.signature import RequestSigner
from providers.shared import direct_http
from providers.shared.direct_http import DirectHttp, reaches_directly
from providers.shared.network import NetworkRules, Trust
from providers.sources import BytesSource
from tests.processes import wait_until
from tests.providers.shared.test_tls import certificate_of_its_own
from tests.servers.canned_http import Answer, CannedHttp, Request

pytestmark = pytest.mark.usefixtures("little_patience")

STORED = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
BODY = b"content"
END_OF_GET = b"\r\n\r\n"
DEADLINE_SECONDS = 0.6

END_IS_ACKNOWLEDGED = b"\x05"
"""The state FIN_WAIT2 in the first byte of Linux's `tcp_info`."""


class ScriptedServer:
    """Reads a request on each turn of the script, and does with the connection what the turn says.

    `connections` is how many were opened, `requests` what came, head and body together.
    """

    def __init__(self, *turns: Callable[[socket.socket], None]) -> None:
        self.connections = 0
        self.requests: list[bytes] = []
        self._turns = iter(turns)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while request := _request_on(connection):
                self.requests.append(request)
                next(self._turns)(connection)

    def close(self) -> None:
        self._listener.close()


def _request_on(connection: socket.socket) -> bytes:
    received = b""
    try:
        while not received.endswith(END_OF_GET if received.startswith(b"GET ") else BODY) and (
            more := connection.recv(65536)
        ):
            received += more
    except OSError:
        return b""
    return received


def say(answer: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(answer)


def say_and_close(answer: bytes) -> Callable[[socket.socket], None]:
    def turn(connection: socket.socket) -> None:
        with suppress(OSError):  # who has heard enough does not listen any more
            connection.sendall(answer)
            connection.shutdown(socket.SHUT_RDWR)

    return turn


@contextmanager
def scripted(*turns: Callable[[socket.socket], None]) -> Iterator[tuple[ScriptedServer, DirectHttp]]:
    with closing(ScriptedServer(*turns)) as server, closing(DirectHttp(server.url, Trust())) as client:
        yield server, client


def put(client: DirectHttp) -> direct_http.Answer:
    return client.put("/bucket/key", [("x-a", "b")], BODY)


def test_a_connection_is_used_again_and_what_is_sent_is_what_was_given() -> None:
    with scripted(say(STORED), say(STORED)) as (server, client):
        assert [put(client).status, put(client).status] == [200, 200]
        assert server.connections == 1
        head = f"PUT /bucket/key HTTP/1.1\r\nhost: {server.url[7:]}\r\ncontent-length: 7\r\nx-a: b\r\n\r\n"
        assert server.requests == [head.encode() + BODY] * 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmore and more",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nmore\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
        STORED + b"HTTP/1.1 500 for nothing that was asked\r\n",
    ],
)
def test_success_in_other_words_counts_and_ends_the_connection(answer: bytes) -> None:
    with scripted(say(answer), say(STORED)) as (server, client):
        assert put(client).status in (200, 201)
        assert put(client).status == 200
        assert server.connections == 2


def test_a_short_answer_that_has_come_whole_leaves_the_connection_open() -> None:
    with scripted(say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmore"), say(STORED)) as (server, client):
        assert put(client).content == b"more"
        assert put(client).status == 200
        assert server.connections == 1


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nETag: x\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 404 Not Found\r\nContent-Length: 321\r\n\r\n"),
        ("DELETE", b"HTTP/1.1 204 No Content\r\n\r\n"),
    ],
)
def test_an_answer_that_has_no_body_is_not_waited_for(method: str, answer: bytes) -> None:
    """Whatever length it announces (RFC 9110, 8.6). That nothing lies at a place is asked for each execution."""
    with scripted(say(answer), say(STORED)) as (server, client):
        assert client.send(method, "/bucket/key", (), BODY).status in (200, 204, 404)
        assert put(client).status == 200
        assert server.connections == 1


def test_a_connection_that_was_closed_meanwhile_is_not_used_again() -> None:
    arrived = threading.Event()
    with scripted(say_and_end(STORED, arrived), say(STORED)) as (server, client):
        assert put(client).status == 200
        assert arrived.wait(60)
        assert put(client).status == 200
        assert (server.connections, len(server.requests)) == (2, 2)


def say_and_end(answer: bytes, arrived: threading.Event) -> Callable[[socket.socket], None]:
    """`arrived` is set once the client's host has acknowledged the end of the connection."""

    def turn(connection: socket.socket) -> None:
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
        wait_until(lambda: connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == END_IS_ACKNOWLEDGED, 60)
        arrived.set()

    return turn


def test_a_connection_that_nobody_used_for_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_http, "LONGEST_IDLE_SECONDS", 0.0)
    with scripted(say(STORED), say(STORED)) as (server, client):
        assert [put(client).status, put(client).status] == [200, 200]
        assert server.connections == 2


def test_a_refusal_is_heard_that_comes_before_all_was_sent() -> None:
    """The connection ends then, with most of the body still unread, so that the rest of it cannot be sent."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def refuse() -> None:
            connection, _ = listener.accept()
            connection.recv(10)
            connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nnever")
            connection.close()

        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        with closing(DirectHttp(f"http://127.0.0.1:{listener.getsockname()[1]}", Trust())) as client:
            answer = client.put("/key", [], bytes(16 * direct_http.LARGEST_BODY_BYTES))
        thread.join()
    assert (answer.status, answer.content) == (403, b"never")


LONG = b"<item/>" * 10_000
HEAD_OF_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def in_chunks(content: bytes, chunk_bytes: int, after_size: bytes = b"") -> bytes:
    starts = range(0, len(content), chunk_bytes)
    pieces = (content[start : start + chunk_bytes] for start in starts)
    return b"".join(b"%x%s\r\n%s\r\n" % (len(piece), after_size, piece) for piece in pieces) + b"0\r\n"


def ask_for_long(client: DirectHttp, timeout_seconds: float = 10.0) -> direct_http.Answer:
    return client.get_long("/bucket?list-type=2", [("x-a", "b")], timeout_seconds)


def say_in_pieces(answer: bytes, piece_bytes: int) -> Callable[[socket.socket], None]:
    def turn(connection: socket.socket) -> None:
        for start in range(0, len(answer), piece_bytes):
            connection.sendall(answer[start : start + piece_bytes])

    return turn


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(LONG), LONG),
        HEAD_OF_CHUNKS + in_chunks(LONG, 4096) + b"\r\n",
        HEAD_OF_CHUNKS + in_chunks(LONG, 1) + b"\r\n",
        HEAD_OF_CHUNKS + in_chunks(LONG, 30_000, b' ; name="value"') + b"X-Trailer: one\r\nX-Other: two\r\n\r\n",
    ],
    ids=["length", "chunks", "smallest chunks", "extensions and trailers"],
)
@pytest.mark.parametrize("piece_bytes", [977, 100_000])
def test_a_long_answer_is_read_whole_and_leaves_the_connection_open(answer: bytes, piece_bytes: int) -> None:
    """However it is cut into chunks, and the chunks into what arrives together (RFC 9112, 7.1)."""
    with scripted(say_in_pieces(answer, piece_bytes), say(STORED)) as (server, client):
        assert ask_for_long(client).content == LONG
        assert put(client).status == 200
        assert server.connections == 1


def test_what_follows_a_long_answer_unasked_ends_the_connection() -> None:
    """Else it would be taken for the answer to the next request."""
    answer = HEAD_OF_CHUNKS + in_chunks(b"<item/>", 7) + b"\r\n" + STORED
    with scripted(say(answer), say(STORED)) as (server, client):
        assert ask_for_long(client).content == b"<item/>"
        assert put(client).status == 200
        assert server.connections == 2


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(LONG), LONG), 200),
        (b"HTTP/1.1 200 OK\r\n\r\n" + LONG, 200),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(LONG), LONG), 200),
        (b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n" + in_chunks(LONG, 4096) + b"\r\n", 404),
    ],
    ids=["old", "until the end", "the last one", "a refusal"],
)
def test_a_long_answer_in_other_words_is_read_whole_and_ends_the_connection(answer: bytes, status: int) -> None:
    with scripted(say_and_close(answer), say(STORED)) as (server, client):
        heard = ask_for_long(client)
        assert (heard.status, heard.content) == (status, LONG)
        assert put(client).status == 200
        assert server.connections == 2


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 70\r\n\r\n<half", "se cortó la conexión"),
        (HEAD_OF_CHUNKS + b"5\r\n<half", "se cortó la conexión"),
        (HEAD_OF_CHUNKS + b"5\r\n<half\r\n", "se cortó la conexión"),
        (HEAD_OF_CHUNKS + b"5\r\n<half\r\n0\r\n", "se cortó la conexión"),
        (HEAD_OF_CHUNKS + b"4\r\n<halXX0\r\n\r\n", "no se entiende"),
        (HEAD_OF_CHUNKS + b"-5\r\n<half\r\n0\r\n\r\n", "no se entiende"),
        (HEAD_OF_CHUNKS + b"1" * 70_000, "no se entiende"),
        (HEAD_OF_CHUNKS + b"fffffff\r\n" + bytes(3_000_000), "no se entiende"),
        (b"HTTP/1.0 200 OK\r\n\r\n" + bytes(3_000_000), "no se entiende"),
    ],
    ids=[
        "cut",
        "cut chunk",
        "no last chunk",
        "no end",
        "too long",
        "no size",
        "endless size",
        "endless",
        "old endless",
    ],
)
def test_what_is_no_whole_long_answer_is_none(answer: bytes, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing that is cut must never look like a short one."""
    monkeypatch.setattr(direct_http, "LONGEST_ANSWER_BYTES", 1_000_000)
    with scripted(say_and_close(answer), say(STORED)) as (server, client):
        with pytest.raises(ProviderUnavailable, match=reason):
            ask_for_long(client)
        assert put(client).status == 200
        assert server.connections == 2


@pytest.mark.parametrize(("seconds_each", "has_time"), [(5, True), (20, False)])
def test_a_long_answer_has_the_time_that_it_needs_to_come(
    seconds_each: float, has_time: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred bytes at a time, by a clock that advances whenever some have come."""
    clock = itertools.count(step=seconds_each)
    monkeypatch.setattr(direct_http, "SLOWEST_ANSWER_BYTES_PER_SECOND", 10)
    monkeypatch.setattr(direct_http, "RECEIVE_OF_LONG_BYTES", 100)
    monkeypatch.setattr(direct_http, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + bytes(60_000)
    in_time = nullcontext() if has_time else pytest.raises(ProviderUnavailable, match="tiempo de espera")
    with scripted(say_and_close(answer)) as (_, client), in_time:
        assert len(ask_for_long(client, 60).content) == 60_000


@pytest.mark.parametrize("beginning", [b"", HEAD_OF_CHUNKS, b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n"])
def test_a_long_answer_at_a_trickle_is_not_waited_for(beginning: bytes) -> None:
    def turn(connection: socket.socket) -> None:
        connection.sendall(beginning)
        trickle(connection)

    with scripted(turn) as (_, client), pytest.raises(ProviderUnavailable, match="tiempo de espera"):
        ask_for_long(client, DEADLINE_SECONDS)


def trickle(connection: socket.socket) -> None:
    """A byte now and then, for longer than anyone may wait; the error of a client that waits for the end is another."""
    ends_at = time.monotonic() + 20 * DEADLINE_SECONDS
    try:
        while time.monotonic() < ends_at:
            connection.sendall(b"H")
            threading.Event().wait(DEADLINE_SECONDS / 10)
    except OSError:
        return


def keep_silent(connection: socket.socket) -> None:
    """Until the client has gone."""
    connection.recv(1)


@pytest.mark.parametrize("turn", [trickle, keep_silent])
def test_no_answer_is_waited_for_beyond_the_deadline(turn: Callable[[socket.socket], None]) -> None:
    with scripted(turn, say(STORED)) as (server, client):
        with pytest.raises(ProviderUnavailable, match="tiempo de espera"):
            client.send("PUT", "/bucket/key", (), BODY, DEADLINE_SECONDS)
        assert put(client).status == 200
        assert server.connections == 2


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "se cortó la conexión"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "se cortó la conexión"),
        (b"220 mail.example.com ESMTP\r\n\r\n", "no se entiende"),
        (b"HTTP/1.1 200 OK\r\nA: " + bytes(70_000), "no se entiende"),
    ],
    ids=["none", "cut", "another protocol", "endless head"],
)
def test_what_is_no_answer_is_none(answer: bytes, reason: str) -> None:
    with scripted(say_and_close(answer)) as (_, client), pytest.raises(ProviderUnavailable, match=reason):
        put(client)


def test_a_server_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    with closing(DirectHttp(url, Trust())) as client, pytest.raises(ProviderUnavailable, match="no se pudo conectar"):
        put(client)


@pytest.mark.parametrize("value", ["a\r\nx-b: c", "a\nb", "año"])
def test_nothing_is_sent_with_a_header_that_would_be_another(value: str) -> None:
    with scripted() as (server, client):
        with pytest.raises(ProviderError, match="caracteres"):
            client.put("/key", [("x-a", value)], BODY)
        assert server.connections == 0


@pytest.mark.parametrize(
    ("variables", "directly"),
    [
        ({}, True),
        ({"http_proxy": "http://proxy:3128"}, False),
        ({"all_proxy": "http://proxy:3128"}, False),
        ({"https_proxy": "http://proxy:3128"}, True),
        ({"http_proxy": "http://proxy:3128", "no_proxy": "s3.example.com"}, True),
    ],
)
def test_a_proxy_of_the_environment_is_known(variables: dict[str, str], directly: bool) -> None:
    network = NetworkRules(Fields("configuracion", {}), variables).for_url("http://s3.example.com/bucket")
    assert reaches_directly("http://s3.example.com/bucket", network) is directly


@contextmanager
def s3(url: str, **options: object) -> Iterator[Provider]:
    credentials = {"access_key": "AK", "secret_key": "secret"}
    row = ProviderRow(1, "S3", "s3", credentials, {"bucket": "cubo", "endpoint_url": url, **options}, active=True)
    with closing(build_provider(row)) as provider:
        yield provider


def test_small_files_go_through_a_proxy_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with CannedHttp(lambda _: Answer(200, headers={"ETag": '"x"'})) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        with s3("http://s3.example.com") as provider:
            provider.put("key", BytesSource(BODY))
    (request,) = proxy.requests
    assert (request.method, request.path, request.body) == ("PUT", "http://s3.example.com/cubo/key", BODY)


def test_what_the_row_says_of_objects_goes_with_each() -> None:
    options = {"storage_class": "STANDARD_IA", "sse": "aws:kms", "kms_key_id": "k-1"}
    with CannedHttp(lambda _: Answer(200)) as server, s3(server.url, **options) as provider:
        provider.put("key", BytesSource(BODY))
    (request,) = server.requests
    sent = {name.lower(): value for name, value in request.headers.items()}
    assert sent["x-amz-storage-class"] == "STANDARD_IA"
    assert sent["x-amz-server-side-encryption"] == "aws:kms"
    assert sent["x-amz-server-side-encryption-aws-kms-key-id"] == "k-1"


@pytest.mark.parametrize(
    ("status", "code", "error_class"),
    [
        (400, "BadDigest", IntegrityError),
        (400, "ExpiredToken", AccessDenied),
        (403, "SignatureDoesNotMatch", AccessDenied),
        (403, "QuotaExceeded", StorageFull),
        (404, "NoSuchBucket", DestinationMissing),
        (409, "BlobAlreadyExists", ConditionFailed),
        (409, "ConditionalRequestConflict", ProviderUnavailable),
        (412, "PreconditionFailed", ConditionFailed),
        (503, "SlowDown", SlowDown),
        (429, "", SlowDown),
        (507, "", StorageFull),
        (418, "", ProviderError),
    ],
)
def test_a_refusal_says_what_the_caller_must_decide(status: int, code: str, error_class: type[ProviderError]) -> None:
    content = f"<Error><Code>{code}</Code><Message>AK secret</Message></Error>".encode()
    with (
        CannedHttp(lambda _: Answer(status, content)) as server,
        s3(server.url) as provider,
        pytest.raises(ProviderError, match=f"HTTP {status} ?{code}") as raised,
    ):
        provider.put("key", BytesSource(BODY))
    assert type(raised.value) is error_class
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("token", [None, "the/session+token="])
@pytest.mark.parametrize("name", ["plain", "a b+c=d/ñ/~*'()%41?&#;:@$,!", "😀"])
def test_the_signature_is_botocores(name: str, token: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = ReadOnlyCredentials("AK", "secret", token)
    headers = {"if-none-match": "*", "x-amz-storage-class": "STANDARD_IA", "x-amz-server-side-encryption": "AES256"}
    signer = RequestSigner("http://s3.example.com:9000/cubo", "eu-west-1", lambda: credentials, headers)
    sha256 = hashlib.sha256(BODY).hexdigest()
    for _ in range(2):  # the second time with the key that is known then
        path, signed = signer.sign(name, sha256)
    given = dict(signed)
    monkeypatch.setattr(auth, "get_current_datetime", lambda: _moment(given["x-amz-date"]), raising=True)
    request = AWSRequest("PUT", f"http://s3.example.com:9000{path}", headers, BODY)
    S3SigV4Auth(credentials, "s3", "eu-west-1").add_auth(request)
    assert given["authorization"] == request.headers["Authorization"]


@pytest.mark.parametrize("bucket_path", ["/cubo", ""])
@pytest.mark.parametrize(("method", "name"), [("HEAD", "a b"), ("DELETE", "a b"), ("POST", "a b"), ("GET", None)])
def test_the_signature_of_other_requests_is_botocores_too(
    method: str, name: str | None, bucket_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of those that concern the bucket itself, which may stand in the name of the host."""
    credentials = ReadOnlyCredentials("AK", "secret", None)
    signer = RequestSigner(f"http://s3.example.com:9000{bucket_path}", "eu-west-1", lambda: credentials, {})
    more = {"if-match": '"etag"'}
    path, signed = signer.sign(name, hashlib.sha256(b"").hexdigest(), more, "uploadId=x%2Fy&uploads=", method)
    assert path.startswith("/")
    given = dict(signed)
    monkeypatch.setattr(auth, "get_current_datetime", lambda: _moment(given["x-amz-date"]), raising=True)
    request = AWSRequest(method, f"http://s3.example.com:9000{path}", more)
    S3SigV4Auth(credentials, "s3", "eu-west-1").add_auth(request)
    assert given["authorization"] == request.headers["Authorization"]


def _moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H%M%SZ")  # noqa: DTZ007 botocore's own are naive


def test_small_files_go_to_a_server_whose_certificate_is_vouched_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = certificate_of_its_own(tmp_path)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with CannedHttp(lambda _: Answer(200), context) as server, s3(server.url) as provider:
        for size_bytes in (0, 7, direct_http.LARGEST_BODY_BYTES):
            provider.put("key", BytesSource(bytes(size_bytes)))
    assert [len(request.body) for request in server.requests] == [0, 7, direct_http.LARGEST_BODY_BYTES]
    assert server.connections == 1


def test_requests_are_answered_in_turn_by_several_connections() -> None:
    """Each thread gets back what it asked for itself."""

    def answer(request: Request) -> Answer:
        return Answer(int(request.path[1:]))

    statuses = [200 + number % 7 for number in range(200)]
    with CannedHttp(answer) as server, closing(DirectHttp(server.url, Trust())) as client:
        heard: dict[int, int] = {}

        def ask(first: int) -> None:
            for number in range(first, len(statuses), 8):
                heard[number] = client.put(f"/{statuses[number]}", [], bytes(number)).status

        threads = [threading.Thread(target=ask, args=(first,)) for first in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [heard[number] for number in range(len(statuses))] == statuses
