"""The names of logs, of their compressed copies, and of copies whose name other bytes have taken."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from itertools import count

GZIP_SUFFIX = ".gz"
COMPRESSED_SUFFIXES = (".gz", ".zst", ".bz2", ".xz")

OTHER_BYTES = re.compile(r"\.distinto-[0-9]{8}T[0-9]{6}Z(-[0-9]+)?$")
"""The end of a name after a log with other bytes took the original: the time at which this one was last written."""

MOST_NAME_BYTES = 255 - len(".distinto-20260101T000000Z-1000.gz")
"""How much of a name an alternative has: with all of it, nothing could be called so."""

LAST_SECOND = 253_402_300_799
"""In the year 9999. A file system may hold later times, and much earlier ones."""


def is_log(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name, or its name before any program compressed it, matches a pattern.

    As in a shell, a name with a leading dot matches only a pattern with one.
    """
    return any(_matches(each, pattern) for each in _earlier_names(name) for pattern in patterns)


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) and (pattern.startswith(".") or not name.startswith("."))


def original_name(name: str) -> str:
    """The name of a log before it was compressed or renamed for another one."""
    *_, first = _earlier_names(name)
    return first


def _earlier_names(name: str) -> Iterator[str]:
    """The name itself, then its earlier ones."""
    yield name
    while (earlier := _without_last_addition(name)) != name:
        yield earlier
        name = earlier


def _without_last_addition(name: str) -> str:
    for suffix in COMPRESSED_SUFFIXES:
        if len(name) > len(suffix):
            name = name.removesuffix(suffix)
    return OTHER_BYTES.sub("", name)


def has_compressed_name(name: str) -> bool:
    """Whether a name says that the contents are compressed."""
    return name.endswith(COMPRESSED_SUFFIXES)


def names_in_turn(name: str, mtime_ns: int) -> Iterator[str]:
    """The name and then, without end, alternatives for when other bytes have it. Each call gives the same, so that a
    run finds what a killed one made.
    """
    yield name
    seconds = min(max(mtime_ns // 10**9, 0), LAST_SECOND)
    moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%SZ")
    beginning = os.fsdecode(os.fsencode(name)[:MOST_NAME_BYTES])
    yield f"{beginning}.distinto-{moment}"
    yield from (f"{beginning}.distinto-{moment}-{number}" for number in count(2))


def copy_names_in_turn(name: str, mtime_ns: int) -> Iterator[str]:
    """The same for the compressed copy of a log."""
    return (f"{each}{GZIP_SUFFIX}" for each in names_in_turn(name, mtime_ns))
