"""All benchmarks in turn, recorded; `--small` in sizes that show that they work, and nothing about speed."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from functools import partial

from benchmarks import (
    azure_files,
    gcs_files,
    large_files,
    local_files,
    restore_large_files,
    restore_small_files,
    sftp_large_files,
    sftp_small_files,
    small_files,
)
from benchmarks.command_line import ROUNDS
from benchmarks.results import Report

FULL: tuple[Callable[[], Report], ...] = (
    partial(small_files.run, executions=200, files=100, rounds=ROUNDS),
    partial(large_files.run, executions=4, files=2, size_mib=512, rounds=ROUNDS),
    partial(azure_files.run, executions=50, files=100, rounds=ROUNDS),
    partial(gcs_files.run, executions=20, files=100, rounds=ROUNDS),
    partial(sftp_small_files.run, executions=50, files=100, rounds=ROUNDS),
    partial(sftp_large_files.run, executions=4, files=1, size_mib=512, rounds=ROUNDS),
    partial(local_files.run, executions=200, files=100, rounds=ROUNDS),
    partial(restore_small_files.run, files=20_000, rounds=ROUNDS),
    partial(restore_large_files.run, files=8, size_mib=512, rounds=ROUNDS),
)

SMALL: tuple[Callable[[], Report], ...] = (
    partial(small_files.run, executions=2, files=3, rounds=1),
    partial(large_files.run, executions=1, files=1, size_mib=20, rounds=1),
    partial(azure_files.run, executions=2, files=3, rounds=1),
    partial(gcs_files.run, executions=2, files=3, rounds=1),
    partial(sftp_small_files.run, executions=2, files=3, rounds=1),
    partial(sftp_large_files.run, executions=1, files=1, size_mib=20, rounds=1),
    partial(local_files.run, executions=2, files=3, rounds=1),
    partial(restore_small_files.run, files=3, rounds=1),
    partial(restore_large_files.run, files=1, size_mib=20, rounds=1),
)


def main() -> None:
    """Run the one list or the other. Whatever fails is told, and the others run."""
    small = "--small" in sys.argv[1:]
    succeeded = [_succeeds(run, record=not small) for run in (SMALL if small else FULL)]
    sys.exit(not all(succeeded))


def _succeeds(run: Callable[[], Report], *, record: bool) -> bool:
    try:
        report = run()
    except Exception:
        traceback.print_exc()
        return False
    report.show()
    if record:
        report.save()
    return True


if __name__ == "__main__":
    main()
