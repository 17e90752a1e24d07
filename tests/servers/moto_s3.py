"""moto: S3's behaviour in Python. It takes wrong keys and wrong checksums: the server that lies."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from demo.servers.process import answers_http
from tests.servers.base import CommandServer, S3Server, python_module


class MotoS3(CommandServer, S3Server):
    """`moto_server` in a process of its own, so that it shares neither memory nor interpreter with the tests."""

    name = "moto"
    access_key = "AKIAMOTO"

    def __init__(self) -> None:
        super().__init__()
        self.secret_key = secrets.token_hex(20)
        self.endpoint_url = f"http://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        return python_module("moto.server", "-H", "127.0.0.1", "-p", str(self.port))

    def environment(self) -> Mapping[str, str]:
        """Few names in a page of a listing, so that several pages need few objects."""
        return {"MOTO_S3_DEFAULT_MAX_KEYS": "100"}

    def answers(self) -> bool:
        return answers_http(self.port, "/moto-api/")
