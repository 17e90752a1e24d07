"""Large files to S3: one tick of the daemon beside `rclone move` and `s5cmd mv`, to `rclone serve s3`.

python -m benchmarks.migration.large_files --executions 4 --files 2 --size-mib 512 --rounds 5
"""

from __future__ import annotations

from functools import partial

from benchmarks.arena import stores
from benchmarks.arena.trees import make_large_files
from benchmarks.measuring.command_line import run_from_command_line
from benchmarks.measuring.peers import Peer, rclone_move, s5cmd_move
from benchmarks.measuring.results import Goals, Report
from benchmarks.migration.moves import Move

MEMORY_GOAL_MIB = 250e6 / 2**20
PEERS = (
    Peer("rclone move", rclone_move, Goals(wall_ratio=0.7, peak_memory_mib=MEMORY_GOAL_MIB)),
    Peer("s5cmd mv", s5cmd_move, Goals(wall_ratio=0.8, peak_memory_mib=MEMORY_GOAL_MIB)),
)


def run(executions: int, files: int, size_mib: int, rounds: int) -> Report:
    """A number of executions with a number of files each, of one size."""
    work = f"{executions * files} files of {size_mib} MiB in {executions} executions, S3"
    make = partial(make_large_files, executions=executions, files=files, size_mib=size_mib)
    return Move("large_files", work, make, stores.s3, PEERS).run(rounds)


if __name__ == "__main__":
    run_from_command_line(__doc__, run, executions=4, files=2, size_mib=512)
