"""Old files in TEMP_DIR: `--clean-only` (start, database, record of the run, delete, report) beside `find -delete`.

The files are empty, so that the kernel's share of the work is the smallest and the program's the largest.

python -m benchmarks.jobs.temp_files --files 1000000 --rounds 5
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.arena.installations import installation
from benchmarks.arena.workshop import workshop
from benchmarks.measuring.command_line import run_from_command_line
from benchmarks.measuring.contest import Contestant, Trial, compete, lines_of, raw
from benchmarks.measuring.results import PRODUCT, Goals, Report
from demo.servers.postgres import EmbeddedPostgres

RETENTION_MINUTES = 24 * 60
TWO_DAYS_NS = 2 * 24 * 3600 * 10**9
KEPT = {"directory", "link", "young"}
GOALS = Goals(wall_ratio=1.5, peak_memory_mib=60e6 / 2**20)


def run(files: int, rounds: int) -> Report:
    """Many old files beside what must stay."""
    with workshop(Path.mkdir) as (_, postgres):
        product = Contestant(PRODUCT, partial(_clean, files, postgres))
        peer = Contestant("find -delete", partial(_find, files), GOALS)
        played = compete(product, [peer], rounds)
    return Report("temp_files", lines_of(f"{files:,} old files in TEMP_DIR", [peer], played), raw(played))


@contextmanager
def _clean(files: int, postgres: EmbeddedPostgres, scratch: Path) -> Iterator[Trial]:
    with installation(scratch / "sage", postgres) as sage:
        _fill(sage.temporary, files)
        command = [sys.executable, str(sage.program), "--clean-only"]
        yield Trial(command, sage.environment, partial(_require_clean, sage.temporary))


@contextmanager
def _find(files: int, scratch: Path) -> Iterator[Trial]:
    directory = scratch / "files"
    directory.mkdir()
    _fill(directory, files)
    command = ["find", str(directory), "-maxdepth", "1", "-type", "f", "-mmin", f"+{RETENTION_MINUTES}", "-delete"]
    yield Trial(command, dict(os.environ), partial(_require_clean, directory))


def _fill(directory: Path, files: int) -> None:
    """Make the old files, and one of each kind of what must stay."""
    then_ns = time.time_ns() - TWO_DAYS_NS
    descriptor = os.open(directory, os.O_RDONLY)
    for number in range(files):
        name = f"temporary-{number:08}.dat"
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600, dir_fd=descriptor))
        os.utime(name, ns=(then_ns, then_ns), dir_fd=descriptor)
    os.close(descriptor)
    (directory / "young").touch()
    (directory / "directory").mkdir()
    (directory / "link").symlink_to("directory")


def _require_clean(directory: Path) -> None:
    """Raises `RuntimeError` unless what must stay is all that is left."""
    left = set(os.listdir(directory))
    if left != KEPT:
        raise RuntimeError(f"{len(left - KEPT)} old files were left, {len(KEPT - left)} of {KEPT} are gone")


if __name__ == "__main__":
    run_from_command_line(__doc__, run, files=1_000_000)
