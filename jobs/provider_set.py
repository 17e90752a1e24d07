"""The providers of one tick: built when first needed, and left alone once they are found to be down."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator

from config.fields import FieldError
from config.logs import emit, one_line
from config.models import ProviderRow
from providers import build_provider, import_kind
from providers.base import (
    InvalidProviderSettings,
    MigrationError,
    Provider,
    ProviderUnavailable,
    is_for_want_of_descriptors,
)

FAILURES_UNTIL_LEFT_ALONE = 2
"""Provider-wide failures after which a provider that answered before is not tried again in this tick."""


def _nobody_asks(_provider_id: int, _name: str, _error: Exception) -> None:
    """Where nothing depends on whether a person is needed."""


class ProviderSet:
    """Gives providers by id or in order of preference. A problem with one is told once, and is no reason to stop."""

    def __init__(
        self,
        rows: Iterable[ProviderRow],
        unreadable: Iterable[tuple[int, str, FieldError]],
        interruption: threading.Event | None = None,
        needs_a_person: Callable[[int, str, Exception], object] = _nobody_asks,
    ) -> None:
        """`interruption` is set when the run is asked to stop. `needs_a_person` is called with the id, the name and the
        error of a provider that stays unusable until somebody mends its row, its access or its store.
        """
        self._rows = {row.id: row for row in rows}
        self._interruption = interruption or threading.Event()
        self._turn = threading.Lock()
        self._built: dict[int, Provider] = {}
        self._failures: dict[int, int] = {}
        self._unusable: set[int] = set()
        self._needs_a_person = needs_a_person
        for provider_id, name, error in unreadable:
            self._unusable.add(provider_id)
            self._tell_unusable(provider_id, name, error)

    @property
    def any_is_in_use(self) -> bool:
        """Whether any has been given out: its connections and threads would not survive a fork."""
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

    def import_kind_of(self, provider_id: int) -> None:
        """Import what a provider needs, as each process that is forked afterwards would have to."""
        row = self._rows.get(provider_id)
        if row is not None:
            import_kind(row.kind)

    def row(self, provider_id: int) -> ProviderRow | None:
        """What the database says of a provider."""
        return self._rows.get(provider_id)

    def _build(self, provider_id: int) -> None:
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

    def note_failure(self, provider: Provider, error: MigrationError) -> None:
        """Count a failure against its provider; after too many that are the provider's own it is left alone."""
        if not error.provider_wide or is_for_want_of_descriptors(error):
            return
        with self._turn:
            self._failures[provider.id] = self._failures.get(provider.id, 0) + 1
            enough = self._failures[provider.id] >= FAILURES_UNTIL_LEFT_ALONE
            hopeless = not isinstance(error, ProviderUnavailable)
            if (enough or hopeless) and provider.id not in self._unusable:
                self._unusable.add(provider.id)
                if hopeless:
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

    def note_success(self, provider: Provider) -> None:
        """A provider that works again starts anew."""
        with self._turn:
            self._failures.pop(provider.id, None)

    def close(self) -> None:
        """Close every provider that was built."""
        for provider in self._built.values():
            provider.close()
