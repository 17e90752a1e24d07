"""A differential backup: exactly what turns the full one's database into the present one.

The full backup's own rows are compared, as text, with those of a new dump. Nothing is asked of the server but that
dump, and nothing of the tables: no column that says when a row changed, no key.
"""

from __future__ import annotations

import contextlib
import secrets
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from jobs.backups.creation.comparison import Memory, TableComparison
from jobs.backups.creation.table_changes import Change, TableWriter
from jobs.backups.errors import ColumnsDiffer, DamagedBackup, FullBackupNeeded, require_no_interruption
from jobs.backups.files.compression import GzipMember, inflated, inflated_here
from jobs.backups.files.description import Description, fingerprint, read_description, settings_as_statements
from jobs.backups.files.directory import Target, disk_errors, prepare
from jobs.backups.files.drafts import Draft
from jobs.backups.files.finishing import publish, read_back
from jobs.backups.files.names import DIFFERENTIAL, STAMP, SUFFIX, description_name, free_stem
from jobs.backups.reading.dump import definitions, dumped
from jobs.backups.reading.dump_parser import Event, Rows, Statement, TableBegins, TableEnds, parsed
from jobs.backups.reading.large_objects import large_objects
from jobs.backups.reading.row_counts import RowCounts
from jobs.backups.reading.source import Snapshot, Source, open_snapshot
from jobs.backups.result import BackupFile, Kind
from jobs.backups.templates import filled_views, lending, literal, refresh, render, returning

SEQUENCE = b"SELECT pg_catalog.setval("
BACKSLASHES_ESCAPE = b"SET standard_conforming_strings = off;\n"
FIRST_OBJECT = b"\n-- Name: "
EVENT_TRIGGER = b"\nCREATE EVENT TRIGGER "
COPY_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """From when on a full backup is the better one, and how much memory a comparison takes.

    Below `smallest_bytes` of rows a differential is always small enough. Rows that are not where they were cost far
    more than others: after `looked_at_share` of them a table that was rewritten is expected to go on so.

    A row that changed between equal ones costs as much as ten of them in a full backup. A table is expected to go on as
    it began after a fifth of the rows that may change so, `largest_share_of_rows`, and at least `looked_at_rows`.
    """

    largest_share: float = 0.3
    looked_at_share: float = 0.05
    smallest_bytes: int = 8 * 1024 * 1024
    largest_share_of_rows: float = 0.1
    looked_at_rows: int = 20_000
    rows_in_memory: int = 250_000
    bytes_in_memory: int = 32 * 1024 * 1024

    def changed_bytes(self, data_bytes: int) -> float:
        """How much may change, vanished and new rows together."""
        return 2 * max(data_bytes * self.largest_share, self.smallest_bytes)

    def looked_at_bytes(self, data_bytes: int) -> float:
        """After this many bytes of rows that have moved, the rest is estimated from them."""
        return max(data_bytes * self.looked_at_share, self.smallest_bytes / 4)

    def changed_rows(self, rows: int) -> float:
        """How many rows may change between equal ones."""
        return rows * self.largest_share_of_rows

    def rows_to_look_at(self, rows: int) -> float:
        """After this many such rows, the rest is estimated from them."""
        return max(self.changed_rows(rows) / 5, self.looked_at_rows)


def make_differential_once(
    source: Source, target: Target, base: Path, when: datetime, interruption: threading.Event, limits: Limits
) -> BackupFile:
    """Make a differential of the full backup `base`, a file with its description beside it.

    Raises `FullBackupNeeded`, `BackupError` and `DatabaseError`, and leaves nothing then.
    """
    description = read_description(base.parent / description_name(base.name))
    with open_snapshot(source) as snapshot:
        _require_same_database(snapshot, description)
        _require_whole(base, description)
        prepare(target)
        with disk_errors(target.directory):
            name = free_stem(target.directory, when, DIFFERENTIAL) + SUFFIX
            differential_id = f"{when.strftime(STAMP)}_{secrets.token_hex(8)}"
            with Draft(target.directory, name) as draft, contextlib.ExitStack() as stack:
                making = _Making(
                    snapshot, description, base, target.directory, limits, interruption, stack, snapshot.sizes()
                )
                return making.write(draft, differential_id)


def _require_same_database(snapshot: Snapshot, description: Description) -> None:
    database = snapshot.database
    compared = (
        ("la base de datos", description.database, database.name),
        ("el oid de la base de datos", description.database_oid, database.oid),
        ("la codificación", description.encoding, database.encoding),
        ("la versión del servidor", description.server_major, database.server_major),
        ("la versión de pg_dump", description.dump_major, snapshot.shared.programs.major),
        ("cómo se escriben los valores", _as_text(description.settings), _as_text(snapshot.values().settings)),
    )
    for what, then, now in compared:
        if then != now:
            raise FullBackupNeeded(f"cambió {what}: era {then}, ahora es {now}")


def _as_text(settings: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(settings.items()))


def _require_whole(base: Path, description: Description) -> None:
    """Read the sections that are not compared: the tables before the rows, and the rest after them."""
    try:
        size = base.stat().st_size
        if size != description.size_bytes:
            raise FullBackupNeeded(f"{base.name} no tiene el tamaño que dice su descripción")
        head = next(inflated_here(base, 0, description.data_start), b"")
        named = render("full_head", id=description.id).partition(b"\n")[0]
        if not head.startswith(named + b"\n"):
            raise FullBackupNeeded(f"{base.name} no es el completo de su descripción")
        for start, end in ((0, description.data_start), (description.data_end, size)):
            for _ in inflated_here(base, start, end):
                pass
    except OSError as error:
        raise FullBackupNeeded(f"no se puede leer {base.name}, el último completo") from error
    except DamagedBackup as error:
        raise FullBackupNeeded(str(error)) from error


@dataclass(slots=True)
class _Making:
    """The making of one differential."""

    snapshot: Snapshot
    description: Description
    base: Path
    directory: Path
    limits: Limits
    interruption: threading.Event
    stack: contextlib.ExitStack
    sizes: Mapping[int, int]
    """How much the rows of each table take, as the server knows it, by the table's oid."""
    changes: list[Change] = field(default_factory=list)
    changed_bytes: int = 0
    rows: Counter[bytes] = field(default_factory=Counter)
    """How many rows of each table came."""
    partitioned: dict[bytes, tuple[TableBegins, TableComparison]] = field(default_factory=dict)
    """Tables whose rows come in several portions: what they differ in is known at the end."""

    def write(self, draft: Draft, differential_id: str) -> BackupFile:
        pre_data, post_data, warnings = definitions(self.snapshot.shared, self.interruption)
        if fingerprint(pre_data, post_data) != self.description.fingerprint:
            raise FullBackupNeeded("cambió el esquema de la base de datos desde el último completo")
        deletions, rows, rest = (_Spool(self.directory, self.stack) for _ in range(3))
        finish = self._finish_with(deletions, rows)
        with RowCounts(self.snapshot, self.interruption) as counts:
            sequences = self._compare(finish)
            remarks = counts.require(self.rows)
        self._write_large_objects(rest)
        with GzipMember(draft) as member:
            self._write_head(member, differential_id)
            has_event_triggers = EVENT_TRIGGER in post_data
            if has_event_triggers:
                member.write(render("suspend_event_triggers"))
            member.write(lending(pre_data))
            if self.changes:
                member.write(render("suspend", touched=_touched(self.changes)))
                deletions.copy_backwards_to(member)  # a constraint may look at rows of the tables that come before
                rows.copy_to(member)
                member.write(render("resume"))
            member.write(_read_as_written(sequences, pre_data))
            rest.copy_to(member)
            settings = self.snapshot.view_settings()
            for view in filled_views(post_data, self.snapshot.materialised_views()) if self.changes else ():
                member.write(refresh(view, settings))
            member.write(returning(pre_data))
            member.write(render("marker", id=f"{self.description.id}+{differential_id}"))
            if has_event_triggers:
                member.write(render("resume_event_triggers"))
            member.write(render("epilogue"))
        self.snapshot.require_alive()
        self.snapshot.session.close()
        contents = read_back(draft, member.plain_bytes)
        publish(draft, contents, None)
        return BackupFile(
            Kind.DIFFERENTIAL, draft.final, differential_id, contents, len(self.rows), self.rows.total(),
            base=self.base.name, remarks=(*warnings, *remarks),
        )  # fmt: skip

    def _write_head(self, member: GzipMember, differential_id: str) -> None:
        member.write(render("differential_head", id=differential_id, base=self.description.id))
        member.write(b"".join(change.comment() for change in self.changes))
        encoding = self.description.encoding
        session = render("session", settings=settings_as_statements(self.description.settings))
        member.write(render("prologue", encoding=encoding, base=self.description.id, session=session))

    def _finish_with(self, deletions: _Spool, rows: _Spool) -> Callable[[TableBegins, TableComparison], None]:
        """A function that writes what one table differs in. It asks the snapshot nothing more."""
        keys, conditions = self.snapshot.keys(), self.snapshot.extension_conditions()

        def finish(begins: TableBegins, comparison: TableComparison) -> None:
            facts = self.snapshot.tables[begins.table]
            writer = TableWriter(facts, begins, keys.get(facts.oid), conditions.get(facts.oid, b""), self.directory)
            deletions.begin_part()
            change = writer.write(comparison, deletions.write, rows.write)
            self.changed_bytes += change.changed_bytes
            if change.gone or change.new:
                self.changes.append(change)

        return finish

    def _compare(self, finish: Callable[[TableBegins, TableComparison], None]) -> list[bytes]:
        """Write the changes of all tables; the sequences whose values differ."""
        old = _OldRows(self.base, self.description)
        sequences = []
        with contextlib.closing(old):
            for event in self._events():
                match event:
                    case TableBegins():
                        comparison = self._begin(event, old)
                        begins = event
                    case Rows():
                        self.rows[begins.table] += event.count()
                        comparison.feed(event.text)
                        self._require_few_changes(begins, comparison)
                    case TableEnds():
                        self._pass_rest(begins, comparison)
                        if begins.table not in self.partitioned:
                            finish(begins, comparison)
                    case Statement(text) if text.startswith(SEQUENCE):
                        sequences.append(text)
            old.require_end()
        for begins, comparison in self.partitioned.values():
            finish(begins, comparison)
        return [text for text in sequences if text not in old.sequences]

    def _events(self) -> Iterator[Event]:
        try:
            yield from parsed(dumped(self.snapshot.shared, "data", self.interruption))
        except ColumnsDiffer as error:  # before PostgreSQL 16 a column may be generated in some partitions only
            raise FullBackupNeeded(str(error)) from error

    def _begin(self, begins: TableBegins, old: _OldRows) -> TableComparison:
        facts = self.snapshot.tables.get(begins.table)
        if facts is None or old.next_table() != (begins.table, begins.columns):
            raise FullBackupNeeded(f"las tablas no vienen como en {self.base.name}")
        self.rows[begins.table] += 0
        memory = Memory(self.directory, self.limits.rows_in_memory, self.limits.bytes_in_memory)
        _, comparison = self.partitioned.get(begins.table, (begins, TableComparison(memory)))
        if facts.is_partitioned:
            self.partitioned[begins.table] = begins, comparison
        self.stack.callback(comparison.close)
        comparison.begin(old.rows())
        return comparison

    def _pass_rest(self, begins: TableBegins, comparison: TableComparison) -> None:
        """Pass the full backup's rows of a table that were not compared yet, which may be all of them."""
        while comparison.pass_rest():
            self._require_few_changes(begins, comparison)

    def _require_few_changes(self, begins: TableBegins, comparison: TableComparison) -> None:
        changed: float = self.changed_bytes + comparison.waiting_bytes
        if comparison.unordered_bytes > self.limits.looked_at_bytes(self.description.data_bytes):
            changed = max(changed, self.changed_bytes + 2 * self._expected_bytes(begins.table, comparison))
        if changed > self.limits.changed_bytes(self.description.data_bytes):
            share = f"{self.limits.largest_share:.0%}".replace("%", " %")
            raise FullBackupNeeded(f"cambió, o se movió, más del {share} de los datos desde el último completo")
        if self._expected_rows(begins.table, comparison) > self.limits.changed_rows(self.description.rows):
            raise FullBackupNeeded("cambiaron tantas filas desde el último completo que otro cuesta menos")

    def _expected_bytes(self, table: bytes, comparison: TableComparison) -> float:
        """How much of a table that was rewritten is not where it was, as far as it was compared; else 0."""
        facts = self.snapshot.tables[table]
        if facts.filenode == self.description.filenodes.get(str(facts.oid), facts.filenode):
            return 0.0
        return self.sizes[facts.oid] * comparison.unordered_bytes / comparison.fed_bytes

    def _expected_rows(self, table: bytes, comparison: TableComparison) -> float:
        """How many rows change in the rest of a table if it is like what came before; 0 if they were few."""
        if comparison.places < self.limits.rows_to_look_at(self.description.rows):
            return 0.0
        size = min(self.sizes[self.snapshot.tables[table].oid], self.description.data_bytes)
        return comparison.places * (size / comparison.fed_bytes - 1)

    def _write_large_objects(self, spool: _Spool) -> None:
        old = dict(self.description.large_objects)
        for large_object in large_objects(self.snapshot.session):
            require_no_interruption(self.interruption)
            before = old.pop(str(large_object.oid), None)
            if before == large_object.digest(self.snapshot.session):
                continue
            if before is not None:
                spool.write(render("large_object_unlink", oid=large_object.oid))
            large_object.write(self.snapshot.session, spool.write)
        for oid in old:
            spool.write(render("large_object_unlink", oid=oid))


class _Spool:
    """A part of a differential that is known before its turn, held in a file without a name."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack) -> None:
        self._file = stack.enter_context(tempfile.TemporaryFile(dir=directory))  # noqa: SIM115 the stack closes it
        self._starts: list[int] = []

    def begin_part(self) -> None:
        """Let another part begin with what is written next."""
        self._starts.append(self._file.tell())

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def copy_to(self, member: GzipMember) -> None:
        self._file.seek(0)
        while block := self._file.read(COPY_BYTES):
            member.write(block)

    def copy_backwards_to(self, member: GzipMember) -> None:
        """Copy the parts, the last one first."""
        end = self._file.tell()
        for start in reversed(self._starts):
            self._file.seek(start)
            for first in range(start, end, COPY_BYTES):
                member.write(self._file.read(min(COPY_BYTES, end - first)))
            end = start


class _OldRows:
    """The rows of a full backup, table by table, in the order of the file."""

    def __init__(self, base: Path, description: Description) -> None:
        self._name = base.name
        self._blocks = inflated(base, description.data_start, description.data_end)
        self._events = self._translated(parsed(self._blocks))
        self.sequences: set[bytes] = set()

    def next_table(self) -> tuple[bytes, tuple[bytes, ...]] | None:
        """The next one and its columns, `None` after the last one."""
        for event in self._events:
            match event:
                case TableBegins(table, columns):
                    return table, columns
                case Statement(text) if text.startswith(SEQUENCE):
                    self.sequences.add(text)
        return None

    def rows(self) -> Iterator[bytes]:
        """The rows of this table, in blocks."""
        for event in self._events:
            match event:
                case Rows():
                    yield event.text
                case TableEnds():
                    return

    def require_end(self) -> None:
        if self.next_table() is not None:
            raise FullBackupNeeded(f"las tablas no vienen como en {self._name}")

    def close(self) -> None:
        """Stop reading."""
        self._events.close()
        self._blocks.close()

    def _translated(self, events: Iterator[Event]) -> Generator[Event, None, None]:
        try:
            yield from events
        except DamagedBackup as error:
            raise FullBackupNeeded(str(error)) from error
        except OSError as error:
            raise FullBackupNeeded(f"no se puede leer {self._name}, el último completo") from error


def _read_as_written(statements: list[bytes], section: bytes) -> bytes:
    """Statements of a dump; before its first object each section says whether a backslash in its texts is an escape."""
    text = b"".join(statements)
    if BACKSLASHES_ESCAPE not in section.partition(FIRST_OBJECT)[0]:
        return text
    return render("escapes_begin") + text + render("escapes_end")


def _touched(changes: list[Change]) -> bytes:
    return b", ".join(b"(%b, %b)" % (literal(change.table), b"true" if change.gone else b"false") for change in changes)
