"""Which rows conflict, as a run knows it: from a look at all rows, repeated when it is too old."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from config.logs import one_line
from config.models import Execution
from jobs.migration.directories import DirectoryJudge
from sql.database import Database
from sql.migration.conflicts import Conflicts

GOOD_FOR_SECONDS = 30.0
GOOD_FOR_TIMES_ITS_COST = 20.0
"""A look reads a large table, so looks take no more than a twentieth of a run."""


class KnownConflicts:
    """What keeps an execution from being migrated, or its local copy from being removed. Safe to use from several
    threads.
    """

    def __init__(self, database: Database, judge: DirectoryJudge, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._judge = judge
        self._clock = clock
        self._lock = threading.Lock()
        self._shared_prefix = ""
        self._good_until = 0.0
        self._in_the_way: dict[int, Execution] = {}
        self.present = Conflicts()
        """Conflicts among the rows that were still to be migrated at the last look."""

    def look(self, shared_prefix: str) -> None:
        """Look at all rows; `shared_prefix` is the common prefix of places in the cloud. Raises `DatabaseError`."""
        with self._lock:
            self._shared_prefix = shared_prefix
            self._look()

    def of_removal(self, execution: Execution) -> str | None:
        """Why another row forbids the removal of a local copy, in Spanish; `None` if there is no such reason.

        Based on a look no older than `GOOD_FOR_SECONDS`, or than its cost justifies. Raises `DatabaseError`.
        """
        with self._lock:
            if self._clock() >= self._good_until:
                self._look()
        other = self._in_the_way.get(execution.id)
        if other is not None:
            return (
                f"la ejecución {one_line(other.uuid)} (id {other.id}), sin migrar, tiene un directorio que es el suyo, "
                f"lo contiene o está dentro: {one_line(other.directory)}"
            )
        return self.present.reason(execution)

    def _look(self) -> None:
        began = self._clock()
        self.present = self._database.conflicts(self._judge.is_acceptable, self._shared_prefix)
        self._in_the_way = {
            execution_id: other
            for execution_id, other in self._database.rows_in_the_way()
            if self._judge.is_acceptable(other)  # refused for its own sake, it stands in nobody's way
        }
        ended = self._clock()
        self._good_until = ended + max(GOOD_FOR_SECONDS, (ended - began) * GOOD_FOR_TIMES_ITS_COST)
