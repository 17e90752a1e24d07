"""Takes local copies away once they are proven and committed, and says so, or says why they stay."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable
from functools import partial

from config.logs import emit, one_line
from config.models import Claim
from config.trees import Tree
from jobs.directories import DirectoryJudge, DirectoryMissing
from jobs.helpers import Helpers
from jobs.keys import place_from_uri
from jobs.lease import Lease
from jobs.manifest import fetch_manifest
from jobs.provider_set import ProviderSet
from jobs.removal import keep_local_copy, remove_local_copy
from jobs.report import TickReport
from providers.base import MigrationError, ProviderUnavailable
from sql.database import Database, DatabaseBusy, UnfinishedDeletion


class LocalCopies:
    """The removal of local copies: of those just migrated, and of those that an earlier run did not finish."""

    def __init__(
        self,
        database: Database,
        judge: DirectoryJudge,
        report: TickReport,
        interruption: threading.Event,
        helpers: Helpers | None = None,
    ) -> None:
        self._database = database
        self._judge = judge
        self._report = report
        self._interruption = interruption
        self._helpers = helpers

    def finish_removals(self, deletions: Iterable[UnfinishedDeletion], providers: ProviderSet) -> None:
        """Take up what this host began and did not finish; the proven copy's manifest is fetched for it."""
        for deletion in deletions:
            if self._interruption.is_set():
                return
            self.remove(deletion.claim, partial(self._proven_tree, providers, deletion))

    def keep_all(self, deletions: Iterable[UnfinishedDeletion]) -> None:
        """Removal was switched off since it was begun: what was set aside for it gets its name back."""
        for deletion in deletions:
            try:
                with contextlib.suppress(DirectoryMissing):
                    keep_local_copy(self._judge, deletion.claim.execution)
            except MigrationError as error:
                self._note_kept(deletion.claim, error)
            else:
                self._record(self._database.keep_local_copy, deletion.claim)

    def remove(self, claim: Claim, load_proven: Callable[[], Tree]) -> None:
        """Remove one local copy, as far as `load_proven` gives what the proven copy holds.

        Asked right before it is set aside, and again before anything of it is removed, the database must still say that
        it is to go.
        """
        uuid = one_line(claim.execution.uuid)
        lease = Lease(partial(self._database.lease_seconds_left, claim))

        def load_proven_while_held() -> Tree:
            proven = load_proven()
            lease.require_held()
            return proven

        try:
            lease.require_held()
            remove_local_copy(self._judge, claim.execution, load_proven_while_held, self._interruption, self._helpers)
        except DirectoryMissing:
            self._record(self._database.finish_deletion, claim)
        except MigrationError as error:
            self._note_kept(claim, error)
        else:
            self._report.count(local_copies_deleted=1)
            emit(logging.INFO, "local_copy_deleted", f"Copia local de la ejecución {uuid} borrada", execution=uuid)
            self._record(self._database.finish_deletion, claim)

    def _note_kept(self, claim: Claim, error: MigrationError) -> None:
        self._report.count(deletions_failed=1)
        uuid = one_line(claim.execution.uuid)
        message = f"No se borró la copia local de la ejecución {uuid}: {one_line(error)}"
        emit(logging.ERROR, "local_copy_kept", message, cause=error, execution=uuid, error_code=error.code)
        self._record(partial(self._database.stop_deletion, error_code=error.code, error=str(error)), claim)

    def _record(self, record: Callable[[Claim], None], claim: Claim) -> None:
        """Write down how a removal ended. Where that fails for one execution the others go on; the next run does it."""
        try:
            record(claim)
        except DatabaseBusy as error:
            self._report.count(deletions_failed=1)
            uuid = one_line(claim.execution.uuid)
            message = f"No se anotó qué fue de la copia local de la ejecución {uuid}: {one_line(error)}"
            emit(logging.ERROR, "removal_not_recorded", message, cause=error, execution=uuid)

    def _proven_tree(self, providers: ProviderSet, deletion: UnfinishedDeletion) -> Tree:
        provider = providers.get(deletion.provider_id)
        if provider is None:
            raise ProviderUnavailable("el proveedor que tiene la copia no se puede usar")
        place = place_from_uri(deletion.uri)
        return fetch_manifest(provider, place, deletion.manifest_sha256, self._interruption)
