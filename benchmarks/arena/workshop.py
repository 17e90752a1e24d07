"""What every contest needs besides its server: the original files, and a PostgreSQL as production has it."""

from __future__ import annotations

import atexit
import functools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from demo.servers.postgres import EmbeddedPostgres


@contextmanager
def workshop(make: Callable[[Path], None]) -> Iterator[tuple[Path, EmbeddedPostgres]]:
    """Make the original files, which are gone in the end, and give the database server, which stays for other contests.

    The environment variable `TMPDIR` says on which disk.
    """
    with tempfile.TemporaryDirectory(prefix="janitor-bench-") as name:
        make(Path(name, "original"))
        yield Path(name, "original"), postgres_of_this_process()


@functools.cache
def postgres_of_this_process() -> EmbeddedPostgres:
    """One server, which writes through to the disk as in production, until this process ends."""
    until_the_end = ExitStack()
    atexit.register(until_the_end.close)
    directory = Path(until_the_end.enter_context(tempfile.TemporaryDirectory(prefix="janitor-bench-")))
    directory.chmod(0o755)  # the server of a run by root has another user, who must pass
    return until_the_end.enter_context(EmbeddedPostgres(directory / "postgres"))
