"""The lease of a claim, as the database knows it."""

from __future__ import annotations

from collections.abc import Callable

from sql.database import DatabaseError
from storage.lease import Lease, LeaseUnknown


def lease_of(seconds_left: Callable[[], float | None]) -> Lease:
    """A lease that asks the database by calling `seconds_left`."""

    def ask() -> float | None:
        try:
            return seconds_left()
        except DatabaseError as error:
            raise LeaseUnknown(str(error)) from error

    return Lease(ask)
