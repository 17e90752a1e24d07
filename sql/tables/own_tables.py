"""Which tables and columns the upgrades have made, read from the upgrades themselves: only asked for when something is
wrong, or by commands that look for what is.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping
from pathlib import Path

SQL = Path(__file__).parent.parent
CREATED = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?(janitor_\w+) \((.*?)\n\)", re.DOTALL)
ALTERED = re.compile(r"ALTER TABLE (janitor_\w+)(.*?);", re.DOTALL)
COLUMN = re.compile(r"^ {4}([a-z_0-9]+) +[A-Z]", re.MULTILINE)
ADDED = re.compile(r"ADD COLUMN (?:IF NOT EXISTS )?([a-z_0-9]+)")
DROPPED_COLUMN = re.compile(r"DROP COLUMN (?:IF EXISTS )?([a-z_0-9]+)")
DROPPED = re.compile(r"DROP TABLE (?:IF EXISTS )?(janitor_\w+)")


def own_columns(applied: Container[str]) -> Mapping[str, frozenset[str]]:
    """The columns of each table that a database has after the upgrades of these names."""
    columns: dict[str, set[str]] = {}
    for text in _texts(applied):
        for table, body in CREATED.findall(text):
            columns.setdefault(table, set()).update(COLUMN.findall(body))
        for table, changes in ALTERED.findall(text):
            columns.setdefault(table, set()).update(ADDED.findall(changes))
            columns[table].difference_update(DROPPED_COLUMN.findall(changes))
        for table in DROPPED.findall(text):
            columns.pop(table, None)
    return {table: frozenset(names) for table, names in columns.items()}


def _texts(applied: Container[str]) -> Iterator[str]:
    """The statements of the upgrades in their order, without comments."""
    own = [(path.name, path) for path in sorted((SQL / "upgrades").glob("*.sql"))]
    of_jobs = sorted((SQL.parent / "jobs").glob("*/upgrades/*.sql"))
    named = [*own, *((f"{path.parent.parent.name}/{path.name}", path) for path in of_jobs)]
    for path in (SQL / "upgrades_table.sql", *(path for name, path in named if name in applied)):
        yield re.sub(r"--.*", "", path.read_text(encoding="utf-8"))
