"""Keeps the copies at providers of one run: notices what is gone, sends what is not there, removes what is too old.

A provider that fails is named, stops no other, and is tried again by the next tick. Nothing here changes what is known
of the backup on the disk.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from functools import partial
from typing import Self

from config.errors import MigrationError, RunInterrupted
from config.logs import emit, one_line, redactor
from config.text.causes import COPIES_OF_BACKUPS, SAID_OF_COPIES
from jobs.backups.errors import BackupError, DamagedBackup
from jobs.backups.files.names import FULL, SUFFIX
from jobs.backups.keeping.damage import require_undamaged
from jobs.backups.keeping.shelf import Shelf, is_there
from jobs.backups.offsite.copies import Copies, Copy, Spot, spot_of
from jobs.backups.offsite.fetching import Fetcher
from jobs.backups.offsite.sending import Parcel, Sender, parcel_of
from jobs.backups.offsite.stores import Stores, StoreUnknown, StoreUnusable, rows_in
from jobs.backups.records import Backup, readable_size
from jobs.backups.settings import BackupSettings
from jobs.context import Context, LeaseLost
from providers.base import Provider
from providers.mounts import require_mounted
from sql.errors import DatabaseError
from sql.memory.notices import State
from storage.lease import ClaimLost, Lease, LeasedProvider

AGAIN = "se intentará otra vez en el próximo ciclo"


def place_name(provider_id: int) -> str:
    """The name of a provider in `keeping.retention`."""
    return f"proveedor {provider_id}"


class Delivery:
    """What the providers hold of the backups of this host. Close it at the end."""

    def __init__(self, settings: BackupSettings, stores: Stores, copies: Copies, say: Callable[..., None]) -> None:
        self._settings = settings
        self._stores = stores
        self._copies = copies
        self._say = say
        self._known = copies.all()
        self._seen: set[tuple[int, int]] = set()
        self._missing: list[Copy] = []
        self._half_deleted: set[int] = set()
        self._asked: set[int] = set()
        self._known_to_be_elsewhere: set[int] = set()
        self._troubles: dict[int, str] = {}
        self.failures: list[str] = []
        """What could not be done, in Spanish, one line each."""

    @classmethod
    def of(cls, context: Context) -> Self:
        """For a run that holds the job: once it has lost it, nothing is changed at a provider."""
        lease = Lease(context.seconds_left, DatabaseError)

        def leased(provider: Provider) -> Provider:
            return LeasedProvider(provider, lease)

        read_rows = partial(rows_in, context.database)
        stores = Stores(read_rows, context.interruption, leased, context.settings.bandwidth)
        return cls(context.own_settings, stores, Copies(context.query), context.say)

    def close(self) -> None:
        """Close the providers."""
        self._stores.close()

    def wanted(self) -> list[int]:
        """The providers that must have every backup. One that cannot be found is a failure."""
        found = []
        for reference in self._settings.providers:
            try:
                found.append(self._stores.id_of(reference))
            except StoreUnusable as error:
                self._fail(f"BACKUP_PROVIDERS nombra un proveedor que no se puede usar: {error}")
        return list(dict.fromkeys(found))

    def wanted_names(self) -> list[str]:
        """The names, for operators, of the providers that must have every backup."""
        return [self._stores.name_of(provider_id) for provider_id in self.wanted()]

    @property
    def fetcher(self) -> Fetcher:
        """Gives back what is not encrypted: the host needs no private key."""
        return Fetcher(self._stores, self._known)

    def is_lacking(self, backup: Backup) -> bool:
        """Whether some provider that must have a backup has no recorded copy of it."""
        stored = {copy.provider_id for copy in self._known if copy.backup_id == backup.id and copy.stored}
        try:
            return any(self._stores.id_of(reference) not in stored for reference in self._settings.providers)
        except StoreUnusable:
            return True

    # What is there

    def look(self, shelf: Shelf) -> None:
        """Ask each provider once what it has. Raises `RunInterrupted`."""
        self._half_deleted = {backup.id for backup in shelf.here() if backup.is_standing and not backup.is_good}
        backup_ids = {backup.id for backup in shelf.here() if backup.is_standing}
        concerned = [copy for copy in self._known if copy.backup_id in backup_ids and copy.stored]
        wanted = self.wanted()
        for provider_id in dict.fromkeys([*wanted, *(copy.provider_id for copy in concerned)]):
            try:
                self._look_at(provider_id, [copy for copy in concerned if copy.provider_id == provider_id])
                self._asked.add(provider_id)
            except StoreUnusable as error:
                told = f"no se sabe qué copias de seguridad tiene {error}"
                if isinstance(error, StoreUnknown):
                    self._asked.add(provider_id)  # no row leads to what it has any more
                elif any(copy.provider_id == provider_id for copy in concerned):
                    told += "; las que constan allí no se borran en ninguna parte"
                if provider_id in wanted:
                    self._fail(f"{told}; {AGAIN}", provider_id)
                else:
                    self._say("backup_copies_unseen", f"Copias de seguridad: {told}", logging.WARNING)

    def _look_at(self, provider_id: int, copies: list[Copy]) -> None:
        store = self._stores.open(provider_id).store
        self._stores.listed(provider_id)  # also to find out whether it answers
        missing, has_any = [], False
        for copy in copies:
            if copy.store != store:
                continue
            listed = self._stores.listed(provider_id, copy.spot.directory)
            has_any |= copy.spot.key in listed
            if listed.get(copy.spot.key) == copy.size_bytes and _has_companions(copy, listed):
                self._seen.add((copy.backup_id, provider_id))
            elif copy.backup_id not in self._half_deleted:
                missing.append(copy)
        if missing and not has_any:
            self._stores.require_mounted(provider_id)
        self._missing += missing

    def places(self) -> dict[int, frozenset[str]]:
        """For each backup's id, the providers where it was seen, as `keeping.retention` names them."""
        found: dict[int, set[str]] = {}
        for backup_id, provider_id in self._seen:
            found.setdefault(backup_id, set()).add(place_name(provider_id))
        return {backup_id: frozenset(places) for backup_id, places in found.items()}

    def asked(self) -> frozenset[int]:
        """The ids of the providers that said what they have."""
        return frozenset(self._asked)

    def tell_missing(self, shelf: Shelf) -> None:
        """Notify of the copies that somebody else has removed, as `look` found out."""
        for copy in self._missing:
            self._tell_missing(copy, shelf.named(copy.backup_id))

    def _tell_missing(self, copy: Copy, backup: Backup) -> None:
        text = (
            f"la copia de seguridad {backup.id} ({backup.name}) ya no está entera en "
            f"{self._stores.name_of(copy.provider_id)}, y este programa no la borró; "
            + ("se envía otra vez" if is_there(backup) else "tampoco se ve en el disco: búsquela en otro sitio")
        )
        self._copies.note_missing(copy, backup, one_line(text))
        self._say("backup_copy_missing", f"Falta una copia: {text}", logging.WARNING)

    # What is not there

    def send_all(self, shelf: Shelf, but_for: Iterable[Backup], before_each: Callable[[], None]) -> int:
        """Send every backup to the providers that lack it, the newest chain first; return how many copies were stored.

        Raises `RunInterrupted` and what `before_each` raises, `LeaseLost`, `DatabaseError`.
        """
        wanted, unwanted = self.wanted(), {backup.id for backup in but_for}
        stored = 0
        for backup in _in_order(shelf):
            missing = [number for number in wanted if (backup.id, number) not in self._seen]
            if missing and backup.id not in unwanted and is_there(backup):
                before_each()
                stored += self._send(backup, shelf.base_name(backup), missing)
        return stored

    def _send(self, backup: Backup, base_name: str | None, provider_ids: list[int]) -> int:
        usable = list(self._usable(backup, provider_ids))
        if not usable:
            return 0
        stored = 0
        try:
            with parcel_of(backup, base_name, self._settings.recipients, self._stores.interruption) as parcel:
                for provider in usable:
                    stored += self._send_to(provider, parcel)
        except RunInterrupted:
            raise
        except (BackupError, MigrationError) as error:
            self._fail(f"la copia de seguridad {backup.id} ({backup.name}) no se pudo enviar: {error}")
        return stored

    def _usable(self, backup: Backup, provider_ids: list[int]) -> Iterator[Provider]:
        for provider_id in provider_ids:
            try:
                yield self._stores.open(provider_id)
            except StoreUnusable as error:
                self._fail_once(provider_id, f"la copia de seguridad {backup.id} no se pudo enviar: {error}; {AGAIN}")

    def _send_to(self, provider: Provider, parcel: Parcel) -> int:
        """Store one copy; a provider's failure is noted. Raises `DamagedBackup`, `RunInterrupted`, `LeaseLost`."""
        backup = parcel.backup
        try:
            self._stores.open(provider.id)  # may have been given up since
            self._store(provider, parcel)
        except (RunInterrupted, DamagedBackup):
            raise
        except ClaimLost as error:
            raise LeaseLost(f"{error}; las copias en proveedores las sigue quien las hace ahora") from error
        except StoreUnusable as error:
            self._fail_once(provider.id, f"la copia de seguridad {backup.id} no se pudo enviar: {error}; {AGAIN}")
            return 0
        except MigrationError as error:
            fault = self._stores.fault(provider.id, error)
            if error.provider_wide:
                self._stores.give_up(provider.id, error)
            told = f"la copia de seguridad {backup.id} ({backup.name}) no se pudo guardar en {fault}; {AGAIN}"
            self._fail(told, provider.id)
            return 0
        self._seen.add((backup.id, provider.id))
        text = f"{backup.name} guardada en {one_line(provider.name)}: {readable_size(parcel.size_bytes)}"
        how = ", cifrada" if parcel.is_encrypted else ""
        self._say("backup_copied", f"Copia de seguridad {text}{how}")
        return 1

    def _store(self, provider: Provider, parcel: Parcel) -> None:
        backup = parcel.backup
        spot = spot_of(self._stores.prefix, backup.name, is_encrypted=parcel.is_encrypted)
        copy = Copy(backup.id, provider.id, provider.store, spot)
        sender = Sender(provider, self._stores.interruption, self._stores.traffic)
        before = [known for known in self._known if _is_same_place(known, copy)]
        if provider.id not in self._known_to_be_elsewhere:
            require_mounted(provider)
            sender.require_elsewhere(backup.path.parent, spot)
            self._known_to_be_elsewhere.add(provider.id)
        if before and not parcel.is_encrypted:  # else that was seen when it was encrypted
            require_undamaged(backup)  # what is recorded of a copy is forgotten only for a better one
        claim = sender.claim(parcel, spot, before)
        self._copies.begin(copy, parcel.sha256, claim.sha256)
        evidence = sender.send(parcel, spot, claim)
        if before:
            self._remove_twins(sender, backup, before, spot)
        self._copies.finish(copy, parcel.size_bytes, parcel.sha256, str(evidence))

    def _remove_twins(self, sender: Sender, backup: Backup, before: Sequence[Copy], spot: Spot) -> None:
        """Remove the earlier copy after encryption was switched on or off: the new one is proven."""
        for known in before:
            if known.spot != spot and not sender.is_of_another(known, backup):
                sender.remove(known.spot)
        twin = spot_of(self._stores.prefix, backup.name, is_encrypted=not spot.is_encrypted)
        if backup.sha256 is not None and sender.plain_hash(twin) == backup.sha256:
            sender.remove(twin)  # a killed run did not come so far

    # What is too old

    def remove(self, backup: Backup) -> bool:
        """Remove a backup from all providers. Return whether nothing of it is left. Raises `RunInterrupted`."""
        outcomes = [self._remove(copy, backup) for copy in list(self._known) if copy.backup_id == backup.id]
        return all(outcomes)

    def _remove(self, copy: Copy, backup: Backup) -> bool:
        if any(_is_shared(copy, other) for other in self._known):
            self._tell_left(copy, "es también de otra copia")
            self._note_deleted(copy)
            return True
        try:
            provider = self._stores.open(copy.provider_id)
            if provider.store != copy.store:
                self._tell_left(copy, "su fila señala ahora a otro sitio")
            else:
                self._remove_own(Sender(provider, self._stores.interruption), copy, backup)
        except StoreUnknown:
            self._tell_left(copy, "ya no está en cloud_providers")
        except RunInterrupted:
            raise
        except (StoreUnusable, MigrationError) as error:
            fault = error if isinstance(error, StoreUnusable) else self._stores.fault(copy.provider_id, error)
            self._fail(f"la copia de seguridad {backup.id} ({backup.name}) no se pudo borrar: {fault}; {AGAIN}")
            return False
        self._note_deleted(copy)
        return True

    def _remove_own(self, sender: Sender, copy: Copy, backup: Backup) -> None:
        if sender.is_of_another(copy, backup):
            self._tell_left(copy, "no es lo que se guardó, quizá es de otra instalación")
        else:
            sender.remove(copy.spot)

    def _note_deleted(self, copy: Copy) -> None:
        self._copies.note_deleted(copy)
        self._known.remove(copy)

    def _tell_left(self, copy: Copy, why: str) -> None:
        text = f"No se puede borrar {copy.spot.key} del proveedor {self._stores.name_of(copy.provider_id)}: {why}"
        self._say("backup_copy_left", f"{text}; si aún existe, bórrelo a mano", logging.WARNING)

    def causes(self) -> Iterator[tuple[str, str, str]]:
        """Key, state and text for `Context.notify`, of each provider that must have every backup."""
        for provider_id in self.wanted():
            name, told = self._stores.name_of(provider_id), self._troubles.get(provider_id)
            text = f"Las copias de seguridad están completas en {name}" if told is None else told
            yield f"{COPIES_OF_BACKUPS}{provider_id}", State.OK if told is None else State.FAILED, text

    def _fail_once(self, provider_id: int, text: str) -> None:
        """Tell that a provider cannot be used, unless that was told: it concerns all backups alike."""
        if provider_id not in self._troubles:
            self._fail(text, provider_id)

    def _fail(self, text: str, provider_id: int | None = None) -> None:
        told = redactor.redact(one_line(text))
        if provider_id is not None:
            self._troubles.setdefault(provider_id, f"{SAID_OF_COPIES}{told}")
        if told not in self.failures:
            self.failures.append(told)
            self._say("backup_copy_failed", f"{SAID_OF_COPIES}{told}", logging.ERROR)


def delivery_of_command(settings: BackupSettings, stores: Stores, copies: Copies) -> Delivery:
    """For a command, which holds this host's lock of the job if it changes anything, and closes the providers."""

    def say(event: str, text: str, level: int = logging.INFO) -> None:
        emit(level, event, text)

    return Delivery(settings, stores, copies, say)


def _is_same_place(known: Copy, copy: Copy) -> bool:
    return (known.backup_id, known.provider_id, known.store) == (copy.backup_id, copy.provider_id, copy.store)


def _is_shared(copy: Copy, other: Copy) -> bool:
    """Whether two backups name one object."""
    place, others = ((one.provider_id, one.store, one.spot) for one in (copy, other))
    return place == others and copy.backup_id != other.backup_id


def _has_companions(copy: Copy, listed: Container[str]) -> bool:
    is_described = copy.spot.name.endswith(FULL + SUFFIX)
    return copy.spot.hash_key in listed and (not is_described or copy.spot.description_key in listed)


def _in_order(shelf: Shelf) -> list[Backup]:
    """The newest chain first, and in each the full one first: a differential alone restores nothing."""
    backups = {backup.id: backup for backup in shelf.good_here()}

    def newest_first(backup: Backup) -> tuple[bool, float, float]:
        base = backup if backup.is_full else backups.get(backup.base_id or 0, backup)
        return base.is_dated_ahead, -base.made.timestamp(), backup.made.timestamp()

    return sorted(backups.values(), key=newest_first)
