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
def busy_ticks():
    with open("/proc/stat") as stat:
        user, nice, system, _, _, irq, softirq = map(int, stat.readline().split()[1:8])
    return user + nice + system + irq + softirq
output = os.open(sys.argv[1], os.O_WRONLY)
silent = [(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
busy_before, started = busy_ticks(), time.perf_counter()
_, status, usage = os.wait4(os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ, file_actions=silent), 0)
wall_seconds = time.perf_counter() - started
print(json.dumps([
    os.waitstatus_to_exitcode(status), wall_seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss,
    (busy_ticks() - busy_before) / os.sysconf("SC_CLK_TCK")
]))
"""
"""Starts the command from a process that is small itself: until its `execve` a child shares its parent's memory, and
the kernel counts that as the child's own peak (`ru_maxrss`, getrusage(2)). What is measured so is the command with
all its children that it waited for.
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of one command took: it and its children, not the servers that they talked to.

    `machine_cpu_seconds` is what all processors together were busy for meanwhile (`/proc/stat`): on a quiet machine
    the command, its servers, and the kernel for both.
    """

    wall_seconds: float
    cpu_seconds: float
    peak_memory_mib: float
    machine_cpu_seconds: float

    @property
    def others_cpu_seconds(self) -> float:
        """The servers' share."""
        return max(0.0, self.machine_cpu_seconds - self.cpu_seconds)


def run_measured(command: Sequence[str], environment: Mapping[str, str]) -> Cost:
    """Run a command to its end. Raises `RuntimeError`, with what it printed, when it fails."""
    with tempfile.NamedTemporaryFile() as output:
        launcher = [sys.executable, "-I", "-S", "-c", LAUNCHER, output.name]
        done = subprocess.run([*launcher, *command], env=dict(environment), stdout=subprocess.PIPE, check=True)
        exit_code, wall_seconds, cpu_seconds, peak_kib, machine_cpu_seconds = read_numbers(done.stdout)
        if exit_code != 0:
            printed = output.read()[-PRINTED_BYTES:].decode(errors="replace")
            raise RuntimeError(f"{command[0]} returned {exit_code:.0f}: {printed}")
    return Cost(wall_seconds, cpu_seconds, peak_kib / 1024, machine_cpu_seconds)


def read_numbers(line: bytes) -> tuple[float, ...]:
    """What the launcher says: exit code, seconds, CPU seconds, peak memory in KiB, the machine's CPU seconds."""
    numbers: Any = json.loads(line)
    return tuple(map(float, numbers))
