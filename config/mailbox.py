"""Sends mail through the server that one of `JANITOR_NOTIFY_URLS` names.

The library that sends the notices reads its address. Messages are sent here, because a refusal must be told with its
reason.
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

MAIL_SCHEMES = ("mailto://", "mailtos://")
TIMEOUT_SECONDS = 60
TOO_LARGE = 552
"""How a server answers to a message that exceeds its limit (RFC 1870)."""

NO_MAIL = "JANITOR_NOTIFY_URLS no tiene ninguna dirección de correo (mailtos://usuario:clave@servidor?from=...)"
NOT_UNDERSTOOD = "la dirección de correo de JANITOR_NOTIFY_URLS no se entiende; corríjala"


class MailNotSent(Exception):
    """The mail server did not take a message. The text is in Spanish and holds no secret."""

    def __init__(
        self, mailbox: Mailbox, why: str, *, may_have_arrived: bool = False, is_too_large: bool = False
    ) -> None:
        super().__init__(
            f"el correo no se envió: {one_line(mailbox.host)}:{mailbox.port} {one_line(why)}; corrija y repita"
        )
        self.may_have_arrived = may_have_arrived
        """Whether the line broke while the message was on its way, so that nobody knows."""
        self.is_too_large = is_too_large
        """Whether the server takes smaller ones."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mail server, who writes through it, and to whom; `security` is `insecure`, `starttls` or `ssl`."""

    host: str
    port: int
    security: str
    user: str | None
    password: str | None = field(repr=False)
    sender: str
    recipients: tuple[str, ...] = ()

    @classmethod
    def of(cls, addresses: Sequence[str]) -> Mailbox:
        """The first mail address of some. Raises `ConfigurationError`."""
        found = mail_addresses(addresses)
        if not found:
            raise ConfigurationError(f"{NO_MAIL}; añádala para enviar copias de seguridad")
        return cls.at(found[0])

    @classmethod
    def at(cls, address: str) -> Mailbox:
        """What one address says. Raises `ConfigurationError`."""
        service = _service(address)
        if service is None:
            raise ConfigurationError(NOT_UNDERSTOOD)
        password = getattr(service, "password", None)
        learn_secrets([password] if password else [])
        named = [*(each for _, each in service.targets), *sorted(service.cc), *sorted(service.bcc)]
        return cls(
            service.smtp_host, service.port, str(service.secure_mode), getattr(service, "user", None), password,
            service.from_addr[1], tuple(dict.fromkeys(named)),
        )  # fmt: skip


def mail_addresses(addresses: Sequence[str]) -> list[str]:
    """Those that are of mail."""
    return [address for address in addresses if address.startswith(MAIL_SCHEMES)]


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


def envelope(mailbox: Mailbox, recipients: Sequence[str], subject: str) -> EmailMessage:
    """A message without a body."""
    message = EmailMessage()
    message["From"] = mailbox.sender
    message["To"] = ", ".join(recipients)
    message["Subject"] = subject
    message["Date"] = formatdate(localtime=True)
    message["Message-ID"] = make_msgid(domain="janitor.invalid")
    return message


def send(mailbox: Mailbox, message: EmailMessage) -> None:
    """Send a message. Raises `MailNotSent`, without secrets."""
    is_under_way = False
    try:
        with _session(mailbox) as session:
            is_under_way = True
            session.send_message(message)
    except smtplib.SMTPAuthenticationError as error:
        raise MailNotSent(mailbox, "no acepta el usuario o la clave") from error
    except smtplib.SMTPRecipientsRefused as error:
        told = "; ".join(_said(code, text) for code, text in error.recipients.values())
        raise MailNotSent(mailbox, f"no acepta al destinatario: {told}") from error
    except smtplib.SMTPResponseException as error:
        told = f"respondió {_said(error.smtp_code, error.smtp_error)}"
        raise MailNotSent(mailbox, told, is_too_large=error.smtp_code == TOO_LARGE) from error
    except smtplib.SMTPException as error:
        raise MailNotSent(mailbox, one_line(error), may_have_arrived=is_under_way) from error
    except OSError as error:
        raise MailNotSent(mailbox, _network_fault(error), may_have_arrived=is_under_way) from error


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


def _network_fault(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):  # whose numbers are not those of the operating system
        return f"no tiene un TLS que se acepte: {one_line(error.strerror or error)}"
    return f"no responde en {TIMEOUT_SECONDS} s" if isinstance(error, TimeoutError) else reason_of(error)


def _said(code: int, text: bytes | str) -> str:
    return one_line(f"{code} {text.decode('utf-8', 'replace') if isinstance(text, bytes) else text}")
