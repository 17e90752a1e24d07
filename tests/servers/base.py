"""What all servers have in common: a life between `start` and `stop`, in one temporary directory."""

from __future__ import annotations

import abc
import secrets
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from _pytest.outcomes import Skipped

from demo.servers.process import ServerProcess, free_port
from tests.repository import REPOSITORY

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class ServerUnavailable(Skipped):
    """This machine cannot run that server: a program is missing, say. The test is left out, for this reason."""


def random_name(purpose: str) -> str:
    """A name that every kind of store takes for a bucket or a container."""
    return f"{purpose}-{secrets.token_hex(6)}"


class Server(abc.ABC):
    """One server. `directory` is what it may write to; it is removed in the end.

    Use it as a context manager: entered, it answers. A server that does not start raises `ServerDidNotStart`
    with its log, or `ServerUnavailable` where this machine cannot have it.
    """

    name: str

    def __init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="janitor-test-", ignore_cleanup_errors=True)
        self.directory = Path(self._temporary.name)

    @abc.abstractmethod
    def start(self) -> None:
        """Start the server and wait until it answers."""

    def stop(self) -> None:
        """End the server for sure and remove its directory."""
        self._temporary.cleanup()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


class CommandServer(Server):
    """A server that one command line starts, on the free port `port`."""

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port()
        self._process: ServerProcess | None = None

    @abc.abstractmethod
    def command(self) -> Sequence[str]:
        """Prepare `directory` and give the command line, with an absolute path as its program."""

    @abc.abstractmethod
    def answers(self) -> bool:
        """Whether the server does its work by now."""

    def environment(self) -> Mapping[str, str]:
        """What the server gets in addition to this process' environment."""
        return {}

    def start(self) -> None:
        self._process = ServerProcess(
            self.name,
            self.command(),
            self.directory / "server.log",
            environment=self.environment(),
            working_directory=REPOSITORY,
            stop_signal=signal.SIGKILL,  # some wait for their clients, and nothing that they hold is worth a wait
        )
        self._process.wait_until(self.answers)

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()
        super().stop()


class S3Server(Server):
    """A server that speaks S3: its address, its keys, new buckets, and `client` to look at it past our own code."""

    access_key: str
    secret_key: str
    endpoint_url: str

    @cached_property
    def client(self) -> S3Client:
        """A boto3 client with full rights."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def new_bucket(self) -> str:
        """Make an empty bucket and return its name."""
        name = random_name("bucket")
        self.client.create_bucket(Bucket=name)
        return name


def python_module(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module with this interpreter, from the checkout."""
    return [sys.executable, "-W", "ignore", "-m", module, *arguments]
