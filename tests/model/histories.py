"""Histories: how they are played, and how hypothesis makes them up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies
from hypothesis.strategies import SearchStrategy

from tests.model.runs import Cut, Fate
from tests.model.steps import (
    AddRow,
    ChangeDate,
    ChangeDirectory,
    ChangePrefix,
    ChangeUuid,
    Clone,
    DeleteRow,
    Deliver,
    Execute,
    PointProvider,
    Resume,
    SetBack,
    Step,
    SwapBytes,
    SwapUuids,
    Switch,
    Tick,
    TimePasses,
)
from tests.model.world import Loss, World


@dataclass(frozen=True)
class Scene:
    """Which stores there are: the kinds of the providers in order of preference, and the bucket of each."""

    kinds: tuple[str, ...] = ("s3", "azure")
    buckets: tuple[str, ...] = ("one", "two")
    folds_case: bool = False


def play(world: World, scene: Scene, history: Sequence[Step]) -> None:
    """Play a history, and after it what brings everything to rest. Raises `Loss`, which tells what happened."""
    world.begin(scene.kinds, scene.buckets, folds_case=scene.folds_case)
    played: list[str] = []
    try:
        for step in history:
            played.append(repr(step))
            _take(world, step, played)
        _come_to_rest(world, played)
    except Loss as loss:
        raise Loss("\n".join([f"{loss}", f"in {scene}, after:", *played])) from loss.__cause__
    finally:
        world.end()


def _take(world: World, step: Step, played: list[str]) -> None:
    said = len(world.said)
    step.play(world)
    played += [f"    {line}" for line in world.said[said:]]
    world.require_nothing_lost()


def _come_to_rest(world: World, played: list[str]) -> None:
    """An hour later others take over; then what stood still goes on, what was on its way arrives, and all is done."""

    def take(step: Step) -> None:
        played.append(f"finally {step!r}")
        _take(world, step, played)

    def take_ticks() -> None:
        take(TimePasses())
        for installation in world.installations():
            for host in installation.hosts:
                if not world.is_at_rest(installation):
                    take(Tick(host))

    take_ticks()
    if world.runs.parked or world.runs.late:
        while world.runs.parked:
            take(Resume())
        while world.runs.late:
            take(Deliver())
        take_ticks()
    take_ticks()
    world.require_nothing_left_over()


small = strategies.integers(0, 2)
hosts = strategies.sampled_from(("A", "A", "A", "B", "B", "S"))
fates = strategies.sampled_from(tuple(Fate))
REQUESTS = (
    "put*",
    "replace*",
    "delete*",
    "p* *manifest.json *",
    "*manifest.json *",
    "abandon*",
    "list*",
    "stat*",
    "open*",
)
OWN_STEPS = ("sql commit*", "sql open_attempt*", "sql note_place*", "sql *", "rename*", "unlink*", "rmdir*", "*")
cuts = strategies.builds(Cut, fates, strategies.sampled_from(REQUESTS + OWN_STEPS), strategies.integers(1, 4))
ticks = strategies.builds(Tick, hosts, strategies.none() | cuts | cuts)
names = strategies.sampled_from((("a", "b"), ("a", "b"), ("a",), ("a", "d/c"), ()))
executions = strategies.builds(Execute, small, strategies.sampled_from("AB"), names)
edits = strategies.one_of(
    strategies.builds(SetBack, small, strategies.booleans()),
    strategies.builds(SetBack, small, strategies.just(value=True)),
    strategies.builds(ChangeUuid, small, strategies.integers(0, 3)),
    strategies.builds(SwapUuids, small, small),
    strategies.builds(AddRow, small, strategies.integers(0, 3)),
    strategies.builds(DeleteRow, small),
    strategies.builds(ChangeDate, small, strategies.booleans()),
    strategies.builds(ChangeDirectory, small, small),
    strategies.builds(ChangePrefix, small),
    strategies.builds(PointProvider, small, strategies.sampled_from(("one", "two"))),
    strategies.builds(Switch, strategies.booleans()),
    strategies.builds(Clone, strategies.none() | small),
)
others = strategies.one_of(
    executions,
    strategies.builds(SwapBytes, small, strategies.booleans()),
    strategies.builds(Resume, small),
    strategies.builds(Deliver, small),
    strategies.builds(TimePasses),
)
steps = strategies.one_of(ticks, ticks, ticks, edits, edits, others)


def histories(longest: int = 10) -> SearchStrategy[list[Step]]:
    """One execution at least, and what happens then."""
    return strategies.tuples(executions, strategies.lists(steps, min_size=1, max_size=longest)).map(
        lambda parts: [parts[0], *parts[1]]
    )


def scenes(kind: str) -> SearchStrategy[Scene]:
    """Destinations of which the first is of one kind. Two rows may lead to the same bucket."""
    return strategies.builds(
        lambda second, bucket, folds: Scene((kind, second), ("one", bucket), folds_case=folds),
        strategies.sampled_from(("s3", "gcs", "sftp")),
        strategies.sampled_from(("two", "two", "one")),
        strategies.booleans() if kind == "sftp" else strategies.just(value=False),
    )
