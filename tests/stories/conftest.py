"""What every story begins with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.servers.postgres import EmbeddedPostgres
from tests.destinations import Destination, local_destination
from tests.stories.forked import ForkedCommands
from tests.stories.installation import Installation


@pytest.fixture
def bare_installation(tmp_path: Path, database_url: str) -> Iterator[Installation]:
    """A checkout, directories and an empty database, in which nothing was run yet."""
    with contextlib.closing(Installation(tmp_path / "sage", database_url)) as installation:
        yield installation


@pytest.fixture(scope="session")
def forked_commands() -> Iterator[ForkedCommands]:
    """The process that forks commands."""
    with contextlib.closing(ForkedCommands()) as forked:
        yield forked


@pytest.fixture
def installation(bare_installation: Installation, forked_commands: ForkedCommands) -> Installation:
    """An installation with the platform's tables, after `init-db`."""
    bare_installation.install()
    bare_installation.forked = forked_commands
    return bare_installation


@pytest.fixture
def new_installation(
    tmp_path: Path,
    postgres: EmbeddedPostgres,
    database_administrator: Callable[[str], None],
    database_numbers: Iterator[int],
    forked_commands: ForkedCommands,
) -> Iterator[Callable[[], Installation]]:
    """Make installations with databases of their own, for stories that may happen at the same time."""
    with contextlib.ExitStack() as stack:

        def make() -> Installation:
            name = f"test_{next(database_numbers)}"
            database_administrator(f"CREATE DATABASE {name}")
            stack.callback(database_administrator, f"DROP DATABASE {name} WITH (FORCE)")
            installation = stack.enter_context(contextlib.closing(Installation(tmp_path / name, postgres.url_of(name))))
            installation.install()
            installation.forked = forked_commands
            return installation

        yield make


@pytest.fixture
def nas(tmp_path: Path) -> Destination:
    """A mounted directory as the destination: the quickest one."""
    return local_destination("nas", tmp_path / "nas")
