"""What an operator holds keeps its local copy, wherever a run was when the hold was set."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.model.histories import Scene, play
from tests.model.runs import Cut, Fate
from tests.model.steps import Execute, Hold, Release, Resume, SetBack, Step, Tick, TimePasses
from tests.model.world import World

SCENE = Scene(kinds=("s3", "azure"))


class HeldCopyLost(AssertionError):
    """The local copy of a held execution is not whole any more."""


class RequireLocalCopy(Step):
    """The directory has its own name and all that was written to it."""

    def play(self, world: World) -> None:
        if not world.has_local_copy(0):
            raise HeldCopyLost


CUTS = (
    Cut(Fate.KILL, "sql claim_executions*"),
    Cut(Fate.KILL, "sql open_attempt*"),
    Cut(Fate.KILL, "sql commit*"),
    Cut(Fate.STOP, "sql commit*"),
    Cut(Fate.KILL, "sql note_set_aside*"),
    Cut(Fate.STOP, "sql note_set_aside*"),
    Cut(Fate.KILL, "rename*", 2),  # the directory has the name that the removal gave it, and all its files
)


@pytest.mark.parametrize("cut", CUTS, ids=repr)
def test_a_held_execution_keeps_its_local_copy_wherever_a_run_was_cut_off(world: World, cut: Cut) -> None:
    """Its host, another host, and the run that stood still go on; after the release all comes to rest."""
    held: Sequence[Step] = (
        Hold(0), Resume(), Tick("A"), RequireLocalCopy(), TimePasses(), Tick("B"), Tick("A"),
        RequireLocalCopy(),
    )  # fmt: skip
    play(world, SCENE, [Execute(0), Tick("A", cut), *held, Release(0)])
    assert not world.path_of(0).exists()


def test_a_held_execution_that_is_set_back_is_not_migrated_again(world: World) -> None:
    """Until it is released, as all is at the end of a history."""
    play(world, SCENE, [Execute(0), Hold(0), Tick("A"), RequireLocalCopy(), SetBack(0), Tick("A"), RequireLocalCopy()])
    assert not world.path_of(0).exists()
