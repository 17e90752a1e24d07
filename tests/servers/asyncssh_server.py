"""asyncssh's SFTP server: not OpenSSH, takes a password too, runs no commands.

It may ask for the password by a question instead (keyboard-interactive).
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.servers.base import ServerUnavailable, python_module
from tests.servers.ssh import SftpServer


class AsyncSsh(SftpServer):
    """asyncssh in a child process."""

    name = "asyncssh"
    question: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.password: str = secrets.token_urlsafe(24)

    def command(self) -> Sequence[str]:
        if importlib.util.find_spec("asyncssh") is None:
            raise ServerUnavailable("the Python package asyncssh is not installed")
        settings = {
            "port": self.port,
            "username": self.username,
            "password": self.password,
            "host_key": str(self.host_key_path),
            "authorized_keys": str(self.authorized_keys_path),
            "question": self.question,
        }
        return python_module("tests.servers.asyncssh_server", str(self._write("settings", json.dumps(settings))))


async def serve(
    port: int, username: str, password: str, host_key: str, authorized_keys: str, question: str | None
) -> None:
    """Serve the machine's files to one user, for ever. Runs in the child process."""
    import asyncssh

    class PasswordServer(asyncssh.SSHServer):
        def password_auth_supported(self) -> bool:
            return question is None

        def validate_password(self, given_username: str, given_password: str) -> bool:
            return (given_username, given_password) == (username, password)

        def kbdint_auth_supported(self) -> bool:
            return question is not None

        def get_kbdint_challenge(
            self, username: str, lang: str, submethods: str
        ) -> tuple[str, str, str, Sequence[tuple[str, bool]]]:
            return "", "", "", [(question or "", False)]

        def validate_kbdint_response(self, given_username: str, responses: Sequence[str]) -> bool:
            return (given_username, *responses) == (username, password)

    server = await asyncssh.listen(
        "127.0.0.1",
        port,
        server_factory=PasswordServer,
        server_host_keys=[host_key],
        authorized_client_keys=authorized_keys,
        sftp_factory=True,
    )
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(serve(**json.loads(Path(sys.argv[1]).read_text())))
