"""One execution of very many empty files: one tick of the daemon beside `rclone move`. What counts is the memory.

python -m benchmarks.migration.million_files --files 1000000 --destination local --rounds 1
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from benchmarks.arena import stores
from benchmarks.arena.stores import Store
from benchmarks.measuring.peers import Peer, rclone_move, rclone_move_other_file_system
from benchmarks.measuring.results import Goals, Report
from benchmarks.migration.moves import Move

GOALS = Goals(wall_ratio=1.0, peak_memory_mib=300e6 / 2**20)

NAMES = {"local": "local", "s3": "S3", "bare_s3": "S3 that keeps names only"}
DESTINATIONS: dict[str, tuple[Callable[[], AbstractContextManager[Store]], Peer]] = {
    "local": (stores.local, Peer("rclone move", rclone_move_other_file_system, GOALS)),
    "s3": (stores.s3, Peer("rclone move", rclone_move, GOALS)),
    "bare_s3": (stores.bare_s3, Peer("rclone move", rclone_move, GOALS)),
}


def run(files: int, destination: str, rounds: int) -> Report:
    """Many files in one directory, to one of `DESTINATIONS`."""
    store, peer = DESTINATIONS[destination]
    work = f"{files:,} empty files in one execution, {NAMES[destination]}"
    return Move(f"million_files_{destination}", work, partial(_make, files=files), store, [peer]).run(rounds)


def _make(directory: Path, files: int) -> None:
    execution = directory / "execution-00000"
    execution.mkdir(parents=True)
    for number in range(files):
        (execution / f"{number:07}.csv").touch()


def main() -> None:
    """Read the command line, run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000, help="(1000000)")
    parser.add_argument("--destination", choices=DESTINATIONS, default="local", help="(local)")
    parser.add_argument("--rounds", type=int, default=1, help="how often each program runs (1)")
    parser.add_argument("--record", action="store_true", help="keep the result, and write benchmarks/RESULTS.md again")
    arguments = vars(parser.parse_args())
    keep = arguments.pop("record")
    report = run(**arguments)
    report.show()
    if keep:
        report.save()


if __name__ == "__main__":
    main()
