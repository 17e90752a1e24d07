"""The order in which several processes run the tests: the longest first, so that none is left when the rest is done."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TypeVar

LONG = (
    "tests/crash/",
    "tests/jobs/backups/test_kills.py",
    "tests/jobs/backups/test_oddities.py",
    "tests/model/test_model.py",
    "tests/jobs/migration/test_thousand_mutations.py",
    "tests/storage/test_many_files.py",
    "tests/providers/test_wire_damage_http.py",
    "tests/test_mutants.py",
    "tests/stories/test_http_provider_faults.py",
    "tests/stories/test_several_processes.py",
    "tests/stories/test_very_many_files.py",
)
"""Where single tests take ten seconds or more."""

Item = TypeVar("Item")


def long_ones_first(tests: Sequence[Item], processes: int, name_of: Callable[[Item], str]) -> list[Item]:
    """All tests, in as many parts as there are processes, each with its share of the long ones at its beginning.

    The parts are as long as those that `--dist=worksteal` gives the processes to begin with; what is stolen later is
    taken from the end of a part. Without other processes the order stays as it is.
    """
    if processes < 2:
        return list(tests)
    long = [test for test in tests if name_of(test).startswith(LONG)]
    short = iter([test for test in tests if not name_of(test).startswith(LONG)])
    ordered: list[Item] = []
    for number in range(processes):
        ordered += long[number::processes]
        ends_at = len(tests) * (number + 1) // processes
        ordered += itertools.islice(short, max(ends_at - len(ordered), 0))
    return [*ordered, *short]
