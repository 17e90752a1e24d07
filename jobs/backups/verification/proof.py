"""Proves a backup: restores it into an empty database, and compares every table with what the files say it was.

The full backup holds the rows themselves. A differential holds, for each table that differs, how many rows went and
came, and the sum of their hashes: no order of rows is needed, and none is compared.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from jobs.backups.creation.table_changes import DIGEST_BYTES, digest_of
from jobs.backups.errors import DamagedBackup, NoScratchServer, NotProven, RestoreFailed, require_no_interruption
from jobs.backups.files.compression import NoteBytes, inflated, inflated_here, note_nothing
from jobs.backups.files.description import Description
from jobs.backups.reading.dump import SharedSnapshot, dumped
from jobs.backups.reading.dump_parser import Rows, TableBegins, parsed
from jobs.backups.reading.programs import Programs
from jobs.backups.templates import QUERIES
from jobs.backups.verification.restoring import restore
from jobs.backups.verification.scratch_server import has_locale_of, locale_name
from sql.snapshots import SnapshotSession, program_address

CHANGE = b"-- change "


@dataclass(frozen=True, slots=True)
class Proof:
    """A backup that was restored, and was what it should be."""

    tables: int
    rows: int
    seconds: float


@dataclass(slots=True)
class RowSums:
    """How many rows each table has, and the sum of their hashes."""

    rows: Counter[bytes] = field(default_factory=Counter)
    digests: defaultdict[bytes, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, table: bytes, rows: int, digest: int) -> None:
        """Count rows that came, or went."""
        self.rows[table] += rows
        self.digests[table] = (self.digests[table] + digest) % (1 << 8 * DIGEST_BYTES)


def prove(
    programs: Programs,
    database_url: str,
    description: Description,
    full: Path,
    differential: Path | None,
    interruption: threading.Event,
    note: NoteBytes = note_nothing,
) -> Proof:
    """Restore a full backup, and perhaps a differential, into an empty database, and compare.

    Their hashes were checked before. Raises `NotProven`, `DamagedBackup`, `RestoreFailed`, `DumpFailed`,
    `BackupInterrupted` and `OSError`; `NoScratchServer` if it fails to restore where text has another order.
    """
    started = time.monotonic()
    files = [full, *([differential] if differential else [])]
    rows = inflated(full, description.data_start, description.data_end)
    expected = sums_of(_until_interrupted(rows, interruption))
    if differential is not None:
        _add_changes(expected, differential)
    for file in files:
        try:
            restore(programs, database_url, file, interruption, note)
        except RestoreFailed as error:
            _require_locale(database_url, description, error)
            raise
    found = _sums_of_database(programs, database_url, description.encoding, interruption)
    _require_equal(expected, found)
    return Proof(len(found.rows), found.rows.total(), time.monotonic() - started)


def _require_locale(database_url: str, description: Description, error: RestoreFailed) -> None:
    """A condition on text may be false in another locale: that says nothing against the backup."""
    if not has_locale_of(database_url, description):
        raise NoScratchServer(
            f"{error}; la base de datos de prueba no tiene la configuración regional de la original "
            f"({locale_name(description)}): instálela en ese servidor o use otro (backup verify --server URL)"
        ) from error


def _until_interrupted(blocks: Iterable[bytes], interruption: threading.Event) -> Iterator[bytes]:
    for block in blocks:
        require_no_interruption(interruption)
        yield block


def sums_of(blocks: Iterable[bytes]) -> RowSums:
    """Count and hash the rows of a data section. Raises `DamagedBackup`."""
    sums, table = RowSums(), b""
    for event in parsed(blocks):
        match event:
            case TableBegins():
                table = event.table
                sums.add(table, 0, 0)
            case Rows():
                rows = event.text[:-1].split(b"\n")
                sums.add(table, len(rows), digest_of((row, 1) for row in rows))
    return sums


def _add_changes(sums: RowSums, differential: Path) -> None:
    for line in _comments_at_the_beginning(differential):
        if line.startswith(CHANGE):
            try:
                change = json.loads(line.removeprefix(CHANGE))
                table = change["table"].encode("utf-8", "surrogateescape")
                sums.add(table, change["new"] - change["gone"], int(change["digest"], 16))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise DamagedBackup(f"{differential.name} no dice bien qué cambió; haga otra copia") from error


def _comments_at_the_beginning(differential: Path) -> Iterator[bytes]:
    """The lines before the first one that is no comment. Rows follow it, and a row may look like a comment."""
    begun = b""
    for block in inflated_here(differential, 0, differential.stat().st_size):
        *lines, begun = (begun + block).split(b"\n")
        for line in lines:
            if not line.startswith(b"--"):
                return
            yield line


def _sums_of_database(programs: Programs, database_url: str, encoding: str, interruption: threading.Event) -> RowSums:
    with SnapshotSession(database_url, QUERIES) as session:
        session.begin_read_only()
        ((snapshot_id,),) = session.query("export_snapshot")
        address = program_address(database_url, **session.place, client_encoding=encoding)
        shared = SharedSnapshot(programs, address, snapshot_id)
        return sums_of(dumped(shared, "data", interruption))


def _require_equal(expected: RowSums, found: RowSums) -> None:
    for table in sorted({*expected.rows, *found.rows}):
        name = table.decode("utf-8", "replace")
        if expected.rows[table] != found.rows[table]:
            raise NotProven(f"la tabla {name} tiene {found.rows[table]} filas y debía tener {expected.rows[table]}")
        if expected.digests[table] != found.digests[table]:
            raise NotProven(f"las filas de la tabla {name} no son las que se copiaron")
