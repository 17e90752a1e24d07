"""The first import of all tests by several processes, each of which begins elsewhere.

pytest rewrites the assertions of a file when it is imported for the first time, and keeps the result for later: that
is most of what the collection costs in a new checkout. Processes that go the same way would each do all of it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence

from tests.repository import REPOSITORY


def import_own_part_first(arguments: Sequence[str], number: int, processes: int) -> None:
    """Import the tests that a command line names, as the process `number` of this many.

    What cannot be imported is left to the collection, which tries again and tells why.
    """
    for name in own_part_first(arguments, number, processes):
        try:
            importlib.import_module(name)
        except Exception:
            return


def own_part_first(arguments: Sequence[str], number: int, processes: int) -> list[str]:
    """The names of these modules, beginning where the part of this process begins."""
    names = sorted({name for argument in arguments for name in _modules_of(argument)})
    begin = len(names) * number // processes
    return [*names[begin:], *names[:begin]]


def _modules_of(argument: str) -> Iterator[str]:
    path = REPOSITORY / argument.partition("::")[0]
    for file in path.rglob("test_*.py") if path.is_dir() else [path]:
        if file.is_file() and file.is_relative_to(REPOSITORY):
            yield ".".join(file.relative_to(REPOSITORY).with_suffix("").parts)
