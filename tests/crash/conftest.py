"""What every crash test begins with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash.program import Program
from tests.crash.scene import Scene
from tests.stories.installation import Installation


@pytest.fixture(scope="session")
def program() -> Iterator[Program]:
    """One process that forks all runs."""
    with Program() as running:
        yield running


@pytest.fixture
def new_scene(program: Program, tmp_path: Path, database_url: str) -> Iterator[Callable[..., Scene]]:
    """Make the scene in a new installation: `new_scene(destination, alternate, delete=True)`. Closed after the test."""
    with contextlib.ExitStack() as stack:
        installation = stack.enter_context(contextlib.closing(Installation(tmp_path / "sage", database_url)))
        installation.install()

        def make(*destinations: object, **options: object) -> Scene:
            scene = Scene(program, installation, destinations, **options)  # type: ignore[arg-type]
            return stack.enter_context(contextlib.closing(scene))

        yield make
