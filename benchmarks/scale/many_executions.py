"""Many small executions to a directory, and removed, beside the same daemon at few: what one execution costs.

python -m benchmarks.scale.many_executions --executions 200000 --few 2000 --rounds 1

The costs in the table are those of 1,000 executions; the raw rounds are those of all.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.arena.installations import EXECUTIONS_PREFIX, installation
from benchmarks.arena.workshop import postgres_of_this_process
from benchmarks.measuring.command_line import run_from_command_line
from benchmarks.measuring.contest import Contestant, Round, Trial, compete, line_of, raw
from benchmarks.measuring.measure import Cost
from benchmarks.measuring.results import PRODUCT, Goals, Report
from tests.destinations import local_destination
from tests.stories.installation import Installation

FILES = 3
GOALS = Goals(wall_ratio=1.1, cpu_ratio=1.1)

ROWS = """
INSERT INTO ejecuciones_yaml (uuid, ruta_directorio, fecha_ejecucion)
SELECT 'e' || number, %s || '/e' || number, now() - interval '1 hour' FROM generate_series(0, %s) AS number
"""


def run(executions: int, few: int, rounds: int) -> Report:
    """Many executions, and few to compare with."""
    product = Contestant(PRODUCT, partial(_tick, executions))
    peer = Contestant(f"itself at {few:,}", partial(_tick, few), GOALS)
    played = compete(product, [peer], rounds)
    work = f"{executions:,} executions of {FILES} files, local and removed; per 1,000"
    line = line_of(work, peer, _per_thousand(played, PRODUCT, executions), _per_thousand(played, peer.name, few))
    return Report("many_executions", [line], raw(played))


def _per_thousand(played: list[Round], name: str, executions: int) -> list[Cost]:
    share = 1000 / executions
    costs = [each[name] for each in played]
    return [
        replace(
            cost,
            wall_seconds=cost.wall_seconds * share,
            cpu_seconds=cost.cpu_seconds * share,
            machine_cpu_seconds=cost.machine_cpu_seconds * share,
        )
        for cost in costs
    ]


@contextmanager
def _tick(executions: int, scratch: Path) -> Iterator[Trial]:
    """One tick that deletes what it moved."""
    with installation(scratch / "sage", postgres_of_this_process()) as sage:
        sage.configure(sage.add_provider(local_destination("nas", scratch / "nas")), eliminar_despues_de_migrar=True)
        for number in range(executions):
            _make(sage.executions / f"e{number}")
        sage.execute(ROWS, (str(sage.executions), executions - 1))

        def require_done() -> None:
            _require_moved(sage, scratch / "nas" / EXECUTIONS_PREFIX, executions)

        yield Trial([sys.executable, str(sage.program)], sage.environment, require_done)


def _make(directory: Path) -> None:
    directory.mkdir()
    for number in range(FILES):
        (directory / f"{number}.csv").write_bytes(_content(directory.name, number))


def _content(execution: str, number: int) -> bytes:
    return f"{execution},{number}\n".encode() * (100 * (number + 1))


def _require_moved(sage: Installation, arrived: Path, executions: int) -> None:
    """Raises `RuntimeError` unless everything arrived as it was, is recorded, and nothing stayed."""
    for name in (f"e{number}" for number in range(executions)):
        for number in range(FILES):
            if (arrived / name / f"{number}.csv").read_bytes() != _content(name, number):
                raise RuntimeError(f"{name}/{number}.csv did not arrive as it was")
    if any(sage.executions.iterdir()):
        raise RuntimeError("something stayed")
    (row,) = sage.rows("SELECT count(*) AS count FROM ejecuciones_yaml WHERE migrado_a_nube IS NOT TRUE")
    if row["count"]:
        raise RuntimeError(f"{row['count']} executions are not recorded as migrated")


if __name__ == "__main__":
    run_from_command_line(__doc__, run, rounds=1, executions=200_000, few=2_000)
