"""Compares the clock of this host with the database's, by which everything is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from config.text.times import age
from sql.database import Database

LARGEST_DIFFERENCE = timedelta(minutes=5)
"""Object stores refuse requests that are off by fifteen."""

ADVICE = (
    "ponga en hora (NTP) el que vaya mal; hasta entonces los proveedores pueden rechazar credenciales que son buenas"
)


def clock_fault(database: Database) -> str | None:
    """How this host's clock differs from the database's, in Spanish; `None` if it does not. Raises `DatabaseError`."""
    asked_at = datetime.now(UTC)
    now: datetime = database.ask("read_clock")[0]["now"]
    return difference(asked_at, now, datetime.now(UTC))


def difference(asked_at: datetime, now: datetime, answered_at: datetime) -> str | None:
    """The same for an answer `now` of the database, which may have taken long."""
    ahead, behind = asked_at - now, now - answered_at
    if max(ahead, behind) <= LARGEST_DIFFERENCE:
        return None
    how = f"{age(ahead)} adelantado" if ahead > behind else f"{age(behind)} atrasado"
    return f"el de este equipo va {how} respecto al de la base de datos"
