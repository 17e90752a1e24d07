"""An execution of many small files back from S3: `restore` beside `rclone copy`, from `rclone serve s3`.

python -m benchmarks.restoring.restore_small_files --files 20000 --rounds 5
"""

from __future__ import annotations

from functools import partial

from benchmarks.arena.trees import make_small_files
from benchmarks.measuring.command_line import run_from_command_line
from benchmarks.measuring.results import Report
from benchmarks.restoring.restores import Restore


def run(files: int, rounds: int) -> Report:
    """One execution with a number of files."""
    make = partial(make_small_files, executions=1, files=files)
    return Restore("restore_small_files", f"restore of {files:,} files of 1-64 KB, S3", make).run(rounds)


if __name__ == "__main__":
    run_from_command_line(__doc__, run, files=20_000)
