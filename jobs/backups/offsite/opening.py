"""Opens for a command what the database and the providers know of backups."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from config.settings import Settings
from jobs.backups.keeping.shelf import Shelf
from jobs.backups.offsite.copies import Copies
from jobs.backups.offsite.encryption import identities_of
from jobs.backups.offsite.fetching import Fetcher
from jobs.backups.offsite.stores import Stores, rows_in
from jobs.backups.records import FOLDER, Backup, Records
from sql.connection import Row
from sql.database import Database


@dataclass(frozen=True, slots=True)
class Opened:
    """What is known of backups, and a way to fetch them."""

    records: Records
    copies: Copies
    shelf: Shelf
    stores: Stores
    fetcher: Fetcher

    def places_of(self, backup: Backup) -> list[str]:
        """Where a backup is, as operators and other programs name it."""
        here = [f"{backup.path} del equipo {backup.host or self.shelf.host}"] if self.shelf.is_here(backup) else []
        copies = [
            copy
            for copy in self.fetcher.copies
            if copy.backup_id == backup.id and copy.stored is not None and copy.missing is None
        ]
        return here + [f"el proveedor {self.stores.name_of(copy.provider_id)}: {copy.spot.key}" for copy in copies]


def _query_by_hand(database: Database, name: str, parameters: Mapping[str, object]) -> list[Row]:
    """Run one of the job's statements for an operator, who holds no job of the platform."""
    return database.job_query(FOLDER, name, {"job": "", "fencing_token": 0, **parameters})


@contextlib.contextmanager
def opened(
    settings: Settings, interruption: threading.Event, identity: Path | None = None, prefix: str | None = None
) -> Iterator[Opened]:
    """Read the rows; no provider is asked before it is needed. `identity` is a file with private keys.

    Raises `ConfigurationError`, `DatabaseError`.
    """
    identities = identities_of(identity)
    with contextlib.closing(Database(settings.database_url, settings.host)) as database:
        database.connect()
        database.require_current_schema()
        query = partial(_query_by_hand, database)
        records, copies = Records(query, settings.host), Copies(query)
        with contextlib.closing(Stores(partial(rows_in, database, prefix), interruption)) as stores:
            shelf = Shelf(tuple(records.all()), settings.host)
            yield Opened(records, copies, shelf, stores, Fetcher(stores, copies.all(), identities))
