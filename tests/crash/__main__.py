"""`python -m tests.crash --count 1000 [--seed S]`: many random deaths, and every system call in turn."""

from __future__ import annotations

import argparse
import os
import secrets
import sys

import pytest


def main() -> int:
    """Run the crash suite at length; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="how many random scenes (default: 100)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**9), help="repeats the scenes of a run")
    arguments = parser.parse_args()
    print(f"Random deaths: {arguments.count}, seed {arguments.seed}", flush=True)  # noqa: T201 said to a person
    os.environ["JANITOR_CRASH_COUNT"] = str(arguments.count)
    os.environ["JANITOR_CRASH_SEED"] = str(arguments.seed)
    return int(pytest.main(["-q", "tests/crash", "--timeout=0"]))


if __name__ == "__main__":
    sys.exit(main())
