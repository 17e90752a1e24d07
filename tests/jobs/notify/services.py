"""Those who take messages: a webhook, Telegram's Bot API as strict as the real one, and a mail server."""

from __future__ import annotations

import contextlib
import html
import json
import re
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from demo.servers.process import free_port
from tests.faults.forwarding_proxy import ForwardingProxy
from tests.servers.authority import PrivateAuthority
from tests.servers.canned_http import Answer, CannedHttp, Request

TOKEN = "123456789:AAFakeTokenOfTheTestsWith35Letters0"
CHAT = "987654321"
LONGEST_TEXT = 4096
ALLOWED_TAGS = re.compile(r"</?(?:b|strong|i|em|u|ins|s|strike|del|code|pre|a|tg-spoiler|span|blockquote)(?: [^<>]*)?>")
ENTITIES = re.compile(r"&(?:lt|gt|amp|quot|#\d+|#x[0-9a-fA-F]+);")


@dataclass
class Webhook:
    """What a webhook is sent. `answers` are given one after the other; after them it takes everything."""

    answers: list[Answer] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    """The texts that it took."""
    tried: int = 0

    def answer(self, request: Request) -> Answer:
        """Take the message, unless something else is to be answered."""
        self.tried += 1
        if self.answers:
            return self.answers.pop(0)
        self.messages.append(json.loads(request.body)["message"])
        return Answer(200)

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        """Its address for apprise, within the block."""
        with CannedHttp(self.answer) as server:
            yield f"json://{server.url.removeprefix('http://')}/aviso"


def error(status: int, description: str, **parameters: float) -> Answer:
    """An error as the Bot API tells it."""
    told = {"ok": False, "error_code": status, "description": description}
    return Answer(status, json.dumps({**told, **({"parameters": parameters} if parameters else {})}).encode())


def fault_of(text: str, *, is_html: bool) -> str:
    """Why the Bot API refuses a text, if it does. It counts what is left once tags and entities are read."""
    if is_html:
        text = ALLOWED_TAGS.sub("", text)
        if re.search("[<>]", text) or "&" in ENTITIES.sub("", text):
            return "can't parse entities: unsupported start tag"
        text = html.unescape(text)
    if not text.strip():
        return "message text is empty"
    return "message is too long" if len(text.encode("utf-16-le")) // 2 > LONGEST_TEXT else ""


@dataclass
class Telegram:
    """The Bot API: what it takes, and what it refuses as the real one does."""

    messages: list[str] = field(default_factory=list)
    retry_after_seconds: float = 0
    """If set, it asks each to wait so long."""

    def answer(self, request: Request) -> Answer:
        """Take a message, or say what is wrong with it."""
        if request.path != f"/bot{TOKEN}/sendMessage":
            return error(401, "Unauthorized")
        if self.retry_after_seconds:
            told = f"Too Many Requests: retry after {self.retry_after_seconds}"
            return error(429, told, retry_after=self.retry_after_seconds)
        payload = json.loads(request.body)
        if str(payload["chat_id"]) != CHAT:
            return error(400, "Bad Request: chat not found")
        fault = fault_of(payload["text"], is_html=payload.get("parse_mode") == "HTML")
        if fault:
            return error(400, f"Bad Request: {fault}")
        self.messages.append(html.unescape(ALLOWED_TAGS.sub("", payload["text"])))
        return Answer(200, b'{"ok": true, "result": {"message_id": 1}}')

    @contextlib.contextmanager
    def serving(self, authority: PrivateAuthority) -> Iterator[str]:
        """The address of the proxy behind which it is api.telegram.org, within the block."""
        with CannedHttp(self.answer, authority.server_context("api.telegram.org")) as server:
            port = int(server.url.rpartition(":")[2])
            with ForwardingProxy(routes={"api.telegram.org:443": port}) as proxy:
                yield f"http://{proxy.address}"


class MailServer:
    """An SMTP server that wants TLS and a password, and keeps what it takes."""

    USER, PASSWORD = "avisos", "clave-del-correo-7788"

    def __init__(self) -> None:
        self.messages: list[EmailMessage] = []

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 its name
        """Take one message."""
        content = cast("bytes", envelope.content)
        self.messages.append(message_from_bytes(content, policy=policy.default))
        return "250 OK"

    def _authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, login: Any
    ) -> AuthResult:
        is_known = isinstance(login, LoginPassword) and login.password == self.PASSWORD.encode()
        return AuthResult(success=is_known, handled=False)

    @contextlib.contextmanager
    def serving(self, tls: ssl.SSLContext) -> Iterator[int]:
        """Its port, within the block."""
        controller = Controller(
            self, hostname="127.0.0.1", port=free_port(), tls_context=tls, require_starttls=True, auth_required=True,
            authenticator=self._authenticate, ready_timeout=60,
        )  # fmt: skip
        controller.start()
        try:
            yield controller.port
        finally:
            controller.stop()


def numbers_in(messages: Sequence[str]) -> list[int]:
    """The numbers of all notices in these messages, in order, each as often as it comes."""
    return [int(number) for message in messages for number in re.findall(r"\[aviso (\d+)\]", message)]
