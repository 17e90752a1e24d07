"""The lease of a claim: what the database says of it, and what follows when it says nothing."""

from __future__ import annotations

import pytest

from config.models import LEASE_SECONDS
from jobs.migration.leases import lease_of
from sql.database import DatabaseUnavailable
from storage.lease import ClaimLost


def test_the_lease_is_what_the_database_says() -> None:
    lease_of(lambda: float(LEASE_SECONDS)).require_held()
    with pytest.raises(ClaimLost, match="otro proceso"):
        lease_of(lambda: None).require_held()


def test_a_database_that_does_not_answer_is_reported_as_the_reason() -> None:
    """An error of the database is no answer: the work stops only once the last answer is too old, and here is none."""

    def ask() -> float:
        raise DatabaseUnavailable("no responde")

    with pytest.raises(ClaimLost, match="no se sabe si la reserva sigue vigente: no responde"):
        lease_of(ask).require_held()
