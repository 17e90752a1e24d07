"""What earlier runs of all hosts know of providers that failed as a whole."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from config.errors import MigrationError
from config.logs import emit, one_line
from config.models import ProviderRow
from providers.errors import InvalidProviderSettings, NotMounted, ProviderError, ProviderUnavailable, StorageFull
from sql.database import Database, DatabaseError

if TYPE_CHECKING:
    from sql.memory.provider_health import ProviderFailure

WITHOUT_PAUSE = (InvalidProviderSettings, NotMounted, StorageFull)
"""Errors after which what was mended meanwhile is used at once: they cost nothing, or little, to find out again."""


class ProviderMemory:
    """What earlier runs of all hosts know of providers that failed as a whole. It is read once it is needed.

    A run works without it: if the database does not answer, that is reported and nothing is raised.
    """

    def __init__(self, database: Database, prefix: str) -> None:
        """Probes are written below `prefix`."""
        self._database = database
        self.prefix = prefix

    @cached_property
    def _known(self) -> Mapping[int, ProviderFailure]:
        try:
            return self._database.provider_health.recall()
        except DatabaseError as error:
            _report_memory_lost("leer", error)
            return {}

    def failure_of(self, row: ProviderRow) -> ProviderFailure | None:
        """The remembered failure of a provider."""
        return self._known.get(row.id)

    def note_failure(self, provider_id: int, settings: str, error: Exception) -> datetime | None:
        """Record a failure and return until when the provider is left alone, if it is. Wrong settings, and a disk that
        is not mounted, cost nothing to find out, so no pause follows them; nor does one follow a lack of room, which
        somebody may make at any time.
        """
        known = self._known.get(provider_id)
        try:
            return self._database.provider_health.note_failure(
                provider_id,
                settings,
                known.failures if known else 0,
                (code_of(error), str(error)),
                needs_a_person=not isinstance(error, ProviderUnavailable),
                has_pauses=isinstance(error, ProviderError) and not isinstance(error, WITHOUT_PAUSE),
            )
        except DatabaseError as lost:
            _report_memory_lost("anotar", lost)
            return None

    def forget(self, provider_id: int, noted_here: int = 0) -> None:
        """Record that a provider works again, unless another run has noted a failure since. `noted_here` says how many
        this run has noted itself.
        """
        known = self._known.get(provider_id)
        try:
            self._database.provider_health.forget(provider_id, noted_here + (known.failures if known else 0))
        except DatabaseError as error:
            _report_memory_lost("anotar", error)


class PausesOnly(ProviderMemory):
    """The memory of a dry run: it leaves paused providers alone, has none probed and records nothing."""

    def failure_of(self, row: ProviderRow) -> ProviderFailure | None:
        """See `ProviderMemory`: the failure of a provider that is paused with the settings that it has now."""
        failure = super().failure_of(row)
        return failure if failure and failure.is_paused and failure.settings == row.identity else None

    def note_failure(self, provider_id: int, settings: str, error: Exception) -> datetime | None:
        """Nothing is recorded."""

    def forget(self, provider_id: int, noted_here: int = 0) -> None:
        """Nothing is recorded."""


def _report_memory_lost(action: str, error: DatabaseError) -> None:
    message = f"No se pudo {action} qué proveedores fallan; se sigue sin saberlo: {one_line(error)}"
    emit(logging.WARNING, "provider_memory_lost", message, cause=error)


def code_of(error: Exception) -> str:
    """The code of an error that makes a provider unusable. Errors in its row have none of their own."""
    return error.code if isinstance(error, MigrationError) else InvalidProviderSettings.code
