"""What every crash test begins with."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.servers.postgres import EmbeddedPostgres
from tests.crash.program import Program
from tests.crash.scene import Scene
from tests.databases.lent_databases import LentDatabases
from tests.destinations import Destination
from tests.running.run_directory import MEMORY_VARIABLE
from tests.stories.installation import Installation


@pytest.fixture(scope="session")
def program(postgres: EmbeddedPostgres) -> Iterator[Program]:
    """One process that forks all runs."""
    with Program(postgres.database_url) as running:
        yield running


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory in memory where there is some: no power is cut here, so no sweep need wait for a disk."""
    with tempfile.TemporaryDirectory(prefix="janitor-crash-", dir=os.environ.get(MEMORY_VARIABLE)) as directory:
        yield Path(directory)


@pytest.fixture
def new_directory(memory: Path) -> Path:
    """A path at which nothing is yet: a destination in memory, too."""
    return memory / "destination"


@pytest.fixture
def new_scene(
    program: Program, tmp_path: Path, memory: Path, installed_databases: LentDatabases
) -> Iterator[Callable[..., Scene]]:
    """Make scenes, each in an installation of its own: `new_scene(destination, alternate, delete=True)`."""
    with contextlib.ExitStack() as stack:
        numbers = itertools.count(1)
        temporary = tmp_path / "temporales"
        temporary.mkdir()

        def make(*destinations: Destination, **options: Any) -> Scene:
            database_url = stack.enter_context(installed_databases.lent())
            name = f"sage_{next(numbers)}"
            installation = stack.enter_context(contextlib.closing(Installation(memory / name, database_url)))
            installation.environment["TEMP_DIR"] = str(temporary)  # which may not be below `/dev`
            return stack.enter_context(contextlib.closing(Scene(program, installation, destinations, **options)))

        yield make
