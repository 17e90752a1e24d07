"""The providers of one tick: built when first needed, and left alone once they are found to be down."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator

from config.errors import MigrationError, caused_by_too_many_open_files
from config.fields import FieldError
from config.logs import emit, one_line
from config.models import ProviderRow
from providers import build_provider, import_kind
from providers.base import (
    ConnectionDenied,
    InvalidProviderSettings,
    Provider,
    ProviderError,
    ProviderUnavailable,
    StorageFull,
)
from providers.probes import require_in_use
from sql.database import Database, provider_name

FAILURES_UNTIL_LEFT_ALONE = 2
"""Provider-wide failures after which a provider that answered before is not tried again in this tick."""

SHOWN_SECONDS = 10.0
"""How long a provider is trusted after a probe has succeeded: what it refuses meanwhile concerns one object."""

SHOWN_BY_WHAT_STAYS_SECONDS = 600.0
"""Like `SHOWN_SECONDS`, where the probe cannot be removed and there should not be many of them."""


def _nobody_asks(_provider_id: int, _name: str, _error: Exception) -> None:
    """Do nothing, where it does not matter whether a person is needed."""


class ProviderSet:
    """Gives providers by id or in order of preference. A problem with one is reported once and stops nothing."""

    def __init__(
        self,
        rows: Iterable[ProviderRow],
        unreadable: Iterable[tuple[int, str, FieldError]],
        interruption: threading.Event | None = None,
        needs_a_person: Callable[[int, str, Exception], object] = _nobody_asks,
    ) -> None:
        """`unreadable` rows are reported only when they are asked for, because most of them may not matter.

        `interruption` is set when the run is asked to stop. `needs_a_person` is called with the id, name and error of a
        provider that stays unusable until somebody fixes its row, its access or its store.
        """
        self._rows = {row.id: row for row in rows}
        self._interruption = interruption or threading.Event()
        self._turn = threading.Lock()
        self._built: dict[int, Provider] = {}
        self._failures: dict[int, int] = {}
        self._unusable: set[int] = set()
        self._needs_a_person = needs_a_person
        self._questions: defaultdict[int, threading.Lock] = defaultdict(threading.Lock)
        self._shown_to_work: dict[int, float] = {}
        """Until when each provider is trusted, by `time.monotonic`."""
        self._without_room: defaultdict[int, list[int]] = defaultdict(list)
        """The sizes in bytes of executions for which each provider had no room."""
        self._unreadable = {provider_id: (name, error) for provider_id, name, error in unreadable}

    @classmethod
    def load(cls, database: Database, interruption: threading.Event) -> ProviderSet:
        """Read the rows of all providers; none is contacted yet. Raises `DatabaseError`."""
        rows: list[ProviderRow] = []
        unreadable: list[tuple[int, str, FieldError]] = []
        for item in database.load_provider_rows():
            if isinstance(item, ProviderRow):
                rows.append(item)
            else:
                unreadable.append((item[0]["id"], provider_name(item[0]), item[1]))
        return cls(rows, unreadable, interruption)

    @property
    def any_is_in_use(self) -> bool:
        """Whether any provider has been given out: its connections and threads would not survive a fork."""
        return bool(self._built)

    def in_order(self, provider_ids: Iterable[int]) -> Iterator[Provider]:
        """The usable ones of these providers, in this order."""
        for provider_id in provider_ids:
            provider = self.get(provider_id)
            if provider is not None:
                yield provider

    def get(self, provider_id: int) -> Provider | None:
        """A provider, unless it is missing, inactive, badly configured or down."""
        with self._turn:
            if provider_id in self._unusable:
                return None
            if provider_id not in self._built:
                self._build(provider_id)
            return self._built.get(provider_id)

    def tell_unreadable(self, wanted: Container[int]) -> None:
        """Report unreadable rows at once: those wanted as faults, the others in the debug log."""
        for provider_id, (name, error) in self._unreadable.items():
            if provider_id in wanted:
                self.get(provider_id)
            else:
                told = f"El proveedor {one_line(name)}, que la configuración no nombra, no se puede leer"
                emit(logging.DEBUG, "provider_not_wanted", f"{told}: {one_line(error)}", provider=one_line(name))

    def import_kind_of(self, provider_id: int) -> None:
        """Import the packages that a provider needs, so that forked processes need not."""
        row = self._rows.get(provider_id)
        if row is not None:
            import_kind(row.kind)

    def row(self, provider_id: int) -> ProviderRow | None:
        """The database row of a provider."""
        return self._rows.get(provider_id)

    def name(self, provider_id: int) -> str:
        """What operators call a provider, whether or not it can be used."""
        row = self._rows.get(provider_id)
        if row is not None:
            return one_line(row.name)
        return (
            one_line(self._unreadable[provider_id][0]) if provider_id in self._unreadable else f"con id {provider_id}"
        )

    def _build(self, provider_id: int) -> None:
        if provider_id in self._unreadable:
            self._unusable.add(provider_id)
            self._tell_unusable(provider_id, *self._unreadable[provider_id])
            return
        row = self._rows.get(provider_id)
        if row is None or not row.active:
            what = f"{row.name} no está activo" if row else f"con id {provider_id} no existe en cloud_providers"
            emit(logging.WARNING, "provider_not_active", f"El proveedor {what}; no se usa", provider_id=provider_id)
            self._unusable.add(provider_id)
            return
        try:
            self._built[provider_id] = build_provider(row)
            self._built[provider_id].progress.interruption = self._interruption
        except InvalidProviderSettings as error:
            self._unusable.add(provider_id)
            self._tell_unusable(provider_id, row.name, error)

    def note_failure(self, provider: Provider, error: MigrationError, prefix: str, size_bytes: int = 0) -> None:
        """Note a failure of an execution of `size_bytes`; leave the provider alone if the failure is its own.

        A probe below `prefix` decides: a store can refuse one object because of its name, size or rights, and accept
        all others. A provider that did not answer several times is probed only if it was alive just before.
        """
        if not error.provider_wide or caused_by_too_many_open_files(error):
            return
        failed_at = time.monotonic()
        if isinstance(error, ConnectionDenied):  # a provider that refuses the login is not asked again by a probe
            self._leave_alone(provider, error)
            return
        if isinstance(error, ProviderUnavailable):
            if not self._has_failed_too_often(provider):
                return
            if not provider.progress.is_alive:
                self._leave_alone(provider, error)
                return
        with self._questions[provider.id]:
            if provider.id in self._unusable:
                return
            if failed_at >= self._shown_to_work.get(provider.id, 0.0):
                self._ask(provider, error, prefix)
        if isinstance(error, StorageFull):
            self._note_without_room(provider, size_bytes)

    def _has_failed_too_often(self, provider: Provider) -> bool:
        with self._turn:
            self._failures[provider.id] = self._failures.get(provider.id, 0) + 1
            return self._failures[provider.id] >= FAILURES_UNTIL_LEFT_ALONE

    def _ask(self, provider: Provider, error: MigrationError, prefix: str) -> None:
        """Probe whether the provider itself fails. A provider that cannot answer now has not refused."""
        try:
            is_removed = require_in_use(provider, prefix)
        except ProviderError as refusal:
            is_same_fault = not isinstance(refusal, ProviderUnavailable) or isinstance(error, ProviderUnavailable)
            if refusal.provider_wide and is_same_fault:
                self._leave_alone(provider, refusal)
            return
        self.note_success(provider)
        shown_seconds = SHOWN_SECONDS if is_removed else SHOWN_BY_WHAT_STAYS_SECONDS
        self._shown_to_work[provider.id] = time.monotonic() + shown_seconds
        emit(
            logging.INFO,
            "provider_kept",
            f"El proveedor {provider.name} sigue en uso, pues escribe, lee y lista: lo que falló es de esa ejecución",
            provider=provider.name,
            error_code=error.code,
        )

    def _leave_alone(self, provider: Provider, error: MigrationError) -> None:
        with self._turn:
            if provider.id in self._unusable:
                return
            self._unusable.add(provider.id)
        if not isinstance(error, ProviderUnavailable):
            self._needs_a_person(provider.id, provider.name, error)
        emit(
            logging.WARNING,
            "provider_left_alone",
            f"El proveedor {provider.name} no se usará más en esta ejecución: {error}",
            provider=provider.name,
            error_code=error.code,
        )

    def _tell_unusable(self, provider_id: int, name: str, error: Exception) -> None:
        self._needs_a_person(provider_id, name, error)
        emit(
            logging.ERROR,
            "provider_settings_invalid",
            f"El proveedor {one_line(name)} no se puede usar: {one_line(error)}",
            provider=one_line(name),
        )

    def _note_without_room(self, provider: Provider, size_bytes: int) -> None:
        with self._turn:
            self._without_room[provider.id].append(size_bytes)

    def require_room(self, provider: Provider, size_bytes: int) -> None:
        """Raises `StorageFull` for an execution at least as large as several for which there was no room in this run:
        it would be sent in vain. A smaller one may fit.
        """
        with self._turn:
            refused = [refused for refused in self._without_room[provider.id] if refused <= size_bytes]
        if len(refused) >= FAILURES_UNTIL_LEFT_ALONE:
            raise StorageFull(f"hace poco no cupo una ejecución de {max(refused)} bytes, y esta tiene {size_bytes}")

    def note_success(self, provider: Provider, size_bytes: int = 0) -> None:
        """Forget the failures of a provider that works again; one that took `size_bytes` had room for them."""
        with self._turn:
            self._failures.pop(provider.id, None)
            refused = self._without_room[provider.id]
            refused[:] = [refused_bytes for refused_bytes in refused if refused_bytes > size_bytes]

    def close(self) -> None:
        """Close every provider that was built."""
        for provider in self._built.values():
            provider.close()
