"""A separate session whose snapshot other programs share: `pg_dump` reads exactly what the snapshot shows."""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg2
import psycopg2.extensions

from sql.connection import CONNECT_TIMEOUT_SECONDS, SILENCE_TIMEOUT_MILLISECONDS, parts_of, translated
from sql.errors import DatabasePooled, DatabaseUnavailable
from sql.watchdog import Watchdog, cut, watched

QUERIES = Path(__file__).parent / "queries"
KEEPALIVES: dict[str, Any] = {
    "connect_timeout": CONNECT_TIMEOUT_SECONDS,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": SILENCE_TIMEOUT_MILLISECONDS,
}

PORTION_TIMEOUT_SECONDS = 3600.0
"""How long a server may take for the next rows of a long answer, as long as `pg_dump` may say nothing."""

LOOKS_FOR_POOLER = 5
"""Other programs may take a server away before the look."""

SILENT = (
    "no se puede usar la base de datos: el servidor mantiene la conexión y no contesta; mire si responde, y qué hay en "
    "la red hasta él"
)
POOLED = (
    "esa dirección pasa por un pooler en modo transacción, como PgBouncer: pg_dump y psql dejarían en sus conexiones "
    "ajustes que encontrarían otros programas; dé la dirección del propio servidor (para las copias de seguridad, en "
    "BACKUP_DATABASE_URL)"
)


@dataclass(frozen=True, slots=True)
class ProgramAddress:
    """How a PostgreSQL program finds a database. The password is separate, because `ps` shows command lines."""

    parameters: str
    password: str


def program_address(database_url: str, **overriding: str | int) -> ProgramAddress:
    """The address of a database for `pg_dump` and `psql`. Raises `DatabaseError` if it cannot be parsed."""
    parts = require_address(database_url)
    password = parts.pop("password", "")
    return ProgramAddress(psycopg2.extensions.make_dsn(**{**parts, **KEEPALIVES, **overriding}), password)


def require_address(database_url: str) -> dict[str, str]:
    """The parts of an address.

    Raises `DatabaseError` if it cannot be parsed, or holds a password that libpq would cut in two: its messages quote
    what it took for the server's name.
    """
    return parts_of(database_url, "la dirección de la base de datos")


def user_of_address(database_url: str) -> str:
    """The user that an address names, quoted for SQL; a placeholder if it names none. Raises `DatabaseError`."""
    name = require_address(database_url).get("user") or os.environ.get("PGUSER")
    return "USUARIO" if name is None else '"' + name.replace('"', '""') + '"'


def url_of_database(database_url: str, name: str) -> str:
    """The address of another database of the same server, as libpq's parameters. Raises `DatabaseError`."""
    return str(psycopg2.extensions.make_dsn(**{**require_address(database_url), "dbname": name}))


class SnapshotSession:
    """One connection that runs the statements of one folder, one transaction at a time.

    It uses the database's own encoding: names are exchanged as bytes. Its search path is empty, because it may have
    more rights than those who own schemas. Every method raises
    `DatabaseUnavailable`, `DatabaseBusy`, `SchemaError` or `DatabaseError`; opening it, `DatabasePooled`, too.
    A server that is connected and silent counts as lost after `ANSWER_TIMEOUT_SECONDS`, unless a method says otherwise.
    """

    def __init__(self, database_url: str, queries: Path) -> None:
        self._queries = queries
        require_address(database_url)
        self._connection = self._connected(database_url)
        self._watchdog = Watchdog(self._connection)
        try:
            self._require_server_of_its_own(database_url)
            self.run(statement_of(QUERIES, "empty_search_path"))
        except BaseException:
            self.close()
            raise

    def _require_server_of_its_own(self, database_url: str) -> None:
        """Raise `DatabasePooled` behind a pooler that gives one server to several sessions, one transaction at a time.

        PostgreSQL's programs leave settings in their session, such as an empty search path: there, other programs would
        find them. A pooler answers with a number of its own for the server's process.
        """
        ((process,),) = self.run(statement_of(QUERIES, "server_process"))
        self._end_transaction()
        for _ in range(0 if process == self._connection.info.backend_pid else LOOKS_FOR_POOLER):
            with contextlib.closing(self._connected(database_url)) as other, watched(other) as watchdog:
                if _answer(other, watchdog, statement_of(QUERIES, "server_process")) == [(process,)]:
                    raise DatabasePooled(POOLED)

    @staticmethod
    def _connected(database_url: str) -> psycopg2.extensions.connection:
        try:
            connection: psycopg2.extensions.connection = psycopg2.connect(
                database_url, application_name="janitor_daemon backup", client_encoding="UTF8", **KEEPALIVES
            )
        except psycopg2.Error as error:
            raise translated(error, lost=True) from error
        return connection

    @property
    def place(self) -> dict[str, str | int]:
        """Where an address names several servers, the one of this session: another one has not its snapshot."""
        info = self._connection.info
        has_several = "," in info.dsn_parameters.get("host", "") and "hostaddr" not in info.dsn_parameters
        return {"host": info.host, "port": info.port} if has_several else {}

    def begin_read_only(self) -> None:
        """End the open transaction; the next one is REPEATABLE READ and READ ONLY.

        It takes its snapshot at its first query; `LOCK TABLE` does not count as one.
        """
        self._end_transaction()  # settings made in it must stay
        self._connection.set_session(isolation_level="REPEATABLE READ", readonly=True)

    def commit_each(self) -> None:
        """End the open transaction; each further statement is one of its own, as CREATE DATABASE demands."""
        self._end_transaction()
        self._connection.set_session(autocommit=True)

    def _end_transaction(self) -> None:
        with _asking(self._connection, self._watchdog):
            self._connection.commit()

    def query(self, name: str, parameters: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        """Run the statement in `{name}.sql` and return its rows."""
        return self.run(statement_of(self._queries, name), parameters)

    def run(self, statement: bytes, parameters: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement in the database's encoding and return its rows."""
        return _answer(self._connection, self._watchdog, statement, parameters)

    def run_long(self, statement: bytes) -> list[tuple[Any, ...]]:
        """The same, however long the server takes: `cut` ends it."""
        return _answer(self._connection, self._watchdog, statement, seconds=math.inf)

    def count_affected(self, statement: bytes) -> int:
        """How many rows the server says that a statement concerned, however long it takes."""
        with _asking(self._connection, self._watchdog, math.inf), self._connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.rowcount

    def count_copied(self, statement: bytes) -> int:
        """How many rows a `COPY … TO STDOUT` gives, however long the server takes; none is kept."""
        with _asking(self._connection, self._watchdog, math.inf), self._connection.cursor() as cursor:
            with Path(os.devnull).open("wb") as nowhere:
                cursor.copy_expert(statement, nowhere)
            return cursor.rowcount

    def each(self, name: str, rows_at_a_time: int) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, at most `rows_at_a_time` of them in memory.

        Each time the server may take `PORTION_TIMEOUT_SECONDS`.
        """
        cursor = self._connection.cursor(name=name)
        try:
            with self._asking_for_portion():
                cursor.execute(statement_of(self._queries, name))
            while rows := self._portion(cursor, rows_at_a_time):
                yield from rows
        finally:
            with self._asking_for_portion():
                cursor.close()

    def _portion(self, cursor: psycopg2.extensions.cursor, rows_at_a_time: int) -> list[tuple[Any, ...]]:
        with self._asking_for_portion():
            return cursor.fetchmany(rows_at_a_time)

    def _asking_for_portion(self) -> contextlib.AbstractContextManager[None]:
        return _asking(self._connection, self._watchdog, PORTION_TIMEOUT_SECONDS)

    def cut(self) -> None:
        """Let the statement that another thread runs fail at once. The session is of no more use."""
        cut(self._connection)

    def close(self) -> None:
        """Disconnect, which ends the transaction and its locks."""
        self._watchdog.end()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _answer(
    connection: psycopg2.extensions.connection,
    watchdog: Watchdog,
    statement: bytes,
    parameters: Mapping[str, object] | None = None,
    seconds: float | None = None,
) -> list[tuple[Any, ...]]:
    with _asking(connection, watchdog, seconds), connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


@contextlib.contextmanager
def _asking(
    connection: psycopg2.extensions.connection, watchdog: Watchdog, seconds: float | None = None
) -> Iterator[None]:
    """Within, the server is asked something, and may take that long. Raises `DatabaseError`."""
    try:
        with watchdog.watching(seconds):
            yield
    except psycopg2.Error as error:
        if watchdog.has_cut:
            raise DatabaseUnavailable(SILENT) from error
        raise translated(error, lost=connection.closed != 0) from error


@functools.cache
def statement_of(folder: Path, name: str) -> bytes:
    """The text of `{name}.sql` in a folder."""
    return (folder / f"{name}.sql").read_bytes()
