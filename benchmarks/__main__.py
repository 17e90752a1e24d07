"""All benchmarks in turn, recorded; `--small` in sizes that show that they work, and nothing about speed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from benchmarks import small_files
from benchmarks.command_line import ROUNDS
from benchmarks.results import Report

FULL: tuple[Callable[[], Report], ...] = (partial(small_files.run, executions=200, files=100, rounds=ROUNDS),)

SMALL: tuple[Callable[[], Report], ...] = (partial(small_files.run, executions=2, files=20, rounds=1),)


def main() -> None:
    """Run the one list or the other."""
    small = "--small" in sys.argv[1:]
    for run in SMALL if small else FULL:
        report = run()
        report.show()
        if not small:
            report.save()


if __name__ == "__main__":
    main()
