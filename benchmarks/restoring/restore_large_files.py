"""An execution of large files back from S3: `restore` beside `rclone copy`, from `rclone serve s3`.

python -m benchmarks.restoring.restore_large_files --files 8 --size-mib 512 --rounds 5
"""

from __future__ import annotations

from functools import partial

from benchmarks.arena.trees import make_large_files
from benchmarks.measuring.command_line import run_from_command_line
from benchmarks.measuring.results import Report
from benchmarks.restoring.restores import Restore


def run(files: int, size_mib: int, rounds: int) -> Report:
    """One execution with a number of files of one size."""
    make = partial(make_large_files, executions=1, files=files, size_mib=size_mib)
    return Restore("restore_large_files", f"restore of {files} files of {size_mib} MiB, S3", make).run(rounds)


if __name__ == "__main__":
    run_from_command_line(__doc__, run, files=8, size_mib=512)
