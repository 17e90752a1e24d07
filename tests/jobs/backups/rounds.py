"""Seeded rounds: a random database, a full backup, some days with a differential each, all restored and compared.

By hand: `python -m tests.jobs.backups.rounds --count N --seed S` (`make differential N=`).
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg2

from demo.servers.postgres import EmbeddedPostgres
from jobs.backups.creation.differential import Limits
from jobs.backups.result import Kind
from tests.jobs.backups.pairs import Pair
from tests.jobs.backups.random_databases import RandomDatabase
from tests.servers.postgres.older_postgres import OlderPostgres

NUMBERS = itertools.count(100_000)
DAYS = 2
SMALL_MEMORY = Limits(rows_in_memory=20)
LOCALES = (("C", "UTF8"), ("C.UTF-8", "UTF8"), ("POSIX", "UTF8"), ("C", "LATIN1"))
ODD_SETTINGS = {
    "array_nulls": "off",
    "bytea_output": "escape",
    "datestyle": "German,DMY",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "exit_on_error": "on",
    "extra_float_digits": "0",
    "intervalstyle": "sql_standard",
    "plpgsql.extra_errors": "all",
    "plpgsql.variable_conflict": "use_variable",
    "quote_all_identifiers": "on",
    "timezone": "America/Caracas",
    "transform_null_equals": "on",
    "xmloption": "document",
}
"""Of the session that restores."""


def play(server: EmbeddedPostgres, seed: int, directory: Path) -> None:
    """Play one round. Every second one is of a plain owner; of the rest, some use files instead of memory."""
    locale, encoding = LOCALES[seed // 4 % len(LOCALES)]
    made = Pair(server, next(NUMBERS), directory, is_owner=seed % 2 == 1, locale=locale, encoding=encoding)
    with contextlib.closing(made) as pair:
        pair.backed_up_by_owner = True
        if seed % 7 > 4:
            pair.administer(f"ALTER DATABASE {pair.names[0]} SET standard_conforming_strings = off")
        database = RandomDatabase(seed)
        pair.change(*database.schema())
        change(pair, database.rows())
        full = pair.full()
        for _ in range(DAYS):
            change(pair, database.changes())
            differential = pair.differential(full, SMALL_MEMORY if seed % 3 == 0 else None)
            assert differential.kind is Kind.DIFFERENTIAL
            for backup in (full, differential):
                pair.psql(backup.path, PGOPTIONS=as_options(ODD_SETTINGS) if seed % 5 > 1 else "")
            pair.require_equal()
            pair.empty_restored()


def as_options(settings: Mapping[str, str]) -> str:
    """What `PGOPTIONS` says."""
    return " ".join(f"-c {name}={value}" for name, value in settings.items())


def change(pair: Pair, statements: Iterator[str]) -> None:
    """Run the statements that the database allows: a random one may break a constraint."""
    for statement in statements:
        with contextlib.suppress(psycopg2.IntegrityError, psycopg2.DataError):
            pair.change(statement)


def main() -> int:
    """Play as many rounds as are asked for, on both servers in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="janitor-rounds-")))
        directory.chmod(0o755)
        servers: list[EmbeddedPostgres] = [
            stack.enter_context(make(directory)) for make in (newest_server, older_server)
        ]
        for seed in range(chosen.seed, chosen.seed + chosen.count):
            try:
                play(servers[seed // 2 % 2], seed, directory)
            except BaseException:
                sys.stderr.write(f"seed {seed}\n")
                raise
            if seed % 10 == 0:
                sys.stderr.write(f"{seed} ... {time.monotonic() - started:.0f} s\n")
    sys.stdout.write(
        f"{chosen.count} rounds, {chosen.count * DAYS} differentials, {time.monotonic() - started:.0f} s\n"
    )
    return 0


def newest_server(directory: Path) -> EmbeddedPostgres:
    """The one that the tests use."""
    return EmbeddedPostgres(directory / "newest", SETTINGS)


def older_server(directory: Path) -> EmbeddedPostgres:
    """PostgreSQL 16."""
    return OlderPostgres(directory / "older", SETTINGS)


SETTINGS = {"fsync": "off", "wal_level": "logical"}

if __name__ == "__main__":
    sys.exit(main())
