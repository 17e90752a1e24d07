"""Finds the complete copies at a provider, and writes rows for those that have none.

Rows that exist are never changed. A copy is complete if its manifest can be read and the listing has every file that it
names, with its size.
"""

from __future__ import annotations

import enum
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from config.errors import MigrationError, RunInterrupted, UnsafeSource
from config.logs import one_line
from config.process.last_line import in_units
from config.text.plurals import files
from files.tree import Tree
from jobs.migration.rebuild.survey import Sums, Survey, sums_of, survey
from providers.base import Provider
from providers.retries import with_retries
from sql.connection import Row
from sql.database import Database, DatabaseError, DatabaseUnavailable, SchemaError
from storage.keys import Place, place_from_uri, place_of
from storage.manifest import find_manifest
from storage.traffic.transfers import TransferPool

FOLDER = "jobs/migration"
COPIES_AT_ONCE = 500
NAMED_AT_MOST = 3
NS_PER_SECOND = 10**9
EARLIEST_NS = 366 * 24 * 3600 * NS_PER_SECOND
"""An earlier time says that nobody has set one."""

RIGHTS: Mapping[str, str] = {
    "ejecuciones_yaml": "SELECT, INSERT",
    "janitor_migrations": "SELECT, INSERT, UPDATE",
    "janitor_attempts": "INSERT",
}
"""What writing rows needs; besides, USAGE of the sequence that numbers the rows."""


class State(enum.StrEnum):
    """What happens to one copy."""

    LOST = "lost"
    """It has no row: one is written, or would be."""
    KNOWN = "known"
    """Its row says where it is."""
    LEFT = "left"
    """There is a row that says something else."""
    UNUSABLE = "unusable"
    """It is not complete, or its row cannot be written."""


@dataclass(frozen=True, slots=True)
class Copy:
    """One complete copy."""

    uuid: str
    place: Place
    directory: str | None
    sums: Sums
    manifest_sha256: str
    executed_at: datetime | None
    """When it ran, as its oldest file tells; no manifest says it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found under one name, in Spanish."""

    uuid: str
    state: State
    text: str
    copy: Copy | None = None
    """The copy, where it is complete."""


@dataclass(frozen=True, slots=True)
class Rebuild:
    """One provider, below one prefix."""

    database: Database
    provider: Provider
    prefix: str
    host: str
    pool: TransferPool
    interruption: threading.Event

    def findings(self, *, write: bool) -> Iterator[Finding]:
        """What there is of each execution, by name. With `write`, rows are written page by page, each page at once.

        Raises `MigrationError` where the provider cannot be listed, and `DatabaseError`.
        """
        found = survey(self.provider, self.prefix, self.interruption)
        names = found.names(with_manifest=True)
        for first in range(0, len(names), COPIES_AT_ONCE):
            looks = self._look_at(names[first : first + COPIES_AT_ONCE], found)
            copies = [look for look in looks if isinstance(look, Copy)]
            yield from (look for look in looks if isinstance(look, Finding))
            yield from self._settled(copies, write=write)
        for name in found.names(with_manifest=False):
            text = f"no tiene manifiesto: su copia no se terminó ({files(found.sums(name).file_count)})"
            yield Finding(name, State.UNUSABLE, text)

    # Copies

    def _look_at(self, names: Sequence[str], found: Survey) -> list[Copy | Finding]:
        looks: dict[str, Copy | Finding] = {}

        def look(name: str) -> None:
            looks[name] = self._look_at_one(name, found.sums(name))

        self.pool.for_each(look, names, self.interruption)
        return [looks[name] for name in names]

    def _look_at_one(self, name: str, listed: Sums) -> Copy | Finding:
        unusable = partial(Finding, name, State.UNUSABLE)
        try:
            place = place_of(self.prefix, name)
            manifest = find_manifest(self.provider, place, self.interruption)
            if manifest is None or manifest.head is None or manifest.tree is None:
                return unusable("su manifiesto no se puede leer")
            if manifest.head.execution != name:
                return unusable(f"su manifiesto es de otra ejecución, {one_line(manifest.head.execution)}")
            sums = sums_of(manifest.tree)
            missing = "" if sums == listed else self._missing(place, manifest.tree)
        except RunInterrupted:
            raise
        except UnsafeSource as error:
            return unusable(str(error))
        except MigrationError as error:
            if error.provider_wide:
                raise
            return unusable(str(error))
        if missing:
            return unusable(f"no está entera: {missing}")
        return Copy(name, place, manifest.head.directory, sums, manifest.sha256, oldest_time(manifest.tree))

    def _missing(self, place: Place, tree: Tree) -> str:
        """Which files of a manifest are missing, or have another size; '' for none. Others may be there, too."""
        sizes = {
            stored.key: stored.size_bytes
            for stored in with_retries(
                lambda: list(self.provider.list(place.files_prefix)), self.interruption, self.provider.progress
            )
        }
        missing = [entry.path for entry in tree.files if sizes.get(place.key_of(entry.path)) != entry.size_bytes]
        named = ", ".join(one_line(path) for path in missing[:NAMED_AT_MOST])
        more = ", …" if len(missing) > NAMED_AT_MOST else ""
        return (
            f"faltan o tienen otro tamaño {len(missing)} de {files(tree.file_count)} ({named}{more})" if missing else ""
        )

    # Rows

    def _settled(self, copies: Sequence[Copy], *, write: bool) -> Iterator[Finding]:
        rows = self._rows_of(copies)
        by_uuid, by_uri = _by(rows, "uuid"), _by(rows, "uri")
        lost = []
        for copy in copies:
            uri = copy.place.uri(self.provider.kind)
            finding = self._known(copy, by_uuid.get(copy.uuid, []), by_uri.get(uri, []))
            if finding is None:
                lost.append(copy)
            else:
                yield finding
        if not write:
            yield from (Finding(copy.uuid, State.LOST, self._described(copy), copy) for copy in lost)
        elif lost:
            yield from self._written(lost)

    def _rows_of(self, copies: Sequence[Copy]) -> Sequence[Row]:
        if not copies:
            return []
        uris = [copy.place.uri(self.provider.kind) for copy in copies]
        return self.database.job_query(
            FOLDER, "find_rows_of_copies", {"uuids": [copy.uuid for copy in copies], "uris": uris}
        )

    def _known(self, copy: Copy, own: Sequence[Row], at_its_place: Sequence[Row]) -> Finding | None:
        """What the rows of its uuid, or else those that name its place, say of a copy; `None` if there are none."""
        if any(self._is_at(row, copy.place) for row in own):
            return Finding(copy.uuid, State.KNOWN, "su fila ya dice que está aquí", copy)
        for row in own:
            where = f"migrada en otro sitio, {one_line(row['uri'])} (proveedor {row['provider_id']})"
            text = f"su fila, id {row['id']}, está {where if row['migrated'] else 'sin migrar'}; no se toca"
            return Finding(copy.uuid, State.LEFT, text, copy)
        for row in at_its_place:
            text = f"la fila con id {row['id']}, de la ejecución {one_line(row['uuid'])}, dice estar aquí; no se toca"
            return Finding(copy.uuid, State.LEFT, text, copy)
        return None

    def _is_at(self, row: Row, place: Place) -> bool:
        try:
            is_there = bool(row["migrated"]) and place_from_uri(row["uri"] or "") == place
        except ValueError:
            return False
        return is_there and row["provider_id"] == self.provider.id

    def _described(self, copy: Copy) -> str:
        what = f"{files(copy.sums.file_count)}, {in_units(copy.sums.size_bytes)}"
        directory = f"; ruta_directorio {one_line(copy.directory)}" if copy.directory else ""
        when = copy.executed_at
        date = f"; fecha_ejecucion {when:%Y-%m-%d}, la de su fichero más antiguo" if when else ""
        return f"{copy.place.uri(self.provider.kind)}: {what}{directory}{date}"

    def _written(self, copies: Sequence[Copy]) -> Iterator[Finding]:
        """Write the rows of a page at once; where the database refuses one, each by itself."""
        try:
            written = self._write(copies)
        except (DatabaseUnavailable, SchemaError):
            raise
        except DatabaseError as error:
            if len(copies) == 1:
                yield Finding(copies[0].uuid, State.UNUSABLE, str(error), copies[0])
                return
            for copy in copies:
                yield from self._written([copy])
            return
        for copy in copies:
            if copy.uuid in written:
                yield Finding(copy.uuid, State.LOST, self._described(copy), copy)
            else:
                yield Finding(copy.uuid, State.LEFT, "otro programa ha escrito su fila mientras tanto", copy)

    def _write(self, copies: Sequence[Copy]) -> set[str]:
        described = [
            {
                "uuid": copy.uuid,
                "directory": copy.directory,
                "uri": copy.place.uri(self.provider.kind),
                "key_prefix": copy.place.key_prefix,
                "file_count": copy.sums.file_count,
                "size_bytes": copy.sums.size_bytes,
                "manifest_sha256": copy.manifest_sha256,
                "executed_at": None if copy.executed_at is None else copy.executed_at.isoformat(),
            }
            for copy in copies
        ]
        parameters = {
            "copies": json.dumps(described, ensure_ascii=False),
            "provider_id": self.provider.id,
            "store": self.provider.store,
            "host": self.host,
        }
        rows = self.database.job_query(FOLDER, "rebuild_rows", parameters)
        if rows:
            return {row["uuid"] for row in rows}
        after = self._rows_of(copies)  # an answer was lost, and the second try found them written
        present = _by(after, "uuid")
        return {copy.uuid for copy in copies if any(self._is_at(row, copy.place) for row in present.get(copy.uuid, []))}


def oldest_time(tree: Tree) -> datetime | None:
    """The time of the oldest file; those of 1970 and in the future do not count. Nothing else tells when it ran."""
    plausible = range(EARLIEST_NS, time.time_ns())
    times = (entry.mtime_ns for entry in tree.files if entry.mtime_ns in plausible)
    oldest_ns = min(times, default=None)
    return None if oldest_ns is None else datetime.fromtimestamp(oldest_ns // NS_PER_SECOND, UTC)


def _by(rows: Sequence[Row], column: str) -> Mapping[str, Sequence[Row]]:
    """The rows by what they have in a column."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row[column], []).append(row)
    return found
