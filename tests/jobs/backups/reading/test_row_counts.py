"""What `pg_dump` wrote is compared with an independent count: it may end with 0 and its last line, and lack rows."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import psycopg2.extensions
import pytest

from jobs.backups.creation.full import make_full_once
from jobs.backups.errors import BackupInterrupted, DumpFailed
from tests.jobs.backups.lying_programs import lying_programs
from tests.jobs.backups.pairs import Pair
from tests.processes import wait_until

LEAVES_OUT = '"$true" "$@" | sed "/^77\\t/d"'
REPEATS = '"$true" "$@" | sed "/^77\\t/p"'
MOVES = '"$true" "$@" | sed "/^77\\t/d; /^2000\\t/p"'
LIES = {"leaves a row out": LEAVES_OUT, "repeats a row": REPEATS, "moves a row into another table": MOVES}
PARTITIONED_BY_ENUM = (
    "CREATE TYPE mood AS ENUM ('bad', 'good', 'fine')",
    "CREATE TABLE p (id integer, m mood) PARTITION BY HASH (m)",
    *(f"CREATE TABLE p{i} PARTITION OF p FOR VALUES WITH (MODULUS 2, REMAINDER {i})" for i in range(2)),
    "INSERT INTO p SELECT g, (ARRAY['bad', 'good', 'fine']::mood[])[1 + g % 3] FROM generate_series(1, 100) g",
)
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'janitor_daemon backup' AND datname = %s"
WAITS_FOR_INDEX = """
SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
WHERE NOT l.granted AND c.relname = 'a_pkey'
"""


@pytest.fixture
def filled(pair: Pair) -> Pair:
    """Two tables with some rows."""
    pair.change(
        "CREATE TABLE a (id integer PRIMARY KEY, b text)",
        "INSERT INTO a SELECT g, md5(g::text) FROM generate_series(1, 1000) g",
        "CREATE TABLE other (id integer PRIMARY KEY, b text)",
        "INSERT INTO other SELECT g, md5(g::text) FROM generate_series(2000, 2010) g",
    )
    return pair


def use_lie(pair: Pair, directory: Path, lie: str) -> None:
    """Back up with a `pg_dump` that lies about the rows."""
    pair.use_programs(lying_programs(pair.binaries, directory / "programs", "data", lie))


def names_in(directory: Path) -> list[str]:
    """What is in the directory of the backups, hidden or not."""
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_dump_with_other_rows_is_no_backup(filled: Pair, tmp_path: Path, lie: str) -> None:
    use_lie(filled, tmp_path, lie)
    with pytest.raises(DumpFailed) as failure:
        filled.full()
    assert '"public"."a" volcó' in str(failure.value)
    assert "y no los 1000 que hay" in str(failure.value)
    assert str(tmp_path / "programs" / "pg_dump") in str(failure.value)
    assert "\n" not in str(failure.value)
    assert names_in(filled.directory) == []


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_differential_of_other_rows_is_none(filled: Pair, tmp_path: Path, lie: str) -> None:
    """It would delete in the restored database what is still there in the true one."""
    full = filled.full()
    before = names_in(filled.directory)
    use_lie(filled, tmp_path, lie)
    with pytest.raises(DumpFailed, match=r'"public"\."a" volcó'):
        filled.differential(full)
    assert names_in(filled.directory) == before


def test_how_many_tables_lack_rows_is_said(filled: Pair, tmp_path: Path) -> None:
    use_lie(filled, tmp_path, '"$true" "$@" | sed "/^77\\t/d; /^2000\\t/d"')
    with pytest.raises(DumpFailed, match=r'"public"\."a" volcó 999 .* \(y de otras 1 tampoco los suyos\)'):
        filled.full()


def test_rows_of_partitions_are_counted_under_their_root(pair: Pair, tmp_path: Path) -> None:
    """By the hash of an enum they are dumped as rows of their root."""
    pair.change(*PARTITIONED_BY_ENUM)
    full = pair.full()
    assert full.rows == 100
    assert full.remarks == ()
    use_lie(pair, tmp_path, LEAVES_OUT)
    with pytest.raises(DumpFailed, match=r'"public"\."p" volcó 99 registros y no los 100 que hay'):
        pair.full()


@pytest.fixture
def reindexing(filled: Pair) -> Iterator[psycopg2.extensions.connection]:
    """A session that rebuilds an index and does not end: reading the table is allowed, and planning to is not."""
    with contextlib.closing(psycopg2.connect(filled.source_url)) as other:
        other.cursor().execute("REINDEX INDEX a_pkey")
        yield other


def test_an_index_that_is_being_rebuilt_prevents_no_backup(
    filled: Pair, reindexing: psycopg2.extensions.connection
) -> None:
    source = dataclasses.replace(filled.source, lock_wait_seconds=0.1)
    full = make_full_once(source, filled.target, filled.when(), threading.Event(), "")
    (remark,) = full.remarks
    assert 'no se pudieron contar aparte los registros de "public"."a"' in remark.text
    assert not remark.needs_person
    reindexing.rollback()
    filled.restore(full)
    filled.require_equal()


def test_other_tables_are_counted_beside_one_that_cannot_be(
    filled: Pair, reindexing: psycopg2.extensions.connection, tmp_path: Path
) -> None:
    use_lie(filled, tmp_path, '"$true" "$@" | sed "/^2000\\t/d"')
    source = dataclasses.replace(filled.source, lock_wait_seconds=0.1)
    with pytest.raises(DumpFailed, match=r'"public"\."other" volcó 10 registros'):
        make_full_once(source, filled.target, filled.when(), threading.Event(), "")


class SetOnceItCounts(threading.Event):
    """An interruption that comes once the count of a table waits for a lock."""

    def __init__(self, observer: psycopg2.extensions.connection) -> None:
        super().__init__()
        self._observer = observer

    def is_set(self) -> bool:
        if not super().is_set() and number(self._observer, WAITS_FOR_INDEX):
            self.set()
        return super().is_set()


def number(connection: psycopg2.extensions.connection, question: str, *parameters: object) -> int:
    """The answer to a question that is one number."""
    with connection.cursor() as cursor:
        cursor.execute(question, parameters)
        ((answer,),) = cursor.fetchall()
        return int(answer)


def test_an_interruption_ends_a_count(filled: Pair, reindexing: psycopg2.extensions.connection) -> None:
    """Here and at the server: a large table takes minutes."""
    with contextlib.closing(psycopg2.connect(filled.source_url)) as observer:
        observer.autocommit = True
        source = dataclasses.replace(filled.source, lock_wait_seconds=600)
        with pytest.raises(BackupInterrupted):
            make_full_once(source, filled.target, filled.when(), SetOnceItCounts(observer), "")
        wait_until(lambda: number(observer, SESSIONS, filled.names[0]) == 0, seconds=60)
    assert names_in(filled.directory) == []


def test_a_server_that_does_not_end_a_count_is_not_waited_for_without_end(
    filled: Pair, reindexing: psycopg2.extensions.connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.backups.reading.row_counts.SILENCE_SECONDS", 1)
    source = dataclasses.replace(filled.source, lock_wait_seconds=600)
    with pytest.raises(DumpFailed, match=r"no termina de contar"):
        make_full_once(source, filled.target, filled.when(), threading.Event(), "")
    assert names_in(filled.directory) == []


@pytest.mark.parametrize("prefers_indexes", [False, True])
def test_an_index_without_some_rows_is_told_and_prevents_no_backup(pair: Pair, prefers_indexes: bool) -> None:
    """`pg_dump` reads the table itself, so what it wrote is right, whatever plans the database's settings choose."""
    pair.change(
        "CREATE TABLE a (id integer PRIMARY KEY, b text)",
        "INSERT INTO a SELECT g, repeat(md5(g::text), 30) FROM generate_series(1, 1000) g",
        "UPDATE pg_index SET indisready = false WHERE indexrelid = 'a_pkey'::regclass",
        "INSERT INTO a SELECT g, repeat(md5(g::text), 30) FROM generate_series(1001, 1009) g",
        "UPDATE pg_index SET indisready = true WHERE indexrelid = 'a_pkey'::regclass",
        "VACUUM ANALYZE a",
    )
    if prefers_indexes:
        pair.administer(f"ALTER DATABASE {pair.names[0]} SET enable_seqscan = off")
    full = pair.full()
    assert full.rows == 1009
    (remark,) = full.remarks
    assert remark.needs_person
    assert "ejecute REINDEX TABLE" in remark.text
    assert '"public"."a"' in remark.text
    pair.restore(full)
    pair.require_equal()


def test_an_index_with_more_rows_than_its_table_is_not_rebuilt_at_once(pair: Pair) -> None:
    """It may be all that is left of rows that the table has lost."""
    pair.change(
        "CREATE TABLE a (id integer PRIMARY KEY, b text)",
        "INSERT INTO a SELECT g, repeat(md5(g::text), 30) FROM generate_series(1, 1009) g",
        "UPDATE pg_index SET indisready = false WHERE indexrelid = 'a_pkey'::regclass",
        "DELETE FROM a WHERE id % 112 = 0",
        "VACUUM a",
        "UPDATE pg_index SET indisready = true WHERE indexrelid = 'a_pkey'::regclass",
        "UPDATE pg_class SET relhasindex = true WHERE oid = 'a'::regclass",
        "ANALYZE a",
    )
    full = pair.full()
    assert full.rows == 1000
    (remark,) = full.remarks
    assert remark.needs_person
    assert 'los 1000 registros que el servidor lee de "public"."a"' in remark.text
    assert "1009 entradas" in remark.text
    assert "antes de REINDEX TABLE guarde una copia anterior" in remark.text


LEAVES_A_TABLE_OUT = """
"$true" "$@" | awk '
  /^COPY "public"."a" / { skipped = 1 }
  !skipped { print }
  /^\\\\\\.$/ { if (skipped) print "COPY \\"public\\".\\"empty\\" (\\"id\\") FROM stdin;\\n\\\\."; skipped = 0 }'
"""


def test_a_table_that_is_left_out_is_missed_though_another_comes_twice(filled: Pair, tmp_path: Path) -> None:
    """As many portions come as there are tables."""
    filled.change("CREATE TABLE empty (id integer)")
    use_lie(filled, tmp_path, LEAVES_A_TABLE_OUT)
    with pytest.raises(DumpFailed, match=r'de "public"\."a" volcó 0 registros y no los 1000 que hay'):
        filled.full()
    assert names_in(filled.directory) == []


ACTS_WITH_RIGHTS_OF_OTHERS = """
CREATE FUNCTION act(integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
  IF session_user <> %r THEN RAISE EXCEPTION 'a function of the owner acts as %%', session_user; END IF;
  RETURN $1;
END $$
"""


@pytest.fixture
def owned(new_pair: Callable[..., Pair]) -> Pair:
    """Tables of an owner whose functions find out who runs them."""
    pair = new_pair(is_owner=True)
    pair.change(
        ACTS_WITH_RIGHTS_OF_OTHERS % pair.role,
        'CREATE TABLE "%s odd ""name" ("%s long" text, "odd ""%s" smallint, b integer)',
        'INSERT INTO "%s odd ""name" SELECT repeat(md5(g::text), 30), g, g FROM generate_series(1, 1000) g',
        'CREATE INDEX ON "%s odd ""name" ((public.act(1) + b)) WHERE public.act(2) = 2',
        'CREATE STATISTICS s ON (public.act(3) + b), b FROM "%s odd ""name"',
        "CREATE TABLE without_columns ()",
        "INSERT INTO without_columns SELECT FROM generate_series(1, 7)",
        "CREATE TABLE generated (a integer GENERATED ALWAYS AS (1) STORED)",
        "INSERT INTO generated SELECT FROM generate_series(1, 8)",
    )
    return pair


@pytest.fixture
def reader(owned: Pair) -> Iterator[str]:
    """The password, and name, of a role that may read everything and write no files of the server."""
    name = f"{owned.role}_reader"
    owned.administer(f"CREATE ROLE {name} LOGIN PASSWORD '{name}' IN ROLE pg_read_all_data")
    yield name
    owned.administer(f"DROP ROLE {name}")


@pytest.mark.parametrize("is_superuser", [True, False])
def test_no_function_of_an_owner_acts_with_the_rights_of_who_makes_the_backup(
    owned: Pair, reader: str, tmp_path: Path, is_superuser: bool
) -> None:
    """To plan a query of a table runs those in its indexes and statistics. `pg_dump` plans none."""
    source, programs = owned.source, tmp_path / "programs"
    if not is_superuser:
        url = psycopg2.extensions.make_dsn(source.database_url, user=reader, password=reader)
        source = dataclasses.replace(source, database_url=url)
    full = make_full_once(source, owned.target, owned.when(), threading.Event(), "")
    assert full.rows == 1015
    assert full.remarks == ()
    owned.restore(full)
    owned.require_equal()
    lie = LEAVES_OUT.replace("77", ".*\\\\t77")
    source = dataclasses.replace(source, programs=lying_programs(owned.binaries, programs, "data", lie))
    with pytest.raises(DumpFailed, match=r"volcó 999 registros y no los 1000 que hay"):
        make_full_once(source, owned.target, owned.when(), threading.Event(), "")
