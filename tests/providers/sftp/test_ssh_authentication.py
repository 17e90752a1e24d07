"""How we prove who we are to SSH servers of every habit.

Looked for in OpenSSH (chains of methods, with PAM's questions and without, one attempt), asyncssh (which takes a second
request for the service for an attack) and a server of the test's own, for what those two cannot be brought to do.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import paramiko
import pytest
from paramiko import auth_handler
from paramiko.common import AUTH_FAILED, AUTH_PARTIALLY_SUCCESSFUL, AUTH_SUCCESSFUL
from paramiko.server import InteractiveQuery

from config.fields import Fields
from providers.errors import AccessDenied
from providers.sftp.ssh import SshConnection, read_settings
from tests.providers.sftp.test_sftp_provider import SpecialOpenSsh
from tests.servers.sftp.asyncssh_server import AsyncSsh
from tests.servers.sftp.ssh import SftpServer, new_key_pair

PASSWORD = "corréct horse"
USERNAME = "sage"


@dataclass
class Account(paramiko.ServerInterface):
    """Who may come in, and how: by all methods of one of the chains, in order, as OpenSSH's AuthenticationMethods."""

    chains: Sequence[Sequence[str]]
    key: str
    prompts: Sequence[str] = ("Password: ",)
    attempts_allowed: int = 100
    attempts: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._open = [list(chain) for chain in self.chains]

    def get_allowed_auths(self, username: str) -> str:
        return ",".join(dict.fromkeys(chain[0] for chain in self._open))

    def _result(self, method: str, right: bool) -> int:
        self.attempts.append(method)
        fitting = [chain[1:] for chain in self._open if chain[0] == method]
        if not right or not fitting:
            return AUTH_FAILED
        self._open = fitting
        return AUTH_PARTIALLY_SUCCESSFUL if all(fitting) else AUTH_SUCCESSFUL

    def check_auth_none(self, username: str) -> int:
        self.attempts.append("none")
        return AUTH_FAILED

    def check_auth_password(self, username: str, password: str) -> int:
        return self._result("password", (username, password) == (USERNAME, PASSWORD))

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return self._result("publickey", key.get_base64() == self.key.split()[1])

    def check_auth_interactive(self, username: str, submethods: str) -> InteractiveQuery | int:
        if all(chain[0] != "keyboard-interactive" for chain in self._open):
            return AUTH_FAILED
        return InteractiveQuery("", "", *((prompt, False) for prompt in self.prompts))

    def check_auth_interactive_response(self, responses: list[str]) -> int:
        self.answers += responses
        return self._result("keyboard-interactive", responses == [PASSWORD])


class StrictServer:
    """Serves one account. A second request for the authentication service ends the connection."""

    def __init__(self, account: Account, host_key: str) -> None:
        self.account = account
        self._host_key = host_key
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._transports: list[paramiko.Transport] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                transport = paramiko.Transport(connection)
                transport.add_server_key(paramiko.Ed25519Key.from_private_key(io.StringIO(self._host_key)))
                self._transports.append(transport)
                with contextlib.suppress(paramiko.SSHException, EOFError):
                    transport.start_server(event=threading.Event(), server=self.account)

    def close(self) -> None:
        """Stop serving."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for transport in self._transports:
            transport.close()


@pytest.fixture(autouse=True)
def _servers_of_the_test_are_strict(monkeypatch: pytest.MonkeyPatch) -> None:
    handler: Any = auth_handler.AuthHandler
    lenient = handler._parse_service_request

    def parse(self: Any, message: paramiko.Message) -> None:
        if self.transport.server_mode and getattr(self, "was_asked", False):
            self._disconnect_service_not_available()
            return
        self.was_asked = True
        lenient(self, message)

    monkeypatch.setattr(handler, "_parse_service_request", parse)


OUR_KEY, OUR_PUBLIC_KEY = new_key_pair()
OTHER_KEY = new_key_pair()[0]
BOTH = {"private_key": OUR_KEY, "password": PASSWORD}


@contextlib.contextmanager
def connected(account: Account, **secrets: str) -> Iterator[SshConnection]:
    host_key, host_public_key = new_key_pair()
    with closing(StrictServer(account, host_key)) as server:
        credentials = {"host": "127.0.0.1", "port": server.port, "username": USERNAME, "host_key": host_public_key}
        settings = read_settings(Fields("credenciales", {**credentials, **secrets}))
        with closing(SshConnection(settings)) as connection:
            yield connection


def account(*chains: str, **settings: object) -> Account:
    return Account([chain.split(",") for chain in chains], OUR_PUBLIC_KEY, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("chain", "secrets"),
    [
        ("publickey", BOTH),
        ("password", {"password": PASSWORD}),
        ("password", BOTH),
        ("keyboard-interactive", {"password": PASSWORD}),
        ("publickey,password", BOTH),
        ("password,publickey", BOTH),
        ("publickey,keyboard-interactive", BOTH),
        ("keyboard-interactive,publickey", BOTH),
    ],
)
def test_every_method_that_is_asked_for_is_done_once_and_none_is_tried_in_vain(
    chain: str, secrets: dict[str, str]
) -> None:
    with connected(server := account(chain), **secrets) as connection:
        assert connection.alive
    assert server.attempts == ["none", *chain.split(",")]


def test_a_chain_that_we_can_do_is_found_among_others() -> None:
    with connected(server := account("publickey,password", "keyboard-interactive"), password=PASSWORD) as connection:
        assert connection.alive
    assert server.attempts == ["none", "keyboard-interactive"]


@pytest.mark.parametrize("prompt", ["Contraseña de sage:", "PASSCODE", "", "Enter your secret > "])
def test_the_question_may_be_worded_in_any_way(prompt: str) -> None:
    with connected(server := account("keyboard-interactive", prompts=[prompt]), password=PASSWORD) as connection:
        assert connection.alive
    assert server.answers == [PASSWORD]


def test_the_password_is_not_sent_as_a_second_factor() -> None:
    server = account("keyboard-interactive", prompts=["Password: ", "Verification code: "])
    with (
        pytest.raises(AccessDenied, match=r"rechazó keyboard-interactive \(pregunta algo más que la contraseña\)"),
        connected(server, password=PASSWORD),
    ):
        pass
    assert server.answers == [PASSWORD, ""]


@pytest.mark.parametrize(
    ("chain", "secrets", "attempts", "message"),
    [
        (
            "publickey",
            {"password": PASSWORD},
            ["none"],
            "admite publickey; la fila del proveedor tiene password, keyboard-interactive",
        ),
        ("publickey", {"private_key": OTHER_KEY}, ["none", "publickey"], "rechazó publickey; admite publickey"),
        ("password", {"password": "hunter2secret"}, ["none", "password"], "rechazó password; admite password"),
        (
            "publickey,password",
            {"private_key": OUR_KEY},
            ["none", "publickey"],
            "aceptó publickey y pide algo más; admite password; la fila del proveedor tiene publickey$",
        ),
        (
            "publickey,password",
            {"private_key": OUR_KEY, "password": "hunter2secret"},
            ["none", "publickey", "password"],
            "aceptó publickey y pide algo más; rechazó password",
        ),
    ],
)
def test_a_refusal_says_what_the_server_takes_and_what_we_have(
    chain: str, secrets: dict[str, str], attempts: list[str], message: str
) -> None:
    server = account(chain)
    expected = f"^127.0.0.1:[0-9]+ no acepta las credenciales: .*{message}"
    with pytest.raises(AccessDenied, match=expected) as raised, connected(server, **secrets):
        pass
    assert server.attempts == attempts
    assert "hunter2" not in str(raised.value)


# Real servers


class OpenSshWithPasswords(SpecialOpenSsh):
    """sshd that takes a password for the account, from files that only it sees in place of the system's."""

    name = "OpenSSH with passwords"

    def __init__(self, *lines: str) -> None:
        super().__init__("PasswordAuthentication yes", "PermitRootLogin yes", *lines)
        command = ["openssl", "passwd", "-6", "-stdin"]
        hashed = subprocess.run(command, check=True, capture_output=True, input=PASSWORD.encode(), timeout=30).stdout
        self._shadow = self.write("shadow", f"{self.username}:{hashed.decode().strip()}:19000:0:99999:7:::\n")
        unix = "auth required pam_unix.so\naccount required pam_permit.so\nsession required pam_permit.so\n"
        self._pam = self.write("pam", unix)

    def command(self) -> Sequence[str]:
        seen = f"mount --bind {self._shadow} /etc/shadow && mount --bind {self._pam} /etc/pam.d/sshd"
        return ["/usr/bin/unshare", "--mount", "sh", "-c", f'{seen} && exec "$@"', "sh", *super().command()]


def connect(server: SftpServer, **secrets: object) -> None:
    """Connect and open a session of SFTP."""
    fields = {"host": server.host, "port": server.port, "username": server.username, "host_key": server.host_key}
    with closing(SshConnection(read_settings(Fields("credenciales", {**fields, **secrets})))) as connection:
        connection.open_sftp().close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give sshd a password of its own")
@pytest.mark.parametrize(
    ("chain", "uses_pam"),
    [
        ("publickey,password", "no"),
        ("password,publickey", "no"),
        ("publickey,password", "yes"),
        ("publickey,keyboard-interactive", "yes"),
        ("keyboard-interactive", "yes"),
        ("password", "no"),
    ],
)
def test_openssh_is_given_all_that_it_asks_for(chain: str, uses_pam: str) -> None:
    lines = (f"AuthenticationMethods {chain}", f"UsePAM {uses_pam}", f"KbdInteractiveAuthentication {uses_pam}")
    with OpenSshWithPasswords(*lines, "MaxAuthTries 1") as server:
        connect(server, private_key=server.private_key, password=PASSWORD)
        if "," in chain:
            with pytest.raises(AccessDenied, match=r"aceptó publickey y pide algo más|admite password"):
                connect(server, private_key=server.private_key)
        with pytest.raises(AccessDenied, match="no acepta las credenciales"):
            connect(server, private_key=server.private_key, password="no")


def test_openssh_that_allows_one_attempt_is_shown_our_key_first_and_only() -> None:
    """It takes any method for an attempt but the question which methods there are."""
    with SpecialOpenSsh("MaxAuthTries 1") as server:
        connect(server, private_key=server.private_key, password=PASSWORD)
        with pytest.raises(AccessDenied, match="por demasiados intentos"):
            connect(server, private_key=OTHER_KEY)


class Questions(AsyncSsh):
    """asyncssh, which takes a second request for the service for an attack, with a question in place of a password."""

    question = "Contraseña de esta cuenta > "


def test_asyncssh_is_answered_its_question() -> None:
    with Questions() as server:
        connect(server, password=server.password)
        with pytest.raises(AccessDenied, match="rechazó keyboard-interactive; admite publickey, keyboard-interactive"):
            connect(server, password="no")
