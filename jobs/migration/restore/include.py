"""Patterns that limit a restore to a part of an execution."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from config.logs import one_line
from files.tree import Tree
from jobs.migration.restore.errors import NothingIncluded

TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^]/]*\]|.", re.DOTALL)


class Include:
    """The wanted paths of an execution: those that match any pattern, and everything below them.

    `*` and `?` stand for any characters of one name, `**` for any number of names, `[a-c]` for one of these characters.
    A pattern without `/` matches a name at any depth; one with `/` matches from the execution's directory.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        """Without patterns, everything is wanted. Raises `ValueError` for what is no pattern."""
        self.patterns: Sequence[str] = tuple(patterns)
        expression = "|".join(f"(?:{_expression_of(pattern)})" for pattern in self.patterns)
        try:
            self._expression = re.compile(expression, re.DOTALL)
        except re.error as error:
            raise ValueError(str(error)) from error

    def part_of(self, tree: Tree) -> Tree:
        """The wanted entries of a tree, with the directories that hold them. Raises `NothingIncluded`."""
        if not self.patterns:
            return tree
        wanted = self._wanted_positions(tree)
        if not wanted:
            patterns = ", ".join(one_line(pattern) for pattern in self.patterns)
            raise NothingIncluded(f"ningún fichero de la ejecución coincide con --include {patterns}; véalos con ls")
        return Tree(tree.entry(position) for position in sorted(wanted | {0}))

    def _wanted_positions(self, tree: Tree) -> set[int]:
        wanted: set[int] = set()
        below: set[str] = set()
        """The directories whose contents are all wanted."""
        for position in range(1, len(tree)):
            path = tree.path(position)
            if path.rpartition("/")[0] in below or self._expression.fullmatch(path):
                wanted.add(position)
                wanted.update(_positions_above(tree, path))
                if tree.is_directory(position):
                    below.add(path)
        return wanted


EVERYTHING = Include()


def _positions_above(tree: Tree, path: str) -> Iterator[int]:
    """The positions of the directories that hold a path, except the top one."""
    while path := path.rpartition("/")[0]:
        position = tree.find(path)
        if position is not None:
            yield position


def _expression_of(pattern: str) -> str:
    """A pattern as a regular expression."""
    plain = pattern.strip("/")
    anywhere = "" if "/" in plain or pattern.startswith("/") else "(?:.*/)?"
    return anywhere + "".join(map(_translated, TOKEN.findall(plain)))


def _translated(token: str) -> str:
    match token:
        case "**/":
            return "(?:.*/)?"
        case "**":
            return ".*"
        case "*":
            return "[^/]*"
        case "?":
            return "[^/]"
    if len(token) > 1:  # a class
        inner = token[1:-1].replace("\\", "\\\\").replace("[", "\\[")
        inner = f"^/{inner[1:]}" if inner.startswith("!") else inner.replace("^", "\\^")
        return f"[{inner}]"
    return re.escape(token)
