"""What was measured: lines for the table, and the raw rounds behind them.

A benchmark gives a `Report`. `save` keeps it in `benchmarks/results/NAME.json`, so that every number can be checked and
one row can be measured again; `write_table` makes `benchmarks/RESULTS.md` of all that are kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measuring.machine import describe_machine
from tests.repository import REPOSITORY

DIRECTORY = REPOSITORY / "benchmarks" / "results"
TABLE = REPOSITORY / "benchmarks" / "RESULTS.md"
PRODUCT = "janitor-daemon"

HEAD = (
    "work",
    "peer",
    "product s",
    "peer s",
    "wall ratio",
    "goal",
    "floor",
    "CPU ratio",
    "goal",
    "peer MiB",
    "peak MiB",
    "goal",
)
ORDER = (
    *("small_files", "large_files", "azure_files", "gcs_files", "sftp_small_files", "sftp_large_files", "local_files"),
    *(
        "restore_small_files",
        "restore_large_files",
        "restore_many",
        "idle_tick",
        "audit",
        "temp_files",
        "logs",
        "backups",
    ),
    *("million_files_local", "million_files_s3", "million_files_bare_s3", "many_executions"),
)
"""The order of the table; what is not named here comes after."""

COUNTS_HEAD = ("counted", "number", "goal")
INTRODUCTION = """\
# Product and peers side by side

Written by `make bench`: product and peer move the same files to the same server on this machine, in turn, in the same
run; medians of the rounds, and medians of the ratios round by round (below 1: the product needs less). CPU seconds are
those of the client with its children, not the server's, and memory is that of the largest of its processes: with 32
executions or more the product uses two on this machine, for one of 10,000 files or more, or of 256 MiB or more in large
files over SFTP, two beside its own. **Bold**: short of its goal. The rounds themselves are in `benchmarks/results/`.

The floor is what the wall ratio would be if the product needed no processor at all and all processors did nothing but
the servers' work in its run (`/proc/stat` without the client): no client that asks the same of these servers on this
machine comes below it. What a product that does need a processor can reach lies above.
"""


@dataclass(frozen=True, slots=True)
class Goals:
    """What the product must not exceed beside one peer; `None`: nothing is asked."""

    wall_ratio: float | None = None
    cpu_ratio: float | None = None
    peak_memory_mib: float | None = None


NO_GOALS = Goals()


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table. `None`: not measured."""

    work: str
    peer: str
    goals: Goals
    wall_seconds: float
    peer_wall_seconds: float
    wall_ratio: float
    floor_ratio: float | None = None
    cpu_ratio: float | None = None
    peak_memory_mib: float | None = None
    peer_peak_memory_mib: float | None = None

    def cells(self) -> tuple[str, ...]:
        """The line as the table shows it, what misses its goal in bold."""
        return (
            self.work,
            self.peer,
            f"{self.wall_seconds:.2f}",
            f"{self.peer_wall_seconds:.2f}",
            *_beside_goal(self.wall_ratio, self.goals.wall_ratio, ".2f"),
            _number(self.floor_ratio, ".2f"),
            *_beside_goal(self.cpu_ratio, self.goals.cpu_ratio, ".2f"),
            _number(self.peer_peak_memory_mib, ".0f"),
            *_beside_goal(self.peak_memory_mib, self.goals.peak_memory_mib, ".0f"),
        )


@dataclass(frozen=True, slots=True)
class Count:
    """Something counted, not timed, and what it must not exceed."""

    what: str
    number: float
    goal: float | None = None

    def cells(self) -> tuple[str, ...]:
        """The count as the table shows it, what misses its goal in bold."""
        return (self.what, *_beside_goal(self.number, self.goal, ",.10g"))


@dataclass(frozen=True, slots=True)
class Report:
    """All that one benchmark found. `rounds` is raw: for each round, whatever was measured of whom."""

    name: str
    lines: Sequence[Line]
    rounds: Sequence[Mapping[str, Any]]
    counts: Sequence[Count] = ()
    machine: Mapping[str, str] = field(default_factory=describe_machine)

    def show(self) -> None:
        """Print it."""
        if self.lines:
            print("\n".join(_aligned([HEAD, *(line.cells() for line in self.lines)])))
        if self.counts:
            print("\n".join(_aligned([COUNTS_HEAD, *(count.cells() for count in self.counts)])))
        print(_conditions(self.machine, len(self.rounds)), end="\n\n", flush=True)

    def save(self) -> None:
        """Keep it, in place of an earlier one of its name, and write the table again."""
        DIRECTORY.mkdir(exist_ok=True)
        (DIRECTORY / f"{self.name}.json").write_text(json.dumps(asdict(self), indent=1) + "\n")
        write_table()


def write_table() -> None:
    """Make the table of all reports that are kept."""
    reports = sorted(map(read_report, DIRECTORY.glob("*.json")), key=_place_in_order)
    lines = _markdown(HEAD, (line.cells() for report in reports for line in report.lines))
    counts = _markdown(COUNTS_HEAD, (count.cells() for report in reports for count in report.counts))
    conditions = [f"- {report.name}: {_conditions(report.machine, len(report.rounds))}" for report in reports]
    TABLE.write_text("\n".join([INTRODUCTION, *lines, "", "Counted, not timed:", "", *counts, "", *conditions, ""]))


def read_report(path: Path) -> Report:
    """A report as `save` kept it."""
    kept = json.loads(path.read_text())
    lines = [Line(**{**line, "goals": Goals(**line["goals"])}) for line in kept["lines"]]
    counts = [Count(**count) for count in kept["counts"]]
    return Report(kept["name"], lines, kept["rounds"], counts, kept["machine"])


def _place_in_order(report: Report) -> tuple[int, str]:
    return (ORDER.index(report.name) if report.name in ORDER else len(ORDER), report.name)


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(map(_cell, row))} |" for row in (head, ("---",) * len(head), *rows)]


def _cell(text: str) -> str:
    """A bar would end the cell."""
    return text.replace("|", r"\|")


def _beside_goal(value: float | None, goal: float | None, form: str) -> tuple[str, str]:
    text = _number(value, form)
    missed = value is not None and goal is not None and value > goal
    return (f"**{text}**" if missed else text), _goal(goal)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _goal(goal: float | None) -> str:
    return "" if goal is None else f"≤ {goal:.3g}"


def _conditions(machine: Mapping[str, str], rounds: int) -> str:
    repeated = {"rounds": str(rounds)} if rounds else {}
    return ", ".join(f"{name} {value}" for name, value in {**machine, **repeated}.items())


def _aligned(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
