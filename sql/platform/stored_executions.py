"""Where executions are, according to their rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sql.connection import Connection

NEWEST_LOOKED_AT = 1000
"""How many of a provider's newest copies are looked through for those in one store."""


class StoredExecution(NamedTuple):
    """An execution's location according to its row."""

    id: int
    uuid: str
    migrated: bool
    uri: str | None
    provider_id: int | None
    manifest_sha256: str | None
    has_directory: bool
    """Never the row of an execution that left no files."""
    directory: str | None = None
    """Its `ruta_directorio`, where the caller has asked for it."""
    is_being_removed: bool = False
    """Whether the removal of its local copy is not finished, where the caller has asked for it."""
    file_count: int | None = None
    """How many files its copy has, where the caller has asked for it and somebody knows."""


class StoredExecutions:
    """Questions about rows of executions. All methods raise as `Connection.query`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def with_uuid(self, uuid: str) -> list[StoredExecution]:
        """The rows with this uuid, a migrated one first."""
        return [
            StoredExecution(
                row["id"],
                row["uuid"],
                bool(row["migrado_a_nube"]),
                row["ruta_nube"],
                row["nube_provider_id"],
                row["manifest_sha256"],
                row["has_directory"],
            )
            for row in self._connection.query("find_execution", {"uuid": uuid})
        ]

    def newest_in(self, store: str, provider_ids: Iterable[int], most: int) -> list[str]:
        """The `ruta_nube` of some of the newest copies in a store to which all these providers lead."""
        parameters = {
            "store": store,
            "provider_ids": list(provider_ids),
            "looked_at": max(most, NEWEST_LOOKED_AT),
            "most": most,
        }
        return [row["uri"] for row in self._connection.query("find_newest_copies", parameters)]
