"""What both SFTP servers have in common: fresh keys, and a directory to keep files in."""

from __future__ import annotations

import getpass
import socket
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.servers.base import CommandServer, random_name


class SftpServer(CommandServer):
    """An SFTP server on which the current user may log in with `private_key`, and with `password` unless that is None.

    `host_key` is the one public line that the server proves to own. `root` is an absolute path: what the server sees
    under it, this machine's file system shows too.
    """

    host = "127.0.0.1"
    password: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.username = getpass.getuser()
        self.private_key, self.public_key = new_key_pair()
        host_private_key, self.host_key = new_key_pair()
        self.root = self.directory / "files"
        self.root.mkdir()
        self.host_key_path = self.write("host_key", host_private_key)
        self.private_key_path = self.write("private_key", self.private_key)
        self.authorized_keys_path = self.write("authorized_keys", self.public_key)

    def answers(self) -> bool:
        """Whether it introduces itself; SSH servers speak first (RFC 4253, 4.2)."""
        try:
            with socket.create_connection((self.host, self.port), timeout=5) as connection:
                return connection.recv(8).startswith(b"SSH-2.0-")
        except OSError:
            return False

    def new_directory(self) -> Path:
        """Make an empty directory below `root`, for a `base_path`."""
        directory = self.root / random_name("base")
        directory.mkdir()
        return directory

    def write(self, name: str, text: str) -> Path:
        """Write a file that only its owner may read; give its path."""
        path = self.directory / name
        path.touch(mode=0o600)
        path.write_text(text)
        return path


def new_key_pair() -> tuple[str, str]:
    """A private key as OpenSSH writes it to a file, and its public line."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return private.decode(), public.decode()
