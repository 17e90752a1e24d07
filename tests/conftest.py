"""Servers, databases and destinations for all tests.

A server is started when the first test asks for it and shared by the rest of the run. A test that harms its server
starts one of its own: `with SwiftS3() as server: ...`. A server that this machine cannot run is named at the end of
the report; with `CI` in the environment its tests fail. Where there is no OpenSSH, asyncssh's server takes its place.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import signal
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import psycopg2
import pytest

from config.logs import redactor
from demo.servers.postgres import EmbeddedPostgres
from tests.constants import A_TENTH_OF_THE_PATIENCE, change_constant
from tests.databases.lent_databases import DISCONNECTED, LentDatabases
from tests.databases.platform_database import Platform
from tests.destinations import DESTINATIONS, Destination
from tests.faults.sftp_liar import LyingSftpServer
from tests.running.botocore_data import share_botocores_data
from tests.running.imports import import_own_part_first
from tests.running.order import long_ones_first
from tests.running.run_directory import MEMORY_VARIABLE, RunDirectory
from tests.running.run_report import RunReport
from tests.running.skips import fail_if_not_expected
from tests.servers.azurite import Azurite
from tests.servers.base import Server
from tests.servers.gcs_emulator import GcsEmulator
from tests.servers.moto_s3 import MotoS3
from tests.servers.postgres.pgbouncer import PgBouncer
from tests.servers.rclone_s3 import RcloneS3
from tests.servers.sftp.asyncssh_server import AsyncSsh, AsyncSshWithCommands
from tests.servers.sftp.openssh import OpenSsh, find_sshd
from tests.servers.sftp.ssh import SftpServer
from tests.servers.swift import SwiftS3
from tests.stories.installation import install

ServerType = TypeVar("ServerType", bound=Server)

NOT_DURABLE = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "128MB"}
"""A PostgreSQL server of tests need not survive the machine, nor keep much of its log."""

FIRST_WITH_ROUNDS_TO_CHOOSE = 16_00_00

RUN_DIRECTORY = pytest.StashKey[RunDirectory]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Give the run one directory for all that is temporary, before pytest chooses its own."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under `nohup` the programs that tests start would ignore it
    share_botocores_data()
    if is_worker(config):  # which has that of the process that started it
        return
    directory = config.stash[RUN_DIRECTORY] = RunDirectory()
    config.option.basetemp = config.option.basetemp or str(directory.of_tests)
    config.pluginmanager.register(RunReport(config))


def is_worker(config: pytest.Config) -> bool:
    """Whether this process only runs tests, and another one reports (pytest-xdist)."""
    return hasattr(config, "workerinput")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Share the work of rewriting the tests' assertions for the first time, where several processes run them.

    What the collection makes stays until the end: to look for garbage in it again and again would be a third of what
    it costs in a new checkout.
    """
    gc.disable()
    try:
        if is_worker(session.config):
            number = int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"))
            import_own_part_first(session.config.args, number, processes_of_the_run())
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def processes_of_the_run() -> int:
    """How many processes share the tests."""
    return int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long tests first where several processes share them."""
    items[:] = long_ones_first(items, processes_of_the_run(), lambda item: item.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI nothing is left out that can be had."""
    report = yield
    if os.environ.get("CI"):
        fail_if_not_expected(report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what the tests had instead of what they want, and where failed ones have left something."""
    if find_sshd() is None:
        terminalreporter.line("There is no sshd: asyncssh's server took its place")
    if config.stash[RUN_DIRECTORY].of_tests.is_dir() and has_failures(terminalreporter):
        terminalreporter.line(
            f"Until the next run, what failed tests left is in {config.stash[RUN_DIRECTORY].of_tests}"
        )


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what the run has left, unless a test that failed has left it to be looked at."""
    directory = config.stash.get(RUN_DIRECTORY, None)
    if directory is not None:
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        directory.close(keep_of_tests=reporter is not None and has_failures(reporter))


def has_failures(reporter: pytest.TerminalReporter) -> bool:
    """Whether a test has failed, or what it needs."""
    return bool(reporter.stats.get("failed") or reporter.stats.get("error"))


def _running(server: ServerType) -> Iterator[ServerType]:
    """Run a server. Where this machine cannot, the tests that need it are left out."""
    with server:
        yield server


@pytest.fixture(scope="session")
def swift_s3() -> Iterator[SwiftS3]:
    """OpenStack Swift with its S3 middleware."""
    yield from _running(SwiftS3())


@pytest.fixture(scope="session")
def rclone_s3() -> Iterator[RcloneS3]:
    """`rclone serve s3`."""
    yield from _running(RcloneS3())


@pytest.fixture(scope="session")
def moto_s3() -> Iterator[MotoS3]:
    """moto's S3, which takes wrong keys and wrong checksums."""
    yield from _running(MotoS3())


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """Azurite, for Azure Blob Storage."""
    yield from _running(Azurite())


@pytest.fixture(scope="session")
def gcs_emulator() -> Iterator[GcsEmulator]:
    """gcp-storage-emulator, for Google Cloud Storage."""
    yield from _running(GcsEmulator())


@pytest.fixture(scope="session")
def openssh_server() -> Iterator[SftpServer]:
    """The system's sshd, or what takes its place; takes keys only and runs commands."""
    has_openssh = find_sshd() is not None or os.environ.get("CI")
    yield from _running(OpenSsh() if has_openssh else AsyncSshWithCommands())


@pytest.fixture(scope="session")
def asyncssh_server() -> Iterator[AsyncSsh]:
    """asyncssh's SFTP server; takes a key and a password."""
    yield from _running(AsyncSsh())


@pytest.fixture(scope="session")
def lying_sftp_server() -> Iterator[LyingSftpServer]:
    """OpenSSH's sftp-server behind somebody who lies as told; takes a key and a password."""
    yield from _running(LyingSftpServer())


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """One PostgreSQL server for the run, which writes nothing through to the disk, and nothing to it where it can."""
    with tempfile.TemporaryDirectory(prefix="janitor-test-", dir=os.environ.get(MEMORY_VARIABLE)) as directory:
        Path(directory).chmod(0o755)  # the server of a run by root has another user, who must pass
        with EmbeddedPostgres(Path(directory, "postgres"), NOT_DURABLE) as server:
            prove_passwords_in_one_round(server)
            yield server


def prove_passwords_in_one_round(server: EmbeddedPostgres) -> None:
    """Each connection would take 10 ms of both sides for the usual 4096 rounds, more than most do afterwards."""
    with contextlib.closing(psycopg2.connect(server.database_url)) as connection, connection:
        if connection.server_version >= FIRST_WITH_ROUNDS_TO_CHOOSE:
            with connection.cursor() as cursor:
                cursor.execute("SET scram_iterations = 1")
                cursor.execute("ALTER ROLE CURRENT_USER PASSWORD %s", (urlsplit(server.database_url).password,))


@pytest.fixture(scope="session")
def pgbouncer(postgres: EmbeddedPostgres) -> Iterator[PgBouncer]:
    """PgBouncer in transaction mode before that server."""
    yield from _running(PgBouncer(postgres.database_url))


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
    database_administrator(DISCONNECTED.format(name=name))
    database_administrator(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def installed_databases(
    postgres: EmbeddedPostgres, database_administrator: Callable[[str], None], database_numbers: Iterator[int]
) -> LentDatabases:
    """Databases with the platform's tables as production has them, after `init-db`."""
    return LentDatabases(postgres, database_administrator, database_numbers, install)


@pytest.fixture(scope="session")
def initialized_databases(
    postgres: EmbeddedPostgres, database_administrator: Callable[[str], None], database_numbers: Iterator[int]
) -> LentDatabases:
    """Databases in which `init-db` made the platform's tables, too."""
    return LentDatabases(postgres, database_administrator, database_numbers, lambda url: Platform(url).close())


@pytest.fixture
def initialized_database_url(initialized_databases: LentDatabases) -> Iterator[str]:
    """The libpq URI of such a database, for one test."""
    with initialized_databases.lent() as database_url:
        yield database_url


@pytest.fixture(autouse=True)
def forgetful_redactor() -> Iterator[None]:
    """What a test teaches the process's only redactor is forgotten: a later test's text might have the same words."""
    known = dict(vars(redactor))
    yield
    vars(redactor).update(known)


@pytest.fixture
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Providers that fail are given up after as many tries as usual, in a tenth of the time."""
    for place, value in A_TENTH_OF_THE_PATIENCE.items():
        change_constant(place, value, monkeypatch.setattr)


@pytest.fixture
def quick_directory() -> Iterator[Path]:
    """A directory in memory where there is some: a disk's file system takes seconds for thousands of files."""
    with tempfile.TemporaryDirectory(prefix="janitor-test-", dir=os.environ.get(MEMORY_VARIABLE)) as directory:
        yield Path(directory)


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
