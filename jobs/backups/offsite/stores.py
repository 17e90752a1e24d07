"""The providers at which backups are kept: found by id or name, opened when first needed, each fault named."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import NamedTuple

from config.errors import ConfigurationError, MigrationError, RunInterrupted
from config.fields import FieldError
from config.logs import one_line
from config.models import ProviderRow
from config.text.amounts import UNLIMITED, Timetable
from jobs.backups.errors import BackupError
from jobs.backups.offsite.copies import backups_prefix
from jobs.provider_state.recorded_copies import recorded_copies
from providers import build_provider
from providers.base import Provider, Recorded
from providers.mounts import shows_nothing
from providers.retries import with_retries
from sql.database import Database, SchemaError
from sql.platform.configuration import provider_named
from storage.traffic.pace import Traffic

Wrap = Callable[[Provider], Provider]
"""Wraps a provider so that it changes nothing once this run has lost the job."""


class StoreUnusable(BackupError):
    """A provider cannot be used for backups. The message names it."""


class StoreUnknown(StoreUnusable):
    """There is no row of this provider."""


def _as_it_is(provider: Provider) -> Provider:
    return provider


class Rows(NamedTuple):
    """What the database says of providers, and the prefix below which this installation stores everything."""

    readable: Mapping[int, ProviderRow]
    unreadable: Mapping[int, tuple[str, FieldError]]
    prefix: str
    recorded: Callable[[Provider], Recorded] | None = None
    """Asks which executions are stored at a provider."""


def rows_in(database: Database, prefix: str | None = None) -> Rows:
    """Read the rows. `prefix` is that of the policy in force unless it is given.

    Raises `StoreUnusable` for what no provider can be used without, and `DatabaseUnavailable`.
    """
    readable, unreadable = {}, {}
    try:
        for item in database.load_provider_rows():
            if isinstance(item, ProviderRow):
                readable[item.id] = item
            else:
                unreadable[item.id] = item.name, item.error
        policy = database.load_policy() if prefix is None else None
    except (FieldError, SchemaError) as error:
        raise StoreUnusable(f"no se puede leer cloud_providers o ejecuciones_config: {one_line(error)}") from error
    if prefix is None:
        prefix = policy.key_prefix if policy else ""
    return Rows(readable, unreadable, prefix, lambda provider: recorded_copies(database, provider, readable.values()))


class Stores:
    """The rows of `cloud_providers`, read when first needed, and those of them that are in use. Close it at the end.

    Whatever needs the rows raises what `rows_in` raises.
    """

    def __init__(
        self,
        read_rows: Callable[[], Rows],
        interruption: threading.Event,
        wrap: Wrap = _as_it_is,
        bandwidth: Timetable = UNLIMITED,
    ) -> None:
        self.interruption = interruption
        self.traffic = Traffic(bandwidth, interruption)
        self._read_rows = read_rows
        self._wrap = wrap
        self._opened: dict[int, Provider] = {}
        self._faults: dict[int, StoreUnusable] = {}
        self._listed: dict[tuple[int, str], dict[str, int]] = {}

    @cached_property
    def rows(self) -> Rows:
        """All rows."""
        return self._read_rows()

    @property
    def prefix(self) -> str:
        """The installation's prefix, below which everything is stored."""
        return self.rows.prefix

    def close(self) -> None:
        """Close every provider that was opened."""
        for provider in self._opened.values():
            provider.close()

    def id_of(self, reference: int | str) -> int:
        """The id of a provider by its id or its name. Raises `StoreUnknown`."""
        names = {number: row.name for number, row in self.rows.readable.items()}
        names |= {number: name for number, (name, _) in self.rows.unreadable.items()}
        try:
            return provider_named(sorted(names.items()), str(reference))
        except ConfigurationError as error:
            raise StoreUnknown(str(error)) from error

    def name_of(self, provider_id: int) -> str:
        """A provider's name for operators."""
        if provider_id in self.rows.readable:
            return one_line(self.rows.readable[provider_id].name)
        unreadable = self.rows.unreadable.get(provider_id)
        return one_line(unreadable[0]) if unreadable else str(provider_id)

    def open(self, provider_id: int) -> Provider:
        """A provider that can be used, as far as its row says. Raises `StoreUnknown`, `StoreUnusable`."""
        if provider_id in self._faults:
            raise self._faults[provider_id]
        if provider_id not in self._opened:
            self._opened[provider_id] = self._wrap(self._built(provider_id))
        return self._opened[provider_id]

    def give_up(self, provider_id: int, error: Exception) -> StoreUnusable:
        """Leave a provider alone until the end of the run; return the error that all further uses raise."""
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

    def require_mounted(self, provider_id: int) -> None:
        """Call it where copies are missing: a directory in which nothing is left is taken for one without its disk.

        Raises `StoreUnusable`, `RunInterrupted`.
        """
        provider = self.open(provider_id)
        try:
            is_empty = shows_nothing(provider)
        except RunInterrupted:
            raise
        except MigrationError as error:
            raise self.give_up(provider_id, error) from error
        if is_empty:
            raise self.give_up(
                provider_id,
                StoreUnusable(
                    "constan copias en su directorio, que está vacío: monte su disco; si es otro, nuevo, deje en él "
                    "cualquier fichero, y las copias que aún estén en este equipo se envían otra vez"
                ),
            )

    def _built(self, provider_id: int) -> Provider:
        if provider_id in self.rows.unreadable:
            raise self.give_up(provider_id, self.rows.unreadable[provider_id][1])
        row = self.rows.readable.get(provider_id)
        if row is None:
            raise StoreUnknown(f"en cloud_providers no hay ningún proveedor con id {provider_id}")
        if not row.active:
            raise StoreUnusable(f"el proveedor {self.name_of(provider_id)} no está activo; actívelo o quítelo")
        try:
            provider = build_provider(row)
        except MigrationError as error:
            raise self.give_up(provider_id, error) from error
        provider.progress.interruption = self.interruption
        if self.rows.recorded is not None:
            provider.recorded = self.rows.recorded(provider)
        return provider


def _sizes(provider: Provider, prefix: str) -> dict[str, int]:
    return {stored.key: stored.size_bytes for stored in provider.list(prefix)}
