"""Runs a command as a whole process and says what it cost."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of one command took."""

    wall_seconds: float
    cpu_seconds: float
    peak_memory_mib: float


def run_measured(command: Sequence[str], environment: Mapping[str, str]) -> Cost:
    """Run a command to its end. Raises `RuntimeError`, with what it printed, when it fails."""
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, env=dict(environment), stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        wall_seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            output.seek(0)
            raise RuntimeError(f"{command[0]} returned {process.returncode}: {output.read().decode()[-2000:]}")
    return Cost(wall_seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def compare(product: Sequence[Cost], peer: Sequence[Cost], peer_name: str) -> str:
    """A table of medians, and the medians of the ratios round by round (below 1: the product needs less)."""
    lines = [f"{'':<14}{'wall s':>9}{'CPU s':>9}{'peak MiB':>10}"]
    for name, costs in (("janitor-daemon", product), (peer_name, peer)):
        lines.append(
            f"{name:<14}"
            f"{statistics.median(cost.wall_seconds for cost in costs):>9.2f}"
            f"{statistics.median(cost.cpu_seconds for cost in costs):>9.2f}"
            f"{statistics.median(cost.peak_memory_mib for cost in costs):>10.0f}"
        )
    pairs = list(zip(product, peer, strict=True))
    wall_ratio = statistics.median(own.wall_seconds / other.wall_seconds for own, other in pairs)
    cpu_ratio = statistics.median(own.cpu_seconds / other.cpu_seconds for own, other in pairs)
    lines.append(f"{'ratio':<14}{wall_ratio:>9.2f}{cpu_ratio:>9.2f}")
    return "\n".join(lines)
