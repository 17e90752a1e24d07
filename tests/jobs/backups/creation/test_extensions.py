"""Tables that belong to extensions: those that hold settings of the installation are backed up, as by `pg_dump`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.jobs.backups.pairs import Pair

CONTROL = "default_version = '1'\nschema = pg_catalog\n"
SCRIPT = """
CREATE SCHEMA keeper;
CREATE TABLE keeper.settings (id integer PRIMARY KEY, v text);
CREATE TABLE keeper.mixed (id integer PRIMARY KEY, is_own boolean);
CREATE TABLE keeper.own (id integer);
CREATE TABLE keeper.parted (id integer PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE keeper.parted_low PARTITION OF keeper.parted FOR VALUES FROM (0) TO (100);
CREATE UNLOGGED TABLE keeper.fast (id integer PRIMARY KEY);
CREATE SEQUENCE keeper.counter;
INSERT INTO keeper.mixed VALUES (1, true);
INSERT INTO keeper.own VALUES (1);
SELECT pg_catalog.pg_extension_config_dump('keeper.settings', '');
SELECT pg_catalog.pg_extension_config_dump('keeper.mixed', 'WHERE NOT is_own');
SELECT pg_catalog.pg_extension_config_dump('keeper.parted', '');
SELECT pg_catalog.pg_extension_config_dump('keeper.parted_low', '');
SELECT pg_catalog.pg_extension_config_dump('keeper.fast', '');
SELECT pg_catalog.pg_extension_config_dump('keeper.counter', '');
"""
OF_SYSTEM = """
CREATE TABLE keeper.nodes (id integer PRIMARY KEY, v text);
ALTER TABLE keeper.nodes SET SCHEMA pg_catalog;
SELECT pg_catalog.pg_extension_config_dump('pg_catalog.nodes', '');
"""


@pytest.fixture
def extension(pair: Pair) -> Iterator[Callable[[str], None]]:
    """Install an extension made of a script into both databases: in the other one the backup creates it."""
    with tempfile.TemporaryDirectory(prefix="janitor-test-") as directory:
        folder = Path(directory, "extension")

        def install(script: str) -> None:
            folder.mkdir()
            for path, text in ((folder / "keeper.control", CONTROL), (folder / "keeper--1.sql", script)):
                path.write_text(text)
                path.chmod(0o644)
            for path in (folder, folder.parent):
                path.chmod(0o755)
            for name in pair.names:
                pair.administer(f"ALTER DATABASE {name} SET extension_control_path = '$system:{directory}'")
            pair.change("CREATE EXTENSION keeper")

        yield install


@pytest.mark.parametrize("more", ["", OF_SYSTEM], ids=["schema", "system"])
def test_tables_of_an_extension_are_restored_as_it_wants(
    pair: Pair, extension: Callable[[str], None], more: str
) -> None:
    extension(SCRIPT + more)
    pair.change(
        "INSERT INTO keeper.settings SELECT g, g FROM generate_series(1, 20) g",
        "INSERT INTO keeper.mixed SELECT g, false FROM generate_series(2, 20) g",
        "INSERT INTO keeper.parted SELECT g, g FROM generate_series(1, 20) g",
        "CREATE TABLE keeper.of_user AS SELECT 1 AS a",
        *(["INSERT INTO pg_catalog.nodes VALUES (1, 'a'), (2, 'b')"] if more else []),
    )
    full = pair.full()
    pair.restore(full)
    pair.require_equal()
    pair.change(
        "DELETE FROM keeper.settings WHERE id = 3",
        "UPDATE keeper.mixed SET id = 100 WHERE id = 4",
        "DELETE FROM keeper.parted WHERE id = 3",
        "SELECT nextval('keeper.counter')",
        *(["UPDATE pg_catalog.nodes SET v = 'c' WHERE id = 2"] if more else []),
    )
    differential = pair.differential(full)
    pair.restore(differential)
    pair.require_equal()
