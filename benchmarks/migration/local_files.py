"""Many small files to a directory: one tick of the daemon beside `rclone move` and what a careful person types.

python -m benchmarks.migration.local_files --executions 200 --files 100 --rounds 5
"""

from __future__ import annotations

from functools import partial

from benchmarks.arena import stores
from benchmarks.arena.trees import make_small_files
from benchmarks.measuring.command_line import run_from_command_line
from benchmarks.measuring.peers import Peer, rclone_move_other_file_system, shell_move, shell_move_synced
from benchmarks.measuring.results import Goals, Report
from benchmarks.migration.moves import Move

PEERS = (
    Peer("rclone move", rclone_move_other_file_system, Goals(wall_ratio=1.0)),
    Peer("cp, sha256sum, rm", shell_move, Goals(wall_ratio=1.0)),
    Peer("cp, sync, sha256sum, rm", shell_move_synced),
)


def run(executions: int, files: int, rounds: int) -> Report:
    """A number of executions with a number of files each."""
    work = f"{executions * files:,} files of 1-64 KB in {executions} executions, local"
    make = partial(make_small_files, executions=executions, files=files)
    return Move("local_files", work, make, stores.local, PEERS).run(rounds)


if __name__ == "__main__":
    run_from_command_line(__doc__, run, executions=200, files=100)
