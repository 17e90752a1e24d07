"""Old logs: the job `logs`, which proves each copy before its log goes, beside `gzip -6`, which proves nothing.

python -m benchmarks.jobs.logs --small-logs 1000 --large-logs 10 --large-mib 500 --rounds 5
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.measuring.command_line import run_from_command_line
from benchmarks.measuring.contest import Contestant, Trial, compete, environment_of_steps, lines_of, raw
from benchmarks.measuring.results import PRODUCT, Goals, Report

MIB = 1024 * 1024
TEN_DAYS_SECONDS = 10 * 24 * 3600
GOALS = Goals(wall_ratio=0.5, cpu_ratio=0.4)

KINDS = ("INFO", "INFO", "INFO", "DEBUG", "WARNING", "ERROR")


def run(small_logs: int, large_logs: int, large_mib: int, rounds: int) -> Report:
    """A number of logs of 1 MB, and a number of large ones, one line each."""
    text = log_text(4 * MIB)
    works = {
        f"{small_logs:,} logs of 1 MB": (small_logs, MIB),
        f"{large_logs:,} logs of {large_mib} MB": (large_logs, large_mib * MIB),
    }
    lines, played = [], []
    for work, (logs, size_bytes) in works.items():
        product = Contestant(PRODUCT, partial(_job, text, logs, size_bytes))
        peer = Contestant("gzip -6", partial(_gzip, text, logs, size_bytes), GOALS)
        rounds_of_work = compete(product, [peer], rounds)
        lines += lines_of(work, [peer], rounds_of_work)
        played += raw(rounds_of_work)
    return Report("logs", lines, played)


def log_text(size_bytes: int) -> bytes:
    """What programs write: times, names, levels, numbers that differ. gzip -6 makes it about a quarter as large."""
    chances = random.Random(1)
    lines: list[str] = []
    written = 0
    while written < size_bytes:
        second = len(lines)
        lines.append(
            f"2026-11-18 {second // 3600 % 24:02}:{second // 60 % 60:02}:{second % 60:02},{chances.randrange(1000):03} "
            f"- sage.worker.{chances.randrange(12)} - {chances.choice(KINDS)} - run {chances.getrandbits(64):016x}"
            f": step {chances.randrange(400)} done in {chances.random() * 10:.3f} s, {chances.randrange(10**9)} bytes\n"
        )
        written += len(lines[-1])
    return "".join(lines).encode()[:size_bytes]


@contextmanager
def _job(text: bytes, logs: int, size_bytes: int, scratch: Path) -> Iterator[Trial]:
    directory = _filled(scratch, text, logs, size_bytes)
    command = [sys.executable, "-m", "benchmarks.jobs.single_steps", "logs", str(directory)]
    yield Trial(command, environment_of_steps(), partial(_require_compressed, directory, text, logs, size_bytes))


@contextmanager
def _gzip(text: bytes, logs: int, size_bytes: int, scratch: Path) -> Iterator[Trial]:
    directory = _filled(scratch, text, logs, size_bytes)
    command = ["gzip", "-6", "-r", str(directory)]
    yield Trial(command, dict(os.environ), partial(_require_compressed, directory, text, logs, size_bytes))


def _filled(scratch: Path, text: bytes, logs: int, size_bytes: int) -> Path:
    directory = scratch / "logs"
    directory.mkdir()
    then = time.time() - TEN_DAYS_SECONDS
    for number in range(logs):
        path = directory / f"service.log.{number}"
        with path.open("wb") as file:
            for piece in _pieces(text, number, size_bytes):
                file.write(piece)
        os.utime(path, (then, then))
    return directory


def _pieces(text: bytes, number: int, size_bytes: int) -> Iterator[bytes]:
    """A log of its own: it begins at another place of the text, which repeats farther back than gzip can see."""
    start = number * 9973 % len(text)
    while size_bytes > 0:
        piece = text[start : start + min(size_bytes, MIB)]
        yield piece
        size_bytes -= len(piece)
        start = (start + len(piece)) % len(text)


def _require_compressed(directory: Path, text: bytes, logs: int, size_bytes: int) -> None:
    """Raises `RuntimeError` unless there is nothing but whole copies of all logs."""
    expected = {f"service.log.{number}.gz" for number in range(logs)}
    if set(os.listdir(directory)) != expected:
        raise RuntimeError(f"{directory}: not the copies of all logs, or more than these")
    for number in range(logs):
        reader = subprocess.Popen(["gunzip", "-c", directory / f"service.log.{number}.gz"], stdout=subprocess.PIPE)
        stream = reader.stdout
        equal = stream is not None and all(stream.read(len(each)) == each for each in _pieces(text, number, size_bytes))
        rest, _ = reader.communicate()
        if not equal or rest or reader.returncode != 0:
            raise RuntimeError(f"the copy of log {number} does not hold its bytes")


if __name__ == "__main__":
    run_from_command_line(__doc__, run, small_logs=1000, large_logs=10, large_mib=500)
