"""Does one kind of work with several executions at once: a failure of one does not stop the others."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from config.errors import MigrationError, RunInterrupted, unexpected
from config.logs import emit, one_line
from files.tree import Tree
from jobs.migration.restore.errors import DestinationFull, RestoreImpossible
from jobs.migration.restore.filling import Download, Restored
from jobs.migration.restore.include import Include
from jobs.migration.restore.many.at_once import results_in_order
from jobs.migration.restore.many.presence import is_there
from jobs.migration.restore.many.read_back import read_back
from jobs.migration.restore.many.targets import Targets
from jobs.migration.restore.many.wanted import Wanted
from jobs.migration.restore.progress import Show, showing
from jobs.migration.restore.run import Restore
from jobs.migration.restore.source import StoredCopy, copy_among, provider_of
from providers.base import Provider
from sql.database import Database, DatabaseError
from sql.platform.stored_executions import StoredExecution
from storage.traffic.transfers import TransferPool

FAILURES_UNTIL_LEFT_ALONE = 3
"""After this many executions in a row that failed by the provider's own fault, it is not tried again."""


MOST_FILES_AT_ONCE = 200_000
"""How many files executions under way may have together, as each is held in memory; a larger one is done alone."""

FILES_OF_UNKNOWN = 50_000
"""What counts where nobody has recorded the number of files."""

EVERYBODYS = (RunInterrupted, DatabaseError, DestinationFull)
"""Errors of one execution that would be those of all others, too."""


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

    def __call__(self, copy: StoredCopy, row: StoredExecution, heading: str, /) -> Done:
        """Raises `MigrationError`, `RestoreImpossible` and the other errors of a restore."""


class Providers:
    """The providers of the copies, each built once, by one thread. `note` may be called by several."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._built: dict[int, Provider] = {}
        self._lock = threading.Lock()
        self._failures: Counter[int] = Counter()
        self._trusted: set[int] = set()

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

    def has_room(self, provider_id: int, running: int) -> bool:
        """Whether one more may use a provider: until it has served one, and since a failure, few at a time."""
        return provider_id in self._trusted or running < FAILURES_UNTIL_LEFT_ALONE - self._failures[provider_id]

    def note(self, row: StoredExecution, error: Exception | None) -> None:
        """Note how one execution ended, to leave a provider alone that fails again and again by its own fault."""
        provider_id = row.provider_id or 0
        with self._lock:
            if isinstance(error, MigrationError) and error.provider_wide:
                self._failures[provider_id] += 1
                self._trusted.discard(provider_id)
            elif error is None:
                self._failures[provider_id] = 0
                self._trusted.add(provider_id)

    def close(self) -> None:
        """Close all of them."""
        for provider in self._built.values():
            provider.close()


class Ended(NamedTuple):
    """How one execution ended: with what was done, or with an error that is its own."""

    uuid: str
    heading: str
    done: Done | None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """One execution whose turn has come."""

    uuid: str
    rows: Sequence[StoredExecution]
    heading: str
    providers: Providers
    work: Work
    directory: str | None
    """What is written to, if anything is."""

    @property
    def provider_id(self) -> int:
        """Where its copy is; 0 if there is none."""
        return (self.rows[0].provider_id or 0) if self.rows else 0

    @property
    def file_count(self) -> int:
        """How many files it has; a guess where nobody knows."""
        known = self.rows[0].file_count if self.rows else 0
        return FILES_OF_UNKNOWN if known is None else known

    def begin(self) -> Callable[[], Ended]:
        """See `Task`. Raises what concerns all others, too."""
        try:
            row, place, sha256 = copy_among(self.rows, self.uuid)
            copy = StoredCopy(self.providers.of(row), place, sha256)
        except EVERYBODYS:
            raise
        except Exception as error:
            return partial(Ended, self.uuid, self.heading, None, error)
        return partial(self._do, copy, row)

    def _do(self, copy: StoredCopy, row: StoredExecution) -> Ended:
        try:
            done = self.work(copy, row, self.heading)
        except EVERYBODYS as error:
            self.providers.note(row, error)
            raise
        except Exception as error:
            self.providers.note(row, error)
            return Ended(self.uuid, self.heading, None, error)
        self.providers.note(row, None)
        return Ended(self.uuid, self.heading, done)


def for_each_execution(
    database: Database,
    wanted: Wanted,
    work: Work,
    tell: Callable[[str], object],
    interruption: threading.Event,
    directory_of: Callable[[StoredExecution], str | None],
) -> Sums:
    """Do the work with the wanted executions, several at once; tell a line for each that did not fail, in their order.

    `directory_of` says what the work writes to. Raises `RestoreImpossible` if there are none, `DatabaseError`,
    `DestinationFull`, and `RunInterrupted`.
    """
    sums = Sums()
    total = wanted.count(database)
    if not total:
        raise RestoreImpossible("no hay ninguna ejecución migrada que sea de las que se piden; status dice dónde hay")
    with contextlib.closing(Providers(database)) as providers:
        turns = (
            Turn(
                uuid, rows, f"[{number} de {total}] " if total > 1 else "", providers, work,
                directory_of(rows[0]) if rows else None,
            )
            for number, (uuid, rows) in enumerate(wanted.rows(database), 1)
        )  # fmt: skip
        with (
            _told_how_far(sums, total),
            contextlib.closing(results_in_order(turns, partial(_may_begin, providers), interruption)) as results,
        ):
            for ended in results:
                if ended.done is None:
                    _note_failure(ended, sums)
                    continue
                sums.add(ended.done)
                tell(f"{ended.heading}{ended.done.line}")
    return sums


@contextlib.contextmanager
def _told_how_far(sums: Sums, total: int) -> Iterator[None]:
    """Add to an error for want of room, which ends all of it, how many of several executions are done."""
    try:
        yield
    except DestinationFull as error:
        if total == 1:
            raise
        raise DestinationFull(f"{error}; hasta ahora {sums.done + sums.were_there} de {total} ejecuciones") from error


def _may_begin(providers: Providers, turn: Turn, running: Sequence[Turn]) -> bool:
    """Whether an execution may be done beside others: their directories are apart, and memory and provider allow it."""
    if any(_overlap(turn.directory, other.directory) for other in running):
        return False
    if turn.file_count + sum(other.file_count for other in running) > MOST_FILES_AT_ONCE:
        return False
    at_its_provider = sum(other.provider_id == turn.provider_id for other in running)
    return providers.has_room(turn.provider_id, at_its_provider)


def _overlap(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and (f"{one}/".startswith(f"{other}/") or other.startswith(f"{one}/"))


def _note_failure(ended: Ended, sums: Sums) -> None:
    """Report a failure of one execution. An error that is not ours is a defect, and stops no other one either."""
    sums.failed += 1
    error = ended.error or RuntimeError("no result")
    known = error if type(error).__module__.split(".")[0] in OUR_PACKAGES else unexpected(error)
    text = one_line(known)
    is_named = re.search(rf"(?:ejecución|uuid) {re.escape(one_line(ended.uuid))}(?: |$)", text)
    told = text if is_named else f"la ejecución {one_line(ended.uuid)}: {text}"
    emit(logging.ERROR, "execution_failed", told, cause=error, execution=ended.uuid)


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
    """What operators read of a restored execution, and whether modes and times were kept, too."""
    show: Show = field(default=showing)

    def __call__(self, copy: StoredCopy, row: StoredExecution, heading: str) -> Done:
        """See `Work`."""
        download = Download(copy.provider, copy.place, self.pool, self.interruption)
        restore = Restore(download, self.include, f"{heading}Restaurando", self.show)
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
    show: Show = field(default=showing)

    def __call__(self, copy: StoredCopy, row: StoredExecution, heading: str) -> Done:
        """See `Work`."""
        restore = Restore(Download(copy.provider, copy.place, self.pool, self.interruption), self.include)
        tree, _ = restore.fetch(copy.manifest_sha256)
        read_back(copy.provider, copy.place, tree, self.pool, self.interruption, f"{heading}Comprobando", self.show)
        return Done(tree.file_count, tree.size_bytes, _checked_line(row, copy.provider, tree))


def _checked_line(row: StoredExecution, provider: Provider, tree: Tree) -> str:
    what = f"{tree.file_count} ficheros, {tree.size_bytes} bytes"
    return f"Ejecución {row.uuid}: leída entera de {provider.name} e igual a su manifiesto: {what}"
