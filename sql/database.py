"""The daemon's database operations, in its own terms. Only in these modules do rows become objects."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sql.connection import Row, database_identity, require_database_named, require_database_uri
from sql.errors import (
    CopyKnownBad,
    DatabaseBusy,
    DatabaseError,
    DatabaseReadOnly,
    DatabaseUnavailable,
    DeletionHeld,
    DeletionSwitchedOff,
    SchemaError,
)
from sql.large_tables import EXECUTIONS_REPORTED, LARGE_TABLE_BYTES, SIZES_REPORTED
from sql.memory.notices import Notices
from sql.migration.attempts import Attempts
from sql.migration.executions import Executions
from sql.migration.removals import Removals
from sql.platform.configuration import Configuration
from sql.runs import Runs
from sql.tables import schema

if TYPE_CHECKING:
    from sql.memory.orders import Orders
    from sql.memory.outlook import Outlook
    from sql.memory.past import Past
    from sql.memory.provider_health import ProviderHealth
    from sql.platform.stored_executions import StoredExecutions
    from sql.platform.stored_secrets import StoredSecrets

__all__ = [
    "CopyKnownBad",
    "Database",
    "DatabaseBusy",
    "DatabaseError",
    "DatabaseReadOnly",
    "DatabaseUnavailable",
    "DeletionHeld",
    "DeletionSwitchedOff",
    "SchemaError",
    "database_identity",
    "require_database_named",
    "require_database_uri",
]


class Database(Runs, Configuration, Executions, Attempts, Removals):
    """Every query and command that the daemon sends to PostgreSQL.

    What each run needs is in the parts that this class joins; they share one session. What only some runs need is an
    object of its own, imported when it is asked for.

    All methods raise `DatabaseUnavailable` if the database cannot be reached, `SchemaError` if its tables do not fit,
    `DatabaseError` otherwise.
    """

    # The connection

    def connect(self) -> None:
        """Connect now, so that an unreachable database is noticed before anything else begins."""
        self._connection.connect()

    def idle(self) -> contextlib.AbstractContextManager[None]:
        """Inside this context, no thread is running a statement, so the process may fork."""
        return self._connection.idle()

    def continue_in_forked_process(self) -> None:
        """Continue the same run on a new connection in this process, which was forked from the run's."""
        self._connection = self._connection.forked()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def limit_statements(self, seconds: int) -> None:
        """From now on the server gives up any statement that takes longer."""
        self._connection.limit_statements(seconds)

    def ask(self, name: str, parameters: Mapping[str, object] | None = None) -> list[Row]:
        """Run `sql/queries/{name}.sql`, which only reads, for an operator's question."""
        return self._connection.query(name, parameters)

    def report_rows(self, name: str, days: int, zone: str) -> list[Row]:
        """The rows of `report_{name}.sql`: what happened in the last days, as `zone` divides them."""
        bounds = {
            "large_table_bytes": LARGE_TABLE_BYTES,
            "rows_read": EXECUTIONS_REPORTED,
            "sizes_read": SIZES_REPORTED,
        }
        return self._connection.query(f"report_{name}", {"days": days, "zone": zone, **bounds})

    # The tables

    def initialize(self) -> tuple[str, ...]:
        """Create and upgrade tables; return the names of the upgrades applied. See `sql.tables.schema.initialize`."""
        return schema.initialize(self._connection, schema.known_upgrades())

    def require_current_schema(self) -> None:
        """Raises `SchemaError` unless the tables have this version."""
        schema.require_current(self._connection, schema.known_upgrades())

    def require_whole_schema(self) -> None:
        """Raises `SchemaError` if somebody has removed a table or a column of the program's own."""
        schema.require_whole(self._connection)

    def require_rights(self) -> None:
        """Raises `DatabaseReadOnly` or, naming tables, `SchemaError` unless this role may do what a run needs."""
        if self._connection.query("is_read_only")[0]["read_only"]:
            raise DatabaseReadOnly("la base de datos solo admite lecturas, como una réplica")
        missing = [row["missing"] for row in self._connection.query("find_missing_rights")]
        if missing:
            raise SchemaError(f"el usuario de la base de datos no tiene permiso de {'; '.join(missing)}")

    def missing_columns(self) -> list[tuple[str, str]]:
        """The columns that the program reads and the platform's tables lack: table and column."""
        rows = self._connection.query("find_missing_columns")
        return [(row["table_name"], row["column_name"]) for row in rows]

    # Objects of their own

    @property
    def notices(self) -> Notices:
        """What operators are to be told."""
        return Notices(self._connection, self._host.text)

    @property
    def provider_health(self) -> ProviderHealth:
        """Which providers failed as a whole, for all hosts."""
        from sql.memory.provider_health import ProviderHealth  # a run with nothing to do asks for none

        return ProviderHealth(self._connection, self._host)

    @property
    def orders(self) -> Orders:
        """What operators order of single executions."""
        from sql.memory.orders import Orders  # no run needs it

        return Orders(self._connection, self._host)

    @property
    def outlook(self) -> Outlook:
        """What the next runs leave out, and how fast earlier ones were."""
        from sql.memory.outlook import Outlook  # no run needs it

        return Outlook(self._connection)

    @property
    def past(self) -> Past:
        """What happened to runs, jobs and executions."""
        from sql.memory.past import Past  # no run needs it

        return Past(self._connection)

    @property
    def stored_executions(self) -> StoredExecutions:
        """Where executions are, according to their rows."""
        from sql.platform.stored_executions import StoredExecutions  # no run needs it

        return StoredExecutions(self._connection)

    @property
    def stored_secrets(self) -> StoredSecrets:
        """The table `secretos_nube`."""
        from sql.platform.stored_secrets import StoredSecrets  # no run needs it

        return StoredSecrets(self._connection)
