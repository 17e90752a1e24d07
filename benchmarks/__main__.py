"""All benchmarks in turn, recorded; `--small` in sizes that show that they work, and nothing about speed."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from functools import partial

from benchmarks.jobs import audit, backups, logs, temp_files
from benchmarks.measuring.command_line import ROUNDS
from benchmarks.measuring.results import Report
from benchmarks.migration import (
    azure_files,
    counts,
    gcs_files,
    large_files,
    local_files,
    million_files,
    sftp_large_files,
    sftp_small_files,
    small_files,
)
from benchmarks.restoring import restore_large_files, restore_many, restore_small_files
from benchmarks.scale import idle_tick, many_executions, many_hosts, status

Benchmarks = tuple[Callable[[], Report | None], ...]
"""Each gives its report, but for those that only print."""

FULL: Benchmarks = (
    partial(small_files.run, executions=200, files=100, rounds=ROUNDS),
    partial(large_files.run, executions=4, files=2, size_mib=512, rounds=ROUNDS),
    partial(azure_files.run, executions=50, files=100, rounds=ROUNDS),
    partial(gcs_files.run, executions=20, files=100, rounds=ROUNDS),
    partial(sftp_small_files.run, executions=50, files=100, rounds=ROUNDS),
    partial(sftp_large_files.run, executions=4, files=1, size_mib=512, rounds=ROUNDS),
    partial(local_files.run, executions=200, files=100, rounds=ROUNDS),
    partial(restore_small_files.run, files=20_000, rounds=ROUNDS),
    partial(restore_large_files.run, files=8, size_mib=512, rounds=ROUNDS),
    partial(restore_many.run, executions=200, files=3, round_trip_ms=80, rounds=ROUNDS),
    partial(idle_tick.run, rows=10_000_000, rounds=ROUNDS),
    partial(status.run, rows=10_000_000, rounds=ROUNDS),
    partial(audit.run, executions=10_000, files=99, rounds=ROUNDS),
    partial(temp_files.run, files=1_000_000, rounds=ROUNDS),
    partial(logs.run, small_logs=1000, large_logs=10, large_mib=500, rounds=ROUNDS),
    partial(backups.run, rows=5_000_000, rounds=ROUNDS),
    partial(million_files.run, files=1_000_000, destination="local", rounds=1),
    partial(million_files.run, files=150_000, destination="s3", rounds=1),
    partial(million_files.run, files=1_000_000, destination="bare_s3", rounds=1),
    partial(many_executions.run, executions=200_000, few=2_000, rounds=1),
    partial(counts.run, files=2_000, instruction_files=500),
    partial(many_hosts.run, executions=400, files=3, strangers=20_000),
)

SMALL: Benchmarks = (
    partial(small_files.run, executions=2, files=3, rounds=1),
    partial(large_files.run, executions=1, files=1, size_mib=20, rounds=1),
    partial(azure_files.run, executions=2, files=3, rounds=1),
    partial(gcs_files.run, executions=2, files=3, rounds=1),
    partial(sftp_small_files.run, executions=2, files=2, rounds=1),
    partial(sftp_large_files.run, executions=1, files=1, size_mib=20, rounds=1),
    partial(local_files.run, executions=2, files=3, rounds=1),
    partial(restore_small_files.run, files=3, rounds=1),
    partial(restore_large_files.run, files=1, size_mib=20, rounds=1),
    partial(restore_many.run, executions=4, files=1, round_trip_ms=5, rounds=1),
    partial(idle_tick.run, rows=2_000, rounds=1),
    partial(status.run, rows=20_000, rounds=1),
    partial(audit.run, executions=20, files=99, rounds=1),
    partial(temp_files.run, files=200, rounds=1),
    partial(logs.run, small_logs=20, large_logs=1, large_mib=20, rounds=1),
    partial(backups.run, rows=2_000, rounds=1),
    partial(million_files.run, files=200, destination="local", rounds=1),
    partial(million_files.run, files=2_000, destination="bare_s3", rounds=1),
    partial(many_executions.run, executions=20, few=10, rounds=1),
    partial(many_hosts.run, executions=4, files=1, strangers=20, hosts=(2,)),
)
"""What `counts` counts is held by the tests already."""


def main() -> None:
    """Run the one list or the other. What fails is reported, and the others run."""
    small = "--small" in sys.argv[1:]
    if small:
        print("Sizes that show that the benchmarks work. The numbers mean nothing.\n")
    succeeded = [_succeeds(run, record=not small) for run in (SMALL if small else FULL)]
    sys.exit(not all(succeeded))


def _succeeds(run: Callable[[], Report | None], *, record: bool) -> bool:
    try:
        report = run()
    except Exception:
        traceback.print_exc()
        return False
    if report is not None:
        report.show()
        if record:
            report.save()
    return True


if __name__ == "__main__":
    main()
