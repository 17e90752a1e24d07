"""A host with backups on its disk, without PostgreSQL's programs, and with providers that do what a test tells them."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from jobs.backups.files.hashes import Contents
from jobs.backups.files.names import description_name
from jobs.backups.keeping.shelf import Shelf
from jobs.backups.offsite.copies import Copies
from jobs.backups.offsite.delivery import Delivery
from jobs.backups.offsite.encryption import identities_in
from jobs.backups.offsite.fetching import Fetcher
from jobs.backups.offsite.stores import Rows, Stores, StoreUnusable
from jobs.backups.records import FOLDER, Backup, Beginning, End, Records
from jobs.backups.result import Kind
from jobs.backups.settings import BackupSettings
from providers import build_provider
from providers.base import Provider
from sql.connection import Row
from sql.database import Database
from tests.databases.platform_database import Platform
from tests.destinations import Destination

PREFIX = "sage/principal"
DESCRIPTION = b'{"database": "sage"}\n'
FULL_NAME = "backup_20260302_030000_FULL.sql.gz"


@dataclass
class Desk:
    """A host with backups on its disk, the database that knows them, and providers that do what a test tells them."""

    platform: Platform
    directory: Path
    destinations: dict[int, Destination] = field(default_factory=dict)
    wraps: dict[int, Callable[[Provider], Provider]] = field(default_factory=dict)
    before_statement: Callable[[str], None] = lambda _name: None
    said: list[tuple[str, str]] = field(default_factory=list)
    token: int = 1
    recipients: Sequence[str] = ()
    named: Sequence[int | str] = ()
    prefix: str = PREFIX
    are_rows_unreadable: bool = False

    def add(self, destination: Destination) -> int:
        """A row of `cloud_providers`; its id."""
        number = self.platform.add_provider(destination.kind, destination.options, destination.credentials)
        self.destinations[number] = destination
        return number

    def query(self, name: str, parameters: Mapping[str, object]) -> list[Row]:
        """A statement of the job."""
        self.before_statement(name)
        return self.database.job_query(FOLDER, name, {"job": "backup", "fencing_token": self.token, **parameters})

    @cached_property
    def database(self) -> Database:
        """The database as the host sees it."""
        return self.platform.database()

    @property
    def records(self) -> Records:
        """The rows of the backups."""
        return Records(self.query, "host-1")

    def make(self, name: str = FULL_NAME, base_id: int | None = None, content: bytes = b"SELECT 1;\n") -> Backup:
        """A backup that a run has made; a gzip is all that matters here."""
        kind = Kind.FULL if base_id is None else Kind.DIFFERENTIAL
        path = self.directory / name
        data = gzip.compress(content * 1000, compresslevel=0)
        path.write_bytes(data)
        sha256, md5 = hashlib.sha256(data).hexdigest(), hashlib.md5(data, usedforsecurity=False).hexdigest()
        path.with_name(f"{name}.sha256").write_text(f"{sha256}  {name}\n")
        if kind is Kind.FULL:
            path.with_name(description_name(name)).write_bytes(DESCRIPTION)
        described = hashlib.sha256(DESCRIPTION).hexdigest() if kind is Kind.FULL else None
        contents = Contents(len(data), md5, sha256)
        records = self.records
        number = records.begin(Beginning(f"attempt-{name}", kind, path, base_id), "SCHEDULER")
        records.finish(End(f"attempt-{name}", kind, path, contents, 1, 1, 1.0, described), "hecha")
        return next(backup for backup in records.all() if backup.id == number)

    def shelf(self, places: Mapping[int, frozenset[str]] | None = None) -> Shelf:
        """What a run knows of the backups."""
        return Shelf(tuple(self.records.all()), "host-1", places or {})

    def delivery(self, recipients: Sequence[str] = ()) -> Delivery:
        """That of a new run."""
        rows = {number: place.provider_row(number, f"p{number}") for number, place in self.destinations.items()}
        providers = tuple(self.named or self.destinations)
        settings = BackupSettings(enabled=True, providers=providers, recipients=tuple(recipients))

        def read_rows() -> Rows:
            if self.are_rows_unreadable:
                raise StoreUnusable("no se puede leer cloud_providers")
            return Rows(rows, {}, self.prefix)

        stores = Stores(read_rows, threading.Event(), self._wrap)
        return Delivery(settings, stores, Copies(self.query), self._say)

    def _wrap(self, provider: Provider) -> Provider:
        wrap = self.wraps.get(provider.id)
        return wrap(provider) if wrap else provider

    def _say(self, event: str, text: str, _level: int = 0) -> None:
        self.said.append((event, text))

    def run(self, recipients: Sequence[str] = ()) -> list[str]:
        """What a run does about copies; its failures."""
        with closing(self.delivery(recipients)) as delivery:
            delivery.look(self.shelf())
            delivery.tell_missing(self.shelf())
            delivery.send_all(self.shelf(), [], lambda: None)
            return delivery.failures

    def remote(self, number: int) -> dict[str, bytes]:
        """What is at a provider, by the names below the directory of backups."""
        provider = build_provider(self.destinations[number].provider_row())
        with closing(provider):
            return {
                stored.key.removeprefix(f"{PREFIX}/backups/"): b"".join(provider.open(stored.key))
                for stored in provider.list("")
            }

    def local(self) -> dict[str, bytes]:
        """What is on the disk."""
        return {path.name: path.read_bytes() for path in self.directory.iterdir()}

    def stored(self) -> list[tuple[int, int]]:
        """Backup and provider of every copy that counts."""
        rows = self.platform.sql(
            "SELECT id_backup, provider_id FROM janitor_backup_copies "
            "WHERE stored_at IS NOT NULL AND deleted_at IS NULL ORDER BY 1, 2"
        )
        return [(row["id_backup"], row["provider_id"]) for row in rows]

    def fetch(self, backup: Backup, directory: Path, identity: Path | None = None) -> dict[str, bytes]:
        """Bring a backup back into a directory; what is there then."""
        directory.mkdir()
        with closing(self.delivery()) as delivery:
            identities = [] if identity is None else identities_in(identity)
            Fetcher(delivery.fetcher.stores, delivery.fetcher.copies, identities).fetch(backup, directory)
        return {path.name: path.read_bytes() for path in directory.iterdir()}


def recipient_of(identity: Path) -> str:
    """The public key in such a file."""
    return identity.read_text().splitlines()[1].removeprefix("# public key: ")
