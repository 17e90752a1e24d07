"""Removes local copies once they are proven and committed, and reports that, or why they stay."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable
from functools import partial

from config.errors import MigrationError, RunInterrupted, SourceError
from config.logs import emit, one_line
from config.models import Claim, Execution
from config.text.plurals import files
from files.tree import Tree
from files.walk import walk_tree
from jobs.migration.directories import DirectoryJudge, DirectoryMissing, KnownConflicts
from jobs.migration.removal.removal import is_set_aside, keep_local_copy, remove_local_copy
from jobs.migration.removal.whole_copies import KNOWN_BAD, CopyNotWhole, RemainingCopy, require_whole
from jobs.provider_set import ProviderSet
from jobs.report import Named, TickReport
from jobs.signals import Interruption
from providers.errors import ProviderError, ProviderUnavailable
from sql.database import CopyKnownBad, Database, DatabaseBusy, DatabaseError, DeletionHeld, DeletionSwitchedOff
from sql.migration.removals import RemovalRecord, UnfinishedDeletion
from storage.helpers import Helpers
from storage.lease import ClaimLost, Lease

NOTHING_RECORDED = RemovalRecord()
SWITCHED_OFF = "eliminar_despues_de_migrar se desactivó mientras tanto"
TO_DO = "audit --all --read-back dice qué le falta, y con --fix se migra otra vez desde aquí"
HELD = "está retenida (hold), y no se borra nada de ella hasta que se ejecute release"


class RemovalSwitchedOff(MigrationError):
    """The policy no longer asks for the removal of local copies: directories that were set aside get their
    names back.
    """

    code = "removal_switched_off"


class RemovalHeld(MigrationError):
    """An operator holds the execution: what was set aside gets its name back, until the hold is released."""

    code = "removal_held"


class DirectoryInConflict(SourceError):
    """Another row, still to be migrated, now names this directory."""

    code = "directory_in_conflict"


class RecordedPermission:
    """The database's permission to remove one local copy, and its record of that; see `Permission`."""

    def __init__(self, database: Database, claim: Claim, record: RemovalRecord) -> None:
        self.record = record
        self._database = database
        self._claim = claim
        self._lease = Lease(self._ask, DatabaseError)
        self._to_be_noted: str | None = None

    def begin(self, inode: str) -> None:
        """See `Permission`."""
        self._to_be_noted = inode
        self._lease.require_held()

    def require_held(self) -> None:
        """See `Permission`."""
        self._lease.require_held()

    def held_until(self) -> float:
        """See `Permission`."""
        return self._lease.held_until()

    def note_emptied(self, parent: str) -> None:
        """See `Permission`."""
        if not self._database.note_emptied(self._claim, parent):
            raise ClaimLost("otro proceso de janitor se hizo cargo, o la fila cambió")

    def _ask(self) -> float | None:
        """Ask for the permission. The first question also records what will be set aside, which saves a statement."""
        inode, self._to_be_noted = self._to_be_noted, None
        try:
            if inode is not None:
                return self._database.note_set_aside(self._claim, inode)
            return self._database.deletion_seconds_left(self._claim)
        except DeletionSwitchedOff:
            raise RemovalSwitchedOff(SWITCHED_OFF) from None
        except DeletionHeld:
            raise RemovalHeld(HELD) from None
        except CopyKnownBad:
            raise CopyNotWhole(f"{KNOWN_BAD}; {TO_DO}") from None


class LocalCopies:
    """The removal of local copies: of those just migrated, and of those that an earlier run did not finish."""

    def __init__(
        self,
        database: Database,
        judge: DirectoryJudge,
        conflicts: KnownConflicts,
        report: TickReport,
        interruption: Interruption,
        helpers: Helpers | None = None,
    ) -> None:
        self._database = database
        self._judge = judge
        self._conflicts = conflicts
        self._report = report
        self._interruption = interruption
        self._helpers = helpers

    def finish_removals(
        self, executions: Iterable[Execution], providers: ProviderSet, may_begin: Callable[[], bool]
    ) -> None:
        """Take up in turn what this host began and did not finish, as long as `may_begin` allows it; see for each
        that the proven copy is still whole.

        Raises `DatabaseUnavailable`; a problem with one of them is reported and stops none of the others.
        """
        for execution in executions:
            if self._interruption.migrations.is_set() or not may_begin():
                return
            for deletion in self._claim(execution):
                proven_tree = partial(self._proven_tree, providers, deletion)
                count_files = partial(_file_count, deletion)
                stop = self._interruption.migrations
                self._remove(deletion.claim, deletion.record, proven_tree, stop, count_files)

    def keep_all(self, executions: Iterable[Execution]) -> None:
        """Removal was switched off after it had begun: directories that were set aside get their names back."""
        for execution in executions:
            for deletion in self._claim(execution):
                self._keep(deletion.claim, deletion.record, deletion.file_count, SWITCHED_OFF)

    def remove(self, claim: Claim, load_proven: Callable[[], Tree]) -> None:
        """Remove the local copy of an execution that was just migrated, as far as `load_proven` gives the contents of
        the proven copy. Raises as `finish_removals`.
        """
        self._remove(claim, NOTHING_RECORDED, load_proven, self._interruption, lambda: load_proven().file_count)

    def _claim(self, execution: Execution) -> list[UnfinishedDeletion]:
        """Claim it; empty if the database now says otherwise, or was too busy to answer."""
        try:
            return self._database.claim_deletions([execution])
        except DatabaseBusy as error:
            self._report_failed(
                execution,
                "removal_not_taken_up",
                "No se retomó el borrado de la copia local de",
                error,
                error_code=None,
            )
            return []

    def _remove(
        self,
        claim: Claim,
        record: RemovalRecord,
        load_proven: Callable[[], Tree],
        interruption: threading.Event,
        count_files: Callable[[], int],
    ) -> None:
        permission = RecordedPermission(self._database, claim, record)
        try:
            self._require_no_conflict(claim.execution)
            remove_local_copy(self._judge, claim.execution, load_proven, interruption, permission, self._helpers)
        except RemovalSwitchedOff as error:
            self._keep(claim, record, count_files(), str(error))
        except RemovalHeld as error:
            self._note_held(claim, count_files(), error)
        except RunInterrupted as error:
            self._note_put_off(claim, error)
        except MigrationError as error:
            self._note_kept(claim, error)
        except DatabaseBusy as error:
            self._report_not_recorded(claim.execution, error)
        else:
            self._note_removed(claim)

    def _require_no_conflict(self, execution: Execution) -> None:
        reason = self._conflicts.of_removal(execution)
        if reason is not None:
            raise DirectoryInConflict(reason)

    def _keep(self, claim: Claim, record: RemovalRecord, file_count: int, reason: str) -> None:
        """Give the directory that was set aside its name back, and report how many of its copy's files exist
        locally.
        """
        execution = claim.execution
        try:
            with contextlib.suppress(DirectoryMissing):  # then there is nothing that could get its name back
                keep_local_copy(self._judge, execution, record)
        except MigrationError as error:
            self._note_kept(claim, error)
        else:
            self._report_kept_whole(execution, file_count, reason, RemovalSwitchedOff.code)
            self._record(self._database.keep_local_copy, claim)

    def give_back_held(self, executions: Iterable[Execution]) -> None:
        """Give the directories of held executions their names back where a removal that was cut off had set them aside.
        The removals remain to be finished once the holds are released.
        """
        for execution in executions:
            if self._is_set_aside(execution):
                for deletion in self._claim(execution):
                    self._give_back(deletion)

    def _is_set_aside(self, execution: Execution) -> bool:
        try:
            with self._judge.open_parent(execution) as (parent, _name):
                return is_set_aside(parent, execution)
        except MigrationError:
            return False  # nothing of it is here

    def _give_back(self, deletion: UnfinishedDeletion) -> None:
        try:
            keep_local_copy(self._judge, deletion.claim.execution, deletion.record)
        except MigrationError as error:
            self._note_kept(deletion.claim, error)
        else:
            self._note_held(deletion.claim, deletion.file_count, RemovalHeld(HELD))

    def _note_held(self, claim: Claim, file_count: int, error: RemovalHeld) -> None:
        """Its directory has its own name again; the removal is taken up once the hold is released."""
        self._report_kept_whole(claim.execution, file_count, str(error), error.code)
        self._record(self._database.put_off_deletion, claim)

    def _report_kept_whole(self, execution: Execution, file_count: int, reason: str, event: str) -> None:
        uuid = one_line(execution.uuid)
        removed = file_count - self._files_left(execution)
        level, what = logging.INFO, "está entera"
        if removed > 0:
            level = logging.WARNING
            what = (
                f"le {'falta' if removed == 1 else 'faltan'} {removed} de sus {files(file_count)}, que ya se habían "
                "borrado; su copia probada está entera: restore la trae"
            )
        message = f"La copia local de la ejecución {uuid} se queda: {one_line(reason)}; {what}"
        emit(level, event, message, execution=uuid, removed_files=removed, file_count=file_count)

    def _files_left(self, execution: Execution) -> int:
        try:
            with self._judge.open(execution) as directory:
                return walk_tree(directory.descriptor).file_count
        except MigrationError:
            return 0

    def _note_removed(self, claim: Claim) -> None:
        """Record that it is gone for good. If its row was changed meanwhile, do not report it as deleted."""
        uuid = one_line(claim.execution.uuid)
        try:
            is_finished = self._database.finish_deletion(claim)
        except DatabaseBusy as error:
            self._report_not_recorded(claim.execution, error)
            return
        if is_finished:
            self._report.count(local_copies_deleted=1)
            emit(logging.INFO, "local_copy_deleted", f"Copia local de la ejecución {uuid} borrada", execution=uuid)
            return
        self._report_not_recorded(
            claim.execution, ClaimLost("su fila cambió cuando ya se había quitado lo que tiene la copia probada")
        )

    def _note_put_off(self, claim: Claim, error: RunInterrupted) -> None:
        uuid = one_line(claim.execution.uuid)
        message = f"El borrado de la copia local de la ejecución {uuid} se quedó a medias; se retoma la próxima vez"
        emit(logging.INFO, "removal_put_off", message, cause=error, execution=uuid)
        self._record(self._database.put_off_deletion, claim)

    def _note_kept(self, claim: Claim, error: MigrationError) -> None:
        beginning = "No se borró la copia local de"
        self._report_failed(claim.execution, "local_copy_kept", beginning, error, error_code=error.code)
        self._record(partial(self._database.stop_deletion, error_code=error.code, error=str(error)), claim)
        if isinstance(error, ProviderError):  # fetching the manifest costs next to nothing, so no pauses grow for it
            self._record(self._database.put_off_deletion, claim)

    def _record(self, record: Callable[[Claim], None], claim: Claim) -> None:
        """Record how a removal ended. If that fails for one execution the others continue; the next run records it."""
        try:
            record(claim)
        except DatabaseBusy as error:
            self._report_not_recorded(claim.execution, error)

    def _report_not_recorded(self, execution: Execution, error: Exception) -> None:
        beginning = "No se anotó qué fue de la copia local de"
        self._report_failed(execution, "removal_not_recorded", beginning, error, error_code=None)

    def _report_failed(
        self, execution: Execution, event: str, beginning: str, error: Exception, *, error_code: str | None
    ) -> None:
        uuid = one_line(execution.uuid)
        self._report.count(deletions_failed=1)
        self._report.name(Named.COPY, uuid)
        fields = {} if error_code is None else {"error_code": error_code}
        message = f"{beginning} la ejecución {uuid}: {one_line(error)}"
        emit(logging.ERROR, event, message, cause=error, execution=uuid, **fields)

    def _proven_tree(self, providers: ProviderSet, deletion: UnfinishedDeletion) -> Tree:
        provider = providers.get(deletion.provider_id)
        if provider is None:
            raise ProviderUnavailable("el proveedor que tiene la copia no se puede usar")
        copy = RemainingCopy(deletion.uri, deletion.manifest_sha256, deletion.listing_digest, is_known_bad=False)
        try:
            return require_whole(provider, copy, self._interruption.migrations)
        except CopyNotWhole as error:
            raise CopyNotWhole(f"su copia guardada ya no está entera ({one_line(error)}); {TO_DO}") from error


def _file_count(deletion: UnfinishedDeletion) -> int:
    return deletion.file_count
