"""Where each of several executions is restored: below one directory, or where it was."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from config.errors import ConfigurationError, UnsafeSource
from config.logs import one_line
from config.models import Execution
from config.text.wording import reason_of
from files.descriptors import closing_descriptor, make_directories_beneath, open_directory_path
from jobs.migration.directories import DirectoryJudge
from jobs.migration.restore.destination import Target
from jobs.migration.restore.errors import DestinationUnusable, RestoreImpossible
from jobs.migration.restore.many.wanted import FOLDER
from sql.database import Database
from sql.platform.stored_executions import StoredExecution
from storage.keys import place_of

ROWS_PER_PAGE = 10_000


@dataclass(frozen=True, slots=True)
class BelowOneDirectory:
    """Each in a directory of its own, named by its uuid. `directory` exists, and no link is in its path."""

    directory: str

    def directory_of(self, row: StoredExecution) -> str:
        """What a restore writes to, as a text that is only compared."""
        return os.path.join(self.directory, row.uuid)  # noqa: PTH118 not a path yet

    def target(self, row: StoredExecution) -> Target:
        """Raises `RestoreImpossible` for a uuid that cannot be a name."""
        try:
            name = place_of("", row.uuid).name
        except UnsafeSource as error:
            raise RestoreImpossible(f"{error}; restáurela sola, con un directorio de destino") from error
        return Target(Path(self.directory, name), self.directory)


def below_one_directory(path: Path) -> BelowOneDirectory:
    """Make the directory, which may be new. Raises `DestinationUnusable`."""
    try:
        path.mkdir(exist_ok=True)
        return BelowOneDirectory(os.path.realpath(path))
    except OSError as error:
        raise DestinationUnusable(f"no se puede usar {path}: {reason_of(error)}") from error


class WhereTheyWere:
    """Each in the directory that its row names, if that is in one of the roots."""

    def __init__(self, roots: tuple[str, ...], database: Database) -> None:
        """Raises `ConfigurationError` without roots, and `DatabaseError`."""
        if not roots:
            raise ConfigurationError(
                "--in-place necesita JANITOR_ROOTS, los directorios en los que puede haber ejecuciones: defínala, o "
                "use --to DIRECTORIO"
            )
        self._roots = roots
        self._judge = DirectoryJudge(roots)
        self._judge.keep_out_of(database.local_directories())
        self._pending = PendingDirectories(_pending(database))

    def directory_of(self, row: StoredExecution) -> str:
        """What a restore writes to, as a text that is only compared."""
        return os.path.normpath(row.directory or "")

    def target(self, row: StoredExecution) -> Target:
        """Make the missing directories between the root and the execution's own. Follows no link.

        Raises `RestoreImpossible`, `DestinationUnusable`.
        """
        if row.is_being_removed:
            raise RestoreImpossible(
                "su copia local está por borrar (status dice si algo lo impide): repita la orden después, o use --to"
            )
        try:
            path = self._judge.accepted_path(Execution(row.id, row.uuid, row.directory))
        except UnsafeSource as error:
            raise RestoreImpossible(f"{error}; use --to DIRECTORIO") from error
        other = self._pending.in_the_way(path)
        if other is not None:
            raise RestoreImpossible(
                f"la ejecución {one_line(other.uuid)} (id {other.id}), sin migrar, tiene un directorio que es el suyo, "
                f"lo contiene o está dentro: {one_line(other.directory)}; use --to DIRECTORIO"
            )
        root = max((root for root in self._roots if path.startswith(f"{root}/")), key=len)
        parent = os.path.dirname(path)  # noqa: PTH120 a text, as it is written
        try:
            with closing_descriptor(open_directory_path(root)) as descriptor:
                make_directories_beneath(descriptor, [part for part in parent[len(root) :].split("/") if part])
        except OSError as error:
            raise DestinationUnusable(
                f"no se puede usar {one_line(parent)}, en la raíz {root}: {reason_of(error)}"
            ) from error
        return Target(Path(path), parent)


class PendingDirectories:
    """The directories of rows that are still to be migrated: what is put there would become part of their copies."""

    def __init__(self, rows: Iterable[Execution]) -> None:
        self._at: dict[str, Execution] = {}
        self._below: dict[str, Execution] = {}
        for row in rows:
            path = os.path.normpath(row.directory or "")
            self._at[path] = row
            self._below |= dict.fromkeys(_above(path), row)

    def in_the_way(self, path: str) -> Execution | None:
        """A row whose directory is this one, contains it, or is in it."""
        around = (self._at[each] for each in (path, *_above(path)) if each in self._at)
        return next(around, self._below.get(path))


def _above(path: str) -> Iterator[str]:
    """The directories that contain one, the innermost first."""
    return map(str, Path(path).parents)


def _pending(database: Database) -> Iterator[Execution]:
    after_id = 0
    page = {"page_size": ROWS_PER_PAGE}
    while rows := database.job_query(FOLDER, "list_pending_directories", {**page, "after_id": after_id}):
        yield from (Execution(row["id"], row["uuid"], row["directory"]) for row in rows)
        after_id = rows[-1]["id"]


Targets = BelowOneDirectory | WhereTheyWere
