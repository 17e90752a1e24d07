"""Sends a backup by mail, or says by mail where it is: through the server that operators' notices go through.

The address of that server is one of `JANITOR_NOTIFY_URLS`, read by the library that sends the notices. The message is
sent here, because a refusal must be told with its reason.
"""

from __future__ import annotations

import contextlib
import logging
import smtplib
import ssl
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any

from config.errors import ConfigurationError
from config.logs import learn_secrets, one_line
from config.text.wording import reason_of
from jobs.backups.errors import BackupError
from jobs.backups.offsite.sending import Parcel
from jobs.backups.records import Backup, readable_size

MAIL_SCHEMES = ("mailto://", "mailtos://")
TIMEOUT_SECONDS = 60
NO_MAIL = "JANITOR_NOTIFY_URLS no tiene ninguna dirección de correo (mailtos://usuario:clave@servidor?from=...)"


class MailNotSent(BackupError):
    """The mail server did not take a message."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mail server and who writes through it; `security` is `insecure`, `starttls` or `ssl`."""

    host: str
    port: int
    security: str
    user: str | None
    password: str | None = field(repr=False)
    sender: str

    @classmethod
    def of(cls, addresses: Sequence[str]) -> Mailbox:
        """The first mail address of some. Raises `ConfigurationError`."""
        found = [address for address in addresses if address.startswith(MAIL_SCHEMES)]
        if not found:
            raise ConfigurationError(f"{NO_MAIL}; añádala para enviar copias de seguridad")
        service = _service(found[0])
        if service is None:
            raise ConfigurationError("la dirección de correo de JANITOR_NOTIFY_URLS no se entiende; corríjala")
        password = getattr(service, "password", None)
        learn_secrets([password] if password else [])
        return cls(
            service.smtp_host, service.port, str(service.secure_mode), getattr(service, "user", None), password,
            service.from_addr[1],
        )  # fmt: skip


def _service(address: str) -> Any:
    """What the library makes of an address, `None` if it does not understand it.

    What it warns of while it loads concerns its authors, and what it logs may show the address.
    """
    log = logging.getLogger("apprise")
    was_disabled, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import apprise

            return apprise.Apprise.instantiate(address)
    finally:
        log.disabled = was_disabled


def message_of(
    parcel: Parcel, mailbox: Mailbox, recipient: str, places: Sequence[str], largest_bytes: int
) -> EmailMessage:
    """The message: with the backup if that is not larger than `largest_bytes`, else with where it is."""
    message = _envelope(parcel.backup, mailbox, recipient)
    name = parcel.backup.name + (".age" if parcel.is_encrypted else "")
    is_attached = parcel.size_bytes <= largest_bytes
    size = readable_size(parcel.size_bytes)
    if is_attached:
        where = [f"Va adjunta: {name}, {size}, SHA-256 {parcel.sha256}"]
    else:
        limit = f"más que {readable_size(largest_bytes)} (BACKUP_MAIL_MAX_MB)"
        where = [f"No va adjunta, porque ocupa {size}, {limit}.", *_where(parcel.backup, places, parcel.plain_sha256)]
    message.set_content("\n".join([*_about(parcel.backup, parcel.base_name), *where]) + "\n")
    if is_attached:
        message.add_attachment(parcel.path.read_bytes(), maintype="application", subtype="octet-stream", filename=name)
    return message


def message_without(
    backup: Backup, base_name: str | None, mailbox: Mailbox, recipient: str, places: Sequence[str]
) -> EmailMessage:
    """The message about a backup that is not on this host."""
    message = _envelope(backup, mailbox, recipient)
    where = ["No va adjunta, porque no está en el disco de este equipo.", *_where(backup, places, backup.sha256)]
    message.set_content("\n".join([*_about(backup, base_name), *where]) + "\n")
    return message


def send(mailbox: Mailbox, message: EmailMessage) -> None:
    """Send a message. Raises `MailNotSent`, without secrets."""
    try:
        with _session(mailbox) as session:
            session.send_message(message)
    except smtplib.SMTPAuthenticationError as error:
        raise _not_sent(mailbox, "no acepta el usuario o la clave") from error
    except smtplib.SMTPRecipientsRefused as error:
        told = "; ".join(_said(code, text) for code, text in error.recipients.values())
        raise _not_sent(mailbox, f"no acepta al destinatario: {told}") from error
    except smtplib.SMTPResponseException as error:
        raise _not_sent(mailbox, f"respondió {_said(error.smtp_code, error.smtp_error)}") from error
    except smtplib.SMTPException as error:
        raise _not_sent(mailbox, one_line(error)) from error
    except OSError as error:
        raise _not_sent(mailbox, _network_fault(error)) from error


@contextlib.contextmanager
def _session(mailbox: Mailbox) -> Iterator[smtplib.SMTP]:
    """A session that is logged in."""
    context = ssl.create_default_context()
    with contextlib.ExitStack() as stack:
        session: smtplib.SMTP
        if mailbox.security == "ssl":
            session = smtplib.SMTP_SSL(mailbox.host, mailbox.port, timeout=TIMEOUT_SECONDS, context=context)
        else:
            session = smtplib.SMTP(mailbox.host, mailbox.port, timeout=TIMEOUT_SECONDS)
        stack.enter_context(session)
        if mailbox.security == "starttls":
            session.starttls(context=context)
        if mailbox.user and mailbox.password:
            session.login(mailbox.user, mailbox.password)
        yield session


def _envelope(backup: Backup, mailbox: Mailbox, recipient: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = mailbox.sender
    message["To"] = recipient
    message["Subject"] = f"Copia de seguridad {backup.kind} {backup.name}"
    message["Date"] = formatdate(localtime=True)
    message["Message-ID"] = make_msgid(domain="janitor.invalid")
    return message


def _about(backup: Backup, base_name: str | None) -> Iterator[str]:
    yield f"Copia de seguridad {backup.id}, {backup.kind}, del {backup.made.astimezone():%Y-%m-%d %H:%M}: {backup.name}"
    if base_name is not None:
        yield f"Para restaurarla hace falta también su completa: {base_name}"


def _where(backup: Backup, places: Sequence[str], sha256: str | None) -> Iterator[str]:
    for place in places:
        yield f"Está en {place}"
    if sha256:
        yield f"SHA-256 {sha256}  {backup.name}"
    yield f"Para tenerla: janitor-daemon backup download {backup.id} DIRECTORIO"


def _network_fault(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):  # whose numbers are not those of the operating system
        return f"no tiene un TLS que se acepte: {one_line(error.strerror or error)}"
    return f"no responde en {TIMEOUT_SECONDS} s" if isinstance(error, TimeoutError) else reason_of(error)


def _said(code: int, text: bytes | str) -> str:
    return one_line(f"{code} {text.decode('utf-8', 'replace') if isinstance(text, bytes) else text}")


def _not_sent(mailbox: Mailbox, why: str) -> MailNotSent:
    return MailNotSent(f"el correo no se envió: {one_line(mailbox.host)}:{mailbox.port} {why}; corrija y repita")
