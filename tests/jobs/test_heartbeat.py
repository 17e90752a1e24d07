"""Leases are renewed while a run works, so that no other one takes over what is still in good hands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from jobs import heartbeat
from sql.database import Database, DatabaseError
from tests.databases.platform_database import Platform, claim_one
from tests.processes import wait_until

PATIENCE_SECONDS = 15.0


@pytest.fixture
def platform(initialized_database_url: str) -> Iterator[Platform]:
    """A database of the platform."""
    with closing(Platform(initialized_database_url)) as made:
        yield made


@pytest.mark.parametrize("failures", [0, 2])
def test_leases_are_renewed_while_the_work_continues(
    platform: Platform, failures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after failures, which are no reason to stop trying."""
    renew = Database.renew_leases
    refusals = iter(range(failures))

    def renew_or_fail(database: Database) -> None:
        if next(refusals, None) is not None:
            raise DatabaseError("no se pudo")
        renew(database)

    monkeypatch.setattr(heartbeat, "LEASE_SECONDS", 0.3)
    monkeypatch.setattr(Database, "renew_leases", renew_or_fail)
    database = platform.run()
    claim_one(database, platform.add_execution())
    platform.sql("UPDATE janitor_migrations SET lease_expires_at = now() + interval '1 second'")
    with heartbeat.renewing_leases(database):
        wait_until(lambda: remaining_seconds(platform) >= 100, PATIENCE_SECONDS)
    assert next(refusals, None) is None


def remaining_seconds(platform: Platform) -> float:
    """How long the only lease still runs."""
    return float(platform.value("SELECT extract(epoch FROM lease_expires_at - now()) FROM janitor_migrations"))
