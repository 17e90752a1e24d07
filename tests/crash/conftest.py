"""What every crash test begins with."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.servers.postgres import EmbeddedPostgres
from tests.crash.program import Program
from tests.crash.scene import Scene
from tests.destinations import Destination
from tests.lent_databases import LentDatabases
from tests.stories.installation import Installation


@pytest.fixture(scope="session")
def program(postgres: EmbeddedPostgres) -> Iterator[Program]:
    """One process that forks all runs."""
    with Program(postgres.database_url) as running:
        yield running


@pytest.fixture
def new_scene(program: Program, tmp_path: Path, installed_databases: LentDatabases) -> Iterator[Callable[..., Scene]]:
    """Make scenes, each in an installation of its own: `new_scene(destination, alternate, delete=True)`."""
    with contextlib.ExitStack() as stack:
        numbers = itertools.count(1)

        def make(*destinations: Destination, **options: Any) -> Scene:
            database_url = stack.enter_context(installed_databases.lent())
            directory = tmp_path / f"sage_{next(numbers)}"
            installation = stack.enter_context(contextlib.closing(Installation(directory, database_url)))
            return stack.enter_context(contextlib.closing(Scene(program, installation, destinations, **options)))

        yield make
