"""A test gets a lent database as if nobody had had it before.

The same was looked for where tests of one file share a database (`Platform.clear`): they change rows only.
"""

from __future__ import annotations

from contextlib import closing

import psycopg2
import pytest

from tests.databases.lent_databases import LentDatabases

OBJECT = "SELECT oid FROM pg_database WHERE datname = current_database()"


def ask(database_url: str, *statements: str) -> object:
    """Run statements; the one value that the last one gives, if it gives any."""
    with closing(psycopg2.connect(database_url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall()[0][0] if cursor.description else None


def test_rows_and_numbers_begin_again(installed_databases: LentDatabases) -> None:
    added = "INSERT INTO ejecuciones_yaml (uuid) VALUES ('uno') RETURNING id"
    refused = "INSERT INTO ejecuciones_config (tiempo_retencion_local) VALUES (1 / 0)"
    with installed_databases.lent() as database_url:
        same = ask(database_url, OBJECT)
        upgrades = ask(database_url, "SELECT count(*) FROM janitor_upgrades")
        ask(database_url, added, "SELECT nextval('ejecuciones_config_id_seq')")
        with pytest.raises(psycopg2.DataError):
            ask(database_url, refused)
    with installed_databases.lent() as again:
        assert ask(again, OBJECT) == same
        assert again != database_url
        assert ask(again, "SELECT count(*) FROM ejecuciones_yaml") == 0
        assert ask(again, added) == 1
        assert ask(again, "SELECT nextval('ejecuciones_config_id_seq')") == 1
        assert ask(again, "SELECT count(*) FROM janitor_upgrades") == upgrades


def test_what_an_earlier_test_left_connected_is_disconnected(installed_databases: LentDatabases) -> None:
    with installed_databases.lent() as database_url:
        left = psycopg2.connect(database_url)
        left.cursor().execute("LOCK TABLE ejecuciones_yaml")
    with installed_databases.lent() as again, closing(left):
        assert ask(again, "SELECT count(*) FROM ejecuciones_yaml") == 0
        with pytest.raises(psycopg2.OperationalError):
            left.cursor().execute("SELECT 1")


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE ejecuciones_yaml ADD COLUMN otra TEXT",
        "ALTER TABLE ejecuciones_config ALTER COLUMN tiempo_retencion_local SET DEFAULT 7",
        "DROP TABLE janitor_attempts CASCADE",
        "DROP TABLE janitor_upgrades",
        "DELETE FROM janitor_upgrades WHERE name = (SELECT max(name) FROM janitor_upgrades)",
        "CREATE TABLE otra ()",
        "CREATE INDEX ON ejecuciones_yaml (uuid)",
        "CREATE RULE nada AS ON DELETE TO ejecuciones_yaml DO INSTEAD NOTHING",
        "CREATE FUNCTION nada() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_advisory_lock(bigint) FROM PUBLIC",
        "REVOKE ALL ON ejecuciones_yaml FROM janitor",
        "GRANT CREATE ON SCHEMA public TO PUBLIC",
        "CREATE SCHEMA otro",
        "SELECT lo_create(0)",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone TO ''Asia/Tokyo''', current_database()); END $$",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT 7', current_database()); END $$",
    ],
)
def test_a_database_that_a_test_has_changed_is_not_lent_again(installed_databases: LentDatabases, change: str) -> None:
    with installed_databases.lent() as database_url:
        changed = ask(database_url, OBJECT)
        ask(database_url, change)
    with installed_databases.lent() as another:
        assert ask(another, OBJECT) != changed
