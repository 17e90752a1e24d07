"""The permission to remove a local copy: what the database says of it, and what follows when it says nothing."""

from __future__ import annotations

from typing import cast

import pytest

from config.models import LEASE_SECONDS, Claim, Execution
from jobs.migration.removal.local_copies import NOTHING_RECORDED, RecordedPermission
from sql.database import Database, DatabaseUnavailable
from storage.lease import ClaimLost


class Answering:
    """A database that gives one answer."""

    def __init__(self, answer: float | DatabaseUnavailable | None) -> None:
        self._answer = answer

    def deletion_seconds_left(self, _claim: Claim) -> float | None:
        """See `Database`."""
        if isinstance(self._answer, DatabaseUnavailable):
            raise self._answer
        return self._answer


def permission(answer: float | DatabaseUnavailable | None) -> RecordedPermission:
    """What a database that answers so permits."""
    claim = Claim(Execution(1, "uuid", "/executions/uuid"), 1)
    return RecordedPermission(cast(Database, Answering(answer)), claim, NOTHING_RECORDED)


def test_the_permission_is_what_the_database_says() -> None:
    permission(float(LEASE_SECONDS)).require_held()
    with pytest.raises(ClaimLost, match="otro proceso"):
        permission(None).require_held()


def test_a_database_that_does_not_answer_is_reported_as_the_reason() -> None:
    """An error of the database is no answer: the work stops only once the last answer is too old, and here is none."""
    with pytest.raises(ClaimLost, match="no se sabe si la reserva sigue vigente: no responde"):
        permission(DatabaseUnavailable("no responde")).require_held()
