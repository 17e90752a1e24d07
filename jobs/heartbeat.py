"""Renews the run's leases while it works, so that no other host takes over its work."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

from config.logs import emit
from config.models import LEASE_SECONDS
from sql.database import Database, DatabaseError


@contextlib.contextmanager
def renewing_leases(database: Database) -> Iterator[None]:
    """Renew three times per lease, and more often after a failure, which is logged. The work continues as long as the
    lease holds (see `storage.lease`).
    """
    finished = threading.Event()

    def renew() -> None:
        pause_seconds = LEASE_SECONDS / 3
        while not finished.wait(pause_seconds):
            try:
                database.renew_leases()
                pause_seconds = LEASE_SECONDS / 3
            except DatabaseError as error:
                pause_seconds = LEASE_SECONDS / 30
                emit(logging.WARNING, "lease_not_renewed", f"No se pudo renovar la reserva: {error}", cause=error)

    thread = threading.Thread(target=renew, name="leases", daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join(timeout=1)
