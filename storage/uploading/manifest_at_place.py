"""The manifest under the key of a place: whose it is, how it is withdrawn, and how one of ours gets there."""

from __future__ import annotations

from functools import partial

from config.logs import one_line
from config.models import PutReceipt, StoredObject
from files.tree import Tree
from providers.errors import ConditionFailed, ProviderError, UnsafeDestination, is_refusal
from providers.sources import BytesSource
from storage.deletions import late_deletions_kept_off
from storage.manifest import FoundManifest, Manifest, ManifestHead, find_manifest
from storage.sending import Sender
from storage.uploading.proof import differing
from storage.uploading.remnants import SourceShrank, is_remnant
from storage.uploading.task import UploadTask


class ManifestAtPlace:
    """The manifest of one place. It keeps nothing: each method takes what was seen before."""

    def __init__(self, task: UploadTask, sender: Sender) -> None:
        self._task = task
        self._provider = task.provider
        self._place = task.place
        self._tree = task.tree
        self._sender = sender

    def find(self) -> FoundManifest | None:
        """What is stored there now."""
        return find_manifest(self._provider, self._place, self._task.interruption)

    def is_own(self, manifest: FoundManifest) -> bool:
        """Whether this installation wrote it for this row, as far as its database knows. Manifests of earlier versions
        do not name their owner: of those, only one that this database has committed is known to be ours.
        """
        head = manifest.head
        if head is None:
            return self._task.objects_here_are_ours
        is_committed = manifest.sha256 == self._task.attempt.committed_manifest_sha256
        if head.installation is None:
            return is_committed
        return self.names_us(manifest) and (is_committed or self._is_recorded(manifest, head))

    def names_us(self, manifest: FoundManifest) -> bool:
        """Whether it says that this installation wrote it for this row."""
        head = manifest.head
        if head is None:
            return False
        return head.installation == self._task.records.installation and head.row == self._task.execution.id

    def _is_recorded(self, manifest: FoundManifest, head: ManifestHead) -> bool:
        """Whether an attempt that the database knows can have written it. One that was set back to an earlier state
        knows of no later attempt, whose copy may be the only one by now.
        """
        last = self._task.attempt.last_recorded
        if last is None:
            return False
        if head.attempt is not None:
            return head.attempt <= last
        return manifest.tree is None or manifest.tree.newest_mtime_ns() <= self._tree.newest_mtime_ns()

    def withdraw(self, manifest: FoundManifest) -> StoredObject | None:
        """Remove the manifest: once anything changes, the copy is no longer complete and must not look so.

        Return what is left under the key. Where the copy stays the same, nothing is removed. Where a late deletion
        could hit another manifest than the intended one, no other run uses the place until the deletion was answered.
        """
        self._require_same_directory(manifest)
        if manifest.tree is not None and is_same_but_for_bytes(manifest.tree, self._tree):
            return manifest.stored  # a run that was killed before its commit left it
        self.require_no_remnant(manifest)
        task = self._task
        is_safe = task.retried(partial(self._provider.deletes_safely, self._place.probe_prefix))
        refusal: ProviderError | None = None
        with late_deletions_kept_off(task.records, task.attempt.id, task.provider, task.interruption) as deletions:
            try:
                deletions.delete(manifest.stored)
            except ProviderError as error:
                if not is_refusal(error):
                    raise
                refusal = error
        if deletions.unanswered and not is_safe:
            raise UnsafeDestination(
                f"el borrado de {self._place.manifest_key} quedó una vez sin respuesta y podría llegar tarde; se puede "
                "usar otra vez dentro de una hora"
            )
        return None if refusal is None else self._emptied(manifest, refusal)

    def _require_same_directory(self, manifest: FoundManifest) -> None:
        """Raises `UnsafeDestination` for the copy of another directory, which the row named before: it may be all that
        is left of that one, unless this one holds the same. Manifests of earlier versions name no directory.
        """
        directory = manifest.head.directory if manifest.head else None
        if directory in (None, self._task.execution.directory) or self._describes_the_original(manifest):
            return
        raise UnsafeDestination(
            f"{self._place.manifest_key} es de la copia de otro directorio, {one_line(directory)}, que su fila decía "
            "antes: no se sobrescribe, pues puede ser lo único que queda de él; si sobra, retire de allí ese "
            "manifiesto, o corrija ruta_directorio"
        )

    def _describes_the_original(self, manifest: FoundManifest) -> bool:
        """Whether a manifest says exactly what is to be stored, by reading that."""
        tree, task = manifest.tree, self._task
        if tree is None or not is_same_but_for_bytes(tree, self._tree):
            return False
        sources = ((at, task.original.source(task.tree.entry(at), task.interruption)) for at in tree.file_positions())
        return all(self._provider.measure(source).sha256 == tree.sha256(at) for at, source in sources)

    def require_no_remnant(self, manifest: FoundManifest) -> None:
        """Raises `SourceShrank` for a tree that may be what a removal has left of a whole copy. The database need not
        know of that: it may have been set back to a time before the commit, or have moved to another server since.
        """
        whole = manifest.tree
        if whole is None or manifest.sha256 == self._task.attempt.committed_manifest_sha256:
            return  # a committed one was looked at before, by what the database knows of it
        if not is_remnant(self._tree, whole):
            return
        names_us = self.names_us(manifest)
        where = self._place.uri(self._provider.kind)
        otherwise = f"retire de allí {self._place.manifest_key}" if names_us else "corrija el uuid o prefijo_ruta_nube"
        raise SourceShrank(
            f"le faltan ficheros de la copia entera que hay en {where}{'' if names_us else ', de otra instalación'}, y "
            "los demás no han cambiado: parece lo que dejó un borrado, del que la base de datos no sabe, quizá porque "
            "se restauró. Para recuperar la copia, ponga en su fila migrado_a_nube = true, ruta_nube y "
            f"nube_provider_id, y use restore; si el directorio está como debe, {otherwise}"
        )

    def _emptied(self, manifest: FoundManifest, refusal: ProviderError) -> StoredObject:
        """Replace a manifest that the provider refuses to remove by an empty object, so that nobody takes it for one.

        Only where a late request would change nothing. Raises `UnsafeDestination` where that is refused.
        """
        if not self._task.replaces_safely():
            raise self._protected(refusal)
        try:
            self._sender.replace(self._place.manifest_key, BytesSource(b""), manifest.stored)
        except ProviderError as error:
            if not is_refusal(error):
                raise
            raise self._protected(error) from error
        return self._task.retried(partial(self._provider.stat, self._place.manifest_key))

    def _protected(self, refusal: ProviderError) -> UnsafeDestination:
        return UnsafeDestination(
            f"{self._place.manifest_key} es de una copia anterior, que ya no es igual, y el destino no deja retirarlo "
            f"ni sustituirlo ({refusal}): retírelo cuando acabe su retención, o use mientras otro proveedor u otro "
            "prefijo_ruta_nube"
        )

    def send(self, manifest: Manifest, seen: StoredObject | None) -> Manifest:
        """Store the manifest, unless somebody has stored another one than the object `seen` before; return the stored
        one.

        Raises `UnsafeDestination`.
        """
        try:
            receipt = self._sender.replace(self._place.manifest_key, manifest, seen)
        except ConditionFailed:
            receipt = self._send_again(manifest)
        except ProviderError as error:
            if seen is None or not is_refusal(error):
                raise
            return self._kept(manifest, error)
        self._note(receipt)
        return manifest

    def _note(self, receipt: PutReceipt) -> None:
        self._task.receipts.note(self._task.receipts.manifest_position, receipt)

    def _kept(self, manifest: Manifest, refusal: ProviderError) -> Manifest:
        """The manifest there, this one or an earlier attempt's, that the provider refuses to replace, if it says the
        same.

        Raises `UnsafeDestination` for another one.
        """
        found = self.find()
        if found is None or found.head is None or not self.says_the_same(found):
            raise self._protected(refusal)
        if found.sha256 != manifest.sha256 and not self.is_own(found):
            raise self._protected(refusal)
        return self.taken(found)

    def says_the_same(self, found: FoundManifest) -> bool:
        """Whether a manifest describes this tree, whose file hashes are known by now."""
        tree = found.tree
        return (
            tree is not None
            and is_same_but_for_bytes(tree, self._tree)
            and all(tree.sha256(position) == self._tree.sha256(position) for position in self._tree.file_positions())
        )

    def taken(self, found: FoundManifest) -> Manifest:
        """Record a manifest that was seen by reading it, and return it."""
        checksums = frozenset([found.stored.checksum] if found.stored.checksum else [])
        self._note(PutReceipt(found.stored.size_bytes, found.sha256, checksums))
        installation = (found.head.installation if found.head else None) or ""
        return Manifest(self._task.execution, installation, None, self._tree, found.stored.size_bytes, found.sha256)

    def _send_again(self, manifest: Manifest) -> PutReceipt:
        """Handle a manifest other than the one seen before: this very one if only the answer was lost, one of ours that
        an earlier request brought late, or somebody else's.
        """
        found = self.find()
        if found is not None and found.sha256 == manifest.sha256:
            return PutReceipt(manifest.size_bytes, manifest.sha256)
        if found is not None and not self.is_own(found):
            raise UnsafeDestination(f"otro programa ha guardado allí mientras tanto {self._place.manifest_key}")
        if found is None:  # though the provider has just refused to store it because there is one
            raise differing(1, self._place.manifest_key)
        return self._sender.replace(self._place.manifest_key, manifest, found.stored)

    def send_once_more(self, manifest: Manifest) -> None:
        """Send it again after files were sent again. Raises `UnsafeDestination` for somebody else's manifest: one that
        names us is what this attempt has sent, however it was stored.
        """
        found = self.find()
        if found is not None and found.head is not None and not self.names_us(found):
            raise self.claimed_by_others(found)
        self.send(manifest, None if found is None else found.stored)

    def claimed_by_others(self, found: FoundManifest) -> UnsafeDestination:
        """The error for a manifest that is somebody else's, or of which the database knows nothing."""
        if self.names_us(found):
            return UnsafeDestination(
                f"{self._place.manifest_key} es de una copia que hizo esta instalación y que no consta en la base de "
                "datos, quizá porque se restauró: no se sobrescribe; si es la buena, ponga en su fila migrado_a_nube = "
                "true, ruta_nube y nube_provider_id; si sobra, retírela"
            )
        return UnsafeDestination(
            f"{self._place.manifest_key} es de otra copia, que no ha hecho esta instalación para esta fila: no se "
            "sobrescribe; si sobra, retírela, o corrija el uuid o prefijo_ruta_nube"
        )


def is_same_but_for_bytes(one: Tree, other: Tree) -> bool:
    """Whether two trees have the same names, kinds, modes, times, sizes and targets."""
    return len(one) == len(other) and all(
        a._replace(sha256=None, identity=None) == b._replace(sha256=None, identity=None)
        for a, b in zip(one, other, strict=True)
    )
