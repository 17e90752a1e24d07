"""Stores one backup at one provider, and proves it: description first, then the file, the hash last.

Nothing is replaced there that this installation did not begin itself, and nothing counts before the provider was asked
again. Killed anywhere, it leaves no copy that looks complete and is not; the next try stores what is missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from config.errors import RunInterrupted, SourceChanged, SourceUnreadable
from config.logs import one_line
from config.models import Evidence, PutReceipt, StoredObject
from config.text.wording import reason_of
from jobs.backups.errors import DamagedBackup
from jobs.backups.files.directory import Target, disk_errors, prepare
from jobs.backups.files.drafts import Draft
from jobs.backups.files.hashes import READ_BYTES, hash_beside
from jobs.backups.files.names import ENCRYPTED
from jobs.backups.keeping.damage import described
from jobs.backups.offsite.copies import Copy, Spot
from jobs.backups.offsite.encryption import encrypt
from jobs.backups.records import Backup
from providers.base import Provider
from providers.errors import CannotDiscard, ConditionFailed, IntegrityError, ObjectNotFound, UnsafeDestination
from providers.retries import Result, with_retries
from providers.sources import BytesSource, Source
from storage.traffic.pace import PacedSource, Pacer, Traffic

ABOUT = "# janitor-backup "
"""Begins a line of the hash file that `sha256sum` does not read: what a new machine must know of the backup."""

LARGEST_HASH_FILE_BYTES = 64 * 1024
"""Far more than a hash file takes: a larger file is something else."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A backup as it leaves this host; encrypted or not."""

    backup: Backup
    path: Path
    size_bytes: int
    sha256: str
    description: bytes | None
    is_encrypted: bool
    plain_sha256: str
    base_name: str | None
    plain_description_sha256: str | None

    def hash_text(self, spot: Spot) -> bytes:
        """The contents of its hash file: the hash, for `sha256sum`, and what `rebuild` must know of the backup."""
        about = {
            "base": self.base_name,
            "description_sha256": self.plain_description_sha256,
            "kind": self.backup.kind,
            "made": self.backup.made.isoformat(),
            "md5": self.backup.md5,
            "rows": self.backup.rows,
            "sha256": self.plain_sha256,
            "size_bytes": self.backup.size_bytes,
            "tables": self.backup.tables,
        }
        name = spot.key.rpartition("/")[2]
        return f"{self.sha256}  {name}\n{ABOUT}{json.dumps(about, sort_keys=True)}\n".encode()


class Claim(NamedTuple):
    """What is at the place of a copy: nothing, or this installation's own; `sha256` is the file's, if asked for."""

    seen: Mapping[str, StoredObject | None]
    sha256: str | None = None
    is_begun: bool = False


@contextlib.contextmanager
def parcel_of(
    backup: Backup, base_name: str | None, recipients: Sequence[str], interruption: threading.Event
) -> Iterator[Parcel]:
    """Prepare a backup of this host; an encrypted draft is removed at the end of the context.

    Raises `DamagedBackup` if the file is not what was made, `NotEnoughSpace`, `DiskError`, `RunInterrupted`.
    """
    source = FileSource(backup.path, interruption)
    plain_sha256 = backup.sha256 or hash_beside(backup.path)
    description = described(backup) if backup.is_full else None
    named = None if description is None else _sha256_of(description)
    if not recipients:
        yield Parcel(
            backup, backup.path, source.size_bytes, plain_sha256, description, False, plain_sha256, base_name, named
        )
        return
    prepare(Target(backup.path.parent, source.size_bytes))
    with disk_errors(backup.path.parent), Draft(backup.path.parent, backup.name + ENCRYPTED) as draft:
        sha256 = _encrypted(source, draft, recipients, plain_sha256)
        hidden = None if description is None else _encrypted_text(description, recipients)
        yield Parcel(backup, draft.path, draft.size_bytes, sha256, hidden, True, plain_sha256, base_name, named)


def _encrypted(source: FileSource, draft: Draft, recipients: Sequence[str], plain_sha256: str) -> str:
    """Encrypt into a draft; return its hash. Raises `DamagedBackup` if the file is no longer as it was made."""
    plain, hidden = hashlib.sha256(), hashlib.sha256()

    def write(data: bytes) -> None:
        hidden.update(data)
        draft.write(data)

    encrypt(_hashed(source.chunks(READ_BYTES), plain), write, recipients)
    if plain.hexdigest() != plain_sha256:
        raise _damaged(source.path.name)
    return hidden.hexdigest()


def _encrypted_text(text: bytes, recipients: Sequence[str]) -> bytes:
    hidden = BytesIO()
    encrypt([text], hidden.write, recipients)
    return hidden.getvalue()


def _hashed(chunks: Iterable[bytes], found: hashlib._Hash) -> Iterator[bytes]:
    for chunk in chunks:
        found.update(chunk)
        yield chunk


def _damaged(name: str) -> DamagedBackup:
    return DamagedBackup(
        f"{name} no es lo que se copió: está dañado en el disco y no se envía; compruebe el disco y haga otra copia"
    )


class FileSource:
    """The bytes of a file on this host, as many as it has now."""

    def __init__(self, path: Path, interruption: threading.Event) -> None:
        """Raises `SourceUnreadable`."""
        self.path = path
        self._interruption = interruption
        try:
            self._size_bytes = path.stat().st_size
        except OSError as error:
            raise self._unreadable(error) from error

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    def chunks(self, chunk_size_bytes: int) -> Iterator[bytes]:
        """See `Source`. Raises `SourceChanged`, `SourceUnreadable`, `RunInterrupted`."""
        passed = 0
        try:
            with self.path.open("rb") as file:
                while chunk := file.read(chunk_size_bytes):
                    if self._interruption.is_set():
                        raise RunInterrupted("se pidió parar")
                    passed += len(chunk)
                    yield chunk
        except OSError as error:
            raise self._unreadable(error) from error
        if passed != self._size_bytes:
            raise SourceChanged(f"{one_line(self.path)} cambió mientras se leía")

    def _unreadable(self, error: OSError) -> SourceUnreadable:
        return SourceUnreadable(f"no se puede leer {one_line(self.path)}: {reason_of(error)}")


class Sender:
    """Stores what belongs to one copy at one provider."""

    def __init__(self, provider: Provider, interruption: threading.Event, traffic: Traffic | None = None) -> None:
        """`traffic` limits how fast the bytes travel."""
        self._provider = provider
        self._interruption = interruption
        self._traffic = traffic or Traffic()

    def claim(self, parcel: Parcel, spot: Spot, begun: Sequence[Copy]) -> Claim:
        """See what is at the place of a copy. `begun`: what is recorded of this copy at this place.

        Call it before a copy is begun. Raises `UnsafeDestination` where something is that this installation did not
        store, and `ProviderError`. What it stored without recording it is its own.
        """
        seen = {key: self._look(key) for key in spot.keys}
        if seen[spot.hash_key] is None and seen[spot.key] is None:
            if not begun and not self._is_free_or(parcel.description, seen[spot.description_key]):
                raise _not_ours(spot.description_key)
            return Claim(seen, is_begun=bool(begun))
        if seen[spot.hash_key] is not None and self.plain_hash(spot) == parcel.plain_sha256:
            return Claim(seen, is_begun=bool(begun))
        found = None if seen[spot.key] is None else self._sha256(spot.key)[0]
        if found not in {parcel.sha256, *(copy.sha256 for copy in begun), *(copy.evidence for copy in begun)} - {None}:
            raise _not_ours(spot.key)
        return Claim(seen, found, is_begun=bool(begun))

    def _is_free_or(self, content: bytes | None, there: StoredObject | None) -> bool:
        return there is None or (content is not None and self._sha256(there.key)[0] == _sha256_of(content))

    def is_of_another(self, copy: Copy, backup: Backup) -> bool:
        """Whether what is at the place of a copy shows that it is not what was stored there. Raises `ProviderError`."""
        text = self._hash_text(copy.spot)
        if text:
            if backup.sha256 is not None and about_in(text).get("sha256") is not None:
                return plain_hash_in(text, copy.spot) != backup.sha256
            return copy.sha256 is not None and text.split()[:1] != [copy.sha256.encode()]
        there = self._look(copy.spot.key)
        if there is None:
            return False
        if copy.stored is not None:
            return there.size_bytes != copy.size_bytes
        return self._sha256(copy.spot.key)[0] not in (backup.sha256, copy.sha256, copy.evidence)

    def require_elsewhere(self, directory: Path, spot: Spot) -> None:
        """Raise `UnsafeDestination` where the provider stores backups in the directory that it is to be a copy of.

        A file made in one is looked for in the other, as one directory can have many names. Raises `ProviderError`,
        `DiskError`.
        """
        with disk_errors(directory), Draft(directory, f"backup_probe_{secrets.token_hex(8)}") as probe:
            if self._look(f"{spot.directory}/{probe.path.name}") is None:
                return
        raise UnsafeDestination(
            f"guarda en el mismo directorio que BACKUP_PATH, {one_line(directory)}: no sería otra copia; cambie una de "
            "las dos cosas"
        )

    def send(self, parcel: Parcel, spot: Spot, claim: Claim) -> Evidence:
        """Store a backup and prove it; return how the provider proved the file.

        What is not there as it was seen is left as it is. Raises `DamagedBackup`, `MigrationError`.
        """
        if claim.is_begun:
            self.discard_unfinished(spot)
        if parcel.description is not None:
            described = BytesSource(parcel.description), _sha256_of(parcel.description)
            self._store(spot.description_key, *described, claim.seen[spot.description_key])
        file = FileSource(parcel.path, self._interruption)
        evidence = self._store(spot.key, file, parcel.sha256, claim.seen[spot.key])
        text = parcel.hash_text(spot)
        self._store(spot.hash_key, BytesSource(text), _sha256_of(text), claim.seen[spot.hash_key])
        return evidence

    def discard_unfinished(self, spot: Spot) -> None:
        """Discard what killed runs have left of an upload, as far as the provider allows it."""
        for key in spot.keys:
            self._discard_unfinished(key)

    def _discard_unfinished(self, key: str) -> None:
        with contextlib.suppress(CannotDiscard):
            self._retried(partial(self._provider.discard_unfinished, key))

    def remove(self, spot: Spot) -> None:
        """Remove all that belongs to a copy; the hash first, so that none looks complete and is not."""
        for key in spot.keys:
            self._retried(partial(self._provider.delete, key))
        self.discard_unfinished(spot)

    def plain_hash(self, spot: Spot) -> object:
        """The hash of the backup that the hash file gives; nothing if it gives none. Raises `ProviderError`."""
        return plain_hash_in(self._hash_text(spot), spot)

    def _hash_text(self, spot: Spot) -> bytes:
        try:
            return self._retried(partial(beginning_of, self._provider, spot.hash_key, LARGEST_HASH_FILE_BYTES))
        except ObjectNotFound:
            return b""

    def _store(self, key: str, source: Source, sha256: str, there: StoredObject | None) -> Evidence:
        """Replace what was seen there by one object, unless it is exactly this one, and prove it.

        Raises `IntegrityError`; what this call stored, and is not what was sent, is removed then.
        """
        if there is not None and there.size_bytes == source.size_bytes:
            found, evidence = self._sha256(key)
            if found == sha256:
                return evidence
        pacer = Pacer(self._traffic, self._traffic.new_queue_position())
        put = partial(self._put, key, PacedSource(source, pacer), there)
        receipt = with_retries(put, self._interruption, self._provider.progress, pacer.waited_seconds)
        if receipt is None or receipt.left_unfinished:
            self._discard_unfinished(key)
        if receipt is not None and receipt.sha256 != sha256:
            self._retried(partial(self._provider.delete, key))
            raise _damaged(key.rpartition("/")[2])
        try:
            return self._prove(key, source.size_bytes, sha256, receipt)
        except IntegrityError:
            if receipt is not None:
                self._retried(partial(self._provider.delete, key))
            raise

    def _put(self, key: str, source: Source, there: StoredObject | None) -> PutReceipt | None:
        """`None` if another object is there by now, for example this one, whose answer was lost."""
        try:
            return self._provider.replace(key, source, there)
        except ConditionFailed:
            return None

    def _prove(self, key: str, size_bytes: int, sha256: str, receipt: PutReceipt | None) -> Evidence:
        there = self._look(key)
        if there is None or there.size_bytes != size_bytes:
            raise IntegrityError(f"{one_line(key)} no está, o no tiene el tamaño de lo enviado")
        if receipt is not None and receipt.sent_whole and there.checksum in receipt.checksums:
            return Evidence.CHECKSUM
        found, evidence = self._sha256(key)
        if found != sha256:
            raise IntegrityError(f"{one_line(key)} no es lo que se envió")
        return evidence

    def _look(self, key: str) -> StoredObject | None:
        try:
            return self._retried(partial(self._provider.stat, key))
        except ObjectNotFound:
            return None

    def _sha256(self, key: str) -> tuple[str, Evidence]:
        """The hash of an object; it is read unless the provider can tell it."""
        (digest,) = self._retried(lambda: list(self._provider.digests([key])))
        return digest.sha256, digest.evidence

    def _retried(self, step: Callable[[], Result]) -> Result:
        return with_retries(step, self._interruption, self._provider.progress)


def _not_ours(key: str) -> UnsafeDestination:
    return UnsafeDestination(
        f"ya hay otra copia de seguridad con el nombre {one_line(key)}, quizá de otra instalación con el mismo "
        "prefijo; no se toca: cambie prefijo_ruta_nube, o retire esos objetos"
    )


def about_in(text: bytes) -> dict[str, object]:
    """What a hash file says of its backup besides the hash; empty if nothing can be read."""
    for line in text.decode("utf-8", "replace").splitlines():
        if line.startswith(ABOUT):
            with contextlib.suppress(ValueError, RecursionError):
                found = json.loads(line.removeprefix(ABOUT))
                return found if isinstance(found, dict) else {}
    return {}


def plain_hash_in(text: bytes, spot: Spot) -> object:
    """The hash of the unencrypted backup that a hash file gives; `None` if its two hashes contradict each other."""
    about = about_in(text).get("sha256")
    is_of_other_bytes = not spot.is_encrypted and text.split()[:1] != [str(about).encode()]
    return None if is_of_other_bytes else about


def beginning_of(provider: Provider, key: str, most_bytes: int) -> bytes:
    """The beginning of an object, about `most_bytes` long at most. Raises as `Provider.open` does."""
    found = bytearray()
    for chunk in provider.open(key):
        found += chunk
        if len(found) > most_bytes:
            break
    return bytes(found)


def _sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
