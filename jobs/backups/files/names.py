"""The names of backups and of what belongs beside them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

FULL = "FULL"
DIFFERENTIAL = "DIFF"
SUFFIX = ".sql.gz"
ENCRYPTED = ".age"
"""The suffix of files that were encrypted before they left their host."""

NAME = re.compile(r"backup_(\d{8}_\d{6})_(FULL|DIFF)\.sql\.gz")
STAMP = "%Y%m%d_%H%M%S"


def free_stem(directory: Path, when: datetime, kind: str) -> str:
    """`backup_…_FULL` or `backup_…_DIFF` of a second that no other file has: an hour comes twice in autumn."""
    while True:
        stamp = when.strftime(STAMP)
        if not _is_taken(directory, stamp):
            return f"backup_{stamp}_{kind}"
        when += timedelta(seconds=1)


def _is_taken(directory: Path, stamp: str) -> bool:
    """Whether a file has this second. Where nobody can look, making the directory says why."""
    try:
        return any(directory.glob(f"backup_{stamp}_*"))
    except OSError:
        return False


def description_name(name: str) -> str:
    """The name of a full backup's description."""
    return name.removesuffix(SUFFIX) + ".json"
