"""Fetches backups from a provider: they get their names only once they were decrypted, checked and read back."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from config.errors import MigrationError, RunInterrupted
from config.logs import emit, one_line
from jobs.backups.errors import BackupError, DamagedBackup, DiskError
from jobs.backups.files.directory import Target, disk_errors, prepare
from jobs.backups.files.drafts import Draft
from jobs.backups.files.finishing import publish
from jobs.backups.files.hashes import Contents, hashes_of
from jobs.backups.keeping.damage import damage_of, require_description
from jobs.backups.keeping.shelf import Shelf, files_of
from jobs.backups.offsite.copies import Copy
from jobs.backups.offsite.encryption import CannotDecrypt, decrypt
from jobs.backups.offsite.scratch import scratch_directory
from jobs.backups.offsite.sending import beginning_of
from jobs.backups.offsite.stores import Stores, StoreUnusable
from jobs.backups.records import Backup, Records
from providers.base import Provider
from providers.errors import IntegrityError, ObjectNotFound
from providers.retries import Result, with_retries

if TYPE_CHECKING:
    from jobs.backups.offsite.encryption import Identity


class NotFetched(BackupError):
    """No provider gave a backup back. The message says why for each."""


class BackupLost(NotFetched):
    """Every provider that should have it has answered, and has lost it or holds something else."""


class NotDescribed(DamagedBackup):
    """A provider has lost the description of a full backup."""


LARGEST_DESCRIPTION_BYTES = 256 * 1024 * 1024
"""Enough for the hashes of some three million large objects. A larger file is damaged."""


LOST = (DamagedBackup, IntegrityError, ObjectNotFound)


@dataclass(frozen=True)
class Fetcher:
    """Gives back what providers hold; `identities` are private keys for what is encrypted."""

    stores: Stores
    copies: Sequence[Copy]
    identities: Sequence[Identity] = ()

    @cached_property
    def fetchable(self) -> frozenset[int]:
        """The ids of the backups of which a provider has a proven copy."""
        return frozenset(copy.backup_id for copy in self.copies if copy.stored)

    @property
    def readable(self) -> frozenset[int]:
        """The backups among them that this host can read: they need no private key, or it has one."""
        return frozenset(
            copy.backup_id for copy in self.copies if copy.stored and (self.identities or not copy.spot.is_encrypted)
        )

    def size_bytes(self, backup: Backup) -> int:
        """How much must be fetched for a backup that is fetchable."""
        return min(copy.size_bytes or 0 for copy in self.copies if copy.stored and copy.backup_id == backup.id)

    def fetch(self, backup: Backup, directory: Path) -> list[Path]:
        """Fetch a backup, its hash and its description into a directory, from the first provider that gives them.

        A full one whose description nobody gives, as it was lost, comes without it: it still restores. Raises
        `NotFetched`, `BackupLost`, `DiskError`, `NotEnoughSpace`, `RunInterrupted`.
        """
        if (directory / backup.name).exists():
            raise DiskError(f"ya existe {one_line(directory / backup.name)}; bórrelo o indique otro directorio")
        reasons = []
        is_lost = True
        stored = [copy for copy in self.copies if copy.backup_id == backup.id and copy.stored]
        tries = [(copy, backup.is_full) for copy in sorted(stored, key=lambda copy: copy.spot.is_encrypted)]
        for copy, is_described in tries:
            try:
                return self._fetch_if_mounted(copy, backup, directory, is_described=is_described)
            except RunInterrupted:
                raise
            except NotDescribed as error:
                tries.append((copy, False))  # after all others
                reasons.append(str(self.stores.fault(copy.provider_id, error)))
            except StoreUnusable as error:
                is_lost = False
                reasons.append(str(error))
            except (DamagedBackup, CannotDecrypt, MigrationError) as error:
                is_lost &= isinstance(error, LOST)
                reasons.append(str(self.stores.fault(copy.provider_id, error)))
        kind = BackupLost if is_lost and reasons else NotFetched
        raise kind(f"la copia {backup.id} ({backup.name}) no se pudo traer: {'; '.join(reasons) or 'no está'}")

    def _fetch_if_mounted(self, copy: Copy, backup: Backup, directory: Path, *, is_described: bool) -> list[Path]:
        try:
            written = self._fetch(copy, backup, directory, is_described=is_described)
        except ObjectNotFound:
            self.stores.require_mounted(copy.provider_id)
            raise
        if backup.is_full and not is_described:
            text = (
                f"La copia {backup.id} ({backup.name}) se ha traído sin su .json, que falta en "
                f"{self.stores.name_of(copy.provider_id)}: se restaura, pero no se puede comprobar ni es base de "
                "diferenciales; haga otra con 'backup run --full'"
            )
            emit(logging.WARNING, "backup_not_described", one_line(text))
        return written

    def _fetch(self, copy: Copy, backup: Backup, directory: Path, *, is_described: bool) -> list[Path]:
        if copy.spot.is_encrypted and not self.identities:
            raise CannotDecrypt(
                "está cifrada: añada --identity FICHERO, o indique BACKUP_IDENTITY_FILE, con la clave privada de age"
            )
        provider = self.stores.open(copy.provider_id)
        if provider.store != copy.store:
            raise self.stores.fault(
                copy.provider_id, StoreUnusable("su fila señala ahora a otro sitio, y allí no está")
            )
        prepare(Target(directory, copy.size_bytes or 0))
        reading = _Reading(provider, copy, self.stores, self.identities)
        description = reading.description() if is_described else None
        if description is not None:
            require_description(backup, description)
        with disk_errors(directory), Draft(directory, backup.name) as draft:
            contents = reading.into(draft)
            recorded, found = (backup.sha256, contents.sha256) if backup.sha256 else (backup.md5, contents.md5)
            if recorded and found != recorded:
                raise DamagedBackup("lo que hay allí no es lo que se copió: su hash es otro")
            draft.sync()
            if hashes_of(draft.path) != contents:
                where = one_line(directory)
                raise DiskError(f"{backup.name}: lo que se lee en {where} no es lo que se escribió; compruebe el disco")
            publish(draft, contents, description)
        return [path for path in files_of(replace(backup, path=directory / backup.name)) if path.exists()]


@dataclass(frozen=True, slots=True)
class _Reading:
    """The reading of one copy."""

    provider: Provider
    copy: Copy
    stores: Stores
    identities: Sequence[Identity]

    def description(self) -> bytes:
        """A full backup's description, decrypted. Raises `NotDescribed`."""
        key = self.copy.spot.description_key
        try:
            stored = self._retried(partial(beginning_of, self.provider, key, LARGEST_DESCRIPTION_BYTES))
        except ObjectNotFound as error:
            raise NotDescribed(str(error)) from error
        plain = BytesIO()
        self._opened([stored], plain.write)
        return plain.getvalue()

    def into(self, draft: Draft) -> Contents:
        """The backup's own file, decrypted; what was stored has its recorded hash. Raises `DamagedBackup`."""
        return self._retried(partial(self._read_once, draft))

    def _read_once(self, draft: Draft) -> Contents:
        draft.file.seek(0)
        draft.file.truncate()
        stored, sha256 = hashlib.sha256(), hashlib.sha256()
        md5 = hashlib.md5(usedforsecurity=False)

        def write(data: bytes) -> None:
            sha256.update(data)
            md5.update(data)
            draft.write(data)

        self._opened(self._chunks(stored), write)
        if self.copy.sha256 and stored.hexdigest() != self.copy.sha256:
            raise DamagedBackup("lo que hay allí no es lo que se guardó: su hash es otro")
        return Contents(draft.size_bytes, md5.hexdigest(), sha256.hexdigest())

    def _chunks(self, found: hashlib._Hash) -> Iterator[bytes]:
        for chunk in self.provider.open_sized(self.copy.spot.key, self.copy.size_bytes or 0):
            if self.stores.interruption.is_set():
                raise RunInterrupted("se pidió parar")
            found.update(chunk)
            yield chunk

    def _opened(self, chunks: Iterable[bytes], write: Callable[[bytes], object]) -> None:
        """Pass bytes on, decrypted if they are encrypted."""
        if self.copy.spot.is_encrypted:
            decrypt(chunks, write, self.identities)
            return
        for chunk in chunks:
            write(chunk)

    def _retried(self, step: Callable[[], Result]) -> Result:
        return with_retries(step, self.stores.interruption, self.provider.progress)


@contextlib.contextmanager
def fetched(shelf: Shelf, backup: Backup, fetcher: Fetcher, records: Records) -> Iterator[Shelf]:
    """The same backups, where all that restores one of them is on this host; what was fetched is gone with the context.

    What is damaged here is fetched, too, if a provider has it; that is recorded and reported. It goes into TMPDIR, once
    all of it fits there. That nobody has it any more is recorded like a failed proof. Raises `UnknownBackup`,
    `NotFetched`, `NotEnoughSpace`, `DiskError`, `RunInterrupted`.
    """
    wanted = [part for part in shelf.chain(backup, fetcher.fetchable) if not is_usable(part, shelf, fetcher, records)]
    here = {}
    with contextlib.ExitStack() as stack:
        if wanted:
            directory = stack.enter_context(scratch_directory(sum(part.size_bytes or 0 for part in wanted)))
        for part in wanted:
            try:
                fetcher.fetch(part, directory)
            except BackupLost as error:
                records.note_verified(backup, 0.0, str(error))
                raise
            here[part.id] = _at(part, directory / part.name, shelf.host)
        yield replace(shelf, backups=tuple(here.get(known.id, known) for known in shelf.backups))


def download_chain(
    shelf: Shelf,
    backup: Backup,
    fetcher: Fetcher,
    records: Records,
    directory: Path,
    copy: Callable[[Backup], list[Path]],
) -> list[Path]:
    """Leave all that restores a backup in a directory: `copy` gives what is on this host, the rest is fetched.

    Raises as `fetched`, and what `copy` raises.
    """
    written = []
    for part in shelf.chain(backup, fetcher.fetchable):
        if is_usable(part, shelf, fetcher, records):
            written += copy(part)
        elif found := _already_there(part, directory):
            written += found
        else:
            with disk_errors(directory):
                directory.mkdir(mode=0o700, exist_ok=True)
            written += fetcher.fetch(part, directory)
    return written


def _already_there(backup: Backup, directory: Path) -> list[Path]:
    """The files of a backup in a directory, where an earlier order has left them whole; otherwise none."""
    there = replace(backup, path=directory / backup.name, damaged=None)
    return [path for path in files_of(there) if path.exists()] if not damage_of(there) else []


def is_usable(backup: Backup, shelf: Shelf, fetcher: Fetcher, records: Records) -> bool:
    """Whether to use the files on this host: they are there and, where a provider could replace them, undamaged.

    Damage is recorded, and reported. Without a provider, the caller that uses the files finds it. Reads the whole file.
    """
    if not shelf.is_here(backup):
        return False
    if backup.id not in fetcher.fetchable:
        return True
    damage = damage_of(backup)
    if damage:
        can_be_read = backup.id in fetcher.readable
        then = (
            "se usa la de un proveedor"
            if can_be_read
            else "hay otra cifrada: añada --identity FICHERO o indique BACKUP_IDENTITY_FILE"
        )
        text = one_line(f"La copia {backup.id} ({backup.name}) no vale en el disco: {damage}; {then}")
        emit(logging.WARNING, "backup_damaged_here", text)
        records.note_damaged(backup, f"{damage}, en {backup.path}; un proveedor tiene otra")
        return not can_be_read
    if backup.damaged is not None:
        records.note_repaired(backup)
    return True


def _at(backup: Backup, path: Path, host: str) -> Backup:
    return replace(backup, path=path, size_bytes=path.stat().st_size, host=host, damaged=None)
