"""Log directories for tests, and what is in them, as other programs than the product read it."""

from __future__ import annotations

import gzip
import os
import random
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from jobs.logs.changing.private_directories import REMOVING, UNFINISHED
from jobs.logs.cleaning import clean_logs
from jobs.logs.guard import KeptApart
from jobs.logs.report import LogsReport
from jobs.logs.settings import LogsSettings

SECONDS_PER_DAY = 24 * 3600
NEVER = threading.Event()


def text(size_bytes: int, seed: int = 1) -> bytes:
    """What a log holds."""
    chances = random.Random(seed)  # noqa: S311 not a secret
    lines: list[str] = []
    written = 0
    while written < size_bytes:
        lines.append(f"2026-11-28 04:00:00 - sage - INFO - paso {chances.randrange(10**9)} terminado\n")
        written += len(lines[-1])
    return "".join(lines).encode()[:size_bytes]


def make_log(path: Path, content: bytes = b"one line\n", days: float = 10) -> Path:
    """A file that was last written to some days ago."""
    path.write_bytes(content)
    make_old(path, days)
    return path


def make_old(path: Path, days: float = 10) -> None:
    """Let a file have been written to some days ago."""
    then = time.time() - days * SECONDS_PER_DAY
    os.utime(path, (then, then), follow_symlinks=False)


def clean(
    *directories: Path, dry_run: bool = False, interruption: threading.Event = NEVER, apart: tuple[KeptApart, ...] = (),
    most_workers: int = 2, **settings: object,
) -> LogsReport:  # fmt: skip
    """Do the job once."""
    made = LogsSettings(tuple(map(str, directories)), **settings)  # type: ignore[arg-type] # what a test names
    return clean_logs(made, apart, interruption, dry_run=dry_run, most_workers=most_workers)


def contents(directory: Path) -> dict[str, bytes]:
    """The files of a directory by their names, those that end in `.gz` as Python's own gzip reads them."""
    found: dict[str, bytes] = {}
    for path in sorted(directory.iterdir()):
        content = path.read_bytes()
        found[path.name] = gzip.decompress(content) if path.name.endswith(".gz") else content
    return found


def require_nothing_lost(directory: Path, originals: Mapping[str, bytes]) -> None:
    """Every log is still there with all of its bytes: as itself, here or set aside, or as whole gzip."""
    files = [path for path in directory.rglob("*") if path.is_file() and UNFINISHED not in str(path)]
    for name, original in originals.items():
        assert any(_holds(path, name, original) for path in files), name


def _holds(path: Path, name: str, original: bytes) -> bool:
    if not path.name.startswith(name):
        return False
    content = path.read_bytes()
    if path.name.endswith(".gz"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError):
            return False
    return content == original


def require_nothing_left_over(directory: Path) -> None:
    """No directory of the product's own is left."""
    assert [name for name in os.listdir(directory) if name.startswith((UNFINISHED, REMOVING))] == []
