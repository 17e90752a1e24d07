"""What every crash test begins with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.servers.postgres import EmbeddedPostgres
from tests.crash.program import Program
from tests.crash.scene import Scene
from tests.destinations import Destination
from tests.stories.installation import Installation


@pytest.fixture(scope="session")
def program() -> Iterator[Program]:
    """One process that forks all runs."""
    with Program() as running:
        yield running


@pytest.fixture
def new_scene(
    program: Program,
    tmp_path: Path,
    postgres: EmbeddedPostgres,
    database_administrator: Callable[[str], None],
    database_numbers: Iterator[int],
) -> Iterator[Callable[..., Scene]]:
    """Make scenes, each in an installation of its own: `new_scene(destination, alternate, delete=True)`."""
    with contextlib.ExitStack() as stack:

        def make(*destinations: Destination, **options: Any) -> Scene:
            name = f"test_{next(database_numbers)}"
            database_administrator(f"CREATE DATABASE {name}")
            stack.callback(database_administrator, f"DROP DATABASE {name} WITH (FORCE)")
            installation = stack.enter_context(contextlib.closing(Installation(tmp_path / name, postgres.url_of(name))))
            installation.install()
            return stack.enter_context(contextlib.closing(Scene(program, installation, destinations, **options)))

        yield make
