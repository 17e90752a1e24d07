"""Rows that conflict: the same directory, nested directories, or the same place in the cloud."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from config.models import Execution

TwoRows = tuple[int, int]
"""The ids of two different executions."""


NO_ROWS: Mapping[str, TwoRows] = MappingProxyType({})
NO_PLACES: Mapping[int, int] = MappingProxyType({})


class Conflicts(NamedTuple):
    """The conflicts among all executions still to be migrated, at one moment.

    Takes memory only for containers and duplicates, not for every execution: a single row may name a directory above
    all others. `containers` are directories equal to or above another row's, each with a row that names it and one that
    it contains; `uuids` are those of several rows, each with two of the rows. Rows refused for another reason,
    `refused_ids`, conflict with none. `places` maps an execution to a row whose `ruta_nube` is at that execution's
    destination.
    """

    containers: Mapping[str, TwoRows] = NO_ROWS
    uuids: Mapping[str, TwoRows] = NO_ROWS
    refused_ids: frozenset[int] = frozenset()
    places: Mapping[int, int] = NO_PLACES

    def reason(self, execution: Execution) -> str | None:
        """Why another row prevents an execution from being migrated, in Spanish; `None` if none does."""
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
    """An absolute path without doubled and final slashes; '' for any other text, and for the root."""
    if not directory or not directory.startswith("/"):
        return ""
    return "".join(f"/{part}" for part in directory.split("/") if part)


def _with_those_above(directory: str | None) -> list[str]:
    """A directory and its ancestors, except the root."""
    parts = normal_path(directory).split("/")
    return ["/".join(parts[:depth]) for depth in range(len(parts), 1, -1)]


def _other(rows: TwoRows, execution: Execution) -> int:
    return rows[1] if rows[0] == execution.id else rows[0]
