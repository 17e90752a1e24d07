"""Rows that stand in each other's way: the same directory, one within another, or the same place in the cloud."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from config.models import Execution

TwoRows = tuple[int, int]
"""The ids of two different executions."""


@dataclass(frozen=True, slots=True)
class Conflicts:
    """What was found among all executions still to be migrated, at one moment.

    It takes memory for what contains something and for what is there twice, not for every execution: a single row may
    name a directory above all others. `containers` are the directories that are, or contain, another row's, each with a
    row that names it and one that it contains; `uuids` are those of several rows, with two of them. Rows that are
    refused for their own sake, `refused_ids`, stand in nobody's way. `places` are, by execution, rows whose `ruta_nube`
    says that they lie where that execution is to go.
    """

    containers: Mapping[str, TwoRows] = field(default_factory=dict)
    uuids: Mapping[str, TwoRows] = field(default_factory=dict)
    refused_ids: frozenset[int] = frozenset()
    places: Mapping[int, int] = field(default_factory=dict)

    def reason(self, execution: Execution) -> str | None:
        """Why an execution must not be migrated because of another row, in Spanish; `None` if nothing says so."""
        if execution.uuid in self.uuids:
            other_id = _other(self.uuids[execution.uuid], execution)
            return f"la ejecución con id {other_id} tiene el mismo uuid"
        if execution.id in self.places:
            return f"la ejecución con id {self.places[execution.id]} dice estar en el mismo lugar, en su ruta_nube"
        if execution.id in self.refused_ids or not self.containers:
            return None
        for directory in _with_those_above(execution.directory):
            if directory in self.containers:
                other_id = _other(self.containers[directory], execution)
                return f"su directorio es, contiene o está dentro del de la ejecución con id {other_id}"
        return None


def normal_path(directory: str | None) -> str:
    """An absolute path without doubled and final slashes; '' for what is none, and for the root."""
    if not directory or not directory.startswith("/"):
        return ""
    return "".join(f"/{part}" for part in directory.split("/") if part)


def _with_those_above(directory: str | None) -> list[str]:
    """A directory and those in which it lies, but for the root."""
    parts = normal_path(directory).split("/")
    return ["/".join(parts[:depth]) for depth in range(len(parts), 1, -1)]


def _other(rows: TwoRows, execution: Execution) -> int:
    return rows[1] if rows[0] == execution.id else rows[0]
