"""The database at one moment: a snapshot that `pg_dump` shares, with every table locked against what snapshots miss.

TRUNCATE and ALTER TABLE show in older snapshots, too. So the tables are locked first, in a mode that readers and
writers do not notice, and the snapshot is taken then.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jobs.backups.errors import TablesBusy
from jobs.backups.files.description import Locale
from jobs.backups.reading.dump import SharedSnapshot
from jobs.backups.reading.programs import find_programs
from jobs.backups.templates import QUERIES, filled
from sql.errors import DatabaseBusy, SchemaError
from sql.snapshots import SnapshotSession, program_address, statement_of

TABLES_PER_LOCK = 200
TRIES_BESIDE_NEW_TABLES = 20
VERSIONS_PER_MAJOR = 10_000


class _TablesComeAndGo(TablesBusy):
    """Between two moments tables were created or dropped."""


@dataclass(frozen=True, slots=True)
class Source:
    """The database to back up; `programs` is `BACKUP_PG_BIN`."""

    database_url: str
    programs: Path | None = None
    lock_wait_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """Everything that must be the same for a differential to fit its full backup."""

    name: str
    oid: int
    encoding: str
    server_major: int
    server_version: str


@dataclass(frozen=True, slots=True)
class Values:
    """How a database orders text, and the settings on which the text of its values depends."""

    locale: Locale
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose rows are dumped."""

    oid: int
    is_partitioned: bool
    filenode: int = field(compare=False)
    """The table's filenode: changed by `CLUSTER`, `VACUUM FULL` and `TRUNCATE`; 0 for a partitioned table."""


@dataclass(frozen=True, slots=True)
class Key:
    """The columns that identify a row, and how the key's index compares them."""

    columns: tuple[bytes, ...]
    operators: tuple[bytes, ...]
    collations: tuple[bytes, ...]
    """Each as a clause; empty where it is that of the column."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The snapshot that a backup reads. It holds back vacuum while it is open."""

    session: SnapshotSession
    shared: SharedSnapshot
    database: DatabaseFacts
    tables: Mapping[bytes, Table]

    def keys(self) -> dict[int, Key]:
        """The key of each table that has one, by the table's oid."""
        found = {}
        for oid, *parts in self.session.query("list_keys"):
            columns, operators, collations = (tuple(map(bytes.fromhex, part or ())) for part in parts)
            if len(columns) == len(operators):
                found[oid] = Key(columns, operators, collations)
        return found

    def extension_conditions(self) -> dict[int, bytes]:
        """Which rows are dumped of those tables of extensions that are not dumped whole."""
        return {oid: bytes(condition) for oid, condition in self.session.query("list_extension_conditions")}

    def copied_columns(self) -> dict[int, tuple[bytes, bool]]:
        """Of each table of which this session must plan no query, by its oid: a column to copy, as a clause.

        And whether the server may be told to throw away what it copies.
        """
        rows = self.session.query("list_copied_columns")
        return {oid: (bytes(column or b""), may_write) for oid, column, may_write in rows}

    def sizes(self) -> dict[int, int]:
        """How much the rows of each table take, in bytes, by the table's oid."""
        return dict(self.session.query("list_sizes", {"oids": [table.oid for table in self.tables.values()]}))

    def roles(self) -> list[str]:
        """The names of the server's roles."""
        return [bytes(name).decode("utf-8", "surrogateescape") for (name,) in self.session.query("list_roles")]

    def tablespaces(self) -> list[str]:
        """The names of the tablespaces in which something of the database is, but for its own."""
        return [bytes(name).decode("utf-8", "surrogateescape") for (name,) in self.session.query("list_tablespaces")]

    def materialised_views(self) -> list[bytes]:
        """The names of those that hold something."""
        return [bytes(view) for (view,) in self.session.query("list_materialised_views")]

    def view_settings(self) -> list[tuple[bytes, bytes]]:
        """The names and values of settings under which views are filled."""
        return [(bytes(name), bytes(value)) for name, value in self.session.query("list_view_settings")]

    def values(self) -> Values:
        """How the database orders text and writes values."""
        return values_of(self.session)

    def require_alive(self) -> None:
        """End the snapshot, which held until now: the session sees the present from here on.

        Raises `TablesBusy` when a schema or a value of an enum was renamed meanwhile, which no lock prevents: rows may
        be those of another table, or have labels that their type has not. Raises a `DatabaseError` unless the locks
        were held until now.
        """
        before = self._names()
        self.session.begin_read_only()
        now = self._names()
        if any(now.get(place, name) != name for place, name in before.items()):
            raise TablesBusy(
                "se renombró un esquema o un valor de un enum mientras se leían las filas: pueden ser de otra tabla; "
                "vuelva a intentarlo cuando termine"
            )

    def _names(self) -> dict[tuple[int, int], bytes]:
        """The names of schemas and the labels of enums, by their catalogue and oid, as the session sees them."""
        return {(catalogue, oid): bytes(name) for catalogue, oid, name in self.session.query("list_names")}


@contextlib.contextmanager
def open_snapshot(source: Source) -> Iterator[Snapshot]:
    """Lock all tables, and take a snapshot.

    Raises `TablesBusy` when another session holds a lock for too long or tables come and go meanwhile,
    `NoFittingProgram` before anything is written, and the errors of `SnapshotSession`.
    """
    with SnapshotSession(source.database_url, QUERIES) as session:
        session.query("prepare_session", {"lock_timeout": f"{int(source.lock_wait_seconds * 1000)}ms"})
        database = _facts(session)
        programs = find_programs(database.server_major, database.server_version, source.programs)
        tables, snapshot_id = _locked(session)
        address = program_address(
            source.database_url,
            **session.place,
            client_encoding=database.encoding,
            application_name="janitor_daemon backup",
        )
        yield Snapshot(session, SharedSnapshot(programs, address, snapshot_id), database, tables)


def facts_of(database_url: str) -> DatabaseFacts:
    """What a server says of itself and of one database. Raises the errors of `SnapshotSession`."""
    with SnapshotSession(database_url, QUERIES) as session:
        return _facts(session)


def values_of(session: SnapshotSession) -> Values:
    """How the database of a session orders text and writes values."""
    ((*locale, bytea_output, lc_monetary),) = session.query("describe_values")
    settings = {"bytea_output": bytea_output, "lc_monetary": lc_monetary}
    return Values(Locale(*locale), {name: value for name, value in settings.items() if value is not None})


def _facts(session: SnapshotSession) -> DatabaseFacts:
    ((name, oid, encoding, number, version),) = session.query("describe_database")
    text = bytes(name).decode("utf-8", "surrogateescape")
    return DatabaseFacts(text, oid, encoding, number // VERSIONS_PER_MAJOR, version)


def _listed(session: SnapshotSession) -> dict[bytes, Table]:
    return {bytes(name): Table(oid, kind == "p", node) for oid, name, kind, node in session.query("list_tables")}


def _locked(session: SnapshotSession) -> tuple[dict[bytes, Table], str]:
    """All tables, locked, and the snapshot that shows exactly them.

    Some databases create and drop tables all the time: it is a matter of moments until none comes or goes meanwhile.
    """
    for _ in range(TRIES_BESIDE_NEW_TABLES - 1):
        with contextlib.suppress(_TablesComeAndGo):
            return _locked_once(session)
    return _locked_once(session)


def _locked_once(session: SnapshotSession) -> tuple[dict[bytes, Table], str]:
    session.begin_read_only()
    tables = _listed(session)
    session.begin_read_only()
    _lock(session, list(tables))
    ((snapshot_id,),) = session.query("export_snapshot")
    if _listed(session) != tables:
        raise _TablesComeAndGo("se crean o borran tablas en este momento; vuelva a intentarlo cuando termine")
    return tables, snapshot_id


def _lock(session: SnapshotSession, tables: list[bytes]) -> None:
    try:
        for first in range(0, len(tables), TABLES_PER_LOCK):
            portion = b", ".join(b"ONLY " + table for table in tables[first : first + TABLES_PER_LOCK])
            session.run(filled(statement_of(QUERIES, "lock_tables"), tables=portion))
    except DatabaseBusy as error:
        raise TablesBusy(
            "otra sesión cambia una tabla y no suelta su bloqueo; vuelva a intentarlo cuando termine"
        ) from error
    except SchemaError as error:
        if "permi" in str(error):
            raise
        raise _TablesComeAndGo("una tabla se borró en este momento; vuelva a intentarlo cuando termine") from error
