"""A server whose certificate nobody vouches for is sent nothing: neither bytes nor credentials."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import os
import socket
import ssl
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from config.models import ProviderRow
from providers import build_provider
from providers.base import Provider
from providers.errors import AccessDenied, ProviderUnavailable
from providers.sources import BytesSource
from tests.servers.accepting import AcceptingServer

pytestmark = pytest.mark.usefixtures("little_patience")

LARGE_BYTES = 1024 * 1024 * 1024
"""So large that it is asked for in ranges, where there are any."""


class Impostor:
    """An HTTPS server with a certificate of its own making. `requests` is what it was asked."""

    def __init__(self, directory: Path) -> None:
        self.requests: list[str] = []
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if self.raw_requestline and self.parse_request():
                    requests.append(self.command)
                    self.send_error(403)
                self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the name is http.server's
                """Say nothing."""

        class Server(AcceptingServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                """Whoever hangs up is right to."""

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate_of_its_own(directory))
        self._server = Server(Handler, context)
        self.port: int = self._server.server_address[1]
        self._server.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.stop()


def certificate_of_its_own(directory: Path) -> Path:
    """A file with a key and a certificate for 127.0.0.1, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = directory / "certificate.pem"
    key_text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(key_text + certificate.public_bytes(Encoding.PEM))
    return path


@pytest.fixture
def impostor(tmp_path: Path) -> Iterator[Impostor]:
    """It listens, and a client that does not look at its certificate is answered."""
    server = Impostor(tmp_path)
    unchecked = ssl.create_default_context()
    unchecked.check_hostname = False
    unchecked.verify_mode = ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=unchecked))
    with pytest.raises(urllib.request.HTTPError, match="403"):
        opener.open(f"https://127.0.0.1:{server.port}/", timeout=10)
    assert server.requests == ["GET"]
    server.requests.clear()
    yield server
    server.close()


ROWS: dict[str, Callable[[str], tuple[object, dict[str, object]]]] = {
    "s3": lambda url: ({"access_key": "AK", "secret_key": "top-secret"}, {"bucket": "bucket", "endpoint_url": url}),
    "minio": lambda url: ({"access_key": "AK", "secret_key": "top-secret"}, {"bucket": "bucket", "endpoint_url": url}),
    "azure": lambda url: (
        {"account_name": "account", "account_key": base64.b64encode(b"top-secret").decode()},
        {"container": "container", "account_url": f"{url}/account"},
    ),
    "gcp": lambda url: (None, {"bucket": "bucket", "endpoint_url": url}),
}

CALLS: dict[str, Callable[[Provider], object]] = {
    "put": lambda provider: provider.put("key", BytesSource(b"content")),
    "put in parts": lambda provider: provider.put("key", BytesSource(bytes(20_000_000))),
    "put of an odd name": lambda provider: provider.put("line\nend", BytesSource(b"content")),
    "open": lambda provider: list(provider.open("key")),
    "open of an odd name": lambda provider: list(provider.open("line\nend")),
    "open sized": lambda provider: list(provider.open_sized("key", LARGE_BYTES)),
    "stat": lambda provider: provider.stat("key"),
    "list": lambda provider: list(provider.list("")),
    "delete": lambda provider: provider.delete("key"),
}


@pytest.mark.filterwarnings(
    "ignore::urllib3.exceptions.InsecureRequestWarning"
)  # as an error it would hide what it says
@pytest.mark.parametrize("kind", ROWS)
def test_a_server_with_a_certificate_of_its_own_making_is_sent_nothing(impostor: Impostor, kind: str) -> None:
    credentials, options = ROWS[kind](f"https://127.0.0.1:{impostor.port}")
    provider = build_provider(ProviderRow(1, "impostor", kind, credentials, options, active=True))  # type: ignore[arg-type]
    for name, call in CALLS.items():
        with pytest.raises(AccessDenied, match="certificado del servidor no es de confianza"):
            call(provider)
        assert impostor.requests == [], name
    provider.close()


DESCRIPTION = b'ETag: "x"\r\nLast-Modified: Fri, 01 Jan 2021 00:00:00 GMT\r\n\r\n'


def send_half_an_answer_and_then_what_is_no_tls(listener: socket.socket, context: ssl.SSLContext) -> None:
    """Answer one request, and damage the connection below its encryption."""
    plain, _ = listener.accept()
    with context.wrap_socket(plain, server_side=True) as connection:
        connection.recv(65536)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n" + DESCRIPTION + bytes(1000))
        os.write(connection.fileno(), b"no record of TLS" * 100)


@pytest.mark.parametrize("name", ["open of an odd name", "open sized"])
def test_an_answer_that_is_damaged_below_its_encryption_is_worth_another_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    certificate = certificate_of_its_own(tmp_path)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        credentials, options = ROWS["s3"](f"https://127.0.0.1:{listener.getsockname()[1]}")
        row = ProviderRow(1, "S3", "s3", credentials, options, active=True)  # type: ignore[arg-type]
        server = threading.Thread(target=send_half_an_answer_and_then_what_is_no_tls, args=(listener, context))
        server.start()
        # What is missing is asked for again, and then nobody answers.
        with closing(build_provider(row)) as provider, pytest.raises(ProviderUnavailable, match="no responde"):
            CALLS[name](provider)
        server.join()
