"""Does one kind of work with each of several executions: a failure of one does not stop the others."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from config.errors import MigrationError, RunInterrupted, unexpected
from config.logs import emit, one_line
from files.tree import Tree
from jobs.migration.restore.errors import DestinationFull, RestoreImpossible
from jobs.migration.restore.include import Include
from jobs.migration.restore.many.presence import is_there
from jobs.migration.restore.many.read_back import read_back
from jobs.migration.restore.many.targets import Targets
from jobs.migration.restore.many.wanted import Wanted
from jobs.migration.restore.run import Restore, Restored, StoredCopy, copy_among, provider_of
from providers.base import Provider
from sql.database import Database, DatabaseError, StoredExecution
from storage.traffic.transfers import TransferPool

FAILURES_UNTIL_LEFT_ALONE = 3
"""After this many executions in a row that failed by the provider's own fault, it is not tried again."""


class Done(NamedTuple):
    """What was done with one execution."""

    file_count: int
    size_bytes: int
    line: str
    """What operators read of it, in Spanish."""
    was_there: bool = False
    """Whether there was nothing left to do."""
    is_whole: bool = True
    """False where the destination has not kept modes or times, which was reported."""


@dataclass
class Sums:
    """What became of all of them."""

    done: int = 0
    were_there: int = 0
    failed: int = 0
    file_count: int = 0
    size_bytes: int = 0
    all_whole: bool = True

    def add(self, done: Done) -> None:
        """Count one that did not fail."""
        self.done += not done.was_there
        self.were_there += done.was_there
        self.file_count += done.file_count
        self.size_bytes += done.size_bytes
        self.all_whole &= done.is_whole


class Work(Protocol):
    """What is done with each; `heading` is what shown progress begins with."""

    def __call__(self, copy: StoredCopy, row: StoredExecution, heading: str) -> Done:
        """Raises `MigrationError`, `RestoreImpossible` and the other errors of a restore."""


class Providers:
    """The providers of the copies, each built once. Used from one thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._built: dict[int, Provider] = {}
        self._failures: Counter[int] = Counter()

    def of(self, row: StoredExecution) -> Provider:
        """The one that holds a row's copy.

        Raises `RestoreImpossible` for one that was given up, and otherwise as `provider_of`.
        """
        provider_id = row.provider_id or 0
        if self._failures[provider_id] >= FAILURES_UNTIL_LEFT_ALONE:
            raise RestoreImpossible(
                f"no se intenta, pues su proveedor (id {provider_id}) falló ya {FAILURES_UNTIL_LEFT_ALONE} veces "
                "seguidas"
            )
        if provider_id not in self._built:
            self._built[provider_id] = provider_of(self._database, row)
        return self._built[provider_id]

    def note(self, row: StoredExecution, error: Exception | None) -> None:
        """Note how one execution ended, to leave a provider alone that fails again and again by its own fault."""
        provider_id = row.provider_id or 0
        if isinstance(error, MigrationError) and error.provider_wide:
            self._failures[provider_id] += 1
        elif error is None:
            self._failures[provider_id] = 0

    def close(self) -> None:
        """Close all of them."""
        for provider in self._built.values():
            provider.close()


def for_each_execution(
    database: Database, wanted: Wanted, work: Work, tell: Callable[[str], object], interruption: threading.Event
) -> Sums:
    """Do the work with each wanted execution, and tell one line for each that did not fail.

    Raises `RestoreImpossible` if there are none, `DatabaseError`, `DestinationFull`, and `RunInterrupted`.
    """
    sums = Sums()
    total = wanted.count(database)
    if not total:
        raise RestoreImpossible(
            "no hay ninguna ejecución migrada en ese proveedor y en ese periodo; status dice dónde hay"
        )
    with contextlib.closing(Providers(database)) as providers:
        for number, (uuid, rows) in enumerate(wanted.rows(database), 1):
            if interruption.is_set():
                raise RunInterrupted("interrumpido")
            heading = f"[{number} de {total}] " if total > 1 else ""
            done = None
            with _failure_noted(uuid, sums):
                row, place, sha256 = copy_among(rows, uuid)
                with _ending_noted(providers, row):
                    done = work(StoredCopy(providers.of(row), place, sha256), row, heading)
            if done is not None:
                sums.add(done)
                tell(f"{heading}{done.line}")
    return sums


@contextlib.contextmanager
def _ending_noted(providers: Providers, row: StoredExecution) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        providers.note(row, error)
        raise
    providers.note(row, None)


@contextlib.contextmanager
def _failure_noted(uuid: str, sums: Sums) -> Iterator[None]:
    """Report a failure of one execution and go on, unless it would be that of all others, too."""
    try:
        yield
    except (RunInterrupted, DatabaseError, DestinationFull):
        raise
    except Exception as error:
        sums.failed += 1
        known = error if type(error).__module__.split(".")[0] in OUR_PACKAGES else unexpected(error)
        text = one_line(known)
        is_named = re.search(rf"(?:ejecución|uuid) {re.escape(one_line(uuid))}(?: |$)", text)
        told = text if is_named else f"la ejecución {one_line(uuid)}: {text}"
        emit(logging.ERROR, "execution_failed", told, cause=error, execution=uuid)


OUR_PACKAGES = ("config", "jobs", "providers", "storage")
"""Errors of these say in Spanish what failed; any other one is a defect."""


@dataclass(frozen=True, slots=True)
class Restoring:
    """Restores each into its target; what is there already, equal, is recognised and left alone."""

    targets: Targets
    include: Include
    pool: TransferPool
    interruption: threading.Event
    restored: Callable[[str, Path, Restored], tuple[str, bool]]
    """What is told of a restored execution, and whether modes and times were kept, too."""

    def __call__(self, copy: StoredCopy, row: StoredExecution, heading: str) -> Done:
        """See `Work`."""
        restore = Restore(
            copy.provider, copy.place, self.pool, self.interruption, self.include, f"{heading}Restaurando"
        )
        tree, sha256 = restore.fetch(copy.manifest_sha256)
        target = self.targets.target(row)
        if is_there(target, tree, self.pool, self.interruption):
            line = f"Ejecución {row.uuid}: ya estaba en {target.path}, comprobada"
            return Done(tree.file_count, tree.size_bytes, line, was_there=True)
        line, is_whole = self.restored(row.uuid, target.path, restore.fill(target, tree, sha256))
        return Done(tree.file_count, tree.size_bytes, line, is_whole=is_whole)


@dataclass(frozen=True, slots=True)
class Checking:
    """Reads each back from its provider; writes nothing."""

    include: Include
    pool: TransferPool
    interruption: threading.Event

    def __call__(self, copy: StoredCopy, row: StoredExecution, heading: str) -> Done:
        """See `Work`."""
        restore = Restore(copy.provider, copy.place, self.pool, self.interruption, self.include)
        tree, _ = restore.fetch(copy.manifest_sha256)
        read_back(copy.provider, copy.place, tree, self.pool, self.interruption, f"{heading}Comprobando")
        return Done(tree.file_count, tree.size_bytes, _checked_line(row, copy.provider, tree))


def _checked_line(row: StoredExecution, provider: Provider, tree: Tree) -> str:
    what = f"{tree.file_count} ficheros, {tree.size_bytes} bytes"
    return f"Ejecución {row.uuid}: leída entera de {provider.name} e igual a su manifiesto: {what}"
