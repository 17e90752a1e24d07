"""What a differential must not trip over: odd names, constraints, views, collations and settings.

Each test has several of one kind, in one database.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable

import pytest

from tests.jobs.backups.pairs import Pair
from tests.jobs.backups.rounds import ODD_SETTINGS, as_options


def require_exact(pair: Pair, *changes: str) -> str:
    """Fail unless a full backup and a differential of these changes give the same database; what `psql` said."""
    full = pair.full()
    pair.change(*changes)
    differential = pair.differential(full)
    pair.restore(full)
    ended = pair.psql_whatever_comes(differential.path)
    assert ended.returncode == 0, ended.stderr
    pair.require_equal()
    return ended.stderr


def test_columns_may_have_the_names_of_variables(pair: Pair) -> None:
    """Those of the block that deletes, and those that PL/pgSQL makes itself."""
    names = ("n", "found", "sqlstate", "r", "o", "c", "k", "x", "d", "a", "t", "select", "row")
    columns = ", ".join(f'"{name}" integer' for name in names)
    pair.change(
        f"CREATE TABLE without_key ({columns})",
        f"CREATE TABLE with_key ({columns}, PRIMARY KEY (n, found))",
        *(f"INSERT INTO {table} SELECT {', '.join('g' * len(names))} FROM generate_series(1, 20) g"  # noqa: S608
          for table in ("without_key", "with_key")),
    )  # fmt: skip
    require_exact(
        pair,
        *(statement.format(table) for table in ("without_key", "with_key")
          for statement in ("DELETE FROM {} WHERE n = 3", "UPDATE {} SET a = 99 WHERE r = 4")),
    )  # fmt: skip


@pytest.mark.parametrize(("version", "is_owner"), [("16", False), ("18", True)])
def test_rows_may_break_constraints_that_are_not_valid(
    new_pair: Callable[..., Pair], version: str, is_owner: bool
) -> None:
    """A domain's, also inside other types, and a table's that was set aside for a while: its own, inherited or both."""
    pair = new_pair(version, is_owner=is_owner)
    checked = ("checked", "parted", "parent", "heir", "above")
    check = "ALTER TABLE {} ADD CONSTRAINT small CHECK (x < 10) NOT VALID"
    comments = [f"COMMENT ON CONSTRAINT small ON {table} IS 'of {table}'" for table in ("above", "heir", "other")]
    pair.change(
        "CREATE DOMAIN positive AS integer",
        "CREATE DOMAIN nested AS positive",
        "CREATE TYPE composed AS (x nested)",
        "CREATE TABLE keyed (k positive PRIMARY KEY, x nested, y integer)",
        "CREATE TABLE without_key (x positive[], z composed)",
        "CREATE TABLE checked (x integer)",
        "CREATE TABLE parted (x integer) PARTITION BY RANGE (x)",
        "CREATE TABLE part PARTITION OF parted DEFAULT",
        "CREATE TABLE parent (x integer)",
        "CREATE TABLE child (y integer) INHERITS (parent)",
        "CREATE TABLE above (x integer)",
        "CREATE TABLE between () INHERITS (above)",
        "CREATE TABLE heir () INHERITS (between)",
        "CREATE TABLE other () INHERITS (between)",
        "INSERT INTO keyed VALUES (-1, -1, 1), (2, 5, 2)",
        "INSERT INTO without_key VALUES ('{-1}', '(-2)'), ('{1}', '(2)')",
        'ALTER DOMAIN positive ADD CONSTRAINT "it\'s > 0" CHECK (VALUE > 0) NOT VALID',
        "COMMENT ON CONSTRAINT \"it's > 0\" ON DOMAIN positive IS 'since $$ 2026'",
        *(check.format(table) for table in checked),
        *comments,
    )
    require_exact(
        pair,
        "UPDATE keyed SET y = 33 WHERE y = 1",
        "DELETE FROM without_key WHERE (x[1])::integer < 0",
        *(f"ALTER TABLE {table} DROP CONSTRAINT small" for table in reversed(checked)),
        "INSERT INTO checked VALUES (11)",
        "INSERT INTO parted VALUES (11)",
        "INSERT INTO child VALUES (11)",
        "INSERT INTO heir VALUES (11)",
        "INSERT INTO other VALUES (11)",
        *(check.format(table) for table in checked),
        *comments,
    )


@pytest.mark.parametrize("is_owner", [False, True])
def test_the_identity_of_a_replica_may_be_a_column_that_is_not_null_by_half(
    new_pair: Callable[..., Pair], is_owner: bool
) -> None:
    """Its NOT NULL, of the table or inherited, is not valid: it cannot be set aside while the identity needs it."""
    pair = new_pair(is_owner=is_owner)
    tables = ("plain", "child")
    pair.change(
        "CREATE TABLE plain (x integer, y integer)",
        "CREATE TABLE parent (x integer, y integer)",
        "CREATE TABLE child () INHERITS (parent)",
        *(f"INSERT INTO {table} SELECT g, g FROM generate_series(1, 20) g" for table in tables),  # noqa: S608
        *(f"CREATE UNIQUE INDEX {table}_x ON {table} (x)" for table in tables),
        *(f"ALTER TABLE {table} ADD CONSTRAINT filled NOT NULL x NOT VALID" for table in ("plain", "parent")),
        *(f"ALTER TABLE {table} REPLICA IDENTITY USING INDEX {table}_x" for table in tables),
    )
    require_exact(pair, *(f"DELETE FROM {table} WHERE x = 3" for table in tables))  # noqa: S608


def test_event_triggers_write_nothing_while_a_superuser_restores(pair: Pair) -> None:
    """Neither on what a differential makes for itself, nor on large objects."""
    states = {"usual": "", "always": "ALWAYS", "replica": "REPLICA"}
    pair.change(
        "CREATE TABLE seen (what text)",
        "CREATE TABLE a (id integer PRIMARY KEY)",
        "INSERT INTO a VALUES (1), (2)",
        "CREATE FUNCTION act() RETURNS event_trigger LANGUAGE plpgsql AS "
        "'BEGIN INSERT INTO public.seen VALUES (TG_TAG); END'",
        *(f"CREATE EVENT TRIGGER {name} ON ddl_command_end EXECUTE FUNCTION act()" for name in states),
        *(f"ALTER EVENT TRIGGER {name} ENABLE {state}" for name, state in states.items()),
        "CREATE EVENT TRIGGER never ON ddl_command_end EXECUTE FUNCTION act()",
        "ALTER EVENT TRIGGER never DISABLE",
    )
    require_exact(
        pair,
        "DELETE FROM a WHERE id = 1",
        "SELECT lo_from_bytea(90001, 'large')",
        "COMMENT ON LARGE OBJECT 90001 IS 'commented'",
    )


PUBLISHED = (
    "CREATE TABLE filtered (id integer PRIMARY KEY, v integer)",
    "CREATE TABLE emptied (id integer PRIMARY KEY, v integer)",
    "CREATE TABLE listed (a integer, b integer)",
    "CREATE TABLE generated (a integer, b integer GENERATED ALWAYS AS (a * 2) STORED)",
    "CREATE TABLE parted (id integer PRIMARY KEY, v integer) PARTITION BY RANGE (id)",
    "CREATE TABLE part PARTITION OF parted DEFAULT",
    "CREATE TABLE unnamed (a integer)",
    *(f"INSERT INTO {table} SELECT g, g FROM generate_series(1, 20) g"  # noqa: S608
      for table in ("filtered", "emptied", "listed", "parted")),
    *(f"INSERT INTO {table} SELECT g FROM generate_series(1, 20) g" for table in ("generated", "unnamed")),  # noqa: S608
    "CREATE PUBLICATION rows FOR TABLE filtered WHERE (v > 0), unnamed WITH (publish = 'insert, delete')",
    "CREATE PUBLICATION deletions FOR TABLE filtered WHERE (v < 9) WITH (publish = 'delete')",
    "CREATE PUBLICATION usual FOR TABLE emptied WHERE (v > 0)",
    "CREATE PUBLICATION columns FOR TABLE listed (a)",
    "CREATE PUBLICATION made FOR TABLE generated WITH (publish = 'insert, delete')",
    "CREATE PUBLICATION root FOR TABLE parted WHERE (v > 0) WITH (publish = 'delete', publish_via_partition_root)",
)  # fmt: skip
"""Tables of which the source may change rows, and delete none."""

PUBLISHED_BY_A_SUPERUSER = (
    "CREATE PUBLICATION everything FOR ALL TABLES WITH (publish = 'update, delete')",
    "CREATE PUBLICATION of_schema FOR TABLES IN SCHEMA public WITH (publish = 'insert, delete')",
    "ALTER TABLE unnamed REPLICA IDENTITY NOTHING",
)


UPDATES = (
    *(f"UPDATE {table} SET v = -7 WHERE id = 7" for table in ("filtered", "parted")),  # noqa: S608
    *(f"UPDATE {table} SET a = 77 WHERE a = 7" for table in ("generated", "unnamed")),  # noqa: S608
)


@pytest.mark.parametrize(
    ("is_owner", "publications", "changes"), [(True, (), UPDATES), (False, PUBLISHED_BY_A_SUPERUSER, ())]
)
def test_publications_that_forbid_deletions_forbid_no_differential(
    new_pair: Callable[..., Pair], is_owner: bool, publications: tuple[str, ...], changes: tuple[str, ...]
) -> None:
    """By a row filter, a list of columns or a generated column; of a table, its root, a schema or all."""
    pair = new_pair("18", is_owner=is_owner)
    pair.change(*PUBLISHED, *publications)
    require_exact(
        pair,
        *changes,
        "TRUNCATE emptied, listed",
        "INSERT INTO emptied VALUES (1, -1)",
        "INSERT INTO listed VALUES (1, 1)",
        *([] if changes else ["TRUNCATE filtered, generated, parted, unnamed"]),
    )


def test_views_that_cannot_be_filled_cost_no_rows(pair: Pair) -> None:
    """One over an empty one, which no dump fills, and one that the new rows break."""
    pair.change(
        "CREATE TABLE t (i integer PRIMARY KEY)",
        "INSERT INTO t VALUES (1)",
        "CREATE MATERIALIZED VIEW emptied AS SELECT * FROM t",
        "CREATE MATERIALIZED VIEW over_it AS SELECT * FROM emptied",
        "CREATE MATERIALIZED VIEW total AS SELECT sum(i) AS n FROM t",
        "CREATE MATERIALIZED VIEW divided AS SELECT 1 / n AS n FROM total",
        "REFRESH MATERIALIZED VIEW emptied WITH NO DATA",
    )
    said = require_exact(pair, "INSERT INTO t VALUES (-1)")
    assert said.count("WARNING") == 1
    assert '"public"."divided" is not refreshed: division by zero' in said
    pair.change_restored("DO $$ BEGIN ASSERT (SELECT n = 0 FROM total); END $$")
    pair.empty_restored()
    ended = pair.psql_whatever_comes(pair.full().path)
    assert (ended.returncode, ended.stderr.count("is not refreshed: division by zero")) == (0, 1)
    pair.change_restored("DO $$ BEGIN ASSERT (SELECT sum(i) = 0 FROM t); END $$")
    assert "janitor.backup=" in pair.comment_of_restored()


def test_a_key_distinguishes_values_as_its_index_does(pair: Pair) -> None:
    """A column may ignore case where its index does not: only ICU has such collations, and this server has no ICU."""
    pair.change(
        'CREATE TABLE codes (code text COLLATE "C" NOT NULL, part text COLLATE "C" NOT NULL, n integer NOT NULL)',
        'CREATE UNIQUE INDEX ON codes (code COLLATE "POSIX", part, n)',
        "INSERT INTO codes VALUES ('a', '1', 1), ('A', '1', 1), ('b', '1', 1)",
    )
    said = require_exact(pair, "DELETE FROM codes WHERE code = 'a'", "UPDATE codes SET part = 'x' WHERE code = 'b'")
    assert said == ""
    (differential,) = pair.directory.glob("*DIFF.sql.gz")
    statements = gzip.decompress(differential.read_bytes()).decode()
    assert 't."code" OPERATOR("pg_catalog".=) d."code" COLLATE "pg_catalog"."POSIX" AND' in statements
    assert statements.count("COLLATE") == 1


def test_values_are_read_as_they_were_written_whatever_the_restoring_session_sets(pair: Pair) -> None:
    """Numbers that differ in their last digit, NULL in arrays, what has more than one way to be written."""
    pair.change(
        "CREATE TABLE numbers (x double precision, y real)",
        "INSERT INTO numbers VALUES (0.3, 1), (0.1 + 0.2::double precision, 1)",
        "CREATE TABLE written (a text[], b bytea, c interval, d timestamptz, f date, g money)",
        "INSERT INTO written VALUES (ARRAY[NULL], '\\x5c00ff', '-1 day -2:03', '2024-11-03 05:30+00', "
        "'2024-03-02', '-1234.5'), ('{\"NULL\"}', '\\x', '1 mon -1 day', 'infinity', '0044-03-15 BC', 7)",
        "INSERT INTO written SELECT * FROM written",
    )
    full = pair.full()
    pair.change(
        "DELETE FROM numbers WHERE x <> 0.3::double precision",
        "DELETE FROM written WHERE ctid IN ('(0,1)', '(0,2)')",
        "INSERT INTO written SELECT ARRAY[NULL, 'x'], b, c - interval '1 hour', d, f, g FROM written",
    )
    for backup in (full, pair.differential(full)):
        pair.psql(backup.path, PGOPTIONS=as_options(ODD_SETTINGS))
    pair.require_equal()


REVOKED = (
    "CREATE SCHEMA app",
    "CREATE TYPE app.mood AS ENUM ('sad', 'ok')",
    "CREATE DOMAIN app.positive AS integer CHECK (VALUE > 0)",
    "CREATE FUNCTION app.same(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT $1'",
    "CREATE FUNCTION app.twin(a integer, b text) RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE PROCEDURE app.twin(a integer, OUT b text) LANGUAGE sql AS 'SELECT NULL::text'",
    "CREATE PROCEDURE app.pair(a integer, b text) LANGUAGE sql AS 'SELECT 1'",
    "CREATE PROCEDURE app.pair(a integer, OUT b text) LANGUAGE sql AS 'SELECT NULL::text'",
    "CREATE AGGREGATE app.number(*) (SFUNC = int8inc, STYPE = bigint, INITCOND = '0')",
    "CREATE TABLE app.audit (id app.positive PRIMARY KEY, v text, m app.mood DEFAULT 'ok')",
    "CREATE TABLE app.without_key (a integer, CHECK (app.same(a) = a))",
    "CREATE TABLE app.refers (a integer REFERENCES app.audit)",
    "CREATE SEQUENCE app.counter",
    "CREATE INDEX ON app.audit (app.same(id))",
    "INSERT INTO app.audit SELECT g, g FROM generate_series(1, 20) g",
    "INSERT INTO app.without_key SELECT g % 3 FROM generate_series(1, 20) g",
    "INSERT INTO app.refers VALUES (1)",
    "CREATE MATERIALIZED VIEW app.counted AS SELECT count(*) AS n FROM app.audit",
)
REVOKE = (
    "REVOKE ALL ON app.audit, app.counter, app.counted FROM CURRENT_USER",
    "GRANT SELECT, UPDATE (v) ON app.audit TO CURRENT_USER",
    "REVOKE INSERT, DELETE, TRUNCATE ON app.without_key FROM CURRENT_USER",
    "GRANT SELECT ON app.without_key TO PUBLIC",
    "REVOKE ALL ON ALL ROUTINES IN SCHEMA app FROM PUBLIC, CURRENT_USER",
    "REVOKE ALL ON TYPE app.mood, app.positive FROM PUBLIC, CURRENT_USER",
    "REVOKE CREATE ON SCHEMA app FROM CURRENT_USER",
)
GIVE_BACK = (
    "GRANT ALL ON SCHEMA app TO CURRENT_USER",
    "GRANT ALL ON app.audit, app.counter, app.counted, app.without_key TO CURRENT_USER",
    "GRANT ALL ON FUNCTION app.same TO CURRENT_USER",
    "GRANT ALL ON TYPE app.mood, app.positive TO CURRENT_USER",
)
BY_DEFAULT = (
    "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
    "ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM CURRENT_USER",
    "ALTER DEFAULT PRIVILEGES REVOKE ALL ON SEQUENCES FROM CURRENT_USER",
    "ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM PUBLIC, CURRENT_USER",
    "ALTER DEFAULT PRIVILEGES REVOKE ALL ON TYPES FROM PUBLIC, CURRENT_USER",
)


@pytest.mark.parametrize("version", ["16", "18"])
def test_an_owner_restores_what_it_took_its_own_rights_from(new_pair: Callable[..., Pair], version: str) -> None:
    """As for a journal that nobody may change: of tables, columns, sequences, schemas, types; by default. Of routines,
    too, whose names with their arguments fit several.
    """
    pair = new_pair(version, is_owner=True)
    pair.change(*REVOKED, *REVOKE, *BY_DEFAULT)
    require_exact(
        pair,
        *GIVE_BACK,
        "DELETE FROM app.audit WHERE id = 3",
        "UPDATE app.audit SET v = 'x' WHERE id = 4",
        "DELETE FROM app.without_key WHERE a = 1",
        "SELECT nextval('app.counter')",
        "REFRESH MATERIALIZED VIEW app.counted",
        *REVOKE,
    )


@pytest.mark.parametrize("of_source", [True, False])
def test_backslashes_are_no_escapes_whatever_the_database_says(pair: Pair, of_source: bool) -> None:
    """`standard_conforming_strings`: pg_dump writes texts as the database reads them, and says so at its beginning."""
    pair.administer(f"ALTER DATABASE {pair.names[not of_source]} SET standard_conforming_strings = off")
    pair.change(
        "SET standard_conforming_strings = on",
        "CREATE SCHEMA pgapp",
        'CREATE TABLE pgapp."t\\" (id integer PRIMARY KEY, v text)',
        """INSERT INTO pgapp."t\\" SELECT g, 'a\\''b' || g FROM generate_series(1, 20) g""",
        'CREATE SEQUENCE "back\\slash"',
        'CREATE MATERIALIZED VIEW "quote\\\'d" AS SELECT count(*) AS n FROM pgapp."t\\"',
        "SELECT lo_from_bytea(70001, decode('005c27ff', 'hex'))",
        "COMMENT ON LARGE OBJECT 70001 IS 'it''s \\ too'",
    )
    require_exact(
        pair,
        "SET standard_conforming_strings = on",
        'DELETE FROM pgapp."t\\" WHERE id = 3',
        """SELECT nextval('"back\\slash"')""",
        "SELECT lo_put(70001, 1, decode('5c27', 'hex'))",
        'REFRESH MATERIALIZED VIEW "quote\\\'d"',
    )
    assert pair.comment_of_restored().count("janitor.backup=") == 1


def test_default_privileges_come_to_no_large_object_that_had_none(new_pair: Callable[..., Pair]) -> None:
    """One that is made again gets those of PostgreSQL 18, though it was there before them."""
    pair = new_pair("18", is_owner=True)
    pair.change(
        "SELECT lo_from_bytea(70001, 'older')",
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON LARGE OBJECTS TO PUBLIC, pg_monitor",
        "SELECT lo_from_bytea(70002, 'newer')",
        "SELECT lo_from_bytea(70003, 'nobody''s')",
        "REVOKE ALL ON LARGE OBJECT 70003 FROM PUBLIC, CURRENT_USER",
    )
    require_exact(pair, "SELECT lo_put(70001, 0, 'OLDER')", "SELECT lo_from_bytea(70004, 'newest')")
