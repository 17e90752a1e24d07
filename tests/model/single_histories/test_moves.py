"""Moves of copies to the primary provider, cut off where it matters, beside what may happen meanwhile."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.model.histories import Scene, play
from tests.model.runs import Cut, Fate
from tests.model.steps import Audit, Deliver, Execute, Rehome, Resume, SetBack, Step, Switch, Tick, TimePasses
from tests.model.world import World

AWAY: Sequence[Step] = (Switch(is_on=False), Execute(0), Tick("A"), Switch(is_on=True))
"""An execution is at the second provider, and the first one can be used again."""

CUTS = (
    Cut(Fate.KILL, "sql jobs/rehome/claim_away"),
    Cut(Fate.KILL, "sql jobs/rehome/note_place"),
    Cut(Fate.KILL_SENT, "[pr]* at one"),
    Cut(Fate.STOP_SENT, "[pr]*manifest.json at one"),
    Cut(Fate.STOP, "sql jobs/rehome/switch"),
    Cut(Fate.NO_ANSWER, "[pr]*manifest.json at one"),
)


@pytest.mark.parametrize("cut", CUTS, ids=repr)
@pytest.mark.parametrize("kind", ["azure", "sftp"])
def test_a_move_that_was_cut_off_anywhere_loses_nothing(world: World, kind: str, cut: Cut) -> None:
    """Another host moves the copy after the lease is over; then the first one continues, and late requests arrive."""
    others: Sequence[Step] = (Tick("A"), TimePasses(), Rehome("B"), Tick("B"), Resume(), Deliver(), Tick("A"))
    play(world, Scene((kind, "s3")), [*AWAY, Rehome("A", cut), *others])
    assert world.production.migrated[1].provider_id == 1


@pytest.mark.parametrize("kinds", [("s3", "s3"), ("azure", "s3"), ("sftp", "s3")], ids=" and ".join)
def test_one_bucket_of_two_names_keeps_its_only_copy(world: World, kinds: tuple[str, str]) -> None:
    """The store's name need not show that the two are one: a directory may be reached by two protocols."""
    play(world, Scene(kinds, ("one", "one")), [*AWAY, Rehome("A"), Tick("A"), Audit("A"), Tick("A")])
    assert world.production.migrated[1].content() == world.promised[0]


def test_an_execution_that_is_set_back_during_its_move_is_migrated_from_its_directory(world: World) -> None:
    stopped = Rehome("A", Cut(Fate.STOP, "sql jobs/rehome/switch"))
    play(world, Scene(("s3", "azure")), [*AWAY, stopped, SetBack(0), Execute(0, "B"), Tick("B"), Resume()])
    assert world.production.migrated[1].content() == world.promised[0]
