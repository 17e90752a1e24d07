"""What the parts of `Database` share: the connection, and on whose behalf they act."""

from __future__ import annotations

from config.logs import redactor
from config.models import Claim
from sql.connection import Connection, database_password
from sql.texts import Told

LONGEST_RETENTION_HOURS = 20_000_000.0
"""Some 2,283 years: more would exceed PostgreSQL's timestamps, and means "never" anyway."""


class Session:
    """A connection, this host, and the run that is recorded as its own (0: none yet)."""

    def __init__(self, database_url: str, host: str) -> None:
        self._connection = Connection(database_url)
        self._host = Told(host)
        self._run_id = 0
        redactor.add(database_password(database_url))


def claimed(claim: Claim) -> dict[str, object]:
    """The parameters by which a statement changes only what is still claimed."""
    return {"execution_id": claim.execution.id, "fencing_token": claim.fencing_token}


def retention_seconds_of(retention_hours: float) -> float:
    """A retention as the statements take it."""
    return min(retention_hours, LONGEST_RETENTION_HOURS) * 3600
