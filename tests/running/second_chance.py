"""`python -m tests.running.second_chance`: repeats the few tests that the last run saw fail, alone, on a calm machine.

A test that fails among thousands and then passes each time is unstable. That is a defect of the test or of the
program, and is named as one, but it says nothing against the change that is being tested. Ends with 1 when a test fails
again, or when too many failed for that to be chance.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.repository import REPOSITORY

MOST_TESTS = 3
ROUNDS = 3

LAST_FAILED = REPOSITORY / ".pytest_cache" / "v" / "cache" / "lastfailed"


def failed_tests(record: Path) -> list[str]:
    """The tests that failed in the last run, as pytest names them. None where that run did not get as far as that."""
    try:
        return sorted(json.loads(record.read_text()))
    except FileNotFoundError:
        return []


def repeat(tests: Sequence[str]) -> int:
    """Run the tests again and again, one after the other. Return the exit code of the first run that fails, or 0."""
    command = [sys.executable, "-m", "pytest", "-n0", "-p", "no:cacheprovider", *tests]
    codes = (subprocess.run(command, cwd=REPOSITORY, check=False).returncode for _ in range(ROUNDS))
    return next((code for code in codes if code), 0)


def main(record: Path = LAST_FAILED) -> int:
    """Give each failed test its second chance; return the exit code."""
    tests = failed_tests(record)
    if not 0 < len(tests) <= MOST_TESTS:
        sys.stderr.write(f"Failed tests: {len(tests)}. Only 1 to {MOST_TESTS} are repeated\n")
        return 1
    sys.stderr.write(f"REPEATING {len(tests)} FAILED TESTS ALONE, {ROUNDS} TIMES\n")
    if repeat(tests):
        return 1
    names = "".join(f"  {test}\n" for test in tests)
    sys.stderr.write(f"UNSTABLE TESTS: they failed once and then passed {ROUNDS} times. Mend them:\n{names}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
