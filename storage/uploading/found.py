"""Looks at a place before anything is sent: what is there, and whose it is."""

from __future__ import annotations

import logging
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace

from config.logs import emit
from config.models import StoredObject
from config.text.plurals import counted
from providers.errors import UnsafeDestination
from storage.deletions import require_open
from storage.manifest import FoundManifest
from storage.optional_steps import discard_but_for, discard_unfinished, remove_probes_of_killed_runs
from storage.sending import NO_CHECKSUM, Sender
from storage.uploading.manifest_at_place import ManifestAtPlace
from storage.uploading.task import Notes, UploadTask


@dataclass(frozen=True, slots=True)
class Found:
    """What was at a place before this attempt sent anything."""

    stored_before: Notes
    """The checksums of existing objects that have the right size under keys of files."""
    occupied: bytearray
    """For each position, whether its key has, or may have, an object."""
    others: Sequence[int]
    """The positions of files whose keys have an object that no attempt of ours has sent."""
    may_remove: bool
    """Whether to remove objects at the place that belong to no file."""
    foreign_manifest: FoundManifest | None = None
    """A manifest that is not ours."""
    manifest_left: StoredObject | None = None
    """What is under the manifest's key once one of ours is withdrawn."""

    def ours(self, positions: Sequence[int]) -> Sequence[int]:
        """The positions without those that hold objects of others."""
        others = frozenset(self.others)
        return array("Q", (position for position in positions if position not in others)) if others else positions

    def once_sent(self) -> Found:
        """The same without the checksums, which take memory and are of no use once the files are sent."""
        return replace(self, stored_before=Notes(0))

    def with_objects_at(self, positions: Sequence[int]) -> Found:
        """The same where the keys of these files have an object, too."""
        occupied = bytearray(self.occupied)
        for position in positions:
            occupied[position] = True
        return replace(self, occupied=occupied)


@dataclass(frozen=True, slots=True)
class _Listing:
    """What a listing has shown under the keys of files, and how many objects there are in all."""

    count: int
    of_right_size: int
    positions: Sequence[int]
    occupied: bytearray
    checksums: Notes


class FirstLook:
    """Looks at the place of one attempt."""

    def __init__(self, task: UploadTask, manifest: ManifestAtPlace, sender: Sender) -> None:
        self._task = task
        self._place = task.place
        self._attempt = task.attempt
        self._manifest = manifest
        self._sender = sender

    def look(self) -> Found:
        """List what is already stored. This also shows quickly whether the provider answers at all.

        Withdraws a manifest of ours, and discards unfinished uploads of no use. Raises `UnsafeDestination` for a file
        of another size under a key of ours that no attempt of ours has sent.
        """
        task = self._task
        manifest = self._manifest.find()
        is_own = manifest is not None and self._manifest.is_own(manifest)
        listing = task.retried(self._listing)
        may_remove = task.everything_here_is_ours and (manifest is None or is_own)
        foreign = (listing.count > 0 or manifest is not None) and not may_remove
        task.records.note_place(task.attempt, foreign_objects=foreign)
        found = Found(listing.checksums, listing.occupied, listing.positions, may_remove)
        if manifest is not None and not is_own:
            return replace(found, foreign_manifest=manifest)
        if self._attempt.earlier_attempts_here:
            remove_probes_of_killed_runs(task.provider, task.place, task.interruption)
        if self._attempt.earlier_attempts_here and not self._discard_what_is_of_no_use():
            require_open(self._place, self._attempt.late_bytes_until)
        if is_own or task.objects_here_are_ours:
            found = replace(found, others=())
        elif listing.count:
            self._tell_of_foreign_objects(listing.count)
            if listing.of_right_size != len(listing.positions):
                raise written_by_others(task)
        return found if manifest is None else replace(found, manifest_left=self._manifest.withdraw(manifest))

    def _listing(self) -> _Listing:
        """Count the objects; keep the checksums of those that may be our files."""
        tree = self._task.tree
        checksums = Notes(len(tree))
        occupied = bytearray(len(tree))
        of_right_size = 0
        positions = array("Q")
        count = 0
        size_bytes = tree.size_bytes if self._attempt.earlier_attempts_here else 0
        for position, stored in self._task.listed(size_bytes):
            count += 1
            if position is None:
                continue
            positions.append(position)
            occupied[position] = True
            checksum = stored.checksum or NO_CHECKSUM
            if stored.size_bytes == tree.size_bytes_of(position):
                checksums.note(position, checksum if checksum.isprintable() else "")
                of_right_size += 1
        return _Listing(count, of_right_size, positions, occupied, checksums)

    def _discard_what_is_of_no_use(self) -> bool:
        """Discard unfinished uploads, but keep those whose parts the files to send can use. Whether the rest is gone.

        Until these are completed, or discarded before anything is proven, late requests of earlier attempts can also
        complete them.
        """
        task = self._task
        files_prefix, manifest_key = self._place.unfinished_prefixes
        manifest_is_gone = discard_unfinished(task.provider, manifest_key, task.interruption)
        files_are_kept = discard_but_for(task.provider, files_prefix, self._is_key_of_a_file, task.interruption)
        self._sender.left_unfinished = files_are_kept is True
        return manifest_is_gone and files_are_kept is not None

    def _is_key_of_a_file(self, key: str) -> bool:
        return self._task.receipts.position_of(key, 0) is not None

    def _tell_of_foreign_objects(self, count: int) -> None:
        name = self._task.provider.name
        emit(
            logging.WARNING,
            "foreign_objects",
            f"En {self._place.files_prefix} de {name} ya había {counted(count, 'objeto', 'objetos')} "
            "que este programa no guardó para esta ejecución: no se sobrescribe ni se borra nada de eso; revise qué es",
            execution=self._task.execution.uuid,
            provider=name,
        )


def written_by_others(task: UploadTask) -> UnsafeDestination:
    """The error for files of somebody else under keys of ours."""
    return UnsafeDestination(
        f"en {task.place.files_prefix} hay ficheros con los mismos nombres y otro contenido, que este programa no "
        "ha guardado para esta ejecución: no se sobrescriben; revíselos y retírelos, o corrija el uuid"
    )
