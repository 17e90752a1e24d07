"""Authenticates to an SSH server with all the methods that it requires, one after another.

Each of paramiko's own calls requests the authentication service again, which strict servers refuse, and they do not
continue if a server requires a further method. Sources: RFC 4252, RFC 4256.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import paramiko
from paramiko.common import cMSG_SERVICE_REQUEST, cMSG_USERAUTH_REQUEST
from paramiko.message import Message

if TYPE_CHECKING:
    AuthHandler: Any = object  # its stubs know little of what it is there for
else:
    from paramiko.auth_handler import AuthHandler

from providers.base import ANSWER_TIMEOUT_SECONDS
from providers.errors import ConnectionDenied

PUBLIC_KEY, PASSWORD, INTERACTIVE = "publickey", "password", "keyboard-interactive"

METHOD_NAME = re.compile(r"[a-z][a-z0-9.@-]{0,63}")
"""Any other text is not a method's name, and is not repeated in a message."""

SERVICE, CONNECTION = "ssh-userauth", "ssh-connection"

NO_MORE_METHODS = 14
"""The reason of RFC 4253, 11.1; OpenSSH gives that of any breach of the protocol, and says it in words."""

Completion = Callable[[Message], None]
"""Adds to a request what its method needs."""


class TooManyAttempts(paramiko.SSHException):
    """The server said so, and ended the connection."""


class TransportThatListens(paramiko.Transport):
    """Remembers why the server ended it, which paramiko only logs."""

    def _parse_disconnect(self, message: Message) -> None:
        code, text = message.get_int(), message.get_text()
        if code == NO_MORE_METHODS or "authentication fail" in text.lower():
            self.saved_exception = TooManyAttempts()


class Authentication(AuthHandler):  # type: ignore[misc]  # see above
    """One authentication on one connection. paramiko hands it what the server says; its stubs know nothing of it."""

    def __init__(self, transport: paramiko.Transport, username: str, key: Any, password: str | None) -> None:
        super().__init__(transport)
        self.username = username
        self._key = key
        self._password = password
        self._answered = threading.Event()
        self._questions = 0
        self._offered: list[str] = []
        self._partly = False
        self.auth_event = self._answered  # paramiko sets it when the server says yes and when the connection ends
        self.interactive_handler = self._answers_to
        transport.auth_handler = self

    def perform(self, where: str) -> None:
        """Request the list of methods, which does not count as a failed attempt, then use the required ones.

        A refused key or password ends it, because a server may lock an account after a few.
        Raises `ConnectionDenied`, `paramiko.SSHException`.
        """
        self._exchange(_service_request())
        self._request("none", lambda request: None)
        accepted: list[str] = []
        while not self.is_authenticated():
            methods = [method for method in self._ours if method in self._offered and method not in accepted]
            if not methods:
                raise self._refusal(where, accepted, None)
            self._request(methods[0], self._completions[methods[0]])
            if not self.is_authenticated() and not self._partly:
                raise self._refusal(where, accepted, methods[0])
            accepted.append(methods[0])

    @property
    def _ours(self) -> Sequence[str]:
        """The methods that we have credentials for, in the order in which to try them."""
        by_password = () if self._password is None else (PASSWORD, INTERACTIVE)
        return (*(() if self._key is None else (PUBLIC_KEY,)), *by_password)

    @property
    def _completions(self) -> dict[str, Completion]:
        return {PUBLIC_KEY: self._add_key, PASSWORD: self._add_password, INTERACTIVE: _add_no_submethods}

    def _add_key(self, request: Message) -> None:
        key_type, public = self._get_key_type_and_bits(self._key)
        algorithm = self._finalize_pubkey_algorithm(key_type)
        signed = self._get_session_blob(self._key, CONNECTION, self.username, algorithm)
        request.add_boolean(True)
        request.add_string(algorithm)
        request.add_string(public)
        request.add_string(self._key.sign_ssh_data(signed, algorithm))

    def _add_password(self, request: Message) -> None:
        request.add_boolean(False)
        request.add_string(self._password or "")

    def _answers_to(self, _title: str, _instructions: str, prompts: Sequence[tuple[str, bool]]) -> Sequence[str]:
        """The password for the first question, whatever its text; nothing for all others, such as a second factor."""
        answers = [self._password or "" if self._questions + number == 0 else "" for number in range(len(prompts))]
        self._questions += len(prompts)
        return answers

    def _request(self, method: str, complete: Completion) -> None:
        self.auth_method = method
        self._questions = 0
        request = Message()
        request.add_byte(cMSG_USERAUTH_REQUEST)
        for text in (self.username, CONNECTION, method):
            request.add_string(text)
        complete(request)
        self._exchange(request)

    def _exchange(self, request: Message) -> None:
        """Send it and wait for the server's decision. Raises `paramiko.SSHException` if there is none."""
        self._answered.clear()
        self._offered, self._partly = [], False
        self.transport._send_message(request)
        if not self._answered.wait(ANSWER_TIMEOUT_SECONDS):
            raise paramiko.SSHException("timeout")
        if not self.transport.is_active():
            raise self.transport.get_exception() or paramiko.SSHException("EOF")

    def _parse_service_accept(self, message: Message) -> None:
        """The server is ready for authentication."""
        self._answered.set()

    def _parse_userauth_failure(self, message: Message) -> None:
        """A method failed, or is not sufficient alone."""
        self._offered = [name for name in message.get_list() if METHOD_NAME.fullmatch(name)]
        self._partly = message.get_boolean()
        self._answered.set()

    def _refusal(self, where: str, accepted: Sequence[str], refused: str | None) -> ConnectionDenied:
        told = []
        if accepted:
            told.append(f"aceptó {_listed(accepted)} y pide algo más")
        if refused:
            asked_more = " (pregunta algo más que la contraseña)" if self._questions > 1 else ""
            told.append(f"rechazó {refused}{asked_more}")
        told += [f"admite {_listed(self._offered)}", f"la fila del proveedor tiene {_listed(self._ours)}"]
        return ConnectionDenied(f"{where} no acepta las credenciales: {'; '.join(told)}")


def _service_request() -> Message:
    request = Message()
    request.add_byte(cMSG_SERVICE_REQUEST)
    request.add_string(SERVICE)
    return request


def _add_no_submethods(request: Message) -> None:
    request.add_string("")
    request.add_string("")


def _listed(methods: Sequence[str]) -> str:
    return ", ".join(methods) or "ninguno"
