"""Many small files to S3: one tick of the daemon beside `rclone move` and `s5cmd mv`, to `rclone serve s3`.

python -m benchmarks.migration.small_files --executions 200 --files 100 --rounds 5
"""

from __future__ import annotations

from functools import partial

from benchmarks.arena import stores
from benchmarks.arena.trees import make_small_files
from benchmarks.measuring.command_line import run_from_command_line
from benchmarks.measuring.peers import Peer, rclone_move, s5cmd_move
from benchmarks.measuring.results import Goals, Report
from benchmarks.migration.moves import Move

PEERS = (
    Peer("rclone move", rclone_move, Goals(wall_ratio=1.0, cpu_ratio=1.0)),
    Peer("s5cmd mv", s5cmd_move, Goals(wall_ratio=0.8)),
)


def run(executions: int, files: int, rounds: int) -> Report:
    """A number of executions with a number of files each."""
    work = f"{executions * files:,} files of 1-64 KB in {executions} executions, S3"
    make = partial(make_small_files, executions=executions, files=files)
    return Move("small_files", work, make, stores.s3, PEERS).run(rounds)


if __name__ == "__main__":
    run_from_command_line(__doc__, run, executions=200, files=100)
