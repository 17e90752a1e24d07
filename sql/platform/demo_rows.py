"""Writes the demonstration's rows into the platform's tables, as SAGE would, and reads them to check the daemon."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from sql.connection import Connection


@dataclass(frozen=True, slots=True)
class RecordedExecution:
    """The platform's row of one execution."""

    uuid: str
    migrated: bool
    uri: str | None
    provider_id: int | None


class DemoRows:
    """The demonstration's side of the database. Every method raises `DatabaseError`."""

    def __init__(self, database_url: str) -> None:
        self._connection = Connection(database_url)

    def add_provider(self, name: str, kind: str, credentials: Mapping[str, str], options: Mapping[str, str]) -> int:
        """Insert a row of `cloud_providers` and return its id."""
        values = {
            "name": name,
            "kind": kind,
            "credentials": json.dumps(credentials),
            "options": json.dumps(options),
        }
        identifier: int = self._connection.query_once("demo_insert_provider", values)[0]["id"]
        return identifier

    def set_policy(self, primary_id: int, alternate_id: int, retention_hours: int, key_prefix: str) -> None:
        """Insert the row of `ejecuciones_config` in force from now on; it deletes proven local copies."""
        values = {
            "primary_id": primary_id,
            "alternate_id": alternate_id,
            "retention_hours": retention_hours,
            "key_prefix": key_prefix,
        }
        self._connection.query_once("demo_insert_policy", values)

    def add_execution(self, uuid: str, directory: str, age_hours: int) -> None:
        """Insert a row of `ejecuciones_yaml` for an execution that ran `age_hours` ago."""
        values = {"uuid": uuid, "directory": directory, "age_hours": age_hours}
        self._connection.query_once("demo_insert_execution", values)

    def executions(self) -> tuple[RecordedExecution, ...]:
        """All rows of `ejecuciones_yaml`."""
        rows = self._connection.query("demo_list_executions")
        return tuple(
            RecordedExecution(row["uuid"], row["migrado_a_nube"] is True, row["ruta_nube"], row["nube_provider_id"])
            for row in rows
        )

    def unsettled_attempts(self) -> int:
        """The number of attempts whose objects a later tick may still have to remove."""
        count: int = self._connection.query("count_leftovers")[0]["count"]
        return count

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
