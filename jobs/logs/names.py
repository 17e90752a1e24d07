"""The names of logs, of their compressed copies, and of copies whose name was taken by other bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from itertools import count

GZIP_SUFFIX = ".gz"
COMPRESSED_SUFFIXES = (".gz", ".zst", ".bz2", ".xz")

OTHER_BYTES = re.compile(r"\.distinto-[0-9]{8}T[0-9]{6}Z(-[0-9]+)?$")
"""How a name ends that was taken by a log with other bytes: with the moment at which this one was last written to."""

LAST_SECOND = 253_402_300_799
"""Of the year 9999. A file system may hold later times, and much earlier ones."""


def is_log(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name, or the one that it had before this program or another one compressed it, matches a pattern.

    As in a shell, a name that begins with a dot is matched only by a pattern that does, too.
    """
    return any(_matches(each, pattern) for each in _earlier_names(name) for pattern in patterns)


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) and (pattern.startswith(".") or not name.startswith("."))


def original_name(name: str) -> str:
    """The name that a log had before it was compressed, or gave way to another one."""
    *_, first = _earlier_names(name)
    return first


def _earlier_names(name: str) -> Iterator[str]:
    """The name itself first."""
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
    """The name, and then, without end, those to use where other bytes have it. The same at each call: a run that comes
    after a killed one finds what that had made.
    """
    yield name
    seconds = min(max(mtime_ns // 10**9, 0), LAST_SECOND)
    moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%SZ")
    yield f"{name}.distinto-{moment}"
    yield from (f"{name}.distinto-{moment}-{number}" for number in count(2))


def copy_names_in_turn(name: str, mtime_ns: int) -> Iterator[str]:
    """The same for the compressed copy of a log."""
    return (f"{each}{GZIP_SUFFIX}" for each in names_in_turn(name, mtime_ns))
