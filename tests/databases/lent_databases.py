"""Databases that many tests need alike: made once, lent to one test at a time, and used again while they stay alike.

A database of PostgreSQL is some 300 files. To make one, install the program in it and drop it costs more than most
tests that happen in it; to empty one costs a tenth of that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import psycopg2

from demo.servers.postgres import EmbeddedPostgres

OWN_OBJECTS = 16384
"""The lowest object id of what does not come with PostgreSQL (`FirstNormalObjectId`)."""

EMPTIED = f"""
DO $$
DECLARE
    filled text;
BEGIN
    SELECT string_agg(oid::regclass::text, ', ') INTO filled FROM pg_class
     WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
       AND relname NOT IN ('janitor_upgrades', 'janitor_job_upgrades') AND pg_relation_size(oid) > 0;
    IF filled IS NOT NULL THEN EXECUTE format('TRUNCATE %s CASCADE', filled); END IF;
    PERFORM setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false)
       FROM pg_sequences WHERE last_value IS NOT NULL;
    DELETE FROM pg_statistic WHERE starelid >= {OWN_OBJECTS};
    PERFORM pg_stat_reset();
END $$
"""  # noqa: S608 a number of our own
"""Leaves of the rows only those that say which upgrades the database has had."""

DISCONNECTED = """
DO $$
BEGIN
    FOR look IN 1 .. 1000 LOOP
        PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}';
        EXIT WHEN NOT FOUND;
        PERFORM pg_sleep(0.005), pg_stat_clear_snapshot();
    END LOOP;
END $$
"""
"""Ends what is connected to a database, within 5 seconds. PostgreSQL itself looks only each 100 milliseconds when it is
asked to wait for that, or to drop or rename a database from which somebody is just going.
"""

COUNTED = (
    *("pg_attrdef", "pg_attribute", "pg_constraint", "pg_default_acl", "pg_description", "pg_event_trigger"),
    *("pg_extension", "pg_index", "pg_largeobject_metadata", "pg_policy", "pg_proc", "pg_publication", "pg_rewrite"),
    *("pg_trigger", "pg_type"),
)
"""Catalogues in which every change shows by the transactions that wrote the rows; texts take much longer."""

DESCRIPTION = (
    f"""
SELECT 'database', (to_jsonb(d) - ARRAY['oid', 'datname', 'datfrozenxid', 'datminmxid'])::text
  FROM pg_database AS d WHERE datname = current_database()
UNION ALL SELECT 'setting', setrole || ' ' || setconfig::text FROM pg_db_role_setting
 WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
UNION ALL SELECT 'relation', ROW(oid, relname, relnamespace, reltype, relowner, relkind, relpersistence, relnatts,
       relchecks, relhasindex, relhasrules, relhastriggers, relrowsecurity, relforcerowsecurity, relreplident, relacl,
       reloptions)::text
  FROM pg_class WHERE oid >= {OWN_OBJECTS}
UNION ALL SELECT 'relations of the system', count(*) || ' ' || sum(xmin::text::bigint)
  FROM pg_class WHERE oid < {OWN_OBJECTS}
UNION ALL SELECT 'schema', n::text FROM pg_namespace AS n WHERE nspname NOT LIKE 'pg\\_t%temp\\_%'
UNION ALL SELECT 'sequence', s::text FROM pg_sequence AS s
UNION ALL SELECT 'prepared transaction', gid FROM pg_prepared_xacts WHERE database = current_database()
UNION ALL SELECT 'upgrade', u::text FROM janitor_upgrades AS u
"""  # noqa: S608 names and a number of our own
    + "".join(
        f"UNION ALL SELECT '{name}', count(*) || ' ' || coalesce(sum(xmin::text::bigint), 0) FROM {name}\n"  # noqa: S608
        for name in COUNTED
    )
    + "ORDER BY 1, 2"
)
"""All that a test could have changed of a database, but for rows."""


class LentDatabases:
    """Databases as `fill`, given the URI of an empty one, leaves them. None has rows, but for the upgrades made.

    Each has a name that no other one had before, so that nothing which an earlier test left behind finds it.
    """

    def __init__(
        self,
        postgres: EmbeddedPostgres,
        administrator: Callable[[str], None],
        numbers: Iterator[int],
        fill: Callable[[str], None],
    ) -> None:
        self._postgres = postgres
        self._administrator = administrator
        self._numbers = numbers
        self._fill = fill
        self._template = ""
        self._description: list[tuple[str, str]] = []
        self._free: list[str] = []

    @contextmanager
    def lent(self) -> Iterator[str]:
        """The URI of one that nobody else has within. What is still connected in the end is disconnected."""
        self._require_template()
        name = f"test_{next(self._numbers)}"
        if self._free:
            self._administrator(f"ALTER DATABASE {self._free.pop()} RENAME TO {name}")
        else:
            self._administrator(f"CREATE DATABASE {name} TEMPLATE {self._template}")
        try:
            yield self._postgres.url_of(name)
        finally:
            self._take_back(name)

    def _require_template(self) -> None:
        if self._template:
            return
        name = f"template_{next(self._numbers)}"
        self._administrator(f"CREATE DATABASE {name}")
        self._fill(self._postgres.url_of(name))
        self._description = self._emptied_and_described(name)
        self._template = name

    def _take_back(self, name: str) -> None:
        """Keep it for the next test if it is what it was once it has no more rows; otherwise drop it."""
        self._disconnect(name)
        try:
            is_alike = self._emptied_and_described(name) == self._description
        except psycopg2.Error:  # the test has closed it, or taken away what is asked for
            is_alike = False
        if is_alike:
            self._free.append(name)
        else:
            self._administrator(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _emptied_and_described(self, name: str) -> list[tuple[str, str]]:
        with closing(psycopg2.connect(self._postgres.url_of(name))) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(EMPTIED)
                cursor.execute(DESCRIPTION)
                description = list(cursor.fetchall())
        self._disconnect(name)  # from which this session may be just going
        return description

    def _disconnect(self, name: str) -> None:
        self._administrator(DISCONNECTED.format(name=name))
