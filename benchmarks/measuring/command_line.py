"""The options that all benchmarks share."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from benchmarks.measuring.results import Report

ROUNDS = 5


def run_from_command_line(
    description: str | None, run: Callable[..., Report], *, rounds: int | None = ROUNDS, **sizes: int
) -> None:
    """Read `--record`, `--rounds` (unless it is `None`) and one option for each size, run and print."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if rounds is not None:
        parser.add_argument("--rounds", type=int, default=rounds, help=f"how often each program runs ({rounds})")
    parser.add_argument("--record", action="store_true", help="keep the result, and write benchmarks/RESULTS.md again")
    for name, default in sizes.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default, help=f"({default})")
    arguments = vars(parser.parse_args())
    keep = arguments.pop("record")
    report = run(**arguments)
    report.show()
    if keep:
        report.save()
