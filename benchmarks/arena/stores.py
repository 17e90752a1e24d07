"""Servers on this machine to move files to, and what a benchmark needs of each besides its address."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.arena.bare_s3 import BareS3, require_names
from benchmarks.arena.trees import require_identical
from tests.destinations import (
    Destination,
    azure_destination,
    gcs_destination,
    local_destination,
    s3_destination,
    sftp_destination,
)
from tests.servers.azurite import Azurite
from tests.servers.gcs_emulator import GcsEmulator
from tests.servers.moto_s3 import MotoS3
from tests.servers.rclone_s3 import RcloneS3
from tests.servers.sftp.openssh import OpenSsh

RequireHolds = Callable[[Destination, str, Path], None]


@dataclass(frozen=True, slots=True)
class Store:
    """A running server. `new` makes an empty bucket, container or directory on it, `remove` takes one away.

    `require_holds(destination, prefix, original)` raises unless every file of a directory is below the prefix, byte
    for byte, in the eyes of something that is not the product.
    """

    new: Callable[[], Destination]
    remove: Callable[[Destination], None]
    require_holds: RequireHolds

    @contextmanager
    def destination(self) -> Iterator[Destination]:
        """An empty place, for one run."""
        destination = self.new()
        try:
            yield destination
        finally:
            self.remove(destination)


def _kept_in(directory_of: Callable[[Destination], Path], new: Callable[[], Destination]) -> Store:
    """A server that keeps objects as files of the same names, where they can be looked at and thrown away."""
    return Store(
        new,
        lambda destination: shutil.rmtree(directory_of(destination)),
        lambda destination, prefix, original: require_identical(original, directory_of(destination) / prefix),
    )


@contextmanager
def s3() -> Iterator[Store]:
    """`rclone serve s3`."""
    with RcloneS3() as server:
        bucket_directory = lambda destination: server.bucket_directory(destination.options["bucket"])  # noqa: E731
        yield _kept_in(bucket_directory, partial(s3_destination, "s3-rclone", server))


class _MotoWithUsualPages(MotoS3):
    def environment(self) -> Mapping[str, str]:
        return {}


@contextmanager
def s3_with_conditions() -> Iterator[Store]:
    """moto, which keeps the conditions of requests as Amazon S3 and MinIO do; rclone's server does not know them."""
    with _MotoWithUsualPages() as server:
        bucket_of: Callable[[Destination], str] = lambda destination: str(destination.options["bucket"])  # noqa: E731

        def keys(destination: Destination) -> Iterator[str]:
            pages = server.client.get_paginator("list_objects_v2").paginate(Bucket=bucket_of(destination))
            return (found["Key"] for page in pages for found in page.get("Contents", []))

        def remove(destination: Destination) -> None:
            for key in list(keys(destination)):
                server.client.delete_object(Bucket=bucket_of(destination), Key=key)
            server.client.delete_bucket(Bucket=bucket_of(destination))

        def require_holds(destination: Destination, prefix: str, original: Path) -> None:
            with tempfile.TemporaryDirectory() as directory:
                for key in keys(destination):
                    path = Path(directory) / key
                    path.parent.mkdir(parents=True, exist_ok=True)
                    server.client.download_file(bucket_of(destination), key, str(path))
                require_identical(original, Path(directory) / prefix)

        yield Store(partial(s3_destination, "s3-moto", server), remove, require_holds)


@contextmanager
def bare_s3() -> Iterator[Store]:
    """Our own `benchmarks.arena.bare_s3`, for very many files: no real server's work is in what is measured."""
    with BareS3() as server:

        def remove(destination: Destination) -> None:
            server.client.delete_bucket(Bucket=str(destination.options["bucket"]))

        def require_holds(destination: Destination, prefix: str, original: Path) -> None:
            require_names(server, str(destination.options["bucket"]), prefix, original)

        yield Store(partial(s3_destination, "s3-bare", server), remove, require_holds)


@contextmanager
def azure() -> Iterator[Store]:
    """Azurite."""
    with Azurite() as server:

        def remove(destination: Destination) -> None:
            server.client.delete_container(destination.options["container"])

        yield Store(partial(azure_destination, "azure", server), remove, _downloaded)


@contextmanager
def gcs() -> Iterator[Store]:
    """gcp-storage-emulator, which forgets everything after each run."""
    with GcsEmulator() as server:

        def remove(_: Destination) -> None:
            urllib.request.urlopen(f"{server.endpoint_url}/wipe").close()  # noqa: S310 our own http URL

        yield Store(partial(gcs_destination, "gcs", server), remove, _downloaded)


@contextmanager
def sftp() -> Iterator[Store]:
    """OpenSSH's sshd."""
    with OpenSsh() as server:
        yield _kept_in(lambda destination: destination.directory, partial(sftp_destination, "sftp-openssh", server))


@contextmanager
def local(parent: Path | None = None) -> Iterator[Store]:
    """A directory of this machine, below `parent` if that is another file system than that of temporary files."""
    numbers = itertools.count()
    with tempfile.TemporaryDirectory(prefix="janitor-bench-", dir=parent) as name:
        new = lambda: local_destination("local", Path(name, f"nas-{next(numbers)}"))  # noqa: E731
        yield _kept_in(lambda destination: destination.directory, new)


def _downloaded(destination: Destination, prefix: str, original: Path) -> None:
    remote = destination.rclone_remote(prefix)
    destination.rclone("check", "--download", "--one-way", "--checkers", "16", str(original), remote)
