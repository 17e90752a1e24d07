"""`status` over many executions, nearly all of them migrated, beside the bare start of Python and its packages.

python -m benchmarks.scale.status --rows 10000000 --rounds 5

One row in a thousand is pending: a tenth of those failed at a provider, a tenth was refused, and of the rest half is
due on other hosts. The last year's runs are those of three hosts that start one every hour.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.arena.installations import installation
from benchmarks.arena.workshop import postgres_of_this_process
from benchmarks.measuring.command_line import run_from_command_line
from benchmarks.measuring.contest import Contestant, Trial, compete, lines_of, raw
from benchmarks.measuring.results import NO_GOALS, PRODUCT, Report
from tests.destinations import local_destination
from tests.stories.installation import Installation

RUNS = """
INSERT INTO janitor_runs (host, process_id, mode, version, started_at, finished_at, exit_code, report)
SELECT 'host-' || number %% 3, number, 'tick', 'test', began, began + interval '5 minutes',
       CASE WHEN number %% 100 = 0 THEN 1 ELSE 0 END, '{"problems": []}'
FROM generate_series(1, %s) AS number
CROSS JOIN LATERAL (SELECT now() - number * interval '20 minutes' AS began) AS made
ORDER BY number DESC
"""

EXECUTIONS = """
INSERT INTO ejecuciones_yaml (uuid, ruta_directorio, fecha_ejecucion, migrado_a_nube, ruta_nube, nube_provider_id)
SELECT uuid, %s || '/' || uuid, now() - (%s - number) * interval '1 year' / %s, number %% 1000 <> 0,
       CASE WHEN number %% 1000 <> 0 THEN 'cloud://s3/ejecuciones/' || uuid END,
       CASE WHEN number %% 1000 <> 0 THEN 1 + (number %% 20 = 1)::integer END
FROM generate_series(1, %s) AS number
CROSS JOIN LATERAL (SELECT md5(number::text)::uuid::text AS uuid) AS made
"""

MIGRATIONS = """
INSERT INTO janitor_migrations (
    execution_id, uuid, state, local_copy, host, run_id, fencing_token, attempts, error_code, error, provider_id, uri,
    directory, file_count, size_bytes, evidence, manifest_sha256, claimed_at, migrated_at, deleted_at, executed_at
)
SELECT id, uuid, CASE WHEN migrado_a_nube THEN 'migrated' WHEN id %% 10000 = 0 THEN 'failed' ELSE 'refused' END,
       CASE WHEN migrado_a_nube THEN 'deleted' ELSE 'kept' END, 'host-1', 1, 1, 1,
       CASE WHEN NOT migrado_a_nube THEN CASE WHEN id %% 10000 = 0 THEN 'access_denied' ELSE 'unsafe_source' END END,
       CASE WHEN NOT migrado_a_nube THEN 'no' END, nube_provider_id, ruta_nube, ruta_directorio, 40,
       CASE WHEN migrado_a_nube THEN 50000000 END, 'checksum', md5(uuid), fecha_ejecucion,
       CASE WHEN migrado_a_nube THEN fecha_ejecucion END, CASE WHEN migrado_a_nube THEN fecha_ejecucion END,
       fecha_ejecucion
FROM ejecuciones_yaml
WHERE migrado_a_nube OR id %% 10000 IN (0, 1000)
"""

ATTEMPTS = """
INSERT INTO janitor_attempts (
    execution_id, run_id, host, fencing_token, provider_id, key_prefix, state, foreign_objects, error_code, error,
    started_at, finished_at
)
SELECT execution_id, 1, 'host-1', 1, coalesce(provider_id, 1), 'ejecuciones/' || uuid,
       CASE state WHEN 'migrated' THEN 'committed' ELSE 'abandoned' END, false,
       error_code, error, claimed_at, claimed_at
FROM janitor_migrations
WHERE state <> 'refused'
ORDER BY execution_id
"""

SOMETHING_NEEDS_A_PERSON = ("/bin/sh", "-c", '"$@" > /dev/null; [ $? = 1 ]', "sh")
"""Runs a command that has to end with 1."""

TABLES = ("ejecuciones_yaml", "janitor_migrations", "janitor_attempts", "janitor_runs")


def fill(sage: Installation, rows: int, runs: int = 26_000) -> None:
    """Add a number of executions and what the program would have recorded of them."""
    sage.execute(RUNS, (runs,))
    sage.execute(EXECUTIONS, (str(sage.executions), rows, rows, rows))
    sage.execute("VACUUM ANALYZE ejecuciones_yaml")
    sage.execute(MIGRATIONS.replace("%%", "%"))
    sage.execute(ATTEMPTS)
    for table in TABLES:
        sage.execute(f"VACUUM ANALYZE {table}")


def run(rows: int, rounds: int) -> Report:
    """The contest, over a number of rows: as soon as they exist, and after a tick that has looked through them."""
    lines, played = [], []
    with (
        tempfile.TemporaryDirectory(prefix="janitor-bench-") as name,
        installation(Path(name, "sage"), postgres_of_this_process()) as sage,
    ):
        provider = sage.add_provider(local_destination("nas", Path(name, "nas")))
        sage.add_provider(local_destination("otro", Path(name, "otro")))
        sage.configure(provider, 2, tiempo_retencion_local=24 * 180)
        fill(sage, rows)
        for when in ("before any tick", "after a tick"):
            peer = Contestant("python -c 'import psycopg2, click'", _bare_start, NO_GOALS)
            rounds_of_this = compete(Contestant(PRODUCT, partial(_status, sage)), [peer], rounds)
            lines += lines_of(f"status over {rows:,} rows, {when}", [peer], rounds_of_this)
            played += rounds_of_this
            sage.run("--migrate-only")
    return Report("status", lines, raw(played))


@contextmanager
def _status(sage: Installation, _scratch: Path) -> Iterator[Trial]:
    command = [*SOMETHING_NEEDS_A_PERSON, sys.executable, str(sage.program), "status", "--json"]
    yield Trial(command, sage.environment, partial(_require_told, sage))


@contextmanager
def _bare_start(_scratch: Path) -> Iterator[Trial]:
    yield Trial([sys.executable, "-c", "import psycopg2, click"], os.environ, lambda: None)


def _require_told(sage: Installation) -> None:
    """Raises `RuntimeError` unless status tells of the failures that were made."""
    told = json.loads(sage.run("status", "--json").output)
    if {group["error_code"] for group in told["failure_groups"]} != {"access_denied", "unsafe_source"}:
        raise RuntimeError(str(told["failure_groups"]))


if __name__ == "__main__":
    run_from_command_line(__doc__, run, rows=10_000_000)
