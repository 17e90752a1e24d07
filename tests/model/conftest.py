"""The world in which histories are played: made once, as all of them use the same two databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest

from jobs.embedded_postgres import EmbeddedPostgres
from tests.model.world import World, pooled_connections
from tests.platform_database import Platform


@pytest.fixture(scope="module")
def world(
    postgres: EmbeddedPostgres,
    database_administrator: Callable[[str], None],
    database_numbers: Iterator[int],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:
    """A world without anything in it yet."""
    names = [f"test_{next(database_numbers)}" for _ in range(2)]
    for name in names:
        database_administrator(f"CREATE DATABASE {name}")
    platforms = [Platform(postgres.url_of(name)) for name in names]
    with pytest.MonkeyPatch.context() as monkeypatch:
        pooled_connections(monkeypatch)
        yield World(platforms[0], platforms[1], memory_directory(tmp_path_factory), monkeypatch)
    for platform, name in zip(platforms, names, strict=True):
        platform.close()
        database_administrator(f"DROP DATABASE {name} WITH (FORCE)")


def memory_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of the test's own."""
    return tmp_path_factory.mktemp("model")
