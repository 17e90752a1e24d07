"""A backup by mail: through a real server with TLS and a password, or refused for a reason that is told."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast

import pyrage
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from click.testing import CliRunner

from config.errors import ConfigurationError
from config.mailbox import Mailbox
from jobs.backups.errors import DamagedBackup
from jobs.backups.offsite.commands import MAIL_ADDRESS, backup_send
from jobs.backups.offsite.mail import MailNotSent, message_of, send
from jobs.backups.offsite.sending import parcel_of
from jobs.backups.records import Backup
from jobs.backups.result import Kind
from tests.faults.faulty_provider import flip_bit
from tests.servers.authority import PrivateAuthority

USER, PASSWORD = "copias", "clave-del-correo-1199"
NAME = "backup_20260302_030000_FULL.sql.gz"
PLACES = ("el proveedor lejos: sage/backups/x",)


class MailServer:
    """An SMTP server that wants STARTTLS and a password, and keeps what it takes."""

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []

    async def handle_RCPT(  # noqa: N802 its name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Take everybody but one."""
        if address.startswith("nadie@"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 its name
        """Take one message."""
        content = cast("bytes", envelope.content)
        self.messages.append(message_from_bytes(content, policy=policy.default))
        return "250 OK"

    def _authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, login: Any
    ) -> AuthResult:
        is_known = isinstance(login, LoginPassword) and login.password == PASSWORD.encode()
        return AuthResult(success=is_known, handled=False)

    @contextlib.contextmanager
    def serving(self, tls: ssl.SSLContext, largest_bytes: int = 2**25) -> Iterator[int]:
        """Its port, within the block."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        controller = Controller(
            self, hostname="127.0.0.1", port=port, tls_context=tls, require_starttls=True, auth_required=True,
            authenticator=self._authenticate, ready_timeout=60, data_size_limit=largest_bytes,
        )  # fmt: skip
        controller.start()
        try:
            yield port
        finally:
            controller.stop()


@pytest.fixture
def authority(tmp_path: Path) -> PrivateAuthority:
    """Signs the server's certificate."""
    return PrivateAuthority(tmp_path)


@pytest.fixture
def server(authority: PrivateAuthority, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[MailServer, int]]:
    """A mail server that is believed, and its port."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
    mail = MailServer()
    with mail.serving(authority.server_context("127.0.0.1")) as port:
        yield mail, port


@pytest.fixture
def backup(tmp_path: Path) -> Backup:
    """A full backup on this host."""
    data = gzip.compress(bytes(range(256)) * 100)
    path = tmp_path / NAME
    path.write_bytes(data)
    path.with_name(NAME.replace(".sql.gz", ".json")).write_text("{}")
    return Backup(
        id=7, kind=Kind.FULL, name=NAME, path=path, state="COMPLETADO", made=datetime(2026, 3, 2, 3, tzinfo=UTC),
        size_bytes=len(data), error=None, seconds=None, tables=None, rows=None, md5=None, base_id=None,
        is_deleted=False, deleted=None, made_by=None, host="h", attempt="a", is_being_deleted=False, verified=None,
        verification_seconds=None, verification_error=None, sha256=hashlib.sha256(data).hexdigest(),
    )  # fmt: skip


def address(port: int, password: str = PASSWORD) -> str:
    """As an operator writes it for notices."""
    return f"mailtos://{USER}:{password}@127.0.0.1:{port}?mode=starttls&from=copias@example.com&to=ops@example.com"


def post(backup: Backup, port: int, *recipients: str, to: str = "ana@example.com", largest_bytes: int = 10**7) -> None:
    """Send it."""
    mailbox = Mailbox.of([address(port)])
    with parcel_of(backup, None, recipients, threading.Event()) as parcel:
        send(mailbox, message_of(parcel, mailbox, to, PLACES, largest_bytes))


def test_a_small_backup_is_attached(server: tuple[MailServer, int], backup: Backup) -> None:
    mail, port = server
    post(backup, port)
    (message,) = mail.messages
    assert (message["To"], message["From"]) == ("ana@example.com", "copias@example.com")
    (attached,) = message.iter_attachments()
    assert (attached.get_filename(), attached.get_content()) == (NAME, backup.path.read_bytes())


def test_with_recipients_only_what_is_encrypted_leaves(server: tuple[MailServer, int], backup: Backup) -> None:
    mail, port = server
    key = pyrage.x25519.Identity.generate()
    post(backup, port, str(key.to_public()))
    (message,) = mail.messages
    (attached,) = message.iter_attachments()
    assert attached.get_filename() == f"{NAME}.age"
    assert pyrage.decrypt(attached.get_content(), [key]) == backup.path.read_bytes()
    assert [path.name for path in backup.path.parent.iterdir() if path.name.startswith(".")] == []


def test_what_is_too_large_for_the_server_is_refused_with_what_to_do(
    authority: PrivateAuthority, backup: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
    mail = MailServer()
    with (
        mail.serving(authority.server_context("127.0.0.1"), largest_bytes=1000) as port,
        pytest.raises(
            MailNotSent, match=r"respondió 552 .*; es demasiado grande para ese servidor: baje BACKUP_MAIL_MAX"
        ),
    ):
        post(backup, port)
    assert mail.messages == []


def test_a_damaged_one_is_not_attached(server: tuple[MailServer, int], backup: Backup) -> None:
    mail, port = server
    backup.path.write_bytes(flip_bit(backup.path.read_bytes()))
    with pytest.raises(DamagedBackup, match="no se envía; si un proveedor tiene otra"):
        post(backup, port)
    assert mail.messages == []


def test_of_a_large_one_the_mail_says_where_it_is(server: tuple[MailServer, int], backup: Backup) -> None:
    mail, port = server
    post(backup, port, largest_bytes=(backup.size_bytes or 0) - 1)
    (message,) = mail.messages
    assert list(message.iter_attachments()) == []
    body = message.get_body()
    assert body is not None
    text = body.get_content()
    assert backup.sha256 is not None
    for part in ("BACKUP_MAIL_MAX_MB", backup.sha256, *PLACES, "backup download 7 DIRECTORIO"):
        assert part in text
    post(backup, port, largest_bytes=backup.size_bytes or 0)
    assert mail.messages[-1].is_multipart()


@pytest.mark.parametrize("trouble", ["password", "recipient", "certificate", "nobody there"])
def test_what_the_server_refuses_is_reported_without_the_password(
    server: tuple[MailServer, int], backup: Backup, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    mail, port = server
    words = {
        "password": "no acepta el usuario o la clave",
        "recipient": "550 no such user",
        "certificate": "certificate",
        "nobody there": "rechazada",
    }
    if trouble == "certificate":
        monkeypatch.delenv("SSL_CERT_FILE")
    password = "otra-clave-8822" if trouble == "password" else PASSWORD
    mailbox = Mailbox.of([address(1 if trouble == "nobody there" else port, password)])
    to = "nadie@example.com" if trouble == "recipient" else "ana@example.com"
    with parcel_of(backup, None, (), threading.Event()) as parcel:
        message = message_of(parcel, mailbox, to, PLACES, 10**7)
    with pytest.raises(MailNotSent, match=words[trouble]) as failure:
        send(mailbox, message)
    assert password not in str(failure.value)
    assert "\n" not in str(failure.value)
    assert password not in repr(mailbox)
    assert mail.messages == []


@pytest.mark.parametrize("addresses", [(), ("tgram://x/y",), ("mailtos://",)])
def test_without_a_mail_address_it_is_said_what_to_set(addresses: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError, match="JANITOR_NOTIFY_URLS"):
        Mailbox.of(addresses)


@pytest.mark.parametrize(
    "to",
    ["a@b:c", "[@x", "a@[", "(@x", '"x@y', "a:b@c", "=?utf-8?q?x?=@y", "a\0@b", "a@b\nBcc: c@d", "a..b@c", "@", "a"],
)
def test_what_a_header_means_otherwise_than_it_is_written_is_no_address(to: str) -> None:
    """The backup would go to somebody else, or to nobody."""
    result = CliRunner().invoke(backup_send, ["7", "--to", to])
    assert (result.exit_code, "no es una dirección de correo" in result.output) == (2, True)


@pytest.mark.parametrize("to", ["ana@example.com", "a.b+c@x-y.example", "añá@ejemplo.es", "o'neil@example.com"])
def test_what_an_operator_writes_as_an_address_is_whom_the_mail_goes_to(
    server: tuple[MailServer, int], backup: Backup, to: str
) -> None:
    mail, port = server
    assert MAIL_ADDRESS.fullmatch(to)
    post(backup, port, to=to)
    assert mail.messages[-1]["To"] == to
