"""What happened: runs, runs of one job, the life of one execution. For operators; no run asks for it."""

from __future__ import annotations

from collections.abc import Sequence

from sql.connection import Connection, Row


class Past:
    """Questions about the past. All methods raise as `Connection.query`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def runs(self, limit: int) -> list[Row]:
        """The last runs, newest first."""
        return self._connection.query("list_runs", {"limit": limit})

    def runs_of_job(self, job: str, limit: int) -> list[Row]:
        """The last runs of one job, newest first."""
        return self._connection.query("list_runs_of_job", {"named_job": job, "limit": limit})

    def rows_of(self, uuid: str) -> list[Row]:
        """The rows that have this uuid, or had it when a run took them up last."""
        return self._connection.query("list_rows_of_execution", {"uuid": uuid})

    def events_of(self, uuid: str, execution_ids: Sequence[int], limit: int) -> list[Row]:
        """The last events of these rows and of this uuid, newest first."""
        parameters = {"uuid": uuid, "execution_ids": list(execution_ids), "limit": limit}
        return self._connection.query("list_events_of_execution", parameters)
