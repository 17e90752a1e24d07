"""What every story begins with."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.servers.postgres import EmbeddedPostgres
from tests.databases.lent_databases import LentDatabases
from tests.destinations import Destination, local_destination
from tests.stories.forked import ForkedCommands
from tests.stories.installation import Installation


@pytest.fixture
def bare_installation(tmp_path: Path, database_url: str, forked_commands: ForkedCommands) -> Iterator[Installation]:
    """A checkout, directories and an empty database, in which nothing was run yet."""
    with contextlib.closing(Installation(tmp_path / "sage", database_url)) as installation:
        installation.forked = forked_commands
        yield installation


@pytest.fixture(scope="session")
def forked_commands(postgres: EmbeddedPostgres) -> Iterator[ForkedCommands]:
    """The process that forks commands."""
    with contextlib.closing(ForkedCommands(postgres.database_url)) as forked:
        yield forked


@pytest.fixture
def installation(
    tmp_path: Path, installed_databases: LentDatabases, forked_commands: ForkedCommands
) -> Iterator[Installation]:
    """An installation with the platform's tables, after `init-db`."""
    with _installation(tmp_path / "sage", installed_databases, forked_commands) as made:
        yield made


@pytest.fixture
def new_installation(
    tmp_path: Path, installed_databases: LentDatabases, forked_commands: ForkedCommands
) -> Iterator[Callable[[], Installation]]:
    """Make such installations, for stories that may happen at the same time."""
    numbers = itertools.count(2)
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(
            _installation(tmp_path / f"sage_{next(numbers)}", installed_databases, forked_commands)
        )


@contextlib.contextmanager
def _installation(directory: Path, databases: LentDatabases, forked: ForkedCommands) -> Iterator[Installation]:
    with databases.lent() as database_url, contextlib.closing(Installation(directory, database_url)) as made:
        made.forked = forked
        yield made


@pytest.fixture
def nas(tmp_path: Path) -> Destination:
    """A mounted directory as the destination: the quickest one."""
    return local_destination("nas", tmp_path / "nas")
