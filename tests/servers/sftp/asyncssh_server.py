"""asyncssh's SFTP server: not OpenSSH, takes a password too, runs no commands. In OpenSSH's place it does as that does:
takes keys only, and runs commands.

It may ask for the password by a question instead (keyboard-interactive).
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import pwd
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers.base import ServerUnavailable, python_module
from tests.servers.sftp.ssh import SftpServer

if TYPE_CHECKING:
    import asyncssh


class AsyncSsh(SftpServer):
    """asyncssh in a child process."""

    name = "asyncssh"
    password: str | None
    runs_commands = False
    question: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.password = secrets.token_urlsafe(24)

    def command(self) -> Sequence[str]:
        if importlib.util.find_spec("asyncssh") is None:
            raise ServerUnavailable("the Python package asyncssh is not installed")
        settings = {
            "port": self.port,
            "username": self.username,
            "password": self.password,
            "host_key": str(self.host_key_path),
            "authorized_keys": str(self.authorized_keys_path),
            "runs_commands": self.runs_commands,
            "question": self.question,
        }
        return python_module("tests.servers.sftp.asyncssh_server", str(self.write("settings", json.dumps(settings))))


class AsyncSshWithCommands(AsyncSsh):
    """What takes the place of `OpenSsh` where there is none."""

    name = "asyncssh for OpenSSH"
    runs_commands = True

    def __init__(self) -> None:
        super().__init__()
        self.password = None

    def environment(self) -> Mapping[str, str]:
        return {"HOME": str(self.directory)}


async def run_command(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """Run what a client asks for, as an account with a shell does."""
    assert process.command is not None
    child = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", process.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
    process.exit(await child.wait())


async def serve(
    port: int,
    username: str,
    password: str | None,
    host_key: str,
    authorized_keys: str,
    runs_commands: bool,
    question: str | None,
) -> None:
    """Serve the machine's files to one user, for ever. Runs in the child process."""
    import asyncssh

    if runs_commands:
        os.chdir(pwd.getpwuid(os.geteuid()).pw_dir)  # where a login leads, too

    class PasswordServer(asyncssh.SSHServer):
        def password_auth_supported(self) -> bool:
            return password is not None and question is None

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
        process_factory=run_command if runs_commands else None,
        encoding=None,
    )
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(serve(**json.loads(Path(sys.argv[1]).read_text())))
