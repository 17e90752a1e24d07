"""The names in a directory, sorted in little memory, however many there are."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator
from itertools import islice

NAMES_SORTED_AT_ONCE = 50_000


def sorted_names(descriptor: int) -> Iterator[str]:
    """The names in a directory, sorted; those of directories appear also with a final slash.

    Portions are sorted and each kept as one string: a million `str` would take as much memory as the tree.
    """
    portions = []
    with os.scandir(descriptor) as listing:
        names = _names(listing)
        while portion := sorted(islice(names, NAMES_SORTED_AT_ONCE)):
            portions.append("\0".join(portion))
            last_portion = portion
    if not portions:
        return iter(())
    if len(portions) == 1:
        return iter(last_portion)
    return heapq.merge(*map(_split, portions))


def _names(listing: Iterable[os.DirEntry[str]]) -> Iterator[str]:
    for item in listing:
        yield item.name
        if item.is_dir(follow_symlinks=False):
            yield f"{item.name}/"


def _split(names: str) -> Iterator[str]:
    """As `str.split`, one item at a time."""
    start = 0
    while (end := names.find("\0", start)) >= 0:
        yield names[start:end]
        start = end + 1
    yield names[start:]
