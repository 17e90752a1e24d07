"""Places to keep executions in, one per kind of provider and server, as an operator would describe them in a row."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.models import ProviderRow
from demo.servers.s3 import rclone_program
from tests.servers.azurite import Azurite
from tests.servers.base import S3Server, Server
from tests.servers.gcs_emulator import GcsEmulator
from tests.servers.sftp.ssh import SftpServer

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

RCLONE_TIMEOUT_SECONDS = 120

LITERAL_NAMES = "None"
"""rclone's encoding for file systems on which a name is a name, whatever rclone could mean by it elsewhere."""

RCLONE_ENVIRONMENT = {
    "RCLONE_CONFIG": "",
    "RCLONE_LOCAL_ENCODING": LITERAL_NAMES,
    "RCLONE_NO_UNICODE_NORMALIZATION": "true",  # two names of one look are two files
    "RCLONE_RETRIES": "1",
    "RCLONE_LOW_LEVEL_RETRIES": "1",
}


@dataclass(frozen=True)
class Destination:
    """An empty bucket, container or directory on a running server, and what a row of `cloud_providers` says of it.

    `name` tells kind and server (`s3-swift`), `kind` is the column `tipo`; `credentials` and `options` are the columns
    `credenciales` and `configuracion`. `secrets` are the texts that must not show anywhere. `server` is `None` for a
    local directory.
    """

    name: str
    kind: str
    credentials: Mapping[str, Any] | None
    options: Mapping[str, Any]
    remote: str
    secrets: tuple[str, ...] = ()
    server: Server | None = field(default=None, compare=False)

    def provider_row(self, provider_id: int = 1, name: str = "Destino de prueba") -> ProviderRow:
        """The row, as the daemon reads it from `cloud_providers`."""
        return ProviderRow(provider_id, name, self.kind, self.credentials, self.options, active=True)

    def with_credentials(self, **changes: object) -> Destination:
        """The same destination with other fields in `credenciales`; `None` takes a field away."""
        return replace(self, credentials=_changed(self.credentials or {}, changes))

    def with_options(self, **changes: object) -> Destination:
        """The same destination with other fields in `configuracion`; `None` takes a field away."""
        return replace(self, options=_changed(self.options, changes))

    def everything_stored(self) -> set[str]:
        """All that is there, asked of the server past our own code, under the server's own names.

        Unfinished uploads end in ` (unfinished)`, empty directories in `/`. GCS does not tell its unfinished uploads.
        """
        match self.server:
            case S3Server(client=client):
                bucket = self.options["bucket"]
                pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
                finished = {stored["Key"] for page in pages for stored in page.get("Contents", [])}
                return finished | {f"{key} (unfinished)" for key in _unfinished_uploads(client, bucket)}
            case Azurite(client=client):
                container = client.get_container_client(self.options["container"])
                finished = {blob.name for blob in container.list_blobs()}
                begun = {blob.name for blob in container.list_blobs(include=["uncommittedblobs"])} - finished
                return finished | {f"{name} (unfinished)" for name in begun}
            case GcsEmulator(client=client):
                return {blob.name for blob in client.list_blobs(self.options["bucket"])}
            case _:
                return _files_below(self.directory)

    @property
    def directory(self) -> Path:
        """Where a destination of kind `sftp` or `local` is in this machine's file system."""
        return Path(self.options["base_path"] if self.kind == "sftp" else self.options["ruta"])

    def rclone_remote(self, prefix: str = "") -> str:
        """What to call the objects below `prefix` on rclone's command line."""
        return f"{self.remote}/{prefix}".rstrip("/")

    def rclone(self, *arguments: str) -> str:
        """Run rclone, a reader that is not ours, and return what it prints; raises `AssertionError` with its errors.

        For example `destination.rclone("check", "--download", directory, destination.rclone_remote("prefix"))`.
        `check` without `--download` proves nothing: it returns 0 where it could compute no hash.
        """
        result = subprocess.run(
            [str(rclone_program()), *arguments],
            check=False,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            timeout=RCLONE_TIMEOUT_SECONDS,
            env={**os.environ, **RCLONE_ENVIRONMENT},
        )
        assert result.returncode == 0, f"rclone {arguments[0]} returned {result.returncode}: {result.stderr}"
        return result.stdout


def _unfinished_uploads(client: S3Client, bucket: str) -> list[str]:
    try:
        return [upload["Key"] for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]
    except client.exceptions.NoSuchUpload:  # how `rclone serve s3` says that there are none
        return []


def _files_below(top: Path) -> set[str]:
    found: set[str] = set()
    for directory, directories, files in os.walk(top):
        here = Path(directory).relative_to(top)
        found.update(str(here / name) for name in files)
        if here.parts and not directories and not files:
            found.add(f"{here}/")
    return found


def _changed(fields: Mapping[str, Any], changes: Mapping[str, object]) -> dict[str, Any]:
    return {name: value for name, value in {**fields, **changes}.items() if value is not None}


def s3_destination(name: str, server: S3Server) -> Destination:
    """A new bucket, as `s3` or, where the name begins so, as `minio`."""
    bucket = server.new_bucket()
    fields = {
        "provider": "Other",
        "endpoint": server.endpoint_url,
        "access_key_id": server.access_key,
        "secret_access_key": server.secret_key,
        "list_version": "2",
        "list_url_encode": "true",  # XML cannot hold control characters
    }
    return Destination(
        name,
        name.partition("-")[0],
        {"access_key": server.access_key, "secret_key": server.secret_key},
        {"bucket": bucket, "endpoint_url": server.endpoint_url},
        f"{_remote('s3', fields)}{bucket}",
        (server.secret_key,),
        server,
    )


def azure_destination(name: str, server: Azurite) -> Destination:
    """A new container."""
    container = server.new_container()
    fields = {"account": server.account_name, "key": server.account_key, "endpoint": server.endpoint}
    return Destination(
        name,
        "azure",
        {"account_name": server.account_name, "account_key": server.account_key},
        {"container": container, "account_url": server.endpoint},
        f"{_remote('azureblob', fields)}{container}",
        (server.account_key,),
        server,
    )


def gcs_destination(name: str, server: GcsEmulator) -> Destination:
    """A new bucket, without credentials, as the emulator asks for none."""
    bucket = server.new_bucket()
    fields = {
        "anonymous": "true",
        "endpoint": f"{server.endpoint_url}/storage/v1/",
        "project_number": server.project,
    }
    return Destination(
        name,
        "gcs",
        None,
        {"bucket": bucket, "endpoint_url": server.endpoint_url, "project": server.project},
        f"{_remote('gcs', fields)}{bucket}",
        (),
        server,
    )


def sftp_destination(name: str, server: SftpServer) -> Destination:
    """A new directory; the password where the server takes one, otherwise the key."""
    base_path = server.new_directory()
    secret = {"private_key": server.private_key} if server.password is None else {"password": server.password}
    fields = {
        "host": server.host,
        "port": str(server.port),
        "user": server.username,
        "key_file": str(server.private_key_path),
        "shell_type": "none",
        "encoding": LITERAL_NAMES,
    }
    return Destination(
        name,
        "sftp",
        {
            "host": server.host,
            "port": server.port,
            "username": server.username,
            "host_key": server.host_key,
            **secret,
        },
        {"base_path": str(base_path)},
        f"{_remote('sftp', fields)}{base_path}",
        tuple(line for text in secret.values() for line in text.splitlines() if "PRIVATE KEY" not in line),
        server,
    )


def local_destination(name: str, directory: Path) -> Destination:
    """A new directory on this machine."""
    directory.mkdir()
    return Destination(name, "local", None, {"ruta": str(directory)}, str(directory))


def _remote(backend: str, fields: Mapping[str, str]) -> str:
    """rclone's notation of a remote that is in no configuration file: `:backend,name='value',...:`."""
    written = ",".join(f"{name}='{value}'" for name, value in fields.items())
    return f":{backend},{written}:"


DESTINATIONS: dict[str, tuple[str, Callable[[str, Any], Destination]]] = {
    "s3-swift": ("swift_s3", s3_destination),
    "s3-rclone": ("rclone_s3", s3_destination),
    "s3-moto": ("moto_s3", s3_destination),
    "minio-rclone": ("rclone_s3", s3_destination),
    "azure": ("azurite", azure_destination),
    "gcs": ("gcs_emulator", gcs_destination),
    "sftp-openssh": ("openssh_server", sftp_destination),
    "sftp-asyncssh": ("asyncssh_server", sftp_destination),
    "local": ("new_directory", local_destination),
}
"""Name of a destination to the fixture of its server and the function that makes it."""
