"""Asks the database for its clock, to compare this host's with it."""

from __future__ import annotations

from datetime import UTC, datetime

from config.text.clocks import difference
from sql.database import Database


def clock_fault(database: Database) -> str | None:
    """How this host's clock differs from the database's, in Spanish; `None` if it does not. Raises `DatabaseError`."""
    asked_at = datetime.now(UTC)
    now: datetime = database.ask("read_clock")[0]["now"]
    return difference(asked_at, now, datetime.now(UTC))
