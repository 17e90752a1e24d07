"""Product and peers in turn: a number of rounds, each with another one first, each run on a fresh copy of the files."""

from __future__ import annotations

import atexit
import functools
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.measuring.measure import Cost, run_measured
from benchmarks.measuring.results import NO_GOALS, PRODUCT, Goals, Line
from tests.repository import REPOSITORY

Round = Mapping[str, Cost]
"""What one round cost each contestant."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One run, prepared: the command that is measured, and how to see afterwards that it did all of its work.

    `require_done` raises when something is missing, different or left over.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    require_done: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Contestant:
    """Somebody who can do the work. `prepare` makes a trial in an empty directory and puts everything back after it.

    `goals` are the product's, beside this one.
    """

    name: str
    prepare: Callable[[Path], AbstractContextManager[Trial]]
    goals: Goals = NO_GOALS


def compete(product: Contestant, peers: Sequence[Contestant], rounds: int) -> list[Round]:
    """Let all run in turn, in each round beginning with another one."""
    contestants = [product, *peers]
    played: list[Round] = []
    for number in range(rounds):
        first = number % len(contestants)
        played.append({one.name: run_once(one) for one in contestants[first:] + contestants[:first]})
    return played


def run_once(contestant: Contestant) -> Cost:
    """Prepare, measure, check, tidy up. What preparing wrote has gone to the disk before the clock starts."""
    with tempfile.TemporaryDirectory(prefix="janitor-bench-") as name:
        with contestant.prepare(Path(name)) as trial:
            os.sync()
            cost = run_measured(trial.command, trial.environment)
            trial.require_done()
        return cost


@functools.cache
def environment_of_steps() -> Mapping[str, str]:
    """For `benchmarks.jobs.single_steps`: its modules are compiled once, as where the product is installed.

    `PYTHONDONTWRITEBYTECODE`, which some machines set, would let each run compile them all.
    """
    compiled = tempfile.TemporaryDirectory(prefix="janitor-bench-")
    atexit.register(compiled.cleanup)
    own = {"PYTHONPATH": str(REPOSITORY), "PYTHONPYCACHEPREFIX": compiled.name}
    return {**{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}, **own}


def lines_of(work: str, peers: Sequence[Contestant], rounds: Sequence[Round]) -> list[Line]:
    """For each peer the medians, and the medians of the ratios round by round."""
    return [
        line_of(work, peer, [each[PRODUCT] for each in rounds], [each[peer.name] for each in rounds]) for peer in peers
    ]


def line_of(work: str, peer: Contestant, own: Sequence[Cost], others: Sequence[Cost]) -> Line:
    """The product beside one peer."""
    pairs = list(zip(own, others, strict=True))
    median = statistics.median
    return Line(
        work,
        peer.name,
        peer.goals,
        wall_seconds=median(cost.wall_seconds for cost in own),
        peer_wall_seconds=median(cost.wall_seconds for cost in others),
        wall_ratio=median(mine.wall_seconds / other.wall_seconds for mine, other in pairs),
        floor_ratio=median(_floor_seconds(mine) / other.wall_seconds for mine, other in pairs),
        cpu_ratio=median(mine.cpu_seconds / other.cpu_seconds for mine, other in pairs),
        peak_memory_mib=max(cost.peak_memory_mib for cost in own),
        peer_peak_memory_mib=max(cost.peak_memory_mib for cost in others),
    )


def _floor_seconds(cost: Cost) -> float:
    """How long all processors together take for what the servers did in the run."""
    return cost.others_cpu_seconds / (os.cpu_count() or 1)


def raw(rounds: Sequence[Round]) -> list[Mapping[str, Mapping[str, float]]]:
    """The rounds as plain data."""
    return [{name: asdict(cost) for name, cost in each.items()} for each in rounds]
