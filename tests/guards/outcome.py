"""A pytest plugin that writes down, one JSON object a line, how each test ended: `-p tests.guards.outcome`.

An exit code alone does not tell a test that found something out from one that could not even begin.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

FILE_VARIABLE = "JANITOR_OUTCOME_FILE"
"""Names the environment variable that says where to write."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one test ended: `phase` is "setup", "call" or "teardown"; `error` the name of the exception's class."""

    test: str
    phase: str
    result: str
    error: str


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write down every call, and whatever did not pass before or after it."""
    report = yield
    if report.when == "call" or not report.passed:
        error = call.excinfo.type.__name__ if call.excinfo else ""
        outcome = Outcome(item.nodeid, str(report.when), str(report.outcome), error)
        with Path(os.environ[FILE_VARIABLE]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")
    return report


def read_outcomes(path: Path) -> list[Outcome]:
    """What was written to a file; nothing where no test came to its end."""
    if not path.exists():
        return []
    return [Outcome(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
