"""Attempts to store an execution on one provider: recorded before the first byte, committed or abandoned after."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from functools import partial

from config.errors import MigrationError, SourceChanged
from config.logs import emit, one_line
from config.models import Attempt, Claim, ProvenCopy
from files.tree import Tree
from files.walk import walk_quiet_tree
from jobs.migration.directories import OpenDirectory
from jobs.migration.places import (
    Neighbours,
    open_attempt,
    require_no_copies,
    require_no_remnant,
    require_not_half_restored,
)
from jobs.provider_set import ProviderSet
from providers.base import Provider
from sql.database import Database, DatabaseError
from storage.helpers import Helpers
from storage.keys import Place
from storage.lease import ClaimLost, Lease, LeasedProvider
from storage.manifest import Manifest
from storage.sending import Assistance, LocalFiles
from storage.traffic.transfers import TransferPool
from storage.upload import Upload


@dataclass(frozen=True, slots=True)
class Attempts:
    """What every attempt for an execution needs.

    `delete_local_copy` is recorded as the step after the commit; `queue_position` orders the use of the line.
    `neighbours` knows which providers keep copies where this host keeps executions.
    """

    database: Database
    providers: ProviderSet
    pool: TransferPool
    interruption: threading.Event
    delete_local_copy: bool
    neighbours: Neighbours = field(default_factory=Neighbours)
    queue_position: int = 0
    helpers: Helpers | None = None

    def store(
        self, provider: Provider, claim: Claim, place: Place, directory: OpenDirectory
    ) -> tuple[ProvenCopy, Manifest]:
        """Store an execution whole, prove it and commit that, or raise `MigrationError`.

        If a file changes while it is sent, one more attempt is made; then it is left for the next tick.
        """
        try:
            return self._store_once(provider, claim, place, directory)
        except SourceChanged as error:
            emit(logging.INFO, "source_changed", f"Se repite la subida de {one_line(claim.execution.uuid)}: {error}")
            return self._store_once(provider, claim, place, directory)

    def _store_once(
        self, provider: Provider, claim: Claim, place: Place, directory: OpenDirectory
    ) -> tuple[ProvenCopy, Manifest]:
        directory.require_in_place()
        tree = walk_quiet_tree(directory.descriptor, self.interruption)
        require_no_copies(tree, directory)
        require_not_half_restored(tree, directory)
        require_no_remnant(self.providers, claim, directory, tree, self.interruption)
        self.providers.require_room(provider, tree.size_bytes, place.files_prefix)
        lease = Lease(partial(self.database.lease_seconds_left, claim), DatabaseError)
        leased = LeasedProvider(provider, lease)
        attempt = self._open_attempt(provider, leased, claim, place, tree)
        upload = Upload(
            leased,
            attempt,
            claim.execution,
            tree,
            LocalFiles(directory.descriptor),
            self.database,
            self.pool,
            self.interruption,
            self.queue_position,
            self._assistance(provider, lease),
            lambda: self.neighbours.require_elsewhere(leased, place, directory, self.interruption),
        )
        try:
            copy, manifest = self._uploaded(upload, attempt)
            self.providers.require_still_mounted(provider)
            directory.require_in_place()
            if not self.database.commit_migration(
                claim, attempt, copy, delete_local_copy=self.delete_local_copy and not copy.is_of_others
            ):
                raise ClaimLost("la fila cambió, o se hizo cargo otro proceso de janitor")
        except MigrationError as error:
            self.providers.note_failure(provider, error, place.parent, tree.size_bytes)
            self.database.abandon_attempt(attempt, error.code, str(error))
            raise
        self.providers.note_success(provider, tree.size_bytes)
        self.providers.note_stored(provider, place.manifest_key)
        return copy, manifest

    def _uploaded(self, upload: Upload, attempt: Attempt) -> tuple[ProvenCopy, Manifest]:
        """Run an upload and record whether all its requests were answered, however it ends."""
        try:
            return upload.run()
        finally:
            if upload.may_be_waited_for:
                self.database.note_answered(attempt)

    def _open_attempt(
        self, provider: Provider, leased: LeasedProvider, claim: Claim, place: Place, tree: Tree
    ) -> Attempt:
        """Begin an attempt once the place is known to belong to no other execution."""
        try:
            self.providers.require_mounted(provider)
            return open_attempt(self.database, self.providers, claim, leased, place, tree, self.interruption)
        except MigrationError as error:
            self.providers.note_failure(provider, error, place.parent, tree.size_bytes)
            raise

    def _assistance(self, provider: Provider, lease: Lease) -> Assistance | None:
        row = self.providers.row(provider.id)
        return None if self.helpers is None or row is None else Assistance(self.helpers, row, lease)
