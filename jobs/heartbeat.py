"""Renews the run's leases while it works, so that no other host takes over what is still in good hands."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

from config.logs import emit
from sql.database import LEASE_SECONDS, Database, DatabaseError


@contextlib.contextmanager
def renewing_leases(database: Database) -> Iterator[None]:
    """Renew three times in each lease. A failure is logged: the work goes on, and a late commit is refused."""
    finished = threading.Event()

    def renew() -> None:
        while not finished.wait(LEASE_SECONDS / 3):
            try:
                database.renew_leases()
            except DatabaseError as error:
                emit(logging.WARNING, "lease_not_renewed", f"No se pudo renovar la reserva: {error}", cause=error)

    thread = threading.Thread(target=renew, name="leases", daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join(timeout=1)
