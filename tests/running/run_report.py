"""What a run of the tests prints of those that failed, in few lines, and of those that were left out, in one."""

from __future__ import annotations

import io
from collections import Counter

import pytest
from _pytest._code.code import ReprFileLocation, TerminalRepr
from _pytest._io import TerminalWriter

from tests.running.skips import reason_of

FIRST_LINES = 15
LAST_LINES = 25
LINES_CAPTURED = 15
LONGEST_LINE = 300
FAILURES_SHOWN = 10
"""Those that follow are only named: what makes so many tests fail is to be seen in the first ones."""


class ShortFailure(TerminalRepr):
    """The lines of a failure that tell most: the first ones and the last ones."""

    def __init__(self, lines: list[str], crash: ReprFileLocation | None) -> None:
        self.lines = lines
        self.reprcrash = crash
        """Whose message pytest shows among the names of the tests that failed."""

    def toterminal(self, tw: TerminalWriter) -> None:
        """What pytest calls to print it."""
        for line in self.lines:
            tw.line(line)


class RunReport:
    """A pytest plugin. With `--tb=long` or any other way of writing failures than the usual one, all is printed."""

    def __init__(self, config: pytest.Config) -> None:
        self._is_short = config.option.tbstyle == "short"
        self._failures = 0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Shorten a failure before it is kept to be printed."""
        if report.failed and self._is_short:
            self._failures += 1
            shorten(report, only_named=self._failures > FAILURES_SHOWN)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say how many tests were left out and why, and how to see what is not printed."""
        if left_out := left_out_in_one_line(terminalreporter.stats.get("skipped", [])):
            terminalreporter.line(left_out, yellow=True)
        if self._failures and self._is_short:
            terminalreporter.line("Failures are shortened; the whole of one: .venv/bin/python -m pytest --tb=long TEST")


def shorten(report: pytest.TestReport, *, only_named: bool) -> None:
    """Keep of a failure what fits on a screen, or only its last line."""
    lines = _lines_of(report.longrepr)
    kept = lines[-1:] if only_named else _ends_of(lines, FIRST_LINES, LAST_LINES)
    report.longrepr = ShortFailure([_cut(line) for line in kept], _crash_of(report.longrepr))
    report.sections = [] if only_named else [(name, _end_of_captured(content)) for name, content in report.sections]


def _lines_of(longrepr: object) -> list[str]:
    if not hasattr(longrepr, "toterminal"):
        return str(longrepr).splitlines()
    text = io.StringIO()
    longrepr.toterminal(TerminalWriter(text))
    return text.getvalue().splitlines()


def _crash_of(longrepr: object) -> ReprFileLocation | None:
    crash = getattr(longrepr, "reprcrash", None)
    if not isinstance(crash, ReprFileLocation):
        return None
    return ReprFileLocation(crash.path, crash.lineno, _cut(crash.message.partition("\n")[0]))


def _ends_of(lines: list[str], first: int, last: int) -> list[str]:
    left_out = len(lines) - first - last
    if left_out <= 0:
        return lines
    return [*lines[:first], f"... {left_out} lines more ...", *lines[-last:]]


def _end_of_captured(content: str) -> str:
    lines = _ends_of(content.splitlines(), 0, LINES_CAPTURED)
    return "\n".join(_cut(line) for line in lines)


def _cut(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}... ({len(line)} characters)"


def left_out_in_one_line(skipped: list[pytest.TestReport]) -> str:
    """How many tests were left out, for each reason; nothing when none was."""
    counts = Counter(reason_of(report) for report in skipped if not hasattr(report, "wasxfail"))
    reasons = "; ".join(f"{count} {reason}" for reason, count in counts.most_common())
    return f"Tests left out: {counts.total()} ({reasons})" if counts else ""
