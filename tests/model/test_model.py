"""No history of kills, stops, late requests, several hosts and edits by the platform loses the last copy of anything.

`make model N=1000000` plays more of them, and others each time.
"""

from __future__ import annotations

import itertools
import os

import pytest

from tests.model.histories import FAMILIES
from tests.model.search import search
from tests.model.stores import KINDS
from tests.model.world import World

HISTORIES = int(os.environ.get("JANITOR_MODEL_HISTORIES", "2000"))
"""In all, divided among the families and the kinds of destination."""

SEARCHES = list(itertools.product(FAMILIES, KINDS))


def _share(position: int) -> int:
    return HISTORIES * (position + 1) // len(SEARCHES) - HISTORIES * position // len(SEARCHES)


@pytest.mark.parametrize("position", range(len(SEARCHES)), ids=["-".join(names) for names in SEARCHES])
def test_no_history_loses_the_last_copy(world: World, position: int) -> None:
    family, kind = SEARCHES[position]
    search(world, family, kind, _share(position))
