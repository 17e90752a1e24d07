"""Searches for a history that loses something."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg2
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from demo.servers.postgres import EmbeddedPostgres
from tests.databases.platform_database import Platform
from tests.model.histories import Scene, histories, play, scenes
from tests.model.steps import Step
from tests.model.world import World, pooled_connections

MEMORY = Path("/dev/shm")  # noqa: S108 a file system in memory: histories make and remove many small files
DATABASES = ("model_production", "model_staging")


@contextlib.contextmanager
def new_world(postgres: EmbeddedPostgres) -> Iterator[World]:
    """A world with databases of its own. One at a time: it changes what this process does."""
    with contextlib.ExitStack() as stack:
        administrator = stack.enter_context(contextlib.closing(psycopg2.connect(postgres.database_url)))
        administrator.autocommit = True
        platforms = []
        for name in DATABASES:
            with administrator.cursor() as cursor:
                cursor.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
                cursor.execute(f"CREATE DATABASE {name}")
                cursor.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")  # no history cuts its power
                cursor.execute(f"ALTER DATABASE {name} SET jit = off")
            platforms.append(stack.enter_context(contextlib.closing(Platform(postgres.url_of(name)))))
        monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
        pooled_connections(monkeypatch)
        parent = MEMORY if os.access(MEMORY, os.W_OK) else None
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="janitor-model-", dir=parent))
        yield World(platforms[0], platforms[1], Path(directory), monkeypatch)


def search(world: World, family: str, kind: str, count: int, number: int | None = None) -> None:
    """Play this many histories of one family, on destinations of which the first is of one kind.

    Raises `Loss` for the shortest one found that loses something. With a `number` it is one search of many, without one
    it is the same search each time.
    """

    @settings(
        max_examples=count,
        deadline=None,
        derandomize=number is None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(scene=scenes(kind), history=histories(family))
    def check(scene: Scene, history: Sequence[Step]) -> None:
        play(world, scene, history)

    (check if number is None else seed(number)(check))()
