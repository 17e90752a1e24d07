"""Which processes there are, as `/proc` tells, and waiting for what other ones do."""

from __future__ import annotations

import os
import time
from collections.abc import Callable


def children_of(process_id: int) -> set[int]:
    """The processes that it has started and that have not ended."""
    found = set()
    for child in map(int, filter(str.isdigit, os.listdir("/proc"))):
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
        with open(f"/proc/{process_id}/stat", "rb", buffering=0) as status:  # noqa: PTH123 asked very often
            state, parent = status.read().rpartition(b") ")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return "", 0
    return state.decode(), int(parent)


def wait_until(condition: Callable[[], object], seconds: float) -> None:
    """Wait until something holds; fail when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            raise AssertionError(f"did not happen within {seconds} s")
        time.sleep(0.02)
