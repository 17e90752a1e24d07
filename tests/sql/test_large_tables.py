"""What operators ask of large tables: it is estimated from a sample, or counted up to a bound, and says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from sql import database as database_module
from sql import large_tables
from sql.database import Database
from tests.databases.platform_database import Platform

ROWS = 20_000
WHOLE = {"large_table_bytes": 1 << 40, "sampled_rows": 1000}
SAMPLED = {"large_table_bytes": 0, "sampled_rows": ROWS // 2}
DAY = 86400


@pytest.fixture
def platform(initialized_database_url: str) -> Iterator[Platform]:
    """A database in which three quarters of the executions are on provider 1, one quarter on 2; 100 wait."""
    with closing(Platform(initialized_database_url)) as made:
        made.sql(
            "INSERT INTO ejecuciones_yaml "
            "(uuid, ruta_directorio, fecha_ejecucion, migrado_a_nube, ruta_nube, nube_provider_id) "
            "SELECT 'u-' || n, '/d/' || n, now() - interval '2 days', true, 'cloud://s3/' || n, 1 + (n %% 4 = 0)::int "
            "FROM generate_series(1, %s) AS n",
            ROWS,
        )
        made.sql(
            "INSERT INTO janitor_migrations (execution_id, uuid, state, host, run_id, fencing_token, provider_id, uri, "
            "size_bytes, manifest_sha256) "
            "SELECT id, uuid, 'migrated', 'h', 1, 1, nube_provider_id, ruta_nube, 10, 'x' FROM ejecuciones_yaml"
        )
        made.sql(
            "INSERT INTO ejecuciones_yaml (uuid, ruta_directorio, fecha_ejecucion) "
            "SELECT 'p-' || n, '/p/' || n, now() - n * interval '1 hour' FROM generate_series(1, 100) AS n"
        )
        made.sql("ANALYZE ejecuciones_yaml, janitor_migrations")
        yield made


def test_what_is_stored_is_counted_or_estimated_from_a_sample(platform: Platform) -> None:
    """The sample is of whole pages at random: half of them, so it is seldom wrong by a tenth, and never by half."""
    database = platform.database()

    def stored(parameters: dict[str, int]) -> dict[int, tuple[int, int]]:
        rows = database.job_query("jobs/metrics", "count_stored", parameters)
        return {row["provider_id"]: (row["executions"], row["bytes"]) for row in rows}

    whole, sampled = stored(WHOLE), stored(SAMPLED)
    assert whole == {1: (15_000, 150_000), 2: (5_000, 50_000)}
    assert sampled.keys() == whole.keys()
    for provider_id, numbers in whole.items():
        for number, estimate in zip(numbers, sampled[provider_id], strict=True):
            assert number / 2 < estimate < number * 2

    def due(parameters: dict[str, int]) -> tuple[int, bool]:
        (row,) = database.job_query("jobs/audit", "count_due", {"days": 90, **parameters})
        return row["executions"], row["is_exact"]

    assert due(WHOLE) == (ROWS, True)
    executions, is_exact = due(SAMPLED)
    assert not is_exact
    assert ROWS / 2 < executions < ROWS * 2


def test_what_is_away_is_counted_up_to_a_bound(platform: Platform) -> None:
    database = platform.database()

    def away(home_id: int, count_to: int) -> list[tuple[int, int, int, bool]]:
        rows = database.job_query("jobs/rehome", "count_away", {"home_id": home_id, "count_to": count_to})
        return [(row["provider_id"], row["executions"], row["size_bytes"], row["is_cut"]) for row in rows]

    platform.sql("INSERT INTO janitor_holds (execution_id, uuid, reason, host, os_user) VALUES (4, 'u-4', '', '', '')")
    platform.sql("UPDATE janitor_migrations SET local_copy = 'deleting' WHERE execution_id = 8")
    platform.sql("UPDATE ejecuciones_yaml SET ruta_nube = 'cloud://s3/otra' WHERE id = 12")
    assert away(1, 4997) == [(2, 4997, 49_970, False)]
    assert away(1, 4996) == [(2, 4996, 49_960, True)]
    assert away(2, 10) == [(1, 10, 100, True)]
    assert away(3, 10) == [(1, 10, 100, True), (2, 10, 100, True)]


def test_what_waits_is_read_from_the_last_look_and_what_was_added_since(platform: Platform) -> None:
    database = platform.database()
    scanned = waiting(database, large_table_bytes=1 << 40)
    assert scanned == (100, 77)
    assert waiting(database, large_table_bytes=0) == scanned, "no run has looked yet"
    platform.sql(
        "INSERT INTO janitor_looks (id, table_state, looked_at, execution_ids, executed_at, last_table_id) "
        "SELECT 1, '', now(), array_agg(id), array_agg(fecha_ejecucion::timestamptz), max(id) FROM ejecuciones_yaml "
        "WHERE NOT migrado_a_nube"
    )
    platform.add_execution("/p/nueva", "nueva")
    platform.sql("UPDATE ejecuciones_yaml SET migrado_a_nube = true WHERE uuid = 'p-100'")
    assert waiting(database, large_table_bytes=0) == waiting(database, large_table_bytes=1 << 40) == scanned
    platform.sql("UPDATE ejecuciones_yaml SET migrado_a_nube = false WHERE uuid = 'u-1'")
    assert waiting(database, large_table_bytes=0) == scanned, "what is set back waits for the next look"


def test_what_waits_in_a_huge_table_is_estimated_where_no_run_has_looked(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last rows, failures and what is held are counted, the rest is estimated: where the sample is the whole table,
    each row counts once.
    """
    pages = int(platform.value("SELECT pg_relation_size('ejecuciones_yaml') / current_setting('block_size')::integer"))
    database = platform.database()

    def counted(sampled_pages: int) -> tuple[str, dict[str, float]]:
        monkeypatch.setitem(large_tables.PENDING_SAMPLE, "rows_read", 200)
        monkeypatch.setitem(large_tables.PENDING_SAMPLE, "sampled_pages", sampled_pages)
        source = database.outlook.pending_source(is_huge=True)
        rows, due = database.outlook.pending_by_state(24, source, 10)
        assert all(row["directory"].startswith(("/p/", "/d/")) for row in due)
        return source.basis, {kind: row["count"] for kind, row in rows.items()}

    assert counted(pages) == counted(pages // 2) == ("sample", {"due": 77, "not_due": 23})
    platform.sql("UPDATE ejecuciones_yaml SET migrado_a_nube = false WHERE id % 10 = 9 AND id <= 19000")
    platform.sql("UPDATE janitor_migrations SET state = 'refused' WHERE execution_id = 9")
    platform.sql("INSERT INTO janitor_holds (execution_id, uuid, reason, host, os_user) VALUES (19, '', '', '', '')")
    pages *= 2  # the table has grown by the new versions of rows
    assert counted(pages) == ("sample", {"due": 77 + 1898, "not_due": 23, "refused": 1, "held": 1})
    _, estimate = counted(pages // 4)
    assert (estimate["refused"], estimate["held"]) == (1, 1)
    assert 77 < estimate["due"] < 77 + 2 * 1898


def test_what_was_sent_is_added_up_or_estimated_from_a_part_of_the_sizes(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = platform.database()
    platform.sql(
        "INSERT INTO janitor_attempts (execution_id, run_id, host, fencing_token, provider_id, key_prefix, state, "
        "error_code, finished_at) "
        "SELECT id, 1, 'h', 1, nube_provider_id, uuid, CASE WHEN id <= 200 THEN 'committed' ELSE 'settled' END, "
        "CASE WHEN id > 200 THEN 'unavailable' END, now() FROM ejecuciones_yaml WHERE id <= 210"
    )
    platform.sql("UPDATE janitor_migrations SET size_bytes = 30 WHERE execution_id <= 3")

    def sent(sizes_read: int) -> list[tuple[int, bool, int, int, bool]]:
        monkeypatch.setattr(database_module, "SIZES_REPORTED", sizes_read)
        names = ("provider_id", "is_migrated", "executions", "bytes", "is_estimated")
        return [tuple(row[name] for name in names) for row in database.report_rows("attempts", 7, "UTC")]

    counted = [(1, False, 8, 0, False), (1, True, 150, 1560, False), (2, False, 2, 0, False), (2, True, 50, 500, False)]
    assert sent(100) == sent(76) == counted
    failed_1, (*_, estimate, is_estimated), failed_2, other = sent(30)
    assert (failed_1, failed_2, other) == (counted[0], counted[2], counted[3])
    assert is_estimated
    assert 1500 <= estimate <= 3000


def waiting(database: Database, large_table_bytes: int) -> tuple[int, int]:
    """How many executions are pending, and due."""
    parameters = {"retention_seconds": DAY, "large_table_bytes": large_table_bytes}
    (row,) = database.job_query("jobs/metrics", "count_executions", parameters)
    return row["pending"], row["due"]
