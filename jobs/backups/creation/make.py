"""Makes backups: the way in for the job.

What others' locks prevent is tried again. What cannot be told exactly becomes a full backup.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from jobs.backups.creation.differential import Limits, make_differential_once
from jobs.backups.creation.full import make_full_once
from jobs.backups.errors import TablesBusy
from jobs.backups.files.directory import Target
from jobs.backups.reading.source import Source
from jobs.backups.result import BackupFile

TRIES = 5
PAUSE_SECONDS = 15.0

Result = TypeVar("Result")


def make_full(
    source: Source, target: Target, when: datetime, interruption: threading.Event, *, reason: str = ""
) -> BackupFile:
    """Make a full backup; `when` is its local time, and `reason` why it is not a differential, for the log.

    Raises `BackupError` and `DatabaseError`; no file is left then.
    """
    return _patiently(lambda: make_full_once(source, target, when, interruption, reason), interruption)


def make_differential(
    source: Source,
    target: Target,
    base: Path,
    when: datetime,
    interruption: threading.Event,
    limits: Limits | None = None,
) -> BackupFile:
    """Make a differential of the full backup `base`. Raises `FullBackupNeeded`, and what `make_full` raises."""
    chosen = limits or Limits()
    return _patiently(lambda: make_differential_once(source, target, base, when, interruption, chosen), interruption)


def _patiently(make: Callable[[], Result], interruption: threading.Event) -> Result:
    for _ in range(TRIES - 1):
        try:
            return make()
        except TablesBusy:
            if interruption.wait(PAUSE_SECONDS):
                raise
    return make()
