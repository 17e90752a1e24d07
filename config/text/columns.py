"""Lines for a terminal: broken at words where it is too narrow for them; elsewhere each stays whole, for `grep`."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterable, Iterator

NARROWEST_COLUMNS = 30


def in_columns(lines: Iterable[str]) -> str:
    """The lines as this command's output shows them."""
    return "\n".join(wrapped(lines, _columns()))


def wrapped(lines: Iterable[str], columns: int | None) -> Iterator[str]:
    """The lines, broken at words where a terminal is too narrow; what continues a line is indented further."""
    for line in lines:
        if columns is None or len(line) <= columns:
            yield line
            continue
        indent = " " * (len(line) - len(line.lstrip()) + 4)
        yield from textwrap.wrap(
            line, max(columns, NARROWEST_COLUMNS), subsequent_indent=indent, break_on_hyphens=False
        )


def _columns() -> int | None:
    """How wide the terminal is; `None` where the output goes elsewhere and nobody asks for a width."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError, AttributeError):
        return None
