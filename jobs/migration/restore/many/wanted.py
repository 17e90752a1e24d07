"""Which executions a command is about: those named, or those of a provider and a period."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from itertools import groupby
from typing import Any

from sql.database import Database
from sql.platform.configuration import provider_named
from sql.platform.stored_executions import StoredExecution

FOLDER = "jobs/migration"
UUIDS_AT_ONCE = 500
PAGE_SIZE = 500


@dataclass(frozen=True, slots=True)
class Named:
    """Executions named by their uuids, in this order."""

    uuids: tuple[str, ...]

    def count(self, database: Database) -> int:
        """How many there are."""
        del database
        return len(self.uuids)

    def rows(self, database: Database) -> Iterator[tuple[str, Sequence[StoredExecution]]]:
        """For each uuid all its rows, a migrated one first; none where there is no such execution."""
        for first in range(0, len(self.uuids), UUIDS_AT_ONCE):
            uuids = self.uuids[first : first + UUIDS_AT_ONCE]
            rows = map(_stored, database.job_query(FOLDER, "find_stored", {"uuids": list(uuids)}))
            found = {uuid: list(of_uuid) for uuid, of_uuid in groupby(rows, lambda row: row.uuid)}
            yield from ((uuid, found.get(uuid, [])) for uuid in uuids)


@dataclass(frozen=True, slots=True)
class Selected:
    """The migrated executions of a provider, or of a period, or of both; `before` is no longer part of it."""

    provider_id: int | None = None
    since: datetime | None = None
    before: datetime | None = None

    def count(self, database: Database) -> int:
        """How many there are now."""
        return int(database.job_query(FOLDER, "count_stored", self._parameters())[0]["count"])

    def rows(self, database: Database) -> Iterator[tuple[str, Sequence[StoredExecution]]]:
        """Each execution with its row, oldest row first, a page at a time."""
        after_id = 0
        page = {**self._parameters(), "page_size": PAGE_SIZE}
        while rows := database.job_query(FOLDER, "list_stored", {**page, "after_id": after_id}):
            yield from ((row["uuid"], [_stored(row)]) for row in rows)
            after_id = rows[-1]["id"]

    def _parameters(self) -> Mapping[str, object]:
        return {"provider_id": self.provider_id, "since": self.since, "before": self.before}


Wanted = Named | Selected


def _stored(row: Mapping[str, Any]) -> StoredExecution:
    return StoredExecution(
        row["id"],
        row["uuid"],
        row["migrated"],
        row["uri"],
        row["provider_id"],
        row["manifest_sha256"],
        row["directory"] is not None,
        row["directory"],
        row["is_being_removed"],
        row["file_count"],
    )


def beginning_of(text: str, zone: tzinfo) -> datetime:
    """The beginning of a day, or of a day and a time, by the clocks of a time zone. Raises `ValueError`."""
    return _in_zone(datetime.fromisoformat(text.strip()), zone)


def end_of(text: str, zone: tzinfo) -> datetime:
    """The moment when a named day, or minute, is over. Raises `ValueError`."""
    named = datetime.fromisoformat(text.strip())
    length = timedelta(days=1) if len(text.strip()) <= len("2024-05-01") else timedelta(minutes=1)
    return _in_zone(named + length, zone)


def _in_zone(moment: datetime, zone: tzinfo) -> datetime:
    return moment.replace(tzinfo=zone) if moment.tzinfo is None else moment


def provider_id_of(database: Database, written: str) -> int:
    """The id of the provider that an operator names by its id or by its name.

    Raises `ConfigurationError`, which lists all of them, and `DatabaseError`.
    """
    return provider_named([(row.id, row.name) for row in database.load_provider_rows()], written)
