"""Many small files to Google Cloud Storage: one tick of the daemon beside `rclone move`, to gcp-storage-emulator.

python -m benchmarks.migration.gcs_files --executions 20 --files 100 --rounds 5
"""

from __future__ import annotations

from functools import partial

from benchmarks.arena import stores
from benchmarks.arena.trees import make_small_files
from benchmarks.measuring.command_line import run_from_command_line
from benchmarks.measuring.peers import Peer, rclone_move
from benchmarks.measuring.results import Goals, Report
from benchmarks.migration.moves import Move

PEERS = (Peer("rclone move", rclone_move, Goals(wall_ratio=1.1)),)


def run(executions: int, files: int, rounds: int) -> Report:
    """A number of executions with a number of files each."""
    work = f"{executions * files:,} files of 1-64 KB in {executions} executions, GCS emulator"
    make = partial(make_small_files, executions=executions, files=files)
    return Move("gcs_files", work, make, stores.gcs, PEERS).run(rounds)


if __name__ == "__main__":
    run_from_command_line(__doc__, run, executions=20, files=100)
