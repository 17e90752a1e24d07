"""One step of a job as a process of its own, so that its cost can be measured.

python -m benchmarks.jobs.single_steps full|differential|restore|logs ARGUMENTS
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

WHEN = datetime(2026, 3, 2, 3)  # noqa: DTZ001 # local time, as in the names of backups


def full(url: str, programs: str, directory: str) -> None:
    """Make a full backup in a directory."""
    from jobs.backups.creation.make import make_full
    from jobs.backups.files.directory import Target
    from jobs.backups.reading.source import Source

    make_full(Source(url, Path(programs)), Target(Path(directory)), WHEN, threading.Event())


def differential(url: str, programs: str, directory: str, base: str) -> None:
    """Make a differential backup of what changed since a full one."""
    from jobs.backups.creation.make import make_differential
    from jobs.backups.files.directory import Target
    from jobs.backups.reading.source import Source

    make_differential(Source(url, Path(programs)), Target(Path(directory)), Path(base), WHEN, threading.Event())


def restore(url: str, programs: str, *files: str) -> None:
    """Restore backups into an empty database."""
    from jobs.backups.files.compression import note_nothing
    from jobs.backups.verification.restoring import restore_at_once
    from jobs.backups.verification.restricted import restraint_by
    from jobs.backups.verification.using import programs_for

    found = programs_for(url, Path(programs))
    restore_at_once(found, restraint_by(found), url, list(map(Path, files)), threading.Event(), note_nothing)


def logs(directory: str) -> None:
    """Compress the logs of a directory; end with the number of failures."""
    from jobs.logs.cleaning import clean_logs
    from jobs.logs.settings import LogsSettings

    sys.exit(clean_logs(LogsSettings((directory,)), (), threading.Event(), dry_run=False).failures)


STEPS: Mapping[str, Callable[..., None]] = {
    "full": full, "differential": differential, "restore": restore, "logs": logs,
}  # fmt: skip

if __name__ == "__main__":
    STEPS[sys.argv[1]](*sys.argv[2:])
