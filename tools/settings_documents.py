"""Writes what documents say of settings from their declarations, so that neither drifts away from the program.

python -m tools.settings_documents

It writes `.env.example` whole, and the tables between the marks in `README.md` and `docs/settings.md`.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from config.declared import Variable, lists_of, variables_of
from jobs.settings import WHOLE_PROGRAM, Group, all_groups

REPOSITORY = Path(__file__).resolve().parent.parent

EXAMPLE = ".env.example"
README = "README.md"
SETTINGS = "docs/settings.md"

BEGINNING = "<!-- settings: written by `make env-example` -->"
END = "<!-- end of settings -->"
BETWEEN_MARKS = re.compile(f"(?<={re.escape(BEGINNING)}\n).*?(?={re.escape(END)})", re.DOTALL)

HEAD_OF_EXAMPLE = """\
# Copy to .env beside the program (chmod 600): it is read from the working directory. Real environment variables win.
# Each line is NAME=value, with quotes around a value that has spaces or '#'. A line that is not understood stops every
# command.
# What stands behind a '#' is an example or the default. docs/settings.md says more of each variable.
# Written by `make env-example` from the declarations of the settings.
"""

COLUMNS = 120


def documents(groups: Sequence[Group]) -> Mapping[str, str]:
    """The text of each document by its path, as it should be. Raises `ValueError` where a document has no marks."""
    return {
        EXAMPLE: example(groups),
        README: _with_table(README, _short_table(WHOLE_PROGRAM.kind)),
        SETTINGS: _with_table(SETTINGS, "\n".join(_chapters(groups))),
    }


def example(groups: Sequence[Group]) -> str:
    """A `.env` to begin with: what a new installation has to set is set, all else stands behind a `#`."""
    parts = [HEAD_OF_EXAMPLE]
    for group, variables in _each_once(groups):
        if group.name:
            parts.append(f"# The job {group.name}\n")
        parts += map(_example_of, variables)
    return "\n".join(parts)


def _each_once(groups: Sequence[Group]) -> Iterator[tuple[Group, list[Variable[Any]]]]:
    """The variables of each group, without those that an earlier one declares, too."""
    seen: set[str] = set()
    for group in groups:
        variables = [variable for variable in variables_of(group.kind) if variable.name not in seen]
        seen.update(variable.name for variable in variables)
        yield group, variables


def _example_of(variable: Variable[Any]) -> str:
    default = variable.default if isinstance(variable.default, str) else ""
    says = f"{_plain(_first_sentence(variable.english))} Default: {_plain(variable.shown)}."
    comment = textwrap.wrap(says, COLUMNS, initial_indent="# ", subsequent_indent="# ", break_long_words=False)
    value = variable.example or default
    quoted = f'"{value}"' if re.search(r"[\s#'\"]", value) else value
    return "\n".join([*comment, f"{'' if variable.essential else '#'}{variable.name}={quoted}", ""])


def _short_table(kind: type) -> str:
    rows = [(f"`{each.name}`", each.shown, _first_sentence(each.english)) for each in variables_of(kind)]
    return _table(("variable", "default", "meaning"), rows)


def _chapters(groups: Sequence[Group]) -> Iterator[str]:
    for group, variables in _each_once(groups):
        yield f"## The job `{group.name}`\n" if group.name else "## The whole program\n"
        rows = [(f"`{each.name}`", _default_with_unit(each), each.english) for each in variables]
        yield _table(("variable", "default", "meaning"), rows)
        lists = [(f"`{each.name}`", each.english) for each in lists_of(group.kind)]
        if lists:
            yield "In `janitor.toml`:\n"
            yield _table(("key", "meaning"), lists)


def _default_with_unit(variable: Variable[Any]) -> str:
    return f"{variable.shown} {variable.unit}" if variable.unit and variable.shown.startswith("`") else variable.shown


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [titles, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    first, *others = (f"| {' | '.join(line)} |\n" for line in cells)
    return "".join([first, f"|{'---|' * len(titles)}\n", *others])


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[.]) (?=[A-Z`*])", text, maxsplit=1)[0]


def _plain(text: str) -> str:
    """Without the marks of Markdown."""
    return re.sub(r"`|\*\*", "", text)


def _with_table(path: str, table: str) -> str:
    text = (REPOSITORY / path).read_text(encoding="utf-8")
    if len(BETWEEN_MARKS.findall(text)) != 1:
        raise ValueError(f"{path} must have one line {BEGINNING} and after it one line {END}")
    return BETWEEN_MARKS.sub(lambda _: table, text)


def main() -> None:
    """Write the documents."""
    for path, text in documents(all_groups()).items():
        (REPOSITORY / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
