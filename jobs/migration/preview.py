"""Reports what a tick would migrate and delete, and changes nothing anywhere: no provider is contacted."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from config.errors import MigrationError, UnsafeSource
from config.logs import emit, one_line
from config.models import Execution
from config.text.plurals import counted, executions, files
from files.tree import Tree
from files.walk import walk_tree
from jobs.migration.directories import DirectoryJudge
from sql.memory.outlook import PutOff, Throughput
from sql.migration.conflicts import Conflicts
from storage.keys import Place, place_of


class Preview:
    """What would happen to each due execution, in the order in which a run takes them up, and to all of them."""

    def __init__(self, judge: DirectoryJudge, key_prefix: str, provider_names: Iterable[str]) -> None:
        self._judge = judge
        self._key_prefix = key_prefix
        self._provider_names = " o, si falla, ".join(provider_names) or "ningún proveedor"
        self._executions = 0
        self._files = 0
        self._bytes = 0
        self._refused = 0

    def migration(self, execution: Execution, conflicts: Conflicts, *, deletes: bool) -> None:
        """Report where an execution would go, or why it would not."""
        uuid = one_line(execution.uuid)
        try:
            place, tree = self._look_at(execution, conflicts)
        except MigrationError as error:
            self._refused += 1
            message = f"[simulación] No se migraría la ejecución {uuid}: {error}"
            emit(logging.WARNING, "refusal_previewed", message, execution=uuid, error_code=error.code)
            return
        self._executions += 1
        self._files += tree.file_count
        self._bytes += tree.size_bytes
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

    def tell_plan(self, put_off: PutOff, past: Throughput) -> None:
        """Sum up: how much would be migrated, where to, in which order, for how long, and what would be left out."""
        left_out = ", ".join(
            counted(count, one, many)
            for count, one, many in (
                (self._refused, "rechazada", "rechazadas"),
                (put_off.held, "retenida (hold)", "retenidas (hold)"),
                (put_off.quarantined, "en cuarentena (retry)", "en cuarentena (retry)"),
                (put_off.waiting, "en pausa tras fallar", "en pausa tras fallar"),
            )
            if count
        )
        seconds = past.seconds_for(self._executions, self._bytes)
        emit(
            logging.INFO,
            "plan_previewed",
            f"[simulación] En total se migrarían {executions(self._executions)} ({files(self._files)}, "
            f"{self._bytes / 1024 / 1024:.2f} MB) a {self._provider_names}, de la más antigua a la más nueva; "
            f"{_told_time(seconds)}{f'; no se migrarían: {left_out}' if left_out else ''}",
            executions=self._executions,
            file_count=self._files,
            size_bytes=self._bytes,
            estimated_seconds=seconds,
            refused=self._refused,
            **put_off._asdict(),
        )

    def _look_at(self, execution: Execution, conflicts: Conflicts) -> tuple[Place, Tree]:
        reason = conflicts.reason(execution)
        if reason is not None:
            raise UnsafeSource(reason)
        place = place_of(self._key_prefix, execution.uuid)
        with self._judge.open(execution) as directory:
            return place, walk_tree(directory.descriptor)


def _told_time(seconds: float | None) -> str:
    if seconds is None:
        return "no se sabe cuánto tardaría, porque en los últimos 30 días no se migró nada"
    hours, minutes = divmod(round(seconds / 60), 60)
    span = f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else "menos de un minuto"
    return f"al ritmo de los últimos 30 días tardaría {span}"


def preview_deletion(execution: Execution) -> None:
    """Report that a removal begun by an earlier run would be finished."""
    message = f"[simulación] Se terminaría de borrar la copia local de la ejecución {one_line(execution.uuid)}"
    emit(logging.INFO, "deletion_previewed", message, execution=execution.uuid)
