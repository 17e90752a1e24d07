"""No history of kills, stops, late requests, hosts and edits by the platform loses the last copy of anything."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.model.histories import Scene, histories, play, scenes
from tests.model.steps import Step
from tests.model.stores import KINDS
from tests.model.world import World

HISTORIES = int(os.environ.get("JANITOR_MODEL_HISTORIES", "300"))


@pytest.mark.parametrize("kind", list(KINDS))
def test_no_history_loses_the_last_copy(world: World, kind: str) -> None:
    @settings(
        max_examples=HISTORIES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(scene=scenes(kind), history=histories())
    def check(scene: Scene, history: Sequence[Step]) -> None:
        play(world, scene, history)

    check()
