"""A few random rounds; `make differential N=1000` plays more of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from demo.servers.postgres import EmbeddedPostgres
from tests.jobs.backups.rounds import play


@pytest.mark.parametrize(("version", "seed"), [("16", 3), ("18", 4), ("18", 9), ("18", 17)])
def test_differentials_of_random_databases_restore_exactly(
    servers: Callable[[str], EmbeddedPostgres], tmp_path: Path, version: str, seed: int
) -> None:
    play(servers(version), seed, tmp_path)
