"""What operators read in the log: lines, and foreign text in them, without secrets or control characters."""

from __future__ import annotations

import base64
import json
import logging
import re
import threading
import urllib.parse
from collections.abc import Iterable, Mapping

UNSAFE_IN_JSON = "[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
"""A pattern, compiled once it is used. It finds characters that `json.dumps` does not escape, but that break lines,
terminals or UTF-8 encoders."""

SIGNATURE_IN_URL = r"\bsig=([^&;]+)"
"""The secret part of an Azure SAS: an SDK that adds its own parameters reorders the other parts."""

TOKEN_IN_REQUEST = re.compile(
    r"(x-amz-security-token\W{1,12}?(?:b\W{1,3})?|\bbearer\s+|\bassertion=|\bcredential=)[\w.~+/=%-]{16,}",
    re.IGNORECASE,
)
"""Tokens that an SDK fetches and renews itself, so the redactor cannot learn them in advance: the key and session of an
IAM role, Google's access token and the assertion exchanged for it. Libraries log them at DEBUG, and a server may repeat
them in its errors."""

LOGGER_NAME = "janitor_daemon"
SHORTEST_SECRET = 4
SHORTEST_ACCESS_KEY = 16
REDACTED = "***"

PLAIN_FIELDS = frozenset({"host", "port", "username", "region", "account_name", "host_key", "known_hosts", "secreto"})
"""Fields of `credenciales` that are not secret and that operators want to read in messages."""

PLAIN_SERVICE_ACCOUNT_FIELDS = frozenset(
    {
        "type", "project_id", "client_email", "client_id", "auth_uri", "token_uri", "auth_provider_x509_cert_url",
        "client_x509_cert_url", "universe_domain",
    }
)  # fmt: skip

logger = logging.getLogger(LOGGER_NAME)


class Redactor:
    """Knows the secrets of this process and removes them from any text, in every encoding that an SDK may use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._needles: tuple[str, ...] = ()

    def add(self, secret: str) -> None:
        """Remember a secret. One shorter than four characters is ignored: it would hide half of every line."""
        parts = (secret, secret.strip(), *(line.strip() for line in secret.splitlines()))
        needles = {form for part in parts for form in _written_forms(part)}
        usable = {needle for needle in needles if len(needle.strip()) >= SHORTEST_SECRET}
        with self._lock:
            self._needles = tuple(sorted({*self._needles, *usable}, key=len, reverse=True))

    def redact(self, text: str) -> str:
        """`text` with every known secret replaced, and everything that can only be a token."""
        for needle in self._needles:
            if needle in text:
                text = text.replace(needle, REDACTED)
        return TOKEN_IN_REQUEST.sub(rf"\g<1>{REDACTED}", text)

    def redact_all(self, value: object) -> object:
        """A value for JSON with the secrets in its texts replaced. Replacing them in the encoded JSON would also
        change numbers and punctuation that look like a secret.
        """
        if isinstance(value, Mapping):
            return {str(key): self.redact_all(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.redact_all(item) for item in value]
        return value if value is None or isinstance(value, (bool, int, float)) else self.redact(str(value))


def _written_forms(secret: str) -> Iterable[str]:
    yield secret
    yield urllib.parse.quote(secret, safe="", errors="surrogatepass")
    yield urllib.parse.quote(secret, errors="surrogatepass")
    yield urllib.parse.quote_plus(secret, errors="surrogatepass")
    yield urllib.parse.unquote(secret)
    yield base64.b64encode(secret.encode("utf-8", "surrogatepass")).decode()
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield repr(secret)[1:-1]


redactor = Redactor()
"""The only redactor of the process: logs, database columns and messages all pass through it."""


def learn_secrets(credentials: object) -> None:
    """Teach the redactor every value of a provider's `credenciales` that could be a secret, at any depth."""
    if isinstance(credentials, str):
        for secret in (credentials, *_parts_that_are_secrets(credentials)):
            redactor.add(secret)
    elif isinstance(credentials, Mapping):
        plain = PLAIN_FIELDS | (PLAIN_SERVICE_ACCOUNT_FIELDS if "private_key_id" in credentials else frozenset())
        for name, value in credentials.items():
            if name not in plain and not _is_mere_name(name, value):
                learn_secrets(value)
    elif isinstance(credentials, (list, tuple)):
        for value in credentials:
            learn_secrets(value)


def _is_mere_name(field: str, value: object) -> bool:
    """An access key is half a secret, but one like `minio` is part of every URI: redacting it spoils the log."""
    return field == "access_key" and isinstance(value, str) and len(value) < SHORTEST_ACCESS_KEY


def _parts_that_are_secrets(credential: str) -> Iterable[str]:
    """The parts of a connection string or a SAS that appear alone in messages."""
    yield from re.findall(SIGNATURE_IN_URL, credential)
    for part in credential.split(";"):
        name, _, value = part.partition("=")
        if name.strip().lower() in ("accountkey", "sharedaccesssignature"):
            yield value


def printable(text: str) -> str:
    """`text` on one terminal-safe line per line: undecodable bytes and control characters escaped."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character == "\n" else _escaped(character) for character in text
    )


def _escaped(character: str) -> str:
    """A byte that is not UTF-8 is shown as that byte."""
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode()


def printable_json(value: object, indent: int | None = None) -> str:
    """A value as JSON that is safe on a terminal and still parses to the same value."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return re.sub(UNSAFE_IN_JSON, lambda match: f"\\u{ord(match[0]):04x}", text)


def one_line(text: object) -> str:
    """Foreign text (a name, a row's value, an SDK's message) fit for one log line, without secrets."""
    return printable(redactor.redact(str(text)).replace("\n", "\\n"))


def emit(level: int, event: str, message: str, *, cause: BaseException | None = None, **fields: object) -> None:
    """Log one line for operators. `event` is the stable English name that JSON lines carry along with the fields.

    The traceback of `cause` is kept for the debug log.
    """
    logger.log(level, "%s", message.replace("\n", "\\n"), extra={"event": event, "fields": fields}, exc_info=cause)
