"""One connection to PostgreSQL, shared by the threads of a run and reopened when lost."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import random
import re
import threading
import time
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.extensions

from config.logs import one_line
from sql.database_messages import NO_ROOM_FOR_LOCKS, SETTING_FOR_LOCKS, in_spanish
from sql.errors import (
    DatabaseBusy,
    DatabaseError,
    DatabaseReadOnly,
    DatabaseUnavailable,
    SchemaError,
)
from sql.texts import speak_its_encoding
from sql.watchdog import Watchdog

PROGRAM = Path(__file__).parent.parent
"""The parent of the program's packages. Packages with their own statements keep them in a folder `queries`."""

CONNECT_TIMEOUT_SECONDS = 10
LOST_FOR_SECONDS = 15.0
"""How long to wait for a lost database: a clean restart takes a few seconds."""

LONGEST_PAUSE_SECONDS = 2.0
TRIES_WHEN_BUSY = 3
LOCK_WAIT_SECONDS = 10
"""How long a statement waits for another session's lock: a session left open in a transaction must not block a run,
and its leases, for ever."""

SILENCE_TIMEOUT_MILLISECONDS = 30_000
"""How long sent data may stay unacknowledged before the connection counts as lost (TCP_USER_TIMEOUT)."""

NOTHING_HAPPENED = (
    psycopg2.errors.DeadlockDetected,
    psycopg2.errors.SerializationFailure,
    psycopg2.errors.LockNotAvailable,
    psycopg2.errors.QueryCanceled,
)
"""PostgreSQL's codes for a statement rolled back because of other transactions or a time limit."""

NAMES_UNKNOWN = (psycopg2.errors.UndefinedColumn, psycopg2.errors.UndefinedTable)

LIBPQS_OWN = ("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE")
"""Variables any of which tells libpq which database to use."""

Row = Mapping[str, Any]
Parameters = Mapping[str, object]


class Connection:
    """Runs the statements of `sql/queries`, each in its own transaction (autocommit).

    A job's statements are named with its folder: `jobs/history/prune_runs`. Several names separated by commas are sent
    together as one transaction, which returns the rows of the last one.

    So nothing depends on session state, which a transaction pooler would lose, and no transaction is open during
    transfers. Safe to use from several threads: statements take turns.
    """

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._lock = threading.RLock()
        self._connection: psycopg2.extensions.connection | None = None
        self._watchdog: Watchdog | None = None
        self._limit = ""
        self._lost_at = math.inf
        """Since when the database has been lost; infinite while it is there."""

    def limit_statements(self, seconds: int) -> None:
        """From now on the server gives up any statement that takes longer, and says so by `DatabaseBusy`."""
        self._limit = f"SET LOCAL statement_timeout = '{seconds}s';\n"

    def query(self, name: str, parameters: Parameters | None = None) -> list[Row]:
        """Run `sql/queries/{name}.sql`. Retries after conflicts with other transactions and, on new connections, when
        the database is lost, until it has been lost for some seconds: a run that ends without its database does not
        wait again for each statement.

        Only for statements that may run twice. Raises `DatabaseUnavailable`, `DatabaseBusy`, `SchemaError`,
        `DatabaseError`.
        """
        started = time.monotonic()
        failures = 0
        while True:
            try:
                return self.query_once(name, parameters)
            except DatabaseReadOnly:
                raise
            except (DatabaseBusy, DatabaseUnavailable) as error:
                failures += 1
                if _is_enough(error, failures, time.monotonic() - min(started, self._lost_at)):
                    raise
                time.sleep(_pause_seconds(error, failures))

    def query_once(self, name: str, parameters: Parameters | None = None) -> list[Row]:
        """Run `sql/queries/{name}.sql` at most once: if the connection is lost, it is unknown whether it ran.

        Raises `DatabaseUnavailable`, `DatabaseBusy`, `SchemaError`, `DatabaseError`.
        """
        return self._execute(self._limit + _statement(name), parameters or {})

    def execute_script(self, statements: str) -> None:
        """Run statements without parameters, all or none of them. Raises as `query`."""
        self._execute(statements, None)

    def _execute(self, statement: str, parameters: Parameters | None) -> list[Row]:
        with self._lock:
            try:
                connection, watchdog = self._open()
                with watchdog.watching(), connection.cursor() as cursor:
                    _send(cursor, statement, parameters)
                    self._lost_at = math.inf
                    return _rows(cursor)
            except psycopg2.Error as error:
                translated = self._translated(error)
                is_lost = isinstance(translated, DatabaseUnavailable)
                self._lost_at = min(self._lost_at, time.monotonic()) if is_lost else math.inf
                if is_lost:
                    self.close()
                if isinstance(error, NAMES_UNKNOWN) and "_upgrades" not in str(error):
                    translated = self._missing_column_of_platform() or self._missing_own() or translated
                raise translated from error

    def _missing_column_of_platform(self) -> SchemaError | None:
        """The column that a statement failed to find: PostgreSQL does not name the table if the statement uses an
        alias. `None` if no table of the platform lacks a column.
        """
        with contextlib.suppress(DatabaseError):
            for row in self._execute(_statement("find_missing_columns"), {}):
                return SchemaError(
                    f"a la tabla {row['table_name']} le falta la columna {row['column_name']}; aplique la migración de "
                    "la plataforma que la añade: el programa no cambia esa tabla"
                )
        return None

    def _missing_own(self) -> SchemaError | None:
        """What the program's tables lack of what the upgrades that were applied have made; `None` if nothing."""
        with contextlib.suppress(DatabaseError):
            applied = {row["name"] for row in self._execute(_statement("list_upgrades"), {})}
            return lost(self._execute(_statement("find_missing_own"), own_columns_wanted(applied)))
        return None

    def connect(self) -> None:
        """Connect now, once. Raises `DatabaseUnavailable`."""
        with self._lock:
            try:
                self._open()
            except psycopg2.Error as error:
                raise self._translated(error) from error

    def _translated(self, error: psycopg2.Error) -> DatabaseError:
        if self._connection is None and not _is_named(self._database_url):
            return DatabaseUnavailable(f"{_not_named()}; sin ella: {in_spanish(error.pgcode, _reason(error))}")
        return translated(error, lost=self._connection is None or self._connection.closed != 0)

    @contextlib.contextmanager
    def idle(self) -> Iterator[None]:
        """Inside this context, no thread is running a statement."""
        with self._lock:
            yield

    def forked(self) -> Connection:
        """Another connection to the same database, for a forked process: psycopg2 leaves this one alone there."""
        return Connection(self._database_url)

    def close(self) -> None:
        """Close the connection, if there is one."""
        with self._lock:
            if self._watchdog is not None:
                self._watchdog.end()
                self._watchdog = None
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _open(self) -> tuple[psycopg2.extensions.connection, Watchdog]:
        if self._connection is None or self._watchdog is None:
            os.environ.pop("PGTZ", None)  # naive timestamps are in the database's time zone, not in this process's
            self._connection = psycopg2.connect(
                self._database_url,
                connect_timeout=CONNECT_TIMEOUT_SECONDS,
                application_name="janitor_daemon",
                client_encoding="UTF8",
                keepalives_idle=15,
                keepalives_interval=5,
                keepalives_count=3,
                tcp_user_timeout=SILENCE_TIMEOUT_MILLISECONDS,
            )
            self._connection.autocommit = True
            speak_its_encoding(self._connection)
            self._watchdog = Watchdog(self._connection)
        return self._connection, self._watchdog


def own_columns_wanted(applied: Container[str]) -> Parameters:
    """The program's own columns after certain upgrades, as `find_missing_own` asks for them."""
    from sql.tables.own_tables import own_columns  # no run needs it while all is well

    pairs = [(table, column) for table, columns in own_columns(applied).items() for column in columns]
    return {"tables": [table for table, _ in pairs], "columns": [column for _, column in pairs]}


def lost(rows: Sequence[Row]) -> SchemaError | None:
    """The error for what `find_missing_own` has found; `None` for nothing."""
    if not rows:
        return None
    table, column = rows[0]["table_name"], rows[0]["column_name"]
    what = f"la tabla {table}" if rows[0]["is_table_missing"] else f"la columna {column} de la tabla {table}"
    return SchemaError(
        f"falta {what}, que este programa había creado: alguien la borró; 'init-db' no la repone, porque lo que "
        "guardaba se perdería sin aviso: recupérela de una copia de seguridad de la base de datos"
    )


@functools.cache
def _statement(name: str) -> str:
    """A statement preceded by settings of the same transaction: a lock timeout, and a synchronous commit to the
    server's disk. Sent as one string, the settings also hold on a transaction pooler, and end with the transaction.

    The role or database may have `synchronous_commit = off`. A crash of the server would then undo what was already
    acted upon: a commit after which the local copy was deleted, an attempt whose objects would then count as foreign,
    a fencing token that the next run would receive again.
    """
    text = ";\n".join(_file_of(part).read_text(encoding="utf-8") for part in name.split(", "))
    return f"SET LOCAL lock_timeout = '{LOCK_WAIT_SECONDS}s';\nSET LOCAL synchronous_commit = on;\n{text}"


def _file_of(name: str) -> Path:
    folder, _, statement = name.rpartition("/")
    return PROGRAM / (folder or "sql") / "queries" / f"{statement}.sql"


def _is_enough(error: DatabaseError, failures: int, seconds: float) -> bool:
    return failures >= TRIES_WHEN_BUSY if isinstance(error, DatabaseBusy) else seconds >= LOST_FOR_SECONDS


def _pause_seconds(error: DatabaseError, failures: int) -> float:
    """Random, so that conflicting transactions do not collide again."""
    if isinstance(error, DatabaseBusy):
        return random.uniform(0, min(0.2 * 2.0**failures, LONGEST_PAUSE_SECONDS))  # noqa: S311 not a secret
    return min(0.125 * 2.0**failures, LONGEST_PAUSE_SECONDS)


def _send(cursor: psycopg2.extensions.cursor, statement: str, parameters: Parameters | None) -> None:
    """Raises `DatabaseError` for a text that the database could store or search for only as a different text."""
    try:
        cursor.execute(statement, parameters)
    except ValueError as error:  # UnicodeEncodeError, or a NUL; the message would quote the text
        raise DatabaseError(
            "un texto no cabe en la codificación de la base de datos, o tiene un carácter nulo"
        ) from error


def _rows(cursor: psycopg2.extensions.cursor) -> list[Row]:
    """Rows by column name; made here, because psycopg2's dictionary rows cost more than a small statement."""
    if cursor.description is None:
        return []
    names = [column.name for column in cursor.description]
    return [dict(zip(names, values, strict=True)) for values in cursor]


def database_identity(database_url: str) -> str:
    """Names the database without user or password, so that runs against one database on a host find each other.

    Raises `SchemaError` if the URL cannot be parsed.
    """
    parts = parts_of(database_url)
    chosen = [
        parts.get("host") or parts.get("service") or os.environ.get("PGHOST", ""),
        parts.get("port") or os.environ.get("PGPORT", "5432"),
        parts.get("dbname") or os.environ.get("PGDATABASE", ""),
    ]
    return "/".join(chosen)


def require_database_uri(text: str, name: str) -> None:
    """Raises `SchemaError`, which calls the address by the name of the option or variable that holds it."""
    parts_of(text, name)


def database_password(database_url: str) -> str:
    """The password that will be used, '' if none, for the redactor. Raises `SchemaError` as above."""
    return parts_of(database_url).get("password") or os.environ.get("PGPASSWORD", "")


def parts_of(database_url: str, name: str = "DATABASE_URL") -> dict[str, str]:
    """The parts of an address. Raises `SchemaError`, which calls it by `name` and quotes no part of a password."""
    try:
        parts = dict(psycopg2.extensions.parse_dsn(database_url))
    except psycopg2.ProgrammingError as error:  # its message quotes the address
        raise SchemaError(_what_is_no_uri(database_url, str(error), name)) from None
    if _is_torn(database_url, parts):
        raise SchemaError(f"{name}: la contraseña tiene '@' o '/' sin codificar; {HOW_TO_ENCODE}")
    if not re.fullmatch(NUMBERS_OF_PORTS, parts.get("port", "")):
        raise SchemaError(f"{name}: el puerto no es un número (postgresql://usuario@host:5432/base)")
    return parts


def _what_is_no_uri(database_url: str, told_by_libpq: str, name: str) -> str:
    """Names a scheme or parameter and mentions a possible password; quotes nothing that may belong to the password."""
    scheme = re.match(SCHEME, database_url)
    if scheme and scheme[1] not in ("postgresql", "postgres"):
        return f"{name}: el esquema {scheme[1]} no se conoce; escriba postgresql://usuario@host/base"
    *_, parameters = database_url.rpartition("?")
    parameter = re.search(UNKNOWN_PARAMETER, told_by_libpq)
    if parameter and "@" not in parameters and "password" not in parameters:
        return f"{name}: el parámetro {parameter[1]} no se conoce; corríjalo o quítelo"
    message = f"{name} no es una URI de PostgreSQL válida (postgresql://usuario@host/base)"
    return f"{message}; {HOW_TO_ENCODE}" if re.search(SIGN_OF_A_LOGIN, database_url) else message


SCHEME = r"([A-Za-z][A-Za-z0-9+.-]*)://"

UNKNOWN_PARAMETER = r'^invalid dsn: invalid (?:URI query parameter|connection option)[^"]*"(\w+)"'

SIGN_OF_A_LOGIN = r"(?s)://[^/@]*:.*@|password"


HOW_TO_ENCODE = "codifique la contraseña: @ es %40, / es %2F, : es %3A, ? es %3F, # es %23, % es %25"

NUMBERS_OF_PORTS = "[0-9,]*"


def _is_torn(database_url: str, parts: Mapping[str, str]) -> bool:
    """Whether libpq has taken part of the password for another field, which it would look up and quote in errors.

    libpq ends user and password at the first `@`, and finds neither if a `/` comes before it.
    """
    if "://" not in database_url:
        return False
    ends_of_passwords = 1 if parts.keys() & {"user", "password"} else 0
    if not re.fullmatch(NUMBERS_OF_PORTS, parts.get("port", "")) and database_url.count("@") > ends_of_passwords:
        return True
    in_the_rest = database_url.count("@") > ends_of_passwords and "@" in parts.get("dbname", "")
    host = parts.get("host", "")
    return in_the_rest or ("@" in host and not host.startswith("/"))  # a directory of sockets may have one


def require_database_named(database_url: str) -> None:
    """Raises `DatabaseUnavailable` if nothing names the database, as in a wrong directory without a `.env`."""
    if not _is_named(database_url) and not Path(".env").exists():
        raise DatabaseUnavailable(_not_named())


def _is_named(database_url: str) -> bool:
    return bool(database_url) or any(map(os.environ.get, LIBPQS_OWN))


def _not_named() -> str:
    file = Path.cwd() / ".env"
    where = file if file.exists() else f"{file}, que no existe"
    return (
        f"falta DATABASE_URL: no está en el entorno ni en {one_line(where)}; inicie el programa en el directorio de su "
        ".env, o defínala"
    )


def _reason(error: psycopg2.Error) -> str:
    return one_line(str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__)


def translated(error: psycopg2.Error, *, lost: bool) -> DatabaseError:
    reason = in_spanish(error.pgcode, _reason(error))
    if lost:
        return DatabaseUnavailable(f"no se puede usar la base de datos: {reason}")
    if isinstance(error, psycopg2.errors.ReadOnlySqlTransaction):
        return DatabaseReadOnly("la base de datos solo admite lecturas, como una réplica")
    if isinstance(error, NOTHING_HAPPENED):
        return DatabaseBusy(f"la base de datos no hizo la operación, por otras que están en curso: {reason}")
    if isinstance(error, (psycopg2.errors.UndefinedTable, psycopg2.errors.UndefinedColumn)):
        return SchemaError(_what_is_missing(error, reason))
    if isinstance(error, psycopg2.errors.InsufficientPrivilege):
        return SchemaError(
            f"el usuario de la base de datos no tiene permiso: {reason}; concédaselo (GRANT) o cambie de usuario"
        )
    is_full_of_locks = SETTING_FOR_LOCKS in (error.diag.message_hint or "")
    return DatabaseError(NO_ROOM_FOR_LOCKS if is_full_of_locks else f"la base de datos rechazó la operación: {reason}")


def _what_is_missing(error: psycopg2.Error, reason: str) -> str:
    """`init-db` creates all missing tables; existing tables of the platform belong to the platform."""
    if isinstance(error, psycopg2.errors.UndefinedColumn) and "janitor_" not in reason:
        return (
            f"a una tabla de la plataforma le falta una columna ({reason}); aplique la migración de la plataforma que "
            "la añade: el programa no cambia esas tablas"
        )
    return f"falta una tabla o columna ({reason}); ejecute 'init-db'"
