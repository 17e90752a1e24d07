"""Contests in bringing an execution back from S3: `restore` (fetch, compare with the manifest, modes and times) beside
`rclone copy` of the same objects from the same server.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.arena import stores
from benchmarks.arena.installations import EXECUTIONS_PREFIX, add_executions, installation
from benchmarks.arena.trees import require_identical
from benchmarks.arena.workshop import workshop
from benchmarks.measuring.contest import Contestant, Trial, compete, lines_of, raw
from benchmarks.measuring.peers import rclone_copy
from benchmarks.measuring.results import PRODUCT, Goals, Report
from tests.stories.installation import Installation

GOALS = Goals(wall_ratio=1.0)


@dataclass(frozen=True, slots=True)
class Restore:
    """One row of the table: `make` makes the files of one execution in a directory."""

    name: str
    work: str
    make: Callable[[Path], None]

    def run(self, rounds: int) -> Report:
        """Migrate the execution once, then let both bring it back in turn. Raises when it is not as it was."""
        with (
            workshop(self.make) as (original, postgres),
            stores.s3() as store,
            store.destination() as destination,
            installation(original.with_name("sage"), postgres) as sage,
        ):
            sage.configure(sage.add_provider(destination))
            add_executions(sage, original)
            subprocess.run([sys.executable, str(sage.program)], env=sage.environment, check=True, capture_output=True)
            (execution,) = original.iterdir()
            source = destination.rclone_remote(f"{EXECUTIONS_PREFIX}/{execution.name}")
            product = Contestant(PRODUCT, partial(_restore, execution, sage))
            peer = Contestant("rclone copy", partial(_copy, execution, source), GOALS)
            played = compete(product, [peer], rounds)
        return Report(self.name, lines_of(self.work, [peer], played), raw(played))


@contextmanager
def _restore(execution: Path, sage: Installation, scratch: Path) -> Iterator[Trial]:
    target = scratch / "restored"
    command = [sys.executable, str(sage.program), "restore", execution.name, str(target)]
    yield Trial(command, sage.environment, partial(require_identical, execution, target))


@contextmanager
def _copy(execution: Path, source: str, scratch: Path) -> Iterator[Trial]:
    target = scratch / "copied"
    command = rclone_copy(source, target)
    yield Trial(command.arguments, command.environment, partial(require_identical, execution, target))
