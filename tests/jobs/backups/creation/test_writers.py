"""Others write while backups are made: each holds exactly what its snapshot shows, also beside TRUNCATE and CLUSTER."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from jobs.backups.creation.full import make_full_once
from jobs.backups.creation.make import make_differential, make_full
from tests.jobs.backups.lying_programs import lying_programs
from tests.jobs.backups.pairs import Pair, normal
from tests.servers.postgres.postgres_proxy import Accident, PostgresProxy

STATEMENTS = (
    "INSERT INTO a (b) SELECT md5(random()::text) FROM generate_series(1, 20)",
    "UPDATE a SET b = md5(b) WHERE random() < 0.02",
    "DELETE FROM a WHERE random() < 0.02",
    "VACUUM FULL a",
    "INSERT INTO short SELECT generate_series(1, 5)",
    "TRUNCATE short",
    "CLUSTER a USING a_pkey",
)

REFERENCE = (
    'kept=(); for argument; do case "$argument" in --section=*) ;; *) kept+=("$argument") ;; esac; done; '
    '"$true" "${{kept[@]}}" > {path} && exec "$true" "$@"'
)
"""Makes an ordinary dump of the same snapshot, to compare with."""


@contextlib.contextmanager
def writing(database_url: str) -> Iterator[None]:
    """Within, somebody else changes rows and rewrites tables, and does not wait long for locks."""
    ended = threading.Event()

    def write() -> None:
        connection = psycopg2.connect(database_url)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '50ms'")
            for statement in itertools.cycle(STATEMENTS):
                if ended.is_set():
                    break
                with contextlib.suppress(psycopg2.errors.LockNotAvailable):
                    cursor.execute(statement)
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()


def test_a_backup_beside_writers_is_its_snapshot(pair: Pair, tmp_path: Path) -> None:
    pair.change(
        "CREATE TABLE a (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), b text)",
        "CREATE TABLE short (n integer)",
        "INSERT INTO a (b) SELECT md5(g::text) FROM generate_series(1, 3000) g",
        "CLUSTER a USING a_pkey",  # the first time it also changes the schema: which index the table is clustered by
    )
    with writing(pair.source_url):
        full = pair.full()
        reference = tmp_path / "reference"
        pair.use_programs(
            lying_programs(pair.binaries, tmp_path / "programs", "post-data", REFERENCE.format(path=reference))
        )
        differential = pair.differential(full)
    pair.restore(full, differential)
    assert pair.contents(pair.names[1]) == list(normal(reference.read_bytes()))


ONCE = (
    '[ ! -e {script} ] || {{ mv {script} {script}.done; {psql} -qX -v ON_ERROR_STOP=1 -f {script}.done "{url}"; }}; '
    'exec "$true" "$@"'
)
"""Somebody else runs a script right before the rows are read for the first time."""

SWAP = (
    "ALTER SCHEMA blue RENAME TO other; ALTER SCHEMA green RENAME TO blue; ALTER SCHEMA other RENAME TO green; "
    "UPDATE blue.t SET v = 'green and blue'"
)


class Impatient(threading.Event):
    """Tries again at once."""

    def wait(self, timeout: float | None = None) -> bool:
        return False


@pytest.mark.parametrize(
    ("renaming", "is_differential"),
    [(SWAP, False), (SWAP, True), ("ALTER TYPE mood RENAME VALUE 'sad' TO 'glum'", False)],
)
def test_what_is_renamed_meanwhile_gives_no_table_the_rows_of_another(
    pair: Pair, tmp_path: Path, renaming: str, is_differential: bool
) -> None:
    """No lock prevents it, neither of schemas that change places nor of an enum's values: it is made again."""
    pair.change(
        "CREATE TYPE mood AS ENUM ('sad', 'ok')",
        *(f"CREATE SCHEMA {name}; CREATE TABLE {name}.t (v text, m mood)" for name in ("blue", "green")),
        *(f"INSERT INTO {name}.t SELECT '{name}', 'sad' FROM generate_series(1, 9)" for name in ("blue", "green")),  # noqa: S608
    )
    made = [pair.full()] if is_differential else []
    script = tmp_path / "renaming.sql"
    script.write_text(renaming)
    lie = ONCE.format(script=script, psql=pair.binaries / "psql", url=pair.source_url)
    pair.use_programs(lying_programs(pair.binaries, tmp_path / "programs", "data", lie))
    if is_differential:
        made.append(make_differential(pair.source, pair.target, made[0].path, pair.when(), Impatient()))
    else:
        made.append(make_full(pair.source, pair.target, pair.when(), Impatient()))
    assert not script.exists()
    pair.restore(*made)
    pair.require_equal()


def test_tables_that_come_or_go_while_others_are_locked_prevent_no_backup(pair: Pair) -> None:
    """Some databases create and drop tables all the time, and five tries a day would not suffice."""
    pair.change("CREATE TABLE a (b integer)", "CREATE TABLE going (b integer)", "INSERT INTO a VALUES (1)")
    with PostgresProxy(pair.source_url, b"LOCK TABLE", Accident.HELD) as proxy:

        def come_and_go() -> None:
            proxy.met.wait()
            pair.change("DROP TABLE going", "CREATE TABLE coming (b integer)")
            proxy.release()

        other = threading.Thread(target=come_and_go)
        other.start()
        source = dataclasses.replace(pair.source, database_url=proxy.url)
        full = make_full_once(source, pair.target, pair.when(), threading.Event(), "")
        other.join()
    assert full.tables == 2
    pair.restore(full)
    pair.require_equal()
