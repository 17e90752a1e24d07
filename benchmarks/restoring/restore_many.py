"""Many small executions back from S3 that is far away, several at once, beside the same program one after the other.

python -m benchmarks.restoring.restore_many --executions 200 --files 3 --round-trip-ms 80 --rounds 5
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.arena import stores
from benchmarks.arena.distance import far_away
from benchmarks.arena.installations import add_executions, installation
from benchmarks.arena.trees import make_small_files, require_identical
from benchmarks.arena.workshop import workshop
from benchmarks.measuring.command_line import run_from_command_line
from benchmarks.measuring.contest import Contestant, Trial, compete, lines_of, raw
from benchmarks.measuring.results import PRODUCT, Goals, Report
from tests.stories.installation import Installation

GOALS = Goals(wall_ratio=0.5)

ONE_AFTER_THE_OTHER = """
import runpy, sys
from pathlib import Path
sys.argv = sys.argv[1:]
sys.path.insert(0, str(Path(sys.argv[0]).parent))
from jobs.migration.restore.many import at_once
at_once.MOST_AT_ONCE = 1
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(executions: int, files: int, round_trip_ms: int, rounds: int) -> Report:
    """A number of executions with a number of files, with a server at this distance."""
    make = partial(make_small_files, executions=executions, files=files)
    with workshop(make) as (original, postgres), stores.s3() as store, store.destination() as destination:
        port = int(str(destination.options["endpoint_url"]).rpartition(":")[2].strip("/"))
        with far_away(port, round_trip_ms / 1000) as far, installation(original.with_name("sage"), postgres) as sage:
            provider_id = sage.add_provider(destination)
            sage.configure(provider_id)
            add_executions(sage, original)
            subprocess.run([sys.executable, str(sage.program)], env=sage.environment, check=True, capture_output=True)
            moved = "UPDATE cloud_providers SET configuracion = jsonb_set(configuracion::jsonb, '{endpoint_url}', %s)"
            sage.execute(moved, (f'"http://127.0.0.1:{far}"',))
            several = [sys.executable, str(sage.program)]
            singly = [sys.executable, "-c", ONE_AFTER_THE_OTHER, str(sage.program)]
            product = Contestant(PRODUCT, partial(_restore, original, sage, provider_id, several))
            peer = Contestant(
                "itself, one after the other", partial(_restore, original, sage, provider_id, singly), GOALS
            )
            played = compete(product, [peer], rounds)
    work = f"restore of {executions:,} executions of {files} files of 1-64 KB, S3 at {round_trip_ms} ms"
    return Report("restore_many", lines_of(work, [peer], played), raw(played))


@contextmanager
def _restore(
    original: Path, sage: Installation, provider_id: int, program: Sequence[str], scratch: Path
) -> Iterator[Trial]:
    target = scratch / "restored"
    command = [*program, "restore", "--provider", str(provider_id), "--to", str(target)]
    yield Trial(command, sage.environment, partial(require_identical, original, target))


if __name__ == "__main__":
    run_from_command_line(__doc__, run, executions=200, files=3, round_trip_ms=80)
