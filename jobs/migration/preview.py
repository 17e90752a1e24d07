"""Reports what a tick would migrate and delete, and changes nothing anywhere: no provider is contacted."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from config.errors import MigrationError, UnsafeSource
from config.logs import emit, one_line
from config.models import Execution
from config.text.plurals import files
from files.tree import Tree
from files.walk import walk_tree
from jobs.migration.directories import DirectoryJudge
from sql.conflicts import Conflicts
from storage.keys import Place, place_of


class Preview:
    """What would happen to each due execution."""

    def __init__(
        self, judge: DirectoryJudge, key_prefix: str, provider_names: Iterable[str], conflicts: Conflicts
    ) -> None:
        self._judge = judge
        self._key_prefix = key_prefix
        self._provider_names = " o, si falla, ".join(provider_names) or "ningún proveedor"
        self._conflicts = conflicts

    def migration(self, execution: Execution, *, deletes: bool) -> None:
        """Report where an execution would go, or why it would not."""
        uuid = one_line(execution.uuid)
        try:
            place, tree = self._look_at(execution)
        except MigrationError as error:
            message = f"[simulación] No se migraría la ejecución {uuid}: {error}"
            emit(logging.WARNING, "refusal_previewed", message, execution=uuid, error_code=error.code)
            return
        then = "; después se borraría la copia local" if deletes else ""
        emit(
            logging.INFO,
            "migration_previewed",
            f"[simulación] Se migraría la ejecución {uuid} ({files(tree.file_count)}, "
            f"{tree.size_bytes / 1024 / 1024:.2f} MB) a {self._provider_names}, en {place.key_prefix}{then}",
            execution=uuid,
            file_count=tree.file_count,
            size_bytes=tree.size_bytes,
        )

    def _look_at(self, execution: Execution) -> tuple[Place, Tree]:
        reason = self._conflicts.reason(execution)
        if reason is not None:
            raise UnsafeSource(reason)
        place = place_of(self._key_prefix, execution.uuid)
        with self._judge.open(execution) as directory:
            return place, walk_tree(directory.descriptor)


def preview_deletion(execution: Execution) -> None:
    """Report that a removal begun by an earlier run would be finished."""
    message = f"[simulación] Se terminaría de borrar la copia local de la ejecución {one_line(execution.uuid)}"
    emit(logging.INFO, "deletion_previewed", message, execution=execution.uuid)
