"""A tick with nothing to do, over many rows of `ejecuciones_yaml`, beside the bare start of Python and its packages.

python -m benchmarks.scale.idle_tick --rows 10000000 --rounds 5

One row in a thousand is pending: first none of them is due, then all are, and their directories are on other hosts.
The tick before the first contest looks through the table, and the others remember what it found.
"""

from __future__ import annotations

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
from benchmarks.measuring.results import NO_GOALS, PRODUCT, Goals, Report
from tests.destinations import local_destination
from tests.stories.installation import Installation

ROWS = """
INSERT INTO ejecuciones_yaml (uuid, ruta_directorio, fecha_ejecucion, migrado_a_nube, ruta_nube, nube_provider_id)
SELECT uuid, %s || '/' || uuid, now() - interval '1 hour', NOT pending,
       CASE WHEN NOT pending THEN 'cloud://s3/ejecuciones/' || uuid END, CASE WHEN NOT pending THEN 1 END
FROM generate_series(1, %s) AS number
CROSS JOIN LATERAL (SELECT md5(number::text)::uuid::text AS uuid, number %% 1000 = 0 AS pending) AS made
"""
HOURS_UNTIL_DUE = {"none of them due": 72, "all of them due on other hosts": 0}
GOALS = {"none of them due": Goals(wall_ratio=3.0), "all of them due on other hosts": NO_GOALS}


def run(rows: int, rounds: int) -> Report:
    """Both contests, over a number of rows."""
    lines, played = [], []
    with (
        tempfile.TemporaryDirectory(prefix="janitor-bench-") as name,
        installation(Path(name, "sage"), postgres_of_this_process()) as sage,
    ):
        provider = sage.add_provider(local_destination("nas", Path(name, "nas")))
        sage.execute(ROWS, (str(sage.executions), rows))
        sage.execute("VACUUM ANALYZE ejecuciones_yaml")
        for which, hours in HOURS_UNTIL_DUE.items():
            sage.configure(provider, tiempo_retencion_local=hours)
            _require_idle(sage)
            peer = Contestant("python -c 'import psycopg2, click'", _bare_start, GOALS[which])
            rounds_of_this = compete(Contestant(PRODUCT, partial(_tick, sage)), [peer], rounds)
            lines += lines_of(f"a tick over {rows:,} rows, {rows // 1000:,} pending, {which}", [peer], rounds_of_this)
            played += rounds_of_this
    return Report("idle_tick", lines, raw(played))


@contextmanager
def _tick(sage: Installation, _scratch: Path) -> Iterator[Trial]:
    yield Trial([sys.executable, str(sage.program)], sage.environment, partial(_require_nothing_done, sage))


@contextmanager
def _bare_start(_scratch: Path) -> Iterator[Trial]:
    yield Trial([sys.executable, "-c", "import psycopg2, click"], os.environ, lambda: None)


def _require_idle(sage: Installation) -> None:
    """One tick, not measured. Raises `RuntimeError` unless it finds nothing to do."""
    idle = sage.run()
    if idle.exit_code != 0:
        raise RuntimeError(str(idle))
    _require_nothing_done(sage)


def _require_nothing_done(sage: Installation) -> None:
    if done := sage.rows("SELECT execution_id FROM janitor_migrations"):
        raise RuntimeError(f"{len(done)} executions were taken up")


if __name__ == "__main__":
    run_from_command_line(__doc__, run, rows=10_000_000)
