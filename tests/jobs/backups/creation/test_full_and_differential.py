"""A full backup and a differential, restored by plain `psql`, give the source as it was."""

from __future__ import annotations

from jobs.backups.result import Kind
from tests.jobs.backups.pairs import Pair


def make_simple(pair: Pair) -> None:
    """Some tables with rows."""
    pair.change(
        "CREATE TABLE a (id serial PRIMARY KEY, name text UNIQUE)",
        "CREATE TABLE b (a integer REFERENCES a ON DELETE CASCADE, x numeric)",
        "INSERT INTO a (name) SELECT 'n' || g FROM generate_series(1, 1000) g",
        "INSERT INTO b SELECT g, g * 1.0 FROM generate_series(1, 1000) g",
    )


def test_a_full_backup_restores(pair: Pair) -> None:
    make_simple(pair)
    full = pair.full()
    assert (full.kind, full.tables, full.rows) == (Kind.FULL, 2, 2000)
    pair.restore(full)
    pair.require_equal()


def test_a_differential_restores(pair: Pair) -> None:
    make_simple(pair)
    full = pair.full()
    pair.change(
        "UPDATE a SET name = 'x' WHERE id = 5",
        "DELETE FROM a WHERE id = 7",
        "INSERT INTO a (name) VALUES ('later')",
        "UPDATE b SET x = 1.00 WHERE a = 9",
    )
    differential = pair.differential(full)
    assert (differential.kind, differential.base, differential.rows) == (Kind.DIFFERENTIAL, full.path.name, 1999)
    pair.restore(full, differential)
    pair.require_equal()


def test_few_rows_of_a_large_table_are_found_by_its_key(pair: Pair) -> None:
    """Also in a table of which the server knows nothing yet, as no statistics were gathered since it was restored."""
    pair.change(
        "CREATE TABLE large (id integer PRIMARY KEY, b text)",
        "INSERT INTO large SELECT g, md5(g::text) FROM generate_series(1, 50000) g",
    )
    full = pair.full()
    pair.change("UPDATE large SET b = 'x' WHERE id % 100 = 7")
    pair.restore(full)
    before = pair.rows_read("large")
    pair.restore(pair.differential(full))
    after = pair.rows_read("large")
    assert (after.by_key - before.by_key, after.one_by_one - before.one_by_one) == (500, 0)
    pair.require_equal()
