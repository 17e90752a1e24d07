"""Others write while backups are made: each holds exactly what its snapshot shows, also beside TRUNCATE and CLUSTER."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg2

from tests.jobs.backups.lying_programs import lying_programs
from tests.jobs.backups.pairs import Pair, normal

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
