"""What depends on the order of columns and of statements, on settings of the database, or on those of `psql`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

import psycopg2
import pytest

from jobs.backups.errors import DamagedBackup, FullBackupNeeded
from jobs.backups.files.description import read_description
from jobs.backups.files.names import description_name
from jobs.backups.reading.dump_parser import Rows, TableBegins, parsed, parsed_in_parts
from jobs.backups.reading.programs import find_programs
from jobs.backups.result import BackupFile
from jobs.backups.verification.proof import prove
from jobs.backups.verification.scratch_server import scratch_database
from tests.jobs.backups.lying_programs import lying_programs
from tests.jobs.backups.pairs import Pair


def require_equal_answers(pair: Pair, query: str) -> None:
    """Fail unless both databases give the same rows, and some."""
    answers = []
    for url in (pair.source_url, pair.restored_url):
        with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            answers.append(cursor.fetchall())
    assert answers[0] == answers[1] != []


def prove_in_a_server_of_its_own(pair: Pair, full: BackupFile, differential: BackupFile | None = None) -> None:
    """Fail unless it restores there to what was backed up."""
    programs = find_programs(18, "18", pair.binaries)
    description = read_description(pair.directory / description_name(full.path.name))
    with scratch_database(programs, description, threading.Event()) as url:
        changes = differential.path if differential else None
        prove(programs, url, description, full.path, changes, threading.Event())


PARTITIONED = (
    "CREATE TYPE mood AS ENUM ('sad', 'ok', 'glad', 'calm', 'other')",
    "CREATE TABLE {table} (m mood, a text, b text{key}) PARTITION BY HASH (m)",
    "CREATE TABLE {table}_0 PARTITION OF {table} FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
    "CREATE TABLE {table}_1 (b text {null}, a text {null}, m mood {null})",
    "ALTER TABLE {table} ATTACH PARTITION {table}_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    "INSERT INTO {table} SELECT (enum_range(NULL::mood))[1 + g % 5], 'a' || g, 'b' || g FROM generate_series(1, 100) g",
)


def test_partitions_of_one_table_may_have_their_columns_in_another_order(pair: Pair) -> None:
    """By the hash of an enum they are dumped through their root, each in its own order, and restored elsewhere."""
    pair.change(
        PARTITIONED[0],
        *(text.format(table="heap", key="", null="") for text in PARTITIONED[1:]),
        *(text.format(table="keyed", key=", PRIMARY KEY (m, a, b)", null="NOT NULL") for text in PARTITIONED[1:]),
    )
    full = pair.full()
    pair.change(
        *(statement.format(table)
          for table in ("heap", "keyed")
          for statement in ("UPDATE {} SET a = b, b = a WHERE a LIKE '%7'", "DELETE FROM {} WHERE b = 'b4'",
                            "INSERT INTO {} SELECT unnest(enum_range(NULL::mood)), 'x', 'y'")),
    )  # fmt: skip
    differential = pair.differential(full)
    pair.restore(full, differential)
    for table in ("heap", "keyed"):
        require_equal_answers(pair, f"SELECT m, a, b FROM {table} ORDER BY 1, 2, 3")  # noqa: S608
    prove_in_a_server_of_its_own(pair, full, differential)


def test_the_rows_of_all_partitions_come_in_the_order_of_the_first_one() -> None:
    dump = b'COPY "s"."t" ("a", "b", "c") FROM stdin;\n1\t2\t3\n\\.\nCOPY "s"."t" ("c", "a", "b") FROM stdin;\n'
    text = dump + b"6\t4\t5\n\\N\t\\\\\t\n\\.\n"
    for size in (1, 7, 1000):
        events = list(parsed(text[first : first + size] for first in range(0, len(text), size)))
        rows = b"".join(event.text for event in events if isinstance(event, Rows))
        assert rows == b"1\t2\t3\n4\t5\t6\n\\\\\t\t\\N\n"
        assert {event.columns for event in events if isinstance(event, TableBegins)} == {(b'"a"', b'"b"', b'"c"')}
    of_other_columns = text.replace(b'("c", ', b'("d", ')
    with pytest.raises(DamagedBackup):
        list(parsed([of_other_columns]))
    assert len(list(parsed_in_parts([of_other_columns]))) == len(events), "a full backup does not compare rows"


def test_partitions_with_other_columns_become_a_full_backup(pair: Pair, tmp_path: Path) -> None:
    """Before PostgreSQL 16 a column may be generated in some of them only."""
    pair.change("CREATE TABLE a (id integer)", "INSERT INTO a VALUES (1)")
    full = pair.full()
    portion = 'COPY "public"."a" ("other") FROM stdin;\\n\\\\.\\n\\n'
    lie = f'"$true" "$@" | sed \'s/^-- PostgreSQL database dump complete/{portion}&/\'; exit 0'
    pair.use_programs(lying_programs(pair.binaries, tmp_path / "programs", "data", lie))
    with pytest.raises(FullBackupNeeded, match="columnas distintas"):
        pair.differential(full)


def test_materialised_views_are_filled_as_in_the_database_that_was_backed_up(pair: Pair) -> None:
    """On which day an instant is, and how values are written in a text, says a setting that no backup holds."""
    settings = {"timezone": "America/Caracas", "extra_float_digits": "0", "intervalstyle": "iso_8601"}
    for name, value in settings.items():
        pair.administer(f"ALTER DATABASE {pair.names[0]} SET {name} = '{value}'")
    pair.change(
        "CREATE TABLE event (id integer PRIMARY KEY, at timestamptz, f double precision)",
        "INSERT INTO event SELECT g, timestamptz '2026-01-01 00:00+00' + g * interval '3 hours', g / 7.0 "
        "FROM generate_series(1, 50) g",
        "CREATE MATERIALIZED VIEW days AS SELECT at::date AS day, count(*) AS n FROM event GROUP BY 1",
        "CREATE MATERIALIZED VIEW texts AS SELECT id, at::text AS at, (at - timestamptz '2026-01-01')::text AS since, "
        "f::text AS f FROM event",
    )
    full = pair.full()
    pair.restore(full)
    views = ("SELECT day, n FROM days ORDER BY 1", "SELECT * FROM texts ORDER BY id")
    for view in views:
        require_equal_answers(pair, view)
    pair.change("UPDATE event SET at = at + interval '1 hour' WHERE id < 9", "REFRESH MATERIALIZED VIEW days")
    pair.change("REFRESH MATERIALIZED VIEW texts")
    pair.restore(pair.differential(full))
    for view in views:
        require_equal_answers(pair, view)


def test_a_constraint_may_look_at_rows_of_another_table(pair: Pair) -> None:
    """Rows that moved from one table to another never stand in both."""
    pair.change(
        "CREATE TABLE a (x integer PRIMARY KEY)",
        "CREATE TABLE b (x integer PRIMARY KEY)",
        "CREATE FUNCTION is_free(integer) RETURNS boolean LANGUAGE sql "
        "AS 'SELECT NOT EXISTS (SELECT FROM public.b WHERE x = $1)'",
        "ALTER TABLE a ADD CHECK (is_free(x))",
        "INSERT INTO a SELECT generate_series(1, 20)",
        "INSERT INTO b SELECT generate_series(21, 40)",
    )
    full = pair.full()
    pair.change("DELETE FROM b WHERE x = 30", "INSERT INTO a VALUES (30)", "DELETE FROM a WHERE x = 5")
    pair.change("INSERT INTO b VALUES (5)")
    pair.restore(full, pair.differential(full))
    pair.require_equal()


@pytest.mark.parametrize("key", ["", ", PRIMARY KEY (word)"])
def test_the_type_of_a_vanished_row_may_look_at_rows_of_a_table_that_comes_before(pair: Pair, key: str) -> None:
    """A row there that changed is deleted and comes again; the vanished row is read before that."""
    pair.change(
        "CREATE TABLE known (word text PRIMARY KEY, n integer)",
        "CREATE FUNCTION is_known(text) RETURNS boolean LANGUAGE sql "
        "AS 'SELECT EXISTS (SELECT FROM public.known WHERE word = $1)'",
        "CREATE DOMAIN known_word AS text CHECK (is_known(VALUE))",
        f"CREATE TABLE used (word known_word{key})",
        "INSERT INTO known SELECT 'w' || g, g FROM generate_series(1, 20) g",
        "INSERT INTO used SELECT 'w' || g FROM generate_series(1, 10) g",
    )
    full = pair.full()
    pair.change("DELETE FROM used WHERE word = 'w5'", "UPDATE known SET n = 50 WHERE word = 'w5'")
    pair.change("INSERT INTO known VALUES ('new', 0)", "INSERT INTO used VALUES ('new')")
    pair.restore(full, pair.differential(full))
    pair.require_equal()


@pytest.mark.parametrize("begun", ["", "SET application_name = 'ana';\n", "\\set QUIET on\nSELECT 1 \\g /dev/null\n"])
def test_what_psql_is_told_at_its_start_loses_no_row(pair: Pair, tmp_path: Path, begun: str) -> None:
    """Without AUTOCOMMIT all would be undone at the end of a full backup, and `psql` would end with 0: also where a
    transaction has begun before.
    """
    own = tmp_path / "psqlrc"
    own.write_text(f"\\set AUTOCOMMIT off\n\\set ON_ERROR_ROLLBACK on\n\\set FETCH_COUNT 7\n{begun}")
    pair.change("CREATE TABLE t (id integer PRIMARY KEY)", "INSERT INTO t VALUES (1), (2)")
    full = pair.full()
    pair.change("DELETE FROM t WHERE id = 2", "SELECT lo_from_bytea(90001, 'large')")
    for backup in (full, pair.differential(full)):
        assert pair.psql_by_an_operator(backup.path, own) == ""
    pair.require_equal()


def test_the_name_of_another_role_may_be_no_text_here(pair: Pair) -> None:
    """Names of roles are bytes that all databases of a server share, whatever their encoding."""
    name = "r\udce9"
    pair.administer_in_latin1(f'CREATE ROLE "{name}"')
    try:
        pair.change("CREATE TABLE t (id integer PRIMARY KEY)", "INSERT INTO t VALUES (1)")
        full = pair.full()
        assert name in read_description(pair.directory / description_name(full.path.name)).roles
        pair.restore(full)
        pair.require_equal()
        prove_in_a_server_of_its_own(pair, full)
    finally:
        pair.administer_in_latin1(f'DROP ROLE "{name}"')


def test_an_owner_may_have_a_name_of_another_encoding(new_pair: Callable[..., Pair]) -> None:
    """The server that proves a backup gets the role by the bytes of its name, too."""
    pair = new_pair(locale="C", encoding="LATIN1")
    name = "due\udcf1o"
    pair.administer_in_latin1(f'CREATE ROLE "{name}"')
    try:
        pair.change("CREATE TABLE t (id integer PRIMARY KEY)", "INSERT INTO t VALUES (1)")
        pair.change('ALTER TABLE t OWNER TO "dueño"')
        full = pair.full()
        pair.restore(full)
        pair.require_equal()
        prove_in_a_server_of_its_own(pair, full)
    finally:
        pair.change("DROP TABLE t")
        pair.empty_restored()
        pair.administer_in_latin1(f'DROP ROLE "{name}"')


def test_an_operator_of_the_databases_owner_is_never_used(pair: Pair) -> None:
    """It would run with the rights of the superuser who backs up or restores."""
    pair.change(
        "CREATE TABLE a AS SELECT g AS id FROM generate_series(1, 100) g",
        "CREATE FUNCTION trap(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'used'; END $$",
        "CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap)",
    )
    for name in pair.names:
        pair.administer(f"ALTER DATABASE {name} SET search_path = public, pg_catalog")
    full = pair.full()
    pair.change("DELETE FROM a WHERE id < 10")
    pair.restore(full, pair.differential(full))
    pair.require_equal()
