"""Runs a command as a whole process and says what it cost."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PRINTED_BYTES = 2000
"""How much of what a command printed goes into an error's message."""

LAUNCHER = """
import json, os, sys, time
output = os.open(sys.argv[1], os.O_WRONLY)
silent = [(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
started = time.perf_counter()
_, status, usage = os.wait4(os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ, file_actions=silent), 0)
print(json.dumps([
    os.waitstatus_to_exitcode(status), time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss
]))
"""
"""Starts the command from a process that is small itself: until its `execve` a child shares its parent's memory, and
the kernel counts that as the child's own peak (`ru_maxrss`, getrusage(2)). What is measured so is the command with
all its children that it waited for.
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of one command took: it and its children, not the servers that they talked to."""

    wall_seconds: float
    cpu_seconds: float
    peak_memory_mib: float


def run_measured(command: Sequence[str], environment: Mapping[str, str]) -> Cost:
    """Run a command to its end. Raises `RuntimeError`, with what it printed, when it fails."""
    with tempfile.NamedTemporaryFile() as output:
        launcher = [sys.executable, "-I", "-S", "-c", LAUNCHER, output.name]
        done = subprocess.run([*launcher, *command], env=dict(environment), stdout=subprocess.PIPE, check=True)
        exit_code, wall_seconds, cpu_seconds, peak_kib = read_numbers(done.stdout)
        if exit_code != 0:
            printed = output.read()[-PRINTED_BYTES:].decode(errors="replace")
            raise RuntimeError(f"{command[0]} returned {exit_code:.0f}: {printed}")
    return Cost(wall_seconds, cpu_seconds, peak_kib / 1024)


def read_numbers(line: bytes) -> tuple[float, float, float, float]:
    """What the launcher says: exit code, seconds, CPU seconds, peak memory in KiB."""
    numbers: Any = json.loads(line)
    exit_code, wall_seconds, cpu_seconds, peak_kib = map(float, numbers)
    return exit_code, wall_seconds, cpu_seconds, peak_kib
