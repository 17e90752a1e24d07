"""The world in which histories are played: made once, as all of them use the same two databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo.servers.postgres import EmbeddedPostgres
from tests.model.search import new_world
from tests.model.world import World


@pytest.fixture(scope="module")
def world(postgres: EmbeddedPostgres) -> Iterator[World]:
    """A world without anything in it yet."""
    with new_world(postgres) as world:
        yield world
