"""Large files over SSH: one tick of the daemon beside `rclone move` and OpenSSH's `sftp`, to sshd.

python -m benchmarks.migration.sftp_large_files --executions 4 --files 1 --size-mib 512 --rounds 5
"""

from __future__ import annotations

from functools import partial

from benchmarks.arena import stores
from benchmarks.arena.trees import make_large_files
from benchmarks.measuring.command_line import run_from_command_line
from benchmarks.measuring.peers import Peer, openssh_put, rclone_move, rclone_move_over_ssh
from benchmarks.measuring.results import Goals, Report
from benchmarks.migration.moves import Move

PEERS = (
    Peer("rclone move", rclone_move_over_ssh, Goals(wall_ratio=1.0)),
    Peer("rclone move, unverified", rclone_move, Goals(wall_ratio=1.0)),
    Peer("sftp put -p, unverified", openssh_put, Goals(wall_ratio=1.3)),
)


def run(executions: int, files: int, size_mib: int, rounds: int) -> Report:
    """A number of executions with a number of files each, of one size."""
    work = f"{executions * files} files of {size_mib} MiB in {executions} executions, sshd"
    make = partial(make_large_files, executions=executions, files=files, size_mib=size_mib)
    return Move("sftp_large_files", work, make, stores.sftp, PEERS).run(rounds)


if __name__ == "__main__":
    run_from_command_line(__doc__, run, executions=4, files=1, size_mib=512)
