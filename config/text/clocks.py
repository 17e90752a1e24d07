"""Compares the clock of this host with the database's, by which everything is due."""

from __future__ import annotations

from datetime import datetime, timedelta

from config.text.times import age

LARGEST_DIFFERENCE = timedelta(minutes=5)
"""Object stores refuse requests that are off by fifteen."""

PRECISION = timedelta(minutes=1)
"""What the answer of a database takes at most, usually: without it ten days would be told as nine."""

ADVICE = (
    "ponga en hora (NTP) el que vaya mal; hasta entonces los proveedores pueden rechazar credenciales que son buenas, "
    "y no se borra ni se comprime ningún temporal ni registro"
)


def difference(asked_at: datetime, now: datetime, answered_at: datetime) -> str | None:
    """How this host's clock differs from the database's, in Spanish, for an answer `now` of the database, which may
    have taken long; `None` if it does not.
    """
    ahead, behind = asked_at - now, now - answered_at
    if max(ahead, behind) <= LARGEST_DIFFERENCE:
        return None
    is_ahead = ahead > behind
    how = f"{age(max(ahead, behind) + PRECISION)} {'adelantado' if is_ahead else 'atrasado'}"
    return f"el de este equipo va {how} respecto al de la base de datos"
