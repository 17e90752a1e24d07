"""Creates and upgrades the daemon's own tables, and detects tables that do not fit the program."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

from sql.connection import Connection, Row, lost, own_columns_wanted
from sql.errors import DatabaseError, SchemaError

SQL = Path(__file__).parent.parent
JOBS = SQL.parent / "jobs"
UPGRADE_FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
CREATED_TABLE = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)")
EXISTS = re.compile(r'(?:column "(?P<column>\w+)" of relation "(?P<table>\w+)"|"(?P<name>\w+)").* already exists')
"""What PostgreSQL says of an object that is there already."""
SAME_TABLES = {
    "0003_places.sql": ("3d168e93b914769538caa97de05c8e5c934aba1c2e5c24f74e73728b73d7403f",),  # other comments
    # It also allowed kinds of notices that nothing writes.
    "0007_notices.sql": ("628597c8fa408b9fa603aa1e476701b9401470f6057acd5e26d539ccfb08b840",),
}
"""Hashes of earlier texts of an upgrade, by its name, which made tables that this program uses as they are."""
ADVISORY_LOCK = 0x6A616E69746F72  # "janitor": one init-db at a time


class Upgrade(NamedTuple):
    """One numbered file of `sql/upgrades`, or of a job's own. Once applied anywhere it must never be edited."""

    number: int
    name: str
    statements: str
    job: str = ""
    """The folder of the job that owns it, which numbers its upgrades separately; '' for tables that all jobs share."""

    @property
    def key(self) -> tuple[str, int]:
        """Its identity: job and number."""
        return self.job, self.number

    @property
    def path(self) -> str:
        """Where its file is in the program."""
        return f"jobs/{self.job}/upgrades/{self.name.partition('/')[2]}" if self.job else f"sql/upgrades/{self.name}"

    @property
    def record_table(self) -> str:
        """The table in which a database notes that it was applied."""
        return "janitor_job_upgrades" if self.job else "janitor_upgrades"

    @property
    def sha256(self) -> str:
        """Hash of the file, kept with the database to notice later edits."""
        return hashlib.sha256(self.statements.encode()).hexdigest()


def known_upgrades(directory: Path = SQL / "upgrades", jobs: Path = JOBS) -> tuple[Upgrade, ...]:
    """The upgrades in this version of the program, in order: those that all jobs share, then job by job.

    Jobs' folders are part of the program, as this file is: packages installed elsewhere cannot add upgrades.
    """
    own = sorted(jobs.glob("*/upgrades"))
    return (
        *_upgrades_in(directory, ""),
        *(upgrade for folder in own for upgrade in _upgrades_in(folder, folder.parent.name)),
    )


def _upgrades_in(directory: Path, job: str) -> tuple[Upgrade, ...]:
    files = sorted(path for path in directory.iterdir() if UPGRADE_FILE_NAME.fullmatch(path.name))
    prefix = f"{job}/" if job else ""
    return tuple(
        Upgrade(int(path.name[:4]), prefix + path.name, path.read_text(encoding="utf-8"), job) for path in files
    )


def initialize(connection: Connection, upgrades: tuple[Upgrade, ...]) -> tuple[str, ...]:
    """Create the missing platform tables and apply the missing upgrades; return the names of those applied.

    Each step is one transaction behind an advisory lock, sent as one string, so it also holds on a transaction
    pooler: two that start at once take turns, and the second finds nothing to do. Raises `SchemaError` when an
    applied file was edited since, when the database is newer than the program, or when somebody has removed a table
    or a column that an upgrade had made.
    """
    applied: list[str] = []
    connection.execute_script(
        _locked((SQL / "upgrades_table.sql").read_text(), (SQL / "platform_tables.sql").read_text())
    )
    for upgrade in missing_upgrades(connection, upgrades):
        try:
            connection.execute_script(_locked(_guarded(upgrade)))
        except DatabaseError as error:
            what = f"no se pudo aplicar {upgrade.name}, de la que no queda nada hecho: {error}"
            raise type(error)(f"{what}{_way_out(upgrade, str(error))}") from error
        applied.append(upgrade.name)
    require_whole(connection)
    return tuple(applied)


def _way_out(upgrade: Upgrade, error: str) -> str:
    """What to do where something of an upgrade is there that the database has no record of; '' for other errors.

    Nothing with rows in it is to be dropped: it is set aside, and what it holds is brought back afterwards.
    """
    found = EXISTS.search(error)
    if found is None:
        return ""
    tables = CREATED_TABLE.findall(upgrade.statements)
    if found["column"]:
        table, column = found["table"], found["column"]
        aside = f"apártela con ALTER TABLE {table} RENAME COLUMN {column} TO {column}_anterior"
        back = "copie después sus valores"
    elif found["name"] in tables:
        moved = "; ".join(f"ALTER TABLE IF EXISTS {name} SET SCHEMA anterior" for name in tables)
        aside = f"aparte sus tablas con CREATE SCHEMA anterior; {moved}"
        back = "copie después sus filas"
    else:
        aside, back = f"borre {found['name']}, que no guarda filas", "no hay nada que devolver"
    return (
        ". Está hecha a medias, o alguien borró su anotación: lo mejor es recuperar la base de datos de una copia; "
        f"si no, pare cron, {aside}, repita 'init-db' y {back}"
    )


def require_whole(connection: Connection) -> None:
    """Raises `SchemaError` if a table or a column that an upgrade had made is gone."""
    applied = {row["name"] for row in connection.query("list_upgrades")}
    error = lost(connection.query("find_missing_own", own_columns_wanted(applied)))
    if error is not None:
        raise error


def missing_upgrades(connection: Connection, upgrades: tuple[Upgrade, ...]) -> tuple[Upgrade, ...]:
    """The upgrades that the database lacks. Raises `SchemaError` as `initialize`, also if there are no tables."""
    applied = {(row["job"], row["number"]): row for row in _applied(connection)}
    known = {upgrade.key: upgrade for upgrade in upgrades}
    for key, row in applied.items():
        if key not in known:
            raise SchemaError(
                f"la base de datos tiene la actualización {row['name']}, que este programa no conoce: "
                "es de una versión más nueva; actualice el programa"
            )
        if row["sha256"] not in (known[key].sha256, *SAME_TABLES.get(known[key].name, ())):
            raise _edited(known[key], row["sha256"])
    return tuple(upgrade for upgrade in upgrades if upgrade.key not in applied)


def _applied(connection: Connection) -> list[Row]:
    """What the database has noted; one from before jobs had upgrades of their own lacks the table of these."""
    try:
        return connection.query("list_upgrades")
    except SchemaError:
        return connection.query("list_shared_upgrades")


def _edited(upgrade: Upgrade, applied_sha256: str) -> SchemaError:
    """What to do where the database was made by another text of an upgrade: the file was edited here, or there."""
    of_job = f"job = '{upgrade.job}' AND " if upgrade.job else ""
    note = f"UPDATE {upgrade.record_table} SET sha256 = '{upgrade.sha256}' WHERE {of_job}number = {upgrade.number}"  # noqa: S608
    return SchemaError(
        f"el fichero {upgrade.name} cambió después de aplicarse: la base de datos se hizo con uno de sha256 "
        f"{applied_sha256[:12]}, y este tiene {upgrade.sha256[:12]}. Qué hacer: si alguien lo editó en este equipo, "
        f"restáurelo ('git checkout -- {upgrade.path}'); si no, la base de datos es de una versión intermedia: haga "
        f"una copia de ella, compare los dos ('git log -p -- {upgrade.path}'), haga en sus tablas lo que falte y "
        f"anótelo con {note}"
    )


def require_current(connection: Connection, upgrades: tuple[Upgrade, ...]) -> None:
    """Raises `SchemaError` unless the database has exactly this version's tables."""
    missing = missing_upgrades(connection, upgrades)
    if missing:
        names = ", ".join(upgrade.name for upgrade in missing)
        verb = "le falta" if len(missing) == 1 else "le faltan"
        raise SchemaError(f"a la base de datos {verb} {names}; ejecute 'init-db'")


def _locked(*scripts: str) -> str:
    """Statements sent as one string are one transaction (PostgreSQL, "Multiple Statements in a Simple Query")."""
    return "\n".join((f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK});", *scripts))


def _guarded(upgrade: Upgrade) -> str:
    """The upgrade's statements, run only if another `init-db` has not applied it while this one waited."""
    table = upgrade.record_table
    key = {"number": str(upgrade.number), **({"job": f"'{upgrade.job}'"} if upgrade.job else {})}
    row = {**key, "name": f"'{upgrade.name}'", "sha256": f"'{upgrade.sha256}'"}  # our own files: names fit the pattern
    applied = " AND ".join(f"{column} = {value}" for column, value in key.items())
    record = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(row.values())});"  # noqa: S608
    return (
        f"DO $guard$ BEGIN IF NOT EXISTS (SELECT FROM {table} WHERE {applied}) THEN\n"
        f"EXECUTE $upgrade$\n{upgrade.statements}\n{record}\n$upgrade$;\nEND IF; END $guard$;"
    )
