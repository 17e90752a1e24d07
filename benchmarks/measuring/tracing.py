"""What a command does, counted: bytes read from files by `strace`, instructions by `valgrind`."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

READING_CALLS = "read,pread64,readv,preadv,preadv2,copy_file_range,sendfile,splice"
READ = re.compile(r"\w+\(\d+<(?P<path>/.*?)>(?:\(deleted\))?, .*\) += (?P<size_bytes>\d+)")
COLLECTED = re.compile(r"Collected *: (\d+)")


class ToolMissing(Exception):
    """A program that counts is not installed. The message says which Debian package has it."""


def bytes_read(command: Sequence[str], environment: Mapping[str, str], scratch: Path) -> Counter[Path]:
    """Run a command and count how many bytes it read from each file, however often it read it.

    What is mapped into memory is not seen. Each thread's calls go to a file of its own, so that no line is torn.
    """
    traces = scratch / "traces"
    traces.mkdir()
    options = ["-ff", "--seccomp-bpf", "-qq", "-y", "-s", "0", "-e", f"trace={READING_CALLS}", "-o", str(traces / "of")]
    _run([_tool("strace"), "-f", *options, *command], environment)
    found = (READ.match(line) for trace in traces.iterdir() for line in trace.read_text().splitlines())
    total: Counter[Path] = Counter()
    for read in filter(None, found):
        total[Path(read["path"])] += int(read["size_bytes"])
    return total


def instructions(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command under valgrind and count the instructions of all its threads, the kernel's not."""
    options = ["--tool=callgrind", "--callgrind-out-file=/dev/null"]
    counted = COLLECTED.search(_run([_tool("valgrind"), *options, *command], environment))
    if counted is None:
        raise RuntimeError("valgrind did not say how many instructions it counted")
    return int(counted[1])


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise ToolMissing(f"{name} is not installed (Debian, Ubuntu: apt-get install {name})")
    return found


def _run(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """What a command writes to stderr. Raises `RuntimeError`, with that, when it fails."""
    done = subprocess.run(command, env=dict(environment), check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:3])} … returned {done.returncode}: {done.stderr[-2000:]}")
    return done.stderr
