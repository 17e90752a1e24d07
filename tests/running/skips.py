"""Why a test may be left out, and what becomes of one that is left out for another reason."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

NEEDS_ROOT = "needs root"
NEEDS_FILE_SYSTEM = "needs a file system of another kind"

MOUNT = 21
"""CAP_SYS_ADMIN, capabilities(7)."""
MAKE_IMMUTABLE = 9
"""CAP_LINUX_IMMUTABLE."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason=NEEDS_ROOT)


def require_right(capability: int) -> None:
    """Skip the test of somebody who has not this right of root's, as root in a container may not."""
    if not _has_right(capability):
        pytest.skip(NEEDS_ROOT)


def _has_right(capability: int) -> bool:
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    (rights,) = (line.split()[1] for line in lines if line.startswith("CapEff:"))
    return bool(int(rights, 16) >> capability & 1)


def strace_program() -> str:
    """The path of strace. Skips the test on a machine without it; where CI is set, that is a failure."""
    found = shutil.which("strace")
    if found is None:
        pytest.skip("strace is not installed (Debian, Ubuntu: apt-get install strace)")
    return found


def is_expected(reason: str) -> bool:
    """Whether this machine, or the user of the tests, cannot help it. Elsewhere a test is left out by mistake."""
    if reason.startswith(NEEDS_FILE_SYSTEM):
        return True
    has_all_rights = os.geteuid() == 0 and _has_right(MOUNT) and _has_right(MAKE_IMMUTABLE)
    return reason == NEEDS_ROOT and not has_all_rights


def fail_if_not_expected(report: pytest.TestReport) -> None:
    """Make a failure of a skip for which there is no good reason."""
    if report.skipped and not hasattr(report, "wasxfail") and not is_expected(reason_of(report)):
        report.outcome = "failed"
        report.longrepr = f"left out, which must not be where CI is set: {reason_of(report)}"


def reason_of(report: pytest.TestReport) -> str:
    """Why a test was left out."""
    where_and_why = report.longrepr
    assert isinstance(where_and_why, tuple)
    return where_and_why[2].partition(": ")[2]  # after the name of what was raised, `Skipped` or one of its kind
