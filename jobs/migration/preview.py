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
from jobs.migration.queue.limits import has_room_for
from sql.memory.outlook import PutOff, Throughput
from sql.migration.executions import Conflicts
from storage.keys import Place, place_of

LIMIT_OF_BYTES = "--max-bytes (JANITOR_MAX_BYTES)"


class Runs:
    """In which run each execution would begin, counted from 1, with the limit of bytes that a run keeps to."""

    def __init__(self, max_bytes: int | None) -> None:
        self._max_bytes = max_bytes
        self._used_bytes = 0
        self.count = 1

    def take_up(self, size_bytes: int) -> int:
        """The run that sends the next execution. The first one that does not fit ends a run, as in a real one."""
        if self._max_bytes is not None and not has_room_for(size_bytes, self._used_bytes, self._max_bytes):
            self.count += 1
            self._used_bytes = 0
        self._used_bytes += size_bytes
        return self.count


class Preview:
    """What would happen to each due execution, in the order in which a run takes them up, and to all of them."""

    def __init__(
        self, judge: DirectoryJudge, key_prefix: str, provider_names: Iterable[str], max_bytes: int | None = None
    ) -> None:
        self._judge = judge
        self._key_prefix = key_prefix
        self._provider_names = " o, si falla, ".join(provider_names) or "ningún proveedor"
        self._executions = 0
        self._files = 0
        self._bytes = 0
        self._refused = 0
        self._runs = Runs(max_bytes)
        self._later_executions = 0
        self._later_bytes = 0

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
        run_number = self._runs.take_up(tree.size_bytes)
        self._count(tree, run_number)
        then = "; después se borraría la copia local" if deletes else ""
        when = f"; no en el próximo ciclo, que {LIMIT_OF_BYTES} llena" if run_number > 1 else ""
        emit(
            logging.INFO,
            "migration_previewed",
            f"[simulación] Se migraría la ejecución {uuid} ({files(tree.file_count)}, "
            f"{tree.size_bytes / 1024 / 1024:.2f} MB) a {self._provider_names}, en {place.key_prefix}{then}{when}",
            execution=uuid,
            file_count=tree.file_count,
            size_bytes=tree.size_bytes,
            run_number=run_number,
        )

    def _count(self, tree: Tree, run_number: int) -> None:
        if run_number > 1:
            self._later_executions += 1
            self._later_bytes += tree.size_bytes
            return
        self._executions += 1
        self._files += tree.file_count
        self._bytes += tree.size_bytes

    def report_plan(self, put_off: PutOff, past: Throughput) -> None:
        """Sum up: how much would be migrated, where to, in which order, for how long, and what would be left out.

        All of it is about one run. What its limit of bytes leaves for later ones is counted apart.
        """
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
            f"{_told_time(seconds)}{self._told_later_runs()}{f'; no se migrarían: {left_out}' if left_out else ''}",
            executions=self._executions,
            file_count=self._files,
            size_bytes=self._bytes,
            estimated_seconds=seconds,
            refused=self._refused,
            later_executions=self._later_executions,
            later_runs=self._runs.count - 1,
            **put_off._asdict(),
        )

    def _told_later_runs(self) -> str:
        if not self._later_executions:
            return ""
        left = f"{executions(self._later_executions)} ({self._later_bytes / 1024 / 1024:.2f} MB)"
        runs = counted(self._runs.count - 1, "ciclo más", "ciclos más")
        return f"; por {LIMIT_OF_BYTES} quedarían para después {left}, para al menos {runs}"

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
