"""Removes what failed attempts left at places to which no row points."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from datetime import datetime

from config.errors import MigrationError, RunInterrupted, SourceError
from config.logs import emit, one_line
from config.models import Execution, StoredObject
from files.tree import Tree
from jobs.migration.directories import DirectoryJudge
from jobs.migration.places import is_same_store, paths_overlap
from jobs.migration.removal.originals import has_all, walk_original
from jobs.migration.removal.whole_copies import CopyNotWhole, RemainingCopy, holds_all, require_whole
from jobs.provider_set import ProviderSet
from jobs.report import TickReport
from providers.base import Provider
from providers.errors import IntegrityError, ProviderError, ProviderUnavailable, UnsafeDestination
from providers.probes import remove_left_probes
from providers.retries import with_retries
from sql.database import Database
from sql.migration.attempts import Leftover
from storage.deletions import late_deletions_kept_off
from storage.keys import Place, place_from_uri
from storage.lease import ClaimLost
from storage.manifest import FoundManifest, find_manifest
from storage.optional_steps import discard_unfinished, remove_probes_of_killed_runs


class CopyNotSeen(MigrationError):
    """The provider of the copy that is to remain did not show it."""

    code = "copy_not_seen"


PASSING = (ProviderUnavailable, ClaimLost, CopyNotSeen)
"""Reasons that may have passed by the next tick. Any other reason to keep leftovers needs a person."""


class Leftovers:
    """The removal of what one run finds left over. Used from one thread."""

    def __init__(self, database: Database, judge: DirectoryJudge, interruption: threading.Event) -> None:
        self._database = database
        self._judge = judge
        self._interruption = interruption

    def remove(self, leftover: Leftover, abandoned: Provider, migrated: Provider | None) -> None:
        """Remove an abandoned attempt's unfinished uploads and objects. Raises `MigrationError`.

        Nothing is removed that somebody else has stored, or may have, or that a row points to. `migrated` is the
        provider of the same execution's copy, if it has one.
        """
        if leftover.foreign_objects:
            return
        self._require_same_store(leftover, abandoned)
        place = Place(leftover.key_prefix)
        remove_probes_of_killed_runs(abandoned, place, self._interruption)
        for prefix in place.unfinished_prefixes:
            discard_unfinished(abandoned, prefix, self._interruption)
        objects = with_retries(lambda: list(abandoned.list(place.files_prefix)), self._interruption, abandoned.progress)
        manifest = find_manifest(abandoned, place, self._interruption)
        if not objects and manifest is None:
            return
        self._require_nobody_points_there(leftover)
        if self._is_place_of_copy(leftover, abandoned, migrated):
            return
        self._require_own(leftover, manifest)
        self._require_another_copy(leftover, manifest, migrated)
        self._delete(leftover, abandoned, [manifest.stored, *objects] if manifest else objects)
        self._require_gone(abandoned, place)
        with_retries(lambda: remove_left_probes(abandoned, place.parent), self._interruption, abandoned.progress)

    def _require_same_store(self, leftover: Leftover, abandoned: Provider) -> None:
        """Refuse a provider whose row now leads elsewhere: the objects there were never ours."""
        if leftover.store and abandoned.store and leftover.store != abandoned.store:
            raise UnsafeDestination("el proveedor lleva ahora a otro sitio que cuando se guardaron")

    def _require_nobody_points_there(self, leftover: Leftover) -> None:
        rows = self._database.rows_at(leftover.execution_id, leftover.key_prefix)
        if rows:
            raise UnsafeDestination(f"la ejecución con id {rows[0]} dice estar allí, en su ruta_nube")

    def _is_place_of_copy(self, leftover: Leftover, abandoned: Provider, migrated: Provider | None) -> bool:
        """Whether the committed copy is at the failed attempt's place, but through another row of the table.

        Two rows may name the same bucket, or a directory and one in it, so comparing keys is not enough. Raises
        `UnsafeDestination` where one place is inside the other.
        """
        if leftover.migrated_uri is None or migrated is None:
            return False
        copy = place_from_uri(leftover.migrated_uri)
        probe = f".janitor-probe-{leftover.attempt_id}"
        put_key, seen_key = leftover.key_prefix + probe, copy.key_prefix + probe
        if is_same_store(abandoned, put_key, migrated, seen_key, self._interruption):
            return True
        if copy.key_prefix == leftover.key_prefix or not paths_overlap(copy.key_prefix, leftover.key_prefix):
            return False
        if is_same_store(abandoned, put_key, migrated, put_key, self._interruption):
            raise UnsafeDestination(f"la copia guardada en {leftover.migrated_uri} está dentro, o al revés")
        return False

    def _require_own(self, leftover: Leftover, manifest: FoundManifest | None) -> None:
        """A manifest names the owner of the objects; those of earlier versions do not, so their objects stay. One that
        cannot be read may be anybody's. An empty object is what an earlier attempt replaced its own by.
        """
        if manifest is None or manifest.stored.size_bytes == 0:
            return
        head = manifest.head
        if head is not None and (head.installation, head.row) != (self._database.installation, leftover.execution_id):
            raise UnsafeDestination(
                "allí hay un manifiesto que esta instalación no escribió para esta ejecución; si la base de datos es "
                "una copia o se mudó, lo escribió la de antes: si audit dice que la copia de su fila está entera, y la "
                "de antes ya no se usa, bórrelos a mano"
            )
        if head is None or manifest.tree is None:
            raise UnsafeDestination(
                "el manifiesto que hay allí no se puede leer, y puede ser de una copia entera: si audit no dice nada "
                "de la ejecución, su copia está entera, y puede borrarlos usted"
            )

    def _require_another_copy(
        self, leftover: Leftover, manifest: FoundManifest | None, migrated: Provider | None
    ) -> None:
        """Refuse to remove what may be the last bytes of an execution.

        The copy to which the row points must be whole now. It does not count for a whole copy of another execution: one
        that the row gave up, or that is of another directory; nor for one that may be newer. Then the original must be
        here, or the same bytes there.
        """
        whole = None if manifest is None else manifest.tree
        if leftover.is_given_up:
            if whole is not None and not self._has_original(leftover, whole):
                raise UnsafeDestination(
                    "es una copia entera, su fila ya no existe o tiene otro uuid, y aquí no está su directorio entero"
                )
            return
        committed = self._committed_copy(leftover, migrated)
        if whole is None or manifest is None or _is_an_earlier_one(leftover, manifest, committed):
            return
        if not holds_all(committed, whole) and not self._has_original(leftover, whole):
            raise UnsafeDestination(
                "es una copia entera de otra ejecución o de otro directorio que los de su fila, o, si la base de datos "
                "se restauró, más nueva que la de su fila, y aquí no está entero: compárelas, y borre la que sobre"
            )

    def _committed_copy(self, leftover: Leftover, migrated: Provider | None) -> Tree:
        """What the copy to which the row points holds. It may have been lost since, or its provider's row may lead to
        another store.
        """
        if leftover.migrated_uri is None or migrated is None:
            raise UnsafeDestination("no consta dónde está la copia de su fila")
        copy = RemainingCopy(
            leftover.migrated_uri,
            leftover.migrated_manifest_sha256,
            leftover.migrated_listing_digest,
            leftover.migrated_is_known_bad,
        )
        try:
            return require_whole(migrated, copy, self._interruption)
        except CopyNotWhole as error:
            raise UnsafeDestination(_told_only_copy(leftover, one_line(error))) from error
        except ProviderError as error:
            uri = one_line(leftover.migrated_uri)
            raise CopyNotSeen(f"no se pudo ver si {uri}, la copia de su fila, está entera: {error}") from error

    def _has_original(self, leftover: Leftover, manifest: Tree) -> bool:
        """Whether the directory has all of the copy: an empty one, or a half restore, is no original."""
        try:
            with self._judge.open(Execution(leftover.execution_id, leftover.uuid, leftover.directory)) as directory:
                return has_all(directory, walk_original(directory), manifest, self._interruption)
        except SourceError:
            return False

    def _delete(self, leftover: Leftover, abandoned: Provider, objects: Sequence[StoredObject]) -> None:
        """Delete the manifest first, so that nobody takes the rest for a copy. Before each, check the row again."""
        # Ask here, so that no probe object for this is put among what is removed.
        probe_prefix = Place(leftover.key_prefix).probe_prefix
        with_retries(lambda: abandoned.deletes_safely(probe_prefix), self._interruption, abandoned.progress)
        with late_deletions_kept_off(self._database, leftover.attempt_id, abandoned, self._interruption) as deletions:
            for stored in objects:
                if not self._database.is_leftover(leftover):
                    raise ClaimLost("la fila cambió")
                deletions.delete(stored)

    def _require_gone(self, provider: Provider, place: Place) -> None:
        """Believe a removal, like a copy, only when a new request to the provider shows it. Raises `IntegrityError`."""
        remaining = with_retries(lambda: list(provider.list(place.files_prefix)), self._interruption, provider.progress)
        if remaining:
            raise IntegrityError(f"siguen allí {len(remaining)} objetos que el proveedor dice haber borrado")


def remove_leftovers(
    database: Database,
    leftovers: Iterable[Leftover],
    providers: ProviderSet,
    judge: DirectoryJudge,
    report: TickReport,
    interruption: threading.Event,
) -> None:
    """Remove what can be removed; leftovers on a provider that is down now can wait for another tick."""
    removal = Leftovers(database, judge, interruption)
    for leftover in leftovers:
        abandoned = providers.for_removal(leftover.provider_id)
        migrated = providers.get(leftover.migrated_provider_id) if leftover.migrated_provider_id else None
        cannot_be_asked = leftover.migrated_provider_id is not None and migrated is None
        if abandoned is None or cannot_be_asked or interruption.is_set():
            continue
        try:
            removal.remove(leftover, abandoned, migrated)
        except RunInterrupted:
            return
        except MigrationError as error:
            providers.note_failure(abandoned, error, Place(leftover.key_prefix).parent)
            message = f"Quedan restos de la ejecución {one_line(leftover.uuid)} en {abandoned.name}: {one_line(error)}"
            if not isinstance(error, PASSING):
                message += _told_pause(database.put_off_leftover(leftover.attempt_id))
            emit(logging.WARNING, "leftover_kept", message, cause=error, execution=one_line(leftover.uuid))
            continue
        database.settle_attempt(leftover.attempt_id)
        report.count(leftovers_removed=1)


def _is_an_earlier_one(leftover: Leftover, manifest: FoundManifest, committed: Tree) -> bool:
    """Whether it is the same execution's, from before the copy to which its row points: what it held was given up.

    A database that was set back to an earlier state points to an earlier copy, and takes a later one for what an
    attempt left. That one names a later attempt, or where manifests name none, has newer files. Earlier versions name
    no directory.
    """
    head, whole = manifest.head, manifest.tree
    if head is None or whole is None or head.execution != leftover.uuid:
        return False
    if head.directory not in (None, leftover.directory):
        return False
    if head.attempt is not None:
        return leftover.last_recorded is not None and head.attempt <= leftover.last_recorded
    return whole.newest_mtime_ns() <= committed.newest_mtime_ns()


def _told_only_copy(leftover: Leftover, reason: str) -> str:
    return (
        f"puede ser lo único que queda, pues la copia que dice su fila, {one_line(leftover.migrated_uri)}, no está "
        f"entera ({reason}): recupere aquella, o ponga en la fila ruta_nube y nube_provider_id de esta; audit lo "
        "comprueba"
    )


def _told_pause(until: datetime | None) -> str:
    return "" if until is None else f"; no se intenta otra vez hasta el {until.astimezone():%Y-%m-%d a las %H:%M}"
