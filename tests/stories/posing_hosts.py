"""Processes that pose as hosts which share a database, and an eye on who waits there for somebody else's lock."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg2

from tests.repository import REPOSITORY
from tests.stories.installation import Installation, RunningCommand

LOOK_SECONDS = 0.02

LONGEST_WAIT = """
SELECT
    count(*),
    coalesce(max(extract(epoch FROM clock_timestamp() - waitstart)), 0),
    (SELECT count(*) FROM pg_stat_activity WHERE application_name = 'janitor_daemon')
FROM pg_locks
WHERE NOT granted AND waitstart IS NOT NULL
"""
"""PostgreSQL sets `waitstart` when a session has begun to wait for a heavyweight lock: `wait_event_type = 'Lock'` in
`pg_stat_activity` is the same, without since when."""

POSING_PROGRAM = """
import os, sys
sys.path.insert(0, {repository!r})
from jobs.migration.directories import DirectoryJudge
own, exists = "/" + os.environ["JANITOR_HOST"] + "/", DirectoryJudge.exists
DirectoryJudge.exists = lambda judge, execution: (
    ("/every-host/" in execution.directory or own in execution.directory) and exists(judge, execution)
)
import janitor_daemon
janitor_daemon.main()
"""
"""What is below `every-host` is on a disk that all share, and what is below a host's name on its own disk alone."""

EVERY_HOST = "every-host"


class PosingHosts:
    """Hosts by name, each with its own locks and logs, that run ticks on one installation."""

    def __init__(self, sage: Installation, names: Sequence[str]) -> None:
        self._sage = sage
        self._program = sage.directory / "posing.py"
        self._program.write_text(POSING_PROGRAM.format(repository=str(REPOSITORY)))
        for name in (EVERY_HOST, *names):
            (sage.executions / name).mkdir(exist_ok=True)

    def add_execution(self, uuid: str, disk: str, files: int = 2, lines: int = 20) -> Path:
        """An execution of files of this many lines on one host's disk, or on that of every host."""
        directory = self._sage.executions / disk / uuid
        directory.mkdir()
        for number in range(files):
            (directory / f"{number:03}.csv").write_text(f"{uuid},{number}\n" * lines)
        self._sage.add_execution(uuid, directory)
        return directory

    def start(self, name: str, *arguments: str, **variables: str) -> RunningCommand:
        """Start a tick on one host, with these environment variables besides."""
        own = self._sage.directory / f"host-{name}"
        own.mkdir(exist_ok=True)
        self._sage.program = self._program
        places = {"JANITOR_HOST": name, "JANITOR_LOCK_DIR": str(own), "JANITOR_LOG_DIR": str(own)}
        return self._sage.start(*arguments, **places, **variables)

    @contextlib.contextmanager
    def all_at_once(self, names: Sequence[str], **variables: str) -> Iterator[dict[str, RunningCommand]]:
        """Start a tick on each of these; what still runs in the end is killed."""
        with contextlib.ExitStack() as stack:
            yield {name: stack.enter_context(self.start(name, **variables)) for name in names}


class LockWatch:
    """Looks again and again, from a session of its own, who waits for a lock, and keeps the longest wait, and how many
    sessions the daemon had at most.
    """

    def __init__(self, database_url: str) -> None:
        self.looks = 0
        self.waits_seen = 0
        self.longest_wait_seconds = 0.0
        self.most_sessions = 0
        self._connection = psycopg2.connect(database_url)
        self._connection.autocommit = True
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="locks", daemon=True)

    def _watch(self) -> None:
        with self._connection.cursor() as cursor:
            while not self._finished.wait(LOOK_SECONDS):
                cursor.execute(LONGEST_WAIT)
                ((waiting, seconds, sessions),) = cursor.fetchall()
                self.looks += 1
                self.waits_seen += waiting
                self.longest_wait_seconds = max(self.longest_wait_seconds, float(seconds))
                self.most_sessions = max(self.most_sessions, sessions)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._finished.set()
        self._thread.join()
        self._connection.close()
