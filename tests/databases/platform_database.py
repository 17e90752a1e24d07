"""A database as the platform and `init-db` leave it, for tests that work below the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extras

from config.models import Attempt, Claim, Execution
from sql.database import Database
from tests.databases.lent_databases import EMPTIED


class Platform:
    """Rows as the platform writes them, and the daemon's own view of the same database."""

    def __init__(self, database_url: str) -> None:
        self.database_url = database_url
        self._connection = psycopg2.connect(database_url)
        self._connection.autocommit = True
        self._databases: list[Database] = []
        if self.value("SELECT to_regclass('janitor_upgrades') IS NULL"):  # a lent one has had it
            self.database("setup").initialize()

    def database(self, host: str = "host-1") -> Database:
        """The daemon's database as a new run on a host sees it."""
        database = Database(self.database_url, host)
        self._databases.append(database)
        return database

    def run(self, host: str = "host-1") -> Database:
        """The same, with its run begun."""
        database = self.database(host)
        database.start_run(1, "tick", "test")
        return database

    def sql(self, statement: str, *parameters: object) -> list[dict[str, Any]]:
        """Run one statement; its rows."""
        with self._connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            cursor.execute(statement, parameters or None)
            return [dict(row) for row in cursor.fetchall()] if cursor.description else []

    def value(self, statement: str, *parameters: object) -> Any:
        """The one value that a statement gives."""
        (row,) = self.sql(statement, *parameters)
        (value,) = row.values()
        return value

    def add_execution(
        self, directory: Path | str | None = "/data/e", uuid: str = "uuid-1", executed_at: str | None = "2020-01-01"
    ) -> Execution:
        """A row of `ejecuciones_yaml`."""
        path = None if directory is None else str(directory)
        added = self.value(
            "INSERT INTO ejecuciones_yaml (uuid, ruta_directorio, fecha_ejecucion) VALUES (%s, %s, %s) RETURNING id",
            uuid, path, executed_at,
        )  # fmt: skip
        return Execution(added, uuid, path)

    def add_provider(self, kind: str, options: Mapping[str, Any], credentials: object = None) -> int:
        """A row of `cloud_providers`."""
        added: int = self.value(
            "INSERT INTO cloud_providers (nombre, tipo, credenciales, configuracion) VALUES (%s, %s, %s, %s) "
            "RETURNING id",
            kind, kind, json.dumps(credentials), json.dumps(options),
        )  # fmt: skip
        return added

    def switch_deletion_on(self) -> None:
        """The policy in force asks for the removal of local copies."""
        self.sql("INSERT INTO ejecuciones_config (eliminar_despues_de_migrar) VALUES (true)")

    def clear(self) -> None:
        """Leave every table empty, as for a new test, which is far quicker than a new database."""
        self._close_databases()
        self.sql(EMPTIED)

    def close(self) -> None:
        """Leave the database."""
        self._close_databases()
        self._connection.close()

    def _close_databases(self) -> None:
        for database in self._databases:
            database.close()
        self._databases.clear()


def claim_one(database: Database, execution: Execution) -> Claim:
    """Take up one execution that is free."""
    (claim,) = database.claim([execution])
    return claim


def open_attempt(database: Database, claim: Claim, provider_id: int = 1, key_prefix: str = "") -> Attempt:
    """Begin an attempt at an execution that is ours, at its own place unless another one is named."""
    attempt = database.open_attempt(claim, provider_id, key_prefix or f"p/{claim.execution.uuid}")
    assert isinstance(attempt, Attempt)
    return attempt
