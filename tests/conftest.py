"""Servers, databases and destinations for all tests.

A server is started when the first test asks for it and shared by the rest of the run. A test that harms its server
starts one of its own: `with SwiftS3() as server: ...`. A server that this machine cannot run is named at the end of
the report; with `CI` in the environment its tests fail.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psycopg2
import pytest

from jobs.embedded_postgres import EmbeddedPostgres
from tests.destinations import DESTINATIONS, Destination
from tests.faults.sftp_liar import LyingSftpServer
from tests.servers.asyncssh_server import AsyncSsh
from tests.servers.azurite import Azurite
from tests.servers.base import Server, ServerUnavailable
from tests.servers.gcs_emulator import GcsEmulator
from tests.servers.moto_s3 import MotoS3
from tests.servers.openssh import OpenSsh
from tests.servers.pgbouncer import PgBouncer
from tests.servers.rclone_s3 import RcloneS3
from tests.servers.swift import SwiftS3

ServerType = TypeVar("ServerType", bound=Server)

UNAVAILABLE_SERVERS = pytest.StashKey[dict[str, str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the list of servers that could not be had."""
    config.stash[UNAVAILABLE_SERVERS] = {}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say loudly which servers the tests did without."""
    for name, reason in config.stash[UNAVAILABLE_SERVERS].items():
        terminalreporter.section(f"NOT TESTED on {name}", sep="!", red=True)
        terminalreporter.line(reason)


def _running(server: ServerType, config: pytest.Config) -> Iterator[ServerType]:
    """Run a server, or skip, loudly, the tests that need it."""
    try:
        server.__enter__()
    except ServerUnavailable as error:
        config.stash[UNAVAILABLE_SERVERS][server.name] = str(error)
        stop = pytest.fail if os.environ.get("CI") else pytest.skip
        stop(f"{server.name}: {error}")
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def swift_s3(pytestconfig: pytest.Config) -> Iterator[SwiftS3]:
    """OpenStack Swift with its S3 middleware."""
    yield from _running(SwiftS3(), pytestconfig)


@pytest.fixture(scope="session")
def rclone_s3(pytestconfig: pytest.Config) -> Iterator[RcloneS3]:
    """`rclone serve s3`."""
    yield from _running(RcloneS3(), pytestconfig)


@pytest.fixture(scope="session")
def moto_s3(pytestconfig: pytest.Config) -> Iterator[MotoS3]:
    """moto's S3, which takes wrong keys and wrong checksums."""
    yield from _running(MotoS3(), pytestconfig)


@pytest.fixture(scope="session")
def azurite(pytestconfig: pytest.Config) -> Iterator[Azurite]:
    """Azurite, for Azure Blob Storage."""
    yield from _running(Azurite(), pytestconfig)


@pytest.fixture(scope="session")
def gcs_emulator(pytestconfig: pytest.Config) -> Iterator[GcsEmulator]:
    """gcp-storage-emulator, for Google Cloud Storage."""
    yield from _running(GcsEmulator(), pytestconfig)


@pytest.fixture(scope="session")
def openssh_server(pytestconfig: pytest.Config) -> Iterator[OpenSsh]:
    """The system's sshd; takes keys only."""
    yield from _running(OpenSsh(), pytestconfig)


@pytest.fixture(scope="session")
def asyncssh_server(pytestconfig: pytest.Config) -> Iterator[AsyncSsh]:
    """asyncssh's SFTP server; takes a key and a password."""
    yield from _running(AsyncSsh(), pytestconfig)


@pytest.fixture(scope="session")
def lying_sftp_server(pytestconfig: pytest.Config) -> Iterator[LyingSftpServer]:
    """OpenSSH's sftp-server behind somebody who lies as told; takes a key and a password."""
    yield from _running(LyingSftpServer(), pytestconfig)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """One PostgreSQL server for the run, which writes nothing through to the disk."""
    with tempfile.TemporaryDirectory(prefix="janitor-test-") as directory:
        Path(directory).chmod(0o755)  # the server of a run by root has another user, who must pass
        with EmbeddedPostgres(Path(directory, "postgres"), {"fsync": "off"}) as server:
            yield server


@pytest.fixture(scope="session")
def pgbouncer(postgres: EmbeddedPostgres, pytestconfig: pytest.Config) -> Iterator[PgBouncer]:
    """PgBouncer in transaction mode before that server."""
    yield from _running(PgBouncer(postgres.database_url), pytestconfig)


@pytest.fixture(scope="session")
def database_administrator(postgres: EmbeddedPostgres) -> Iterator[Callable[[str], None]]:
    """Run one statement outside a transaction, as the superuser."""
    connection = psycopg2.connect(postgres.database_url)
    connection.autocommit = True

    def execute(statement: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement)

    yield execute
    connection.close()


@pytest.fixture(scope="session")
def database_numbers() -> Iterator[int]:
    """1, 2, 3, ..."""
    return itertools.count(1)


@pytest.fixture
def database_url(
    postgres: EmbeddedPostgres, database_administrator: Callable[[str], None], database_numbers: Iterator[int]
) -> Iterator[str]:
    """The libpq URI of an empty database of the test's own. What the test leaves connected is disconnected."""
    name = f"test_{next(database_numbers)}"
    database_administrator(f"CREATE DATABASE {name}")
    yield postgres.url_of(name)
    database_administrator(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def new_directory(tmp_path: Path) -> Path:
    """A path at which nothing is yet."""
    return tmp_path / "destination"


@pytest.fixture
def new_destination(request: pytest.FixtureRequest) -> Callable[[str], Destination]:
    """Make an empty destination by its name, one of `tests.destinations.DESTINATIONS`, for tests that need certain
    ones or more than one: `primary, alternate = new_destination("s3-swift"), new_destination("azure")`.
    """

    def make(name: str) -> Destination:
        server_fixture, build = DESTINATIONS[name]
        return build(name, request.getfixturevalue(server_fixture))

    return make


@pytest.fixture(params=list(DESTINATIONS))
def destinations(request: pytest.FixtureRequest, new_destination: Callable[[str], Destination]) -> Destination:
    """One empty destination after the other: the test runs once on each."""
    return new_destination(str(request.param))
