"""Histories: how they are played, and how hypothesis makes them up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hypothesis import strategies
from hypothesis.strategies import SearchStrategy

from tests.model.runs import Cut, Fate
from tests.model.steps import (
    AddRow,
    Audit,
    BackUp,
    ChangeDate,
    ChangeDirectory,
    ChangePrefix,
    ChangeUuid,
    Clone,
    DeleteRow,
    Deliver,
    Execute,
    Hold,
    KeepCopies,
    LeaveObject,
    PointProvider,
    Rehome,
    Release,
    RestoreDatabase,
    Resume,
    Retry,
    RotObject,
    SetBack,
    Step,
    SwapBytes,
    SwapUuids,
    Switch,
    TakeObjectAway,
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
        _come_to_rest(world, played, moves=any(isinstance(step, Rehome) for step in history))
        if not any(step.is_edit for step in history):
            world.require_nothing_left_over()
    except Loss as loss:
        raise Loss("\n".join([f"{loss}", f"in {scene}, after:", *played])) from loss.__cause__
    finally:
        world.end()


def _take(world: World, step: Step, played: list[str]) -> None:
    said = len(world.said)
    step.play(world)
    played += [f"    {line}" for line in world.said[said:]]
    world.require_nothing_lost()


def _come_to_rest(world: World, played: list[str], *, moves: bool) -> None:
    """Leases end and others take over; then what stood still continues, what is on its way arrives, and all is done.
    With `moves`, copies come home, too.
    """

    def take(step: Step) -> None:
        played.append(f"finally {step!r}")
        _take(world, step, played)

    def take_ticks(hours: int = 0) -> None:
        take(TimePasses(hours))
        if moves and not world.is_at_rest(world.production):
            take(Rehome("A"))
        for installation in world.installations():
            for host in installation.hosts:
                if not world.is_at_rest(installation):
                    take(Tick(host))

    Switch(is_on=True).play(world)
    world.release_all()
    take_ticks()
    if world.runs.parked or world.runs.late:
        while world.runs.parked:
            take(Resume())
        while world.runs.late:
            take(Deliver())
    take_ticks(hours=2)
    take_ticks(hours=2)


small = strategies.sampled_from((0, 0, 0, 1, 1, 2))
"""Which execution, row or run: mostly the same few, so that what happens happens to the same ones."""

PRODUCTION = strategies.sampled_from(("A", "A", "B"))
EVERY_HOST = strategies.sampled_from(("A", "A", "B", "S"))
REQUESTS = ("[pr]* at *", "[pr]*manifest.json at *", "delete* at *", "delete* at *")
QUESTIONS = ("list*", "stat*", "open*", "discard_unfinished*")
STATEMENTS = ("sql commit*", "sql commit*", "sql open_attempt*", "sql lease*", "sql *")
REMOVALS = ("rename*", "unlink*", "rmdir*")


def _cuts(fates: Sequence[Fate], where: Sequence[str]) -> SearchStrategy[Cut]:
    """Mostly at the first step that is like this: few runs come to a third one."""
    return strategies.builds(
        Cut, strategies.sampled_from(fates), strategies.sampled_from(where), strategies.sampled_from((1, 1, 1, 2, 2, 3))
    )


CUTS = strategies.one_of(
    _cuts((Fate.KILL, Fate.STOP), STATEMENTS),
    _cuts((Fate.KILL, Fate.STOP), REMOVALS),
    _cuts((Fate.KILL_SENT, Fate.STOP_SENT), REQUESTS),
    _cuts((Fate.KILL_SENT, Fate.STOP_SENT), REQUESTS),
    _cuts(tuple(Fate), REQUESTS + QUESTIONS),
    strategies.builds(
        Cut, strategies.sampled_from((Fate.KILL, Fate.STOP)), strategies.just("*"), strategies.integers(1, 40)
    ),
)
NAMES = strategies.sampled_from((("a", "b"), ("a",), ("a", "d/c"), ()))
EXECUTIONS = strategies.builds(Execute, small, strategies.sampled_from("AB"), NAMES)
SET_BACK = strategies.builds(SetBack, small, strategies.sampled_from((True, True, False)))
MACHINES = (
    strategies.builds(SwapBytes, small, strategies.booleans()),
    strategies.builds(Resume, small),
    strategies.builds(Deliver, small),
    strategies.builds(TimePasses),
    strategies.builds(Switch, strategies.booleans()),
)
SWAPS = strategies.builds(SwapUuids, small, small)
ROWS = (
    SWAPS,
    SWAPS,
    strategies.builds(ChangeUuid, small, strategies.integers(0, 3)),
    strategies.builds(AddRow, small, strategies.integers(0, 3)),
    strategies.builds(DeleteRow, small),
    strategies.builds(ChangeDate, small, strategies.booleans()) | strategies.builds(ChangeDirectory, small, small),
)
SETTINGS = (
    strategies.builds(ChangePrefix, small),
    strategies.builds(PointProvider, small, strategies.sampled_from(("one", "two"))),
    strategies.builds(Clone, strategies.none() | small),
)


def _ticks(hosts: SearchStrategy[str]) -> SearchStrategy[Step]:
    return strategies.builds(Tick, hosts, CUTS)


def _whole_ticks(hosts: SearchStrategy[str]) -> SearchStrategy[Step]:
    return strategies.builds(Tick, hosts)


COPIES = (
    strategies.builds(Switch, strategies.booleans()),
    strategies.builds(Audit, PRODUCTION, strategies.none() | CUTS, strategies.booleans()),
    strategies.builds(KeepCopies, strategies.booleans()),
    strategies.builds(TakeObjectAway, small) | strategies.builds(RotObject, small),
    strategies.builds(LeaveObject, small, strategies.sampled_from(("one", "two"))),
)
ORDERS = (
    strategies.builds(Hold, small),
    strategies.builds(Hold, small),
    strategies.builds(Release, small),
    strategies.builds(Retry, small),
)
REHOMES = strategies.builds(
    Rehome, PRODUCTION, strategies.none() | CUTS | _cuts((Fate.KILL, Fate.STOP), ("sql *switch", "sql jobs/rehome/*"))
)

RESTORES = strategies.builds(RestoreDatabase, strategies.none() | small)


FAMILIES: Mapping[str, SearchStrategy[Step]] = {
    "machines": strategies.one_of(
        _ticks(PRODUCTION), _ticks(PRODUCTION), _whole_ticks(PRODUCTION), EXECUTIONS, SET_BACK,
        strategies.one_of(MACHINES),
    ),
    "rows": strategies.one_of(
        _ticks(PRODUCTION), _whole_ticks(PRODUCTION), EXECUTIONS, SET_BACK,
        strategies.one_of(ROWS), strategies.one_of(ROWS),
    ),
    "settings": strategies.one_of(
        _ticks(EVERY_HOST), _whole_ticks(EVERY_HOST), EXECUTIONS, strategies.one_of(SETTINGS), strategies.one_of(ROWS)
    ),
    "copies": strategies.one_of(
        _ticks(PRODUCTION), _whole_ticks(PRODUCTION), EXECUTIONS, REHOMES, REHOMES, SET_BACK,
        strategies.one_of(MACHINES), strategies.one_of(COPIES), strategies.one_of(COPIES), strategies.one_of(ORDERS),
    ),
    "restored": strategies.one_of(
        _ticks(PRODUCTION), _ticks(PRODUCTION), _whole_ticks(PRODUCTION), EXECUTIONS, SET_BACK,
        RESTORES | strategies.builds(BackUp), REHOMES,
        strategies.one_of(MACHINES), strategies.one_of(ROWS), strategies.one_of(COPIES),
    ),
    "everything": strategies.one_of(
        _ticks(EVERY_HOST), _ticks(EVERY_HOST), _whole_ticks(EVERY_HOST), EXECUTIONS, SET_BACK,
        strategies.one_of(MACHINES), strategies.one_of(ROWS), strategies.one_of(SETTINGS),
        REHOMES, strategies.one_of(COPIES), strategies.one_of(ORDERS), RESTORES | strategies.builds(BackUp),
    ),
}  # fmt: skip
"""What histories are made of: with fewer kinds of steps in one, those that belong together meet more often."""

IN_USE: Sequence[Step] = (Execute(1), Tick("A"))
"""The installation has stored something before, and so its name is in every backup."""

LONGEST = 9
"""More steps than any history needed that was found, with those that a history ends with."""


def histories(family: str) -> SearchStrategy[list[Step]]:
    """One execution at least, two where it matters whose a place is, and what happens then."""
    first: SearchStrategy[list[Step]] = strategies.lists(EXECUTIONS, min_size=1, max_size=1)
    away = strategies.builds(
        lambda names: [Switch(is_on=False), Execute(0, "A", names), Tick("A"), Switch(is_on=True)], NAMES
    )
    if family == "copies":
        first = away | away | first
    if family == "restored":
        first = _backed_up(away | first)
    if family in ("rows", "settings"):
        first = first | strategies.builds(lambda names: [Execute(0, "A", names), Execute(1, "A", names)], NAMES)
    rest = strategies.lists(FAMILIES[family], min_size=1, max_size=LONGEST)
    return strategies.tuples(first, rest).map(lambda parts: [*parts[0], *parts[1]])


def _backed_up(first: SearchStrategy[list[Step]]) -> SearchStrategy[list[Step]]:
    """These steps and a backup, to which the database may be set back after one run."""
    before = first.map(lambda steps: [*IN_USE, *steps, BackUp()])
    run = _ticks(PRODUCTION) | _whole_ticks(PRODUCTION)
    return before | strategies.builds(lambda steps, tick, restore: [*steps, tick, restore], before, run, RESTORES)


def scenes(kind: str) -> SearchStrategy[Scene]:
    """Destinations of which the first is of one kind. Two rows may lead to the same bucket."""
    return strategies.builds(
        lambda second, bucket, folds: Scene((kind, second), ("one", bucket), folds_case=folds),
        strategies.sampled_from(("s3", "gcs", "sftp")),
        strategies.sampled_from(("two", "two", "one")),
        strategies.booleans() if kind == "sftp" else strategies.just(value=False),
    )
