"""An ntfy server as a process of its own, which refuses what the real one refuses.

No package carries the server itself. What this cannot show: the delivery to telephones. Codes, texts and limits are
those of its published source.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.servers.authority import PrivateAuthority
from tests.servers.base import CommandServer, python_module
from tests.servers.canned_http import Answer, CannedHttp, Request

LONGEST_MESSAGE_BYTES = 4096
LONGEST_BODY_BYTES = 2 * LONGEST_MESSAGE_BYTES


def refusal(code: int, text: str) -> Answer:
    """An error as ntfy tells it."""
    status = code // 100
    return Answer(status, json.dumps({"code": code, "http": status, "error": text}).encode())


class Desk:
    """What answers: one user may write to one topic, nobody else, and there is no room for attachments.

    What it takes goes to `keep`. Of `burst` requests each is answered, and later ones are refused.
    """

    USER, PASSWORD, TOPIC = "avisos", "clave-de-ntfy-5566", "tema_del_janitor"

    def __init__(self, keep: Callable[[str], object], burst: int = 60) -> None:
        self._keep = keep
        self._left = burst

    def answer(self, request: Request) -> Answer:
        """Take a message, or say what is wrong with it."""
        self._left -= 1
        if self._left < 0:
            return refusal(42901, "limit reached: too many requests")
        entrance = f"Basic {base64.b64encode(f'{self.USER}:{self.PASSWORD}'.encode()).decode()}"
        given = request.headers.get("Authorization")
        if given not in (None, entrance):
            return refusal(40101, "unauthorized")
        if request.path != "/":  # what has a file name, or is too long for a message, comes as an attachment
            return refusal(40014, "invalid request: attachments not allowed")
        if len(request.body) > LONGEST_BODY_BYTES:
            return refusal(41303, "JSON body too large")
        try:
            published = json.loads(request.body)
        except ValueError:
            return refusal(40017, "invalid request: request body must be message JSON")
        return self._published(published, may_write=given is not None)

    def _published(self, published: dict[str, str], *, may_write: bool) -> Answer:
        topic, message = published.get("topic", ""), published.get("message") or "triggered"
        if not re.fullmatch("[-_A-Za-z0-9]{1,64}", topic):
            return refusal(40009, "invalid request: topic invalid")
        if not may_write or topic != self.TOPIC:
            return refusal(40301, "forbidden")
        if len(message.encode()) > LONGEST_MESSAGE_BYTES:
            return refusal(40014, "invalid request: attachments not allowed")
        self._keep(message)
        return Answer(200, json.dumps({"id": "hwQ2YpKdmg", "event": "message", **published}).encode())


class Ntfy(CommandServer):
    """The server. `address` is its host and port, with a certificate of `authority`."""

    name = "ntfy"

    def __init__(self, authority: PrivateAuthority) -> None:
        super().__init__()
        self._certificate = authority.certificate("127.0.0.1")
        self._kept = self.directory / "messages.jsonl"
        self._kept.touch()
        self.address = f"127.0.0.1:{self.port}"

    def url(self, password: str = Desk.PASSWORD, topic: str = Desk.TOPIC) -> str:
        """Its address for apprise."""
        return f"ntfys://{Desk.USER}:{password}@{self.address}/{topic}"

    @property
    def messages(self) -> list[str]:
        """The texts that it took."""
        return [json.loads(line) for line in self._kept.read_text(encoding="utf-8").splitlines()]

    def command(self) -> Sequence[str]:
        return python_module(__name__, str(self.port), str(self._certificate), str(self._kept))

    def answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


def serve(port: int, certificate: Path, kept: Path) -> None:
    """Answer until this process is killed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with kept.open("a", encoding="utf-8", buffering=1) as file:
        desk = Desk(lambda message: file.write(json.dumps(message) + "\n"))
        with CannedHttp(desk.answer, context, port):
            threading.Event().wait()


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
