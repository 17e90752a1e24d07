"""Brings one copy to the primary provider: copied, proven, and switched in one commit."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import NamedTuple

from config.errors import MigrationError
from config.models import Attempt, Claim, ProvenCopy
from files.tree import Tree
from jobs.provider_set import ProviderSet
from jobs.rehome.away import Away
from jobs.rehome.equal_copy import proven_equal_copy
from jobs.rehome.original import OldCopyDamaged, OldCopyUnavailable, StoredOriginal
from jobs.rehome.records import Records
from providers.base import Provider
from providers.errors import DestinationMissing, ProviderError, ProviderUnavailable, UnsafeDestination
from storage.keys import Place, place_of
from storage.lease import ClaimLost, LeasedProvider
from storage.manifest import fetch_manifest
from storage.traffic.transfers import TransferPool
from storage.upload import Upload


class Moved(NamedTuple):
    """A copy that is at the primary provider now. `was_copied`: no equal one was there before."""

    copy: ProvenCopy
    was_copied: bool


@dataclass(frozen=True, slots=True)
class Move:
    """What every move of a run needs. `home` is the primary provider, `key_prefix` that of new places."""

    records: Records
    providers: ProviderSet
    home: Provider
    key_prefix: str
    pool: TransferPool

    def bring_home(self, away: Away, claim: Claim) -> Moved:
        """Copy, prove and switch one claimed copy. Until the switch the row points to the old copy, which nothing here
        touches; afterwards the migration removes it as a leftover. Raises `MigrationError`, `DatabaseError`.
        """
        old = self._old_provider(away)
        place = place_of(self.key_prefix, away.uuid)
        self._require_apart(place, away)
        tree = self._old_tree(old, away)
        self.providers.require_room(self.home, tree.size_bytes, place.files_prefix)
        leased = LeasedProvider(self.home, self.records.lease(claim))
        try:
            self.providers.require_mounted(self.home)
            attempt = self.records.open_attempt(claim, self.home.id, self.home.store, place, tree.fingerprint())
            moved = self._stored(leased, attempt, away, claim, StoredOriginal(old, away.place), tree)
        except MigrationError as error:
            self.providers.note_failure(self.home, error, place.parent, tree.size_bytes)
            raise
        self.providers.note_success(self.home, tree.size_bytes)
        return moved

    def _old_provider(self, away: Away) -> Provider:
        old = self.providers.get(away.provider_id)
        if old is None:
            raise OldCopyUnavailable("el proveedor que la tiene no se puede usar; check dice por qué")
        return old

    def _require_apart(self, place: Place, away: Away) -> None:
        """The old place and the new one may be equal, and may not be one in the other."""
        new, old = place.key_prefix, away.place.key_prefix
        if new != old and (new.startswith(f"{old}/") or old.startswith(f"{new}/")):
            raise UnsafeDestination(
                f"{new} está dentro de {old}, donde está ahora, o al revés: cambie prefijo_ruta_nube"
            )

    def _old_tree(self, old: Provider, away: Away) -> Tree:
        try:
            return fetch_manifest(old, away.place, away.manifest_sha256, self._stop)
        except ProviderError as error:
            self.providers.note_failure(old, error, away.place.parent)
            kind = OldCopyUnavailable if isinstance(error, ProviderUnavailable | DestinationMissing) else OldCopyDamaged
            raise kind(f"no se puede leer su manifiesto en {old.name}: {error}") from error

    def _stored(
        self, leased: LeasedProvider, attempt: Attempt, away: Away, claim: Claim, original: StoredOriginal, tree: Tree
    ) -> Moved:
        """Have an equal, proven copy at the place of an attempt, and switch the row to it."""
        try:
            copy = proven_equal_copy(leased, attempt, away.execution, tree, self.records, self.pool, self._stop)
            was_copied = copy is None
            if copy is None:
                copy = self._copied(
                    Upload(leased, attempt, away.execution, tree, original, self.records, self.pool, self._stop),
                    attempt,
                )
            if not self.records.switch(away, claim, attempt, copy, was_copied=was_copied):
                raise ClaimLost("la fila cambió, o se hizo cargo otro proceso de janitor")
        except MigrationError as error:
            self.records.context.database.abandon_attempt(attempt, error.code, str(error))
            raise
        return Moved(copy, was_copied)

    def _copied(self, upload: Upload, attempt: Attempt) -> ProvenCopy:
        """Run an upload and record whether all its requests were answered, however it ends."""
        try:
            copy, _ = upload.run()
        finally:
            if upload.may_be_waited_for:
                self.records.context.database.note_answered(attempt)
        return copy

    @property
    def _stop(self) -> threading.Event:
        return self.records.context.interruption
