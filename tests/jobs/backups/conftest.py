"""Servers of two versions, databases in pairs, and one way to make, restore and compare backups."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pyrage
import pytest

from demo.servers.postgres import EmbeddedPostgres
from tests.databases.platform_database import Platform
from tests.destinations import local_destination
from tests.jobs.backups.desk import Desk
from tests.jobs.backups.pairs import Pair
from tests.servers.postgres.older_postgres import OlderPostgres

NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_16() -> Iterator[EmbeddedPostgres]:
    """PostgreSQL 16."""
    with tempfile.TemporaryDirectory(prefix="janitor-test-") as directory:
        Path(directory).chmod(0o755)
        with OlderPostgres(Path(directory), {"fsync": "off"}) as server:
            yield server


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Callable[[str], EmbeddedPostgres]:
    """A server by its version, "16" or "18"."""

    def server(version: str) -> EmbeddedPostgres:
        found: EmbeddedPostgres = request.getfixturevalue("postgres" if version == "18" else "postgres_16")
        return found

    return server


@pytest.fixture
def new_pair(servers: Callable[[str], EmbeddedPostgres], tmp_path: Path) -> Iterator[Callable[..., Pair]]:
    """Make two empty databases and a directory for backups: `new_pair()`, `new_pair("16", owner=True)`."""
    pairs = []

    def make(version: str = "18", *, is_owner: bool = False, locale: str = "", encoding: str = "UTF8") -> Pair:
        pair = Pair(servers(version), next(NUMBERS), tmp_path, is_owner=is_owner, locale=locale, encoding=encoding)
        pairs.append(pair)
        return pair

    yield make
    for pair in pairs:
        pair.close()


@pytest.fixture
def pair(new_pair: Callable[..., Pair]) -> Pair:
    """Of the newest version, used by the superuser."""
    return new_pair()


@pytest.fixture
def desk(initialized_database_url: str, tmp_path: Path) -> Iterator[Desk]:
    """A host that holds the job."""
    with closing(Platform(initialized_database_url)) as platform:
        platform.sql(
            "INSERT INTO janitor_jobs (job, host, run_id, held_by, fencing_token, tries, last_started_at) "
            "VALUES ('backup', '', 1, 'host-1', 1, 1, now())"
        )
        directory = tmp_path / "copias"
        directory.mkdir()
        yield Desk(platform, directory)


@pytest.fixture
def near(desk: Desk, tmp_path: Path) -> int:
    """The id of a provider of kind `local`."""
    return desk.add(local_destination("near", tmp_path / "near"))


@pytest.fixture
def far(desk: Desk, near: int, tmp_path: Path) -> int:
    """The id of another one."""
    return desk.add(local_destination("far", tmp_path / "far"))


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    """A file as `age-keygen` writes it."""
    key = pyrage.x25519.Identity.generate()
    path = tmp_path / "key.txt"
    path.write_text(f"# created: today\n# public key: {key.to_public()}\n{key}\n")
    return path
