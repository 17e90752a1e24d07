"""What every contest needs besides its server: the original files, and a PostgreSQL as production has it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.embedded_postgres import EmbeddedPostgres


@contextmanager
def workshop(make: Callable[[Path], None]) -> Iterator[tuple[Path, EmbeddedPostgres]]:
    """Make the original files and start the database. `TMPDIR` says on which disk."""
    with tempfile.TemporaryDirectory(prefix="janitor-bench-") as name:
        Path(name).chmod(0o755)  # the server of a run by root has another user, who must pass
        make(Path(name, "original"))
        with EmbeddedPostgres(Path(name, "postgres")) as postgres:
            yield Path(name, "original"), postgres
