"""The providers at which backups are kept: found by id or name, opened when first needed, each fault named."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Self

from config.errors import MigrationError, RunInterrupted
from config.fields import FieldError
from config.logs import one_line
from config.models import ProviderRow
from config.text.amounts import UNLIMITED, Timetable
from jobs.backups.errors import BackupError
from jobs.backups.offsite.copies import backups_prefix
from providers import build_provider
from providers.base import Provider
from providers.retries import with_retries
from sql.database import Database, provider_name
from storage.traffic.pace import Traffic

Wrap = Callable[[Provider], Provider]
"""Makes of a provider one that changes nothing once this run does not hold the job any more."""


class StoreUnusable(BackupError):
    """A provider cannot be used for backups. The message names it."""


class StoreUnknown(StoreUnusable):
    """There is no row of this provider."""


def _as_it_is(provider: Provider) -> Provider:
    return provider


class Stores:
    """The rows of `cloud_providers`, and those of them that are in use. Close it at the end."""

    def __init__(
        self,
        rows: Sequence[ProviderRow | tuple[int, str, FieldError]],
        prefix: str,
        interruption: threading.Event,
        wrap: Wrap = _as_it_is,
        bandwidth: Timetable = UNLIMITED,
    ) -> None:
        self.prefix = prefix
        """That of the installation, below which everything is stored."""
        self.interruption = interruption
        self.traffic = Traffic(bandwidth, interruption)
        self._rows = {row.id: row for row in rows if isinstance(row, ProviderRow)}
        self._unreadable = {row[0]: row[1:] for row in rows if not isinstance(row, ProviderRow)}
        self._wrap = wrap
        self._opened: dict[int, Provider] = {}
        self._faults: dict[int, StoreUnusable] = {}
        self._listed: dict[tuple[int, str], dict[str, int]] = {}

    @classmethod
    def of(
        cls,
        database: Database,
        interruption: threading.Event,
        wrap: Wrap = _as_it_is,
        prefix: str | None = None,
        bandwidth: Timetable = UNLIMITED,
    ) -> Self:
        """Read the rows. `prefix` is that of the policy in force unless it is given. Raises `DatabaseError`."""
        rows = [
            item if isinstance(item, ProviderRow) else (item[0]["id"], provider_name(item[0]), item[1])
            for item in database.load_provider_rows()
        ]
        if prefix is None:
            policy = database.load_policy()
            prefix = policy.key_prefix if policy else ""
        return cls(rows, prefix, interruption, wrap, bandwidth)

    def close(self) -> None:
        """Close every provider that was opened."""
        for provider in self._opened.values():
            provider.close()

    def id_of(self, reference: int | str) -> int:
        """The id of a provider by its id or its name. Raises `StoreUnknown`."""
        if isinstance(reference, int):
            found = [reference] if reference in self._rows or reference in self._unreadable else []
        else:
            names = {number: row.name for number, row in self._rows.items()}
            names |= {number: name for number, (name, _) in self._unreadable.items()}
            found = [number for number, name in names.items() if name == reference]
        if len(found) == 1:
            return found[0]
        how_many = "varios proveedores" if found else "ningún proveedor"
        raise StoreUnknown(f"en cloud_providers hay {how_many} con este id o nombre: {one_line(reference)}")

    def name_of(self, provider_id: int) -> str:
        """What operators call it."""
        if provider_id in self._rows:
            return one_line(self._rows[provider_id].name)
        return one_line(self._unreadable[provider_id][0]) if provider_id in self._unreadable else str(provider_id)

    def open(self, provider_id: int) -> Provider:
        """A provider that can be used, as far as its row says. Raises `StoreUnknown`, `StoreUnusable`."""
        if provider_id in self._faults:
            raise self._faults[provider_id]
        if provider_id not in self._opened:
            self._opened[provider_id] = self._wrap(self._built(provider_id))
        return self._opened[provider_id]

    def give_up(self, provider_id: int, error: Exception) -> StoreUnusable:
        """Leave a provider alone until the end of the run; give the error that all further uses raise."""
        fault = self._faults[provider_id] = self.fault(provider_id, error)
        return fault

    def fault(self, provider_id: int, error: Exception) -> StoreUnusable:
        """An error with the provider's name."""
        return StoreUnusable(f"el proveedor {self.name_of(provider_id)}: {one_line(error)}")

    def listed(self, provider_id: int, directory: str | None = None) -> dict[str, int]:
        """The key and size of every object of backups in a directory of keys, by default that of this installation.

        Each is asked for once. Raises `StoreUnusable`, `RunInterrupted`.
        """
        place = provider_id, directory or backups_prefix(self.prefix)
        if place not in self._listed:
            provider = self.open(provider_id)
            look = partial(_sizes, provider, f"{place[1]}/backup_")
            try:
                self._listed[place] = with_retries(look, self.interruption, provider.progress)
            except RunInterrupted:
                raise
            except MigrationError as error:
                raise self.give_up(provider_id, error) from error
        return self._listed[place]

    def _built(self, provider_id: int) -> Provider:
        if provider_id in self._unreadable:
            raise self.give_up(provider_id, self._unreadable[provider_id][1])
        row = self._rows.get(provider_id)
        if row is None:
            raise StoreUnknown(f"en cloud_providers no hay ningún proveedor con id {provider_id}")
        if not row.active:
            raise StoreUnusable(f"el proveedor {self.name_of(provider_id)} no está activo; actívelo o quítelo")
        try:
            provider = build_provider(row)
        except MigrationError as error:
            raise self.give_up(provider_id, error) from error
        provider.progress.interruption = self.interruption
        return provider


def _sizes(provider: Provider, prefix: str) -> dict[str, int]:
    return {stored.key: stored.size_bytes for stored in provider.list(prefix)}
