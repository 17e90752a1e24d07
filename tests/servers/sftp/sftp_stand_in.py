"""What takes the place of OpenSSH's `sftp-server` where there is none: asyncssh's server of files, without SSH."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from asyncssh.logging import logger
from asyncssh.sftp import SFTPServer, run_sftp_server

SFTP_VERSION = 3


class Reader:
    """What asyncssh asks of the reader of a channel."""

    logger = logger

    def __init__(self, stream: asyncio.StreamReader) -> None:
        self.readexactly = stream.readexactly

    def get_extra_info(self, _name: str, default: object = None) -> object:
        """Nothing is known of the client."""
        return default


class Writer:
    """What asyncssh asks of the writer of a channel, and of the channel."""

    def __init__(self, stream: asyncio.StreamWriter) -> None:
        self.channel = self
        self.write = stream.write
        self.close = stream.close
        self.is_closing = stream.is_closing


async def serve_files(connection: socket.socket) -> None:
    """Serve the machine's files until the client leaves."""
    reader, writer = await asyncio.open_connection(sock=connection)
    server: Any = SFTPServer(None)  # type: ignore[arg-type] # a channel, of which nothing is asked
    await run_sftp_server(server, Reader(reader), Writer(writer), SFTP_VERSION)  # type: ignore[arg-type]
