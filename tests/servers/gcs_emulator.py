"""gcp-storage-emulator: Google Cloud Storage's JSON API, with crc32c, md5 and resumable uploads. Asks for no identity.

It ignores `if_generation_match` and shows no ETag.
"""

from __future__ import annotations

import importlib.util
import socketserver
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from demo.servers.process import answers_http
from tests.servers.base import CommandServer, ServerUnavailable, python_module, random_name

if TYPE_CHECKING:
    from google.cloud.storage import Client


class GcsEmulator(CommandServer):
    """The emulator, with its objects in memory."""

    name = "gcp-storage-emulator"
    project = "janitor"

    def __init__(self) -> None:
        super().__init__()
        self.endpoint_url = f"http://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        if importlib.util.find_spec("gcp_storage_emulator") is None:
            raise ServerUnavailable("the Python package gcp-storage-emulator is not installed")
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--in-memory", "--quiet"]
        return python_module("tests.servers.gcs_emulator", "start", *options)

    def answers(self) -> bool:
        return answers_http(self.port)

    @cached_property
    def client(self) -> Client:
        """The SDK's client, to look at the buckets past our own code."""
        from google.auth.credentials import AnonymousCredentials
        from google.cloud.storage import Client

        return Client(
            project=self.project,
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": self.endpoint_url},
        )

    def new_bucket(self) -> str:
        """Make an empty bucket and return its name."""
        name = random_name("bucket")
        self.client.create_bucket(name)
        return name


def serve() -> None:
    """Run the emulator, with room for the connections that wait, as it serves one after the other, and without its
    file of all objects' properties, which it writes again with each of them.
    """
    from gcp_storage_emulator.__main__ import main
    from gcp_storage_emulator.storage import Storage

    Storage._write_config_to_file = lambda storage: None
    socketserver.TCPServer.request_queue_size = 128
    main()


if __name__ == "__main__":
    serve()
