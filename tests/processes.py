"""Which processes there are, as `/proc` tells, and waiting for what other ones do."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def children_of(process_id: int) -> set[int]:
    """The processes that it has started and that have not ended."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        child = int(status.parent.name)
        state, parent = _state_and_parent(child)
        if parent == process_id and state != "Z":
            found.add(child)
    return found


def is_alive(process_id: int) -> bool:
    """Whether it is there and has not ended."""
    state, _ = _state_and_parent(process_id)
    return state not in ("", "Z")


def _state_and_parent(process_id: int) -> tuple[str, int]:
    """Source: proc_pid_stat(5); the name before them, in parentheses, may hold anything."""
    try:
        state, parent = Path(f"/proc/{process_id}/stat").read_text().rpartition(") ")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return "", 0
    return state, int(parent)


def wait_until(condition: Callable[[], object], seconds: float) -> None:
    """Wait until something holds; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            raise AssertionError(f"did not happen within {seconds} s")
        time.sleep(0.02)
