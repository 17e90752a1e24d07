"""A database with its backups, and an empty one into which plain `gunzip | psql` restores them."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2

from demo.servers.postgres import EmbeddedPostgres
from jobs.backups.creation.differential import Limits
from jobs.backups.creation.make import make_differential, make_full
from jobs.backups.errors import FullBackupNeeded
from jobs.backups.files.directory import Target
from jobs.backups.files.names import NAME as BACKUP_NAME
from jobs.backups.files.names import SUFFIX, description_name
from jobs.backups.reading.source import Source
from jobs.backups.result import BackupFile
from tests.databases.lent_databases import DISCONNECTED

FIRST = datetime(2026, 3, 2, 3, 0, 0)  # noqa: DTZ001 the local time of a schedule
SCRIPTS = Path(__file__).parent
NAME = rb'"(?:[^"]|"")*"'
ROW_BLOCK = re.compile(
    rb"^(COPY " + NAME + rb"\." + NAME + rb" (?:\((?:" + NAME + rb"(?:, )?)*\))? *FROM stdin;\n)(.*?)^\\\.\n",
    re.DOTALL | re.MULTILINE,
)
VARIES = re.compile(rb"^(?:\\(?:un)?restrict .*|-- (?:Dumped|Started|Completed) .*)\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class RowsRead:
    """How many times a row of a table was looked up by a key, and how many were read one after the other."""

    by_key: int
    one_by_one: int


class PsqlFailed(Exception):
    """`psql` refused a file; what it said."""


class Pair:
    """`source` is changed and backed up, `restored` is what the backups give. Both belong to one role.

    A plain owner has no other rights. Backups are made by the superuser unless `backed_up_by_owner` is set.
    """

    def __init__(
        self,
        server: EmbeddedPostgres,
        number: int,
        directory: Path,
        *,
        is_owner: bool,
        locale: str = "",
        encoding: str = "UTF8",
    ) -> None:
        self._server = server
        self._administrator = server.database_url
        self._times = itertools.count()
        self._programs: Path | None = None
        self.backed_up_by_owner = False
        self.names = (f"source_{number}", f"restored_{number}")
        self.role = f"owner_{number}" if is_owner else ""
        self.directory = directory / f"backups_{number}"
        self._options = f" TEMPLATE template0 LOCALE '{locale}' ENCODING '{encoding}'" if locale else ""
        if is_owner:
            self._options += f" OWNER {self.role}"
            self.administer(f"CREATE ROLE {self.role} LOGIN PASSWORD 'owner'")
        for name in self.names:
            self.administer(f"CREATE DATABASE {name}{self._options}")

    @property
    def source_url(self) -> str:
        """The database that is backed up."""
        return self._url(self.names[0])

    @property
    def restored_url(self) -> str:
        """The database into which backups are restored."""
        return self._url(self.names[1])

    @property
    def source(self) -> Source:
        """What the engine is given."""
        url = self.source_url if self.backed_up_by_owner else self._server.url_of(self.names[0])
        return Source(url, self._programs or self.binaries)

    @property
    def binaries(self) -> Path:
        """The directory of the server's own programs."""
        return self._server.binaries

    def use_programs(self, directory: Path) -> None:
        """Make backups with the programs of a directory."""
        self._programs = directory

    @property
    def target(self) -> Target:
        """Where the backups go."""
        return Target(self.directory)

    def _url(self, database: str) -> str:
        parts = urlsplit(self._server.url_of(database))
        return f"postgresql://{self.role}:owner@127.0.0.1:{parts.port}{parts.path}" if self.role else parts.geturl()

    def administer(self, statement: str) -> None:
        """Run a statement as the superuser, in another database."""
        run(self._administrator, statement)

    def administer_in_latin1(self, statement: str) -> None:
        """The same in a database of that encoding, byte by byte: bytes above 127 are written as surrogates."""
        name = f"{self.names[0]}_latin1"
        self.administer(f"CREATE DATABASE {name} TEMPLATE template0 LOCALE 'C' ENCODING 'LATIN1'")
        try:
            with contextlib.closing(
                psycopg2.connect(self._server.url_of(name), client_encoding="LATIN1")
            ) as connection:
                connection.autocommit = True
                with connection.cursor() as cursor:
                    cursor.execute(statement.encode("utf-8", "surrogateescape"))
        finally:
            self._drop(name)

    def change(self, *statements: str) -> None:
        """Run statements in the source."""
        run(self.source_url, *statements)

    def change_restored(self, *statements: str) -> None:
        """Run statements in the restored database."""
        run(self.restored_url, *statements)

    def comment_of_restored(self) -> str:
        """What the comment of the restored database says."""
        with contextlib.closing(psycopg2.connect(self.restored_url)) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", self.names[1:]
            )
            ((comment,),) = cursor.fetchall()
            return str(comment)

    def rows_read(self, table: str) -> RowsRead:
        """What the server counts, in the restored database, since it was made."""
        with contextlib.closing(psycopg2.connect(self.restored_url)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT idx_scan, seq_tup_read FROM pg_stat_user_tables WHERE relname = %s", (table,))
            (counts,) = cursor.fetchall()
            return RowsRead(*counts)

    def change_by_script(self, name: str) -> None:
        """Run `{name}.sql` in the source, and `{name}_by_superuser.sql` with all rights."""
        for file, url in (
            (f"{name}.sql", self.source_url),
            (f"{name}_by_superuser.sql", self._server.url_of(self.names[0])),
        ):
            if (SCRIPTS / file).exists():
                command = [
                    str(self.binaries / "psql"),
                    "-X",
                    "-q",
                    "-o",
                    "/dev/null",
                    "-v",
                    "ON_ERROR_STOP=1",
                    "-f",
                ]
                subprocess.run([*command, str(SCRIPTS / file), url], check=True, timeout=120)

    def full(self) -> BackupFile:
        """Make a full backup."""
        return make_full(self.source, self.target, self.when(), threading.Event())

    def differential(self, base: BackupFile, limits: Limits | None = None) -> BackupFile:
        """Make a differential of a full backup."""
        return make_differential(self.source, self.target, base.path, self.when(), threading.Event(), limits)

    def differential_or_full(self, limits: Limits | None = None) -> BackupFile:
        """Make a differential, or what takes its place."""
        base = newest_full(self.target.directory)
        try:
            if base is None:
                raise FullBackupNeeded("no hay ningún completo en el directorio")
            return make_differential(self.source, self.target, base, self.when(), threading.Event(), limits)
        except FullBackupNeeded as needed:
            return make_full(self.source, self.target, self.when(), threading.Event(), reason=str(needed))

    def when(self) -> datetime:
        """The next day at three."""
        return FIRST + timedelta(days=next(self._times))

    def restore(self, *backups: BackupFile) -> None:
        """Load files into the other database, as anybody does. Raises `PsqlFailed`."""
        for backup in backups:
            self.psql(backup.path)

    def psql(self, path: Path, **environment: str) -> None:
        """`gunzip -c FILE | psql -v ON_ERROR_STOP=1 DB`. Raises `PsqlFailed`."""
        ended = self.psql_whatever_comes(path, **environment)
        if ended.returncode != 0:
            raise PsqlFailed(ended.stderr)

    def psql_whatever_comes(self, path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """The same; how it ended."""
        command = 'set -o pipefail; gunzip -c "$1" | "$2" $PSQL_OPTIONS -q -v ON_ERROR_STOP=1 "$3"'
        return subprocess.run(
            ["bash", "-c", command, "bash", str(path), str(self.binaries / "psql"), self.restored_url],
            check=False, capture_output=True, text=True, timeout=120,
            env={**os.environ, "PSQL_OPTIONS": "-X", **environment},
        )  # fmt: skip

    def psql_by_an_operator(self, path: Path, own_settings: Path) -> str:
        """The same with what an operator's `~/.psqlrc` says; the complaints of `psql`. Raises `PsqlFailed`."""
        ended = self.psql_whatever_comes(path, PSQL_OPTIONS="", PSQLRC=str(own_settings))
        if ended.returncode != 0:
            raise PsqlFailed(ended.stderr)
        return ended.stderr

    def empty_restored(self) -> None:
        """Make the other database empty."""
        name = self.names[1]
        self._drop(name)
        self.administer(f"CREATE DATABASE {name}{self._options}")

    def _drop(self, name: str) -> None:
        self.administer(DISCONNECTED.format(name=name))
        self.administer(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def contents(self, database: str) -> list[bytes]:
        """What an ordinary dump of a database says, rows in any order, line by line; its own settings aside."""
        options = {"PGTZ": "UTC", "PGOPTIONS": "-c standard_conforming_strings=on"}
        dump = subprocess.run(
            [self.binaries / "pg_dump", "--quote-all-identifiers", self._server.url_of(database)],
            check=True, capture_output=True, timeout=120, env={**os.environ, **options},
        ).stdout  # fmt: skip
        return list(normal(dump))

    def require_equal(self) -> None:
        """Fail unless the restored database is the source."""
        expected, found = map(self.contents, self.names)
        differing = [(left, right) for left, right in zip(expected, found, strict=False) if left != right][:5]
        assert not differing, differing
        assert len(found) == len(expected)

    def close(self) -> None:
        """Remove the databases."""
        for name in self.names:
            self._drop(name)
        if self.role:
            self.administer(f"DROP ROLE {self.role}")


def normal(dump: bytes) -> Iterator[bytes]:
    """First what describes the tables, then all rows: which partition an enum is in differs between databases."""
    rows: list[bytes] = []

    def take(block: re.Match[bytes]) -> bytes:
        rows.extend(block[1] + row for row in block[2].splitlines())
        return b""

    yield from ROW_BLOCK.sub(take, VARIES.sub(b"", dump)).split(b"\n")
    yield from sorted(rows)


def run(database_url: str, *statements: str) -> None:
    """Run statements, each a transaction of its own."""
    connection = psycopg2.connect(database_url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
    finally:
        connection.close()


def newest_full(directory: Path) -> Path | None:
    """The newest full backup that has its description beside it."""
    if not directory.is_dir():
        return None
    found = [
        path
        for path in directory.iterdir()
        if (name := BACKUP_NAME.fullmatch(path.name))
        and name[2] == "FULL"
        and (directory / description_name(path.name)).exists()
    ]
    return max(found, key=lambda path: path.name.removesuffix(SUFFIX), default=None)
