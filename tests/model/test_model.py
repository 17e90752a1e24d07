"""No history of kills, stops, late requests, several hosts and edits by the platform loses the last copy of anything.

`make model N=1000000` plays more of them, and others each time.
"""

from __future__ import annotations

import os

import pytest

from tests.model.histories import FAMILIES
from tests.model.search import search
from tests.model.stores import KINDS
from tests.model.world import World

HISTORIES = int(os.environ.get("JANITOR_MODEL_HISTORIES", "80"))
"""Of each family, for each kind of destination."""


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("family", list(FAMILIES))
def test_no_history_loses_the_last_copy(world: World, family: str, kind: str) -> None:
    search(world, family, kind, HISTORIES)
