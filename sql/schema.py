"""Creates and upgrades the daemon's own tables, and tells when they do not fit the program."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from sql.connection import Connection
from sql.errors import SchemaError

HERE = Path(__file__).parent
UPGRADE_FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
ADVISORY_LOCK = 0x6A616E69746F72  # "janitor": one init-db at a time


@dataclass(frozen=True, slots=True)
class Upgrade:
    """One numbered file of `sql/upgrades`. Once applied anywhere it must never be edited."""

    number: int
    name: str
    statements: str

    @property
    def sha256(self) -> str:
        """Hash of the file, kept with the database to notice later edits."""
        return hashlib.sha256(self.statements.encode()).hexdigest()


def known_upgrades(directory: Path = HERE / "upgrades") -> tuple[Upgrade, ...]:
    """The upgrades that this version of the program brings, in order."""
    files = sorted(path for path in directory.iterdir() if UPGRADE_FILE_NAME.fullmatch(path.name))
    return tuple(Upgrade(int(path.name[:4]), path.name, path.read_text(encoding="utf-8")) for path in files)


def initialize(connection: Connection, upgrades: tuple[Upgrade, ...]) -> tuple[str, ...]:
    """Create the missing platform tables and apply the missing upgrades; give the names of those applied.

    Each step is one transaction behind an advisory lock, sent as one string, so it also holds on a transaction
    pooler: two that start at once take turns, and the second finds nothing to do. Raises `SchemaError` when an
    applied file was edited since, or when the database is newer than the program.
    """
    applied: list[str] = []
    connection.execute_script(
        _locked((HERE / "upgrades_table.sql").read_text(), (HERE / "platform_tables.sql").read_text())
    )
    for upgrade in missing_upgrades(connection, upgrades):
        connection.execute_script(_locked(_guarded(upgrade)))
        applied.append(upgrade.name)
    return tuple(applied)


def missing_upgrades(connection: Connection, upgrades: tuple[Upgrade, ...]) -> tuple[Upgrade, ...]:
    """The upgrades that the database lacks. Raises `SchemaError` as `initialize` does, also without any table."""
    applied = {row["number"]: row for row in connection.query("list_upgrades")}
    known = {upgrade.number: upgrade for upgrade in upgrades}
    for number, row in applied.items():
        if number not in known:
            raise SchemaError(
                f"la base de datos tiene la actualización {row['name']}, que este programa no conoce: "
                "es de una versión más nueva; actualice el programa"
            )
        if row["sha256"] != known[number].sha256:
            raise SchemaError(
                f"el fichero {known[number].name} cambió después de aplicarse; restaure el original: "
                "los cambios van en una actualización nueva"
            )
    return tuple(upgrade for upgrade in upgrades if upgrade.number not in applied)


def require_current(connection: Connection, upgrades: tuple[Upgrade, ...]) -> None:
    """Raises `SchemaError` unless the database has exactly the tables of this version."""
    missing = missing_upgrades(connection, upgrades)
    if missing:
        raise SchemaError(f"a la base de datos le falta {missing[0].name}; ejecute 'init-db'")


def _locked(*scripts: str) -> str:
    """Statements sent as one string are one transaction (PostgreSQL, "Multiple Statements in a Simple Query")."""
    return "\n".join((f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK});", *scripts))


def _guarded(upgrade: Upgrade) -> str:
    """The upgrade's statements, run only if another `init-db` has not applied it while this one waited."""
    values = f"{upgrade.number}, '{upgrade.name}', '{upgrade.sha256}'"  # from our own files: the name fits the pattern
    record = f"INSERT INTO janitor_upgrades (number, name, sha256) VALUES ({values});"  # noqa: S608
    return (
        f"DO $guard$ BEGIN IF NOT EXISTS (SELECT FROM janitor_upgrades WHERE number = {upgrade.number}) THEN\n"
        f"EXECUTE $upgrade$\n{upgrade.statements}\n{record}\n$upgrade$;\nEND IF; END $guard$;"
    )
