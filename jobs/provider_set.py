"""The providers of one tick: built when first needed, and left alone once they are found to be down. A provider that
failed in an earlier run, of any host, is left alone for a while, longer each time, and then probed before it is used.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator
from datetime import datetime
from pathlib import Path

from config.errors import MigrationError, caused_by_too_many_open_files
from config.logs import emit, one_line
from config.models import ProviderRow
from jobs.provider_state.memory import ProviderMemory, code_of
from jobs.provider_state.recorded_copies import recorded_copies
from jobs.provider_state.shortages import Shortages
from providers import build_provider, import_kind
from providers.base import Provider
from providers.errors import (
    ConnectionDenied,
    InvalidProviderSettings,
    NotMounted,
    ProviderError,
    ProviderUnavailable,
    StorageFull,
)
from providers.probes import require_in_use
from sql.database import Database
from sql.platform.configuration import UnreadableRow

FAILURES_UNTIL_LEFT_ALONE = 2
"""Provider-wide failures after which a provider that answered before is not tried again in this tick."""

SHOWN_SECONDS = 10.0
"""How long a provider is trusted after a probe has succeeded: what it refuses meanwhile concerns one object."""

SHOWN_BY_WHAT_STAYS_SECONDS = 600.0
"""Like `SHOWN_SECONDS`, where the probe cannot be removed and there should not be many of them."""


def _nobody_asks(_provider_id: int, _name: str, _error_code: str) -> None:
    """Do nothing, where it does not matter whether a person is needed."""


def _local(instant: datetime) -> str:
    return f"{instant.astimezone():%Y-%m-%d %H:%M}"


class ProviderSet:
    """Gives providers by id or in order of preference. A problem with one is reported once and stops nothing."""

    def __init__(
        self,
        rows: Iterable[ProviderRow],
        unreadable: Iterable[UnreadableRow],
        interruption: threading.Event | None = None,
        needs_a_person: Callable[[int, str, str], object] = _nobody_asks,
        memory: ProviderMemory | None = None,
        unfinished_directory: Path | None = None,
        database: Database | None = None,
    ) -> None:
        """`unreadable` rows are reported only when they are asked for, because most of them may not matter.

        `interruption` is set when the run is asked to stop. `needs_a_person` is called with the id and name of a
        provider that stays unusable until somebody fixes its row, its access or its store, and the code of the error.
        With `memory` a provider that failed before is left alone for a while, then probed before it is used.
        `unfinished_directory` is `Provider.unfinished_directory`. With `database` a directory whose disk is not mounted
        is found out before it is used.
        """
        self._rows = {row.id: row for row in rows}
        self._interruption = interruption or threading.Event()
        self._lock = threading.Lock()
        self._built: dict[int, Provider] = {}
        self._unprobed: dict[int, Provider] = {}
        """Providers that failed before: from these, copies are only removed."""
        self._failures: dict[int, int] = {}
        self._unusable: set[int] = set()
        self._needs_a_person = needs_a_person
        self._memory = memory
        self._unfinished_directory = unfinished_directory
        self._database = database
        self._mounted: set[int] = set()
        self._last_seen: dict[int, str] = {}
        """The key of the manifest of a copy that was seen at each provider that may be unmounted."""
        self._worked: set[int] = set()
        self._provider_locks: defaultdict[int, threading.Lock] = defaultdict(threading.Lock)
        self._shown_to_work: dict[int, float] = {}
        """Until when each provider is trusted, by `time.monotonic`."""
        self._shortages = Shortages(self._report_shortage)
        self._unreadable = {row.id: row for row in unreadable}

    @classmethod
    def load(
        cls,
        database: Database,
        interruption: threading.Event,
        memory: ProviderMemory | None = None,
        unfinished_directory: Path | None = None,
    ) -> ProviderSet:
        """Read the rows of all providers; none is contacted yet. Raises `DatabaseError`."""
        return cls(
            *database.sorted_provider_rows(),
            interruption,
            memory=memory,
            unfinished_directory=unfinished_directory,
            database=database,
        )

    @property
    def any_is_in_use(self) -> bool:
        """Whether any provider has been given out: its connections and threads would not survive a fork."""
        return bool(self._built)

    def in_order(self, provider_ids: Iterable[int]) -> Iterator[Provider]:
        """The usable ones of these providers, in this order. Who stores something there calls `require_mounted`."""
        for provider_id in provider_ids:
            provider = self._usable(provider_id)
            if provider is not None:
                yield provider

    def get(self, provider_id: int) -> Provider | None:
        """A provider, unless it is missing, inactive, badly configured, down or not mounted. Raises `DatabaseError`."""
        provider = self._usable(provider_id)
        return provider if provider is not None and self._may_be_believed(provider) else None

    def require_mounted(self, provider: Provider) -> None:
        """Call it before anything is stored. Asks once a run. Raises as `providers.mounts.require_mounted`."""
        if provider.id not in self._mounted:
            from providers.mounts import require_mounted  # a run with nothing to do needs none of it

            self._note_seen(provider, require_mounted(provider))
            self._mounted.add(provider.id)

    def require_still_mounted(self, provider: Provider) -> None:
        """Call it before a copy is recorded: no server says that its disk was unmounted meanwhile. One look at the last
        copy that was seen there. Raises as `require_mounted`.
        """
        last_seen = self._last_seen.get(provider.id)
        if last_seen is None:
            return
        from providers.mounts import is_there, require_mounted

        if not is_there(provider, last_seen):  # it may also have been removed
            self._note_seen(provider, require_mounted(provider))

    def note_stored(self, provider: Provider, manifest_key: str) -> None:
        """Note the newest copy of a provider."""
        if provider.may_be_unmounted and self._database is not None:
            self._note_seen(provider, manifest_key)

    def _note_seen(self, provider: Provider, manifest_key: str | None) -> None:
        if manifest_key is not None:
            self._last_seen[provider.id] = manifest_key

    def _may_be_believed(self, provider: Provider) -> bool:
        """Whether what is missing there is really missing. One that does not answer says so itself when it is used."""
        try:
            self.require_mounted(provider)
        except NotMounted as error:
            self._leave_alone(provider, error)
            return False
        except ProviderError as error:
            emit(logging.DEBUG, "provider_not_seen", f"{provider.name}: {one_line(error)}", provider=provider.name)
        return True

    def _usable(self, provider_id: int) -> Provider | None:
        """A provider, unless it is missing, inactive, badly configured or down."""
        if provider_id not in self._unusable and provider_id not in self._built:
            with self._provider_locks[provider_id]:
                self._build(provider_id)
        return None if provider_id in self._unusable else self._built.get(provider_id)

    def for_removal(self, provider_id: int) -> Provider | None:
        """A provider to remove something from. One that refused to store is not probed by writing: it may be full, and
        a removal makes room.
        """
        row = self._rows.get(provider_id)
        failure = self._memory.failure_of(row) if self._memory and row is not None else None
        is_known = provider_id in self._unusable or provider_id in self._built
        if is_known or row is None or not row.active or failure is None or not failure.needs_a_person:
            return self.get(provider_id)
        with self._provider_locks[provider_id]:
            if provider_id not in self._unprobed:
                try:
                    self._unprobed[provider_id] = self._built_from(row)
                except InvalidProviderSettings:
                    return None  # the caller that wants to store there reports it
        provider = self._unprobed[provider_id]
        return provider if self._may_be_believed(provider) else None

    def leave_paused_alone(self, provider_ids: Iterable[int]) -> None:
        """Report those of these providers that are left alone because they failed, before several processes do."""
        for provider_id in provider_ids:
            row = self._rows.get(provider_id)
            if row is not None and row.active and provider_id not in self._unusable:
                self._is_paused(row)

    def any_works(self, provider_ids: Iterable[int]) -> bool:
        """Whether one of these providers is in use and has stored an execution in this run: what it fails at is not its
        fault. A probe that succeeds shows less than that.
        """
        return any(provider_id in self._worked and provider_id not in self._unusable for provider_id in provider_ids)

    def report_unreadable(self, wanted: Container[int]) -> None:
        """Report unreadable rows at once: those wanted as faults, the others in the debug log."""
        for row in self._unreadable.values():
            if row.id in wanted:
                self.get(row.id)
            else:
                text = f"El proveedor {row.name}, que la configuración no nombra, no se puede leer"
                emit(logging.DEBUG, "provider_not_wanted", f"{text}: {one_line(row.error)}", provider=row.name)

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
        names = {row.id: row.name for row in self._rows.values()}
        names.update((row.id, row.name) for row in self._unreadable.values())
        return one_line(names.get(provider_id, f"con id {provider_id}"))

    def _build(self, provider_id: int) -> None:
        """Build a provider that another thread has not built meanwhile, and probe it if it failed before."""
        if provider_id in self._unusable or provider_id in self._built:
            return
        if (unreadable := self._unreadable.get(provider_id)) is not None:
            self._unusable.add(provider_id)
            self._report_unusable(provider_id, unreadable.name, unreadable.error)
            return
        row = self._rows.get(provider_id)
        if row is None or not row.active:
            what = f"{row.name} no está activo" if row else f"con id {provider_id} no existe en cloud_providers"
            emit(logging.WARNING, "provider_not_active", f"El proveedor {what}; no se usa", provider_id=provider_id)
            self._unusable.add(provider_id)
            return
        if self._is_paused(row):
            return
        try:
            provider = self._built_from(row)
        except InvalidProviderSettings as error:
            self._unusable.add(provider_id)
            self._report_unusable(provider_id, row.name, error)
            return
        try:
            self._probe_if_it_failed(row, provider)
        finally:
            self._built[provider_id] = provider  # also one that is left alone has to be closed

    def _built_from(self, row: ProviderRow) -> Provider:
        """Raises `InvalidProviderSettings`."""
        provider = build_provider(row)
        provider.progress.interruption = self._interruption
        provider.unfinished_directory = self._unfinished_directory
        if self._database is not None:
            provider.recorded = recorded_copies(self._database, provider, self._rows.values())
        return provider

    def _is_paused(self, row: ProviderRow) -> bool:
        """Whether a provider failed so recently that it is left alone, with the settings that it has now."""
        failure = self._memory.failure_of(row) if self._memory else None
        if failure is None or not failure.is_paused or failure.settings != row.identity:
            return False
        self._unusable.add(row.id)
        if failure.needs_a_person:
            self._needs_a_person(row.id, row.name, failure.error_code)
        emit(
            logging.WARNING,
            "provider_paused",
            f"El proveedor {row.name} se deja en paz hasta {_local(failure.until)}, porque falla desde "
            f"{_local(failure.since)}: {one_line(failure.error)}; para probarlo ya, ejecute check",
            provider=row.name,
            error_code=failure.error_code,
        )
        return True

    def _probe_if_it_failed(self, row: ProviderRow, provider: Provider) -> None:
        """Trust a provider that failed in an earlier run only once it has written, read and listed an object."""
        failure = self._memory.failure_of(row) if self._memory else None
        if self._memory is None or failure is None:
            return
        try:
            self.require_mounted(provider)
            require_in_use(provider, self._memory.prefix)
        except ProviderError as error:
            self._leave_alone(provider, error)
            return
        if failure.error_code == StorageFull.code and failure.settings == row.identity:
            self._shortages.expect(row.id)  # a probe is small: see `settle`
            return
        self._memory.forget(row.id)
        emit(
            logging.INFO,
            "provider_recovered",
            f"El proveedor {row.name} vuelve a funcionar; fallaba desde {_local(failure.since)}",
            provider=row.name,
        )

    def note_failure(self, provider: Provider, error: MigrationError, prefix: str, size_bytes: int = 0) -> None:
        """Note a failure of an execution of `size_bytes`; leave the provider alone if the failure is its own.

        A probe below `prefix` decides: a store can refuse one object because of its name, size or rights, and accept
        all others. A provider that did not answer several times is probed only if it was alive just before. One
        without room for this execution may have room for a smaller one.
        """
        if not error.provider_wide or caused_by_too_many_open_files(error):
            return
        failed_at = time.monotonic()
        if isinstance(error, ConnectionDenied | NotMounted):  # a probe is refused, or stored below the mount point
            self._leave_alone(provider, error)
            return
        if isinstance(error, ProviderUnavailable):
            if not self._has_failed_too_often(provider):
                return
            if not provider.progress.is_alive:
                self._leave_alone(provider, error)
                return
        with self._provider_locks[provider.id]:
            if provider.id in self._unusable:
                return
            if failed_at >= self._shown_to_work.get(provider.id, 0.0):
                self._probe(provider, error, prefix)
            is_left_alone = provider.id in self._unusable
        if isinstance(error, StorageFull) and not is_left_alone:
            self._shortages.note(provider, size_bytes, error)

    def _has_failed_too_often(self, provider: Provider) -> bool:
        with self._lock:
            self._failures[provider.id] = self._failures.get(provider.id, 0) + 1
            return self._failures[provider.id] >= FAILURES_UNTIL_LEFT_ALONE

    def _probe(self, provider: Provider, error: MigrationError, prefix: str) -> None:
        """Probe whether the provider itself fails. A provider that cannot answer now has not refused."""
        try:
            is_removed = require_in_use(provider, prefix)
        except ProviderError as refusal:
            is_same_fault = not isinstance(refusal, ProviderUnavailable) or isinstance(error, ProviderUnavailable)
            if refusal.provider_wide and is_same_fault:
                self._leave_alone(provider, refusal)
            return
        with self._lock:
            self._failures.pop(provider.id, None)
        shown_seconds = SHOWN_SECONDS if is_removed else SHOWN_BY_WHAT_STAYS_SECONDS
        self._shown_to_work[provider.id] = time.monotonic() + shown_seconds
        if isinstance(error, StorageFull):
            return
        emit(
            logging.INFO,
            "provider_kept",
            f"El proveedor {provider.name} sigue en uso, pues escribe, lee y lista: lo que falló es de esa ejecución",
            provider=provider.name,
            error_code=error.code,
        )

    def _leave_alone(self, provider: Provider, error: MigrationError) -> None:
        with self._lock:
            if provider.id in self._unusable:
                return
            self._unusable.add(provider.id)
        if not isinstance(error, ProviderUnavailable):
            self._needs_a_person(provider.id, provider.name, error.code)
        until = self._remember(provider.id, error)
        pause = f"; se deja en paz hasta {_local(until)}" if until else ""
        emit(
            logging.WARNING,
            "provider_left_alone",
            f"El proveedor {provider.name} no se usará más en esta ejecución: {error}{pause}",
            provider=provider.name,
            error_code=error.code,
        )

    def _remember(self, provider_id: int, error: Exception) -> datetime | None:
        """Record a failure for later runs; a run that is being stopped gives up requests without their fault."""
        if self._memory is None or self._interruption.is_set():
            return None
        row = self._rows.get(provider_id)
        return self._memory.note_failure(provider_id, row.identity if row else "", error)

    def _report_unusable(self, provider_id: int, name: str, error: Exception) -> None:
        self._needs_a_person(provider_id, name, code_of(error))
        self._remember(provider_id, error)
        emit(
            logging.ERROR,
            "provider_settings_invalid",
            f"El proveedor {one_line(name)} no se puede usar: {one_line(error)}",
            provider=one_line(name),
        )

    def require_room(self, provider: Provider, size_bytes: int, prefix: str) -> None:
        """See `Shortages.require_room`."""
        self._shortages.require_room(provider, size_bytes, prefix)

    def _report_shortage(self, provider: Provider, text: str) -> None:
        """Report and remember a lack of room. The provider stays in use, and nothing waits for a pause."""
        self._needs_a_person(provider.id, provider.name, StorageFull.code)
        self._remember(provider.id, StorageFull(text))
        emit(
            logging.WARNING,
            "provider_short_of_room",
            f"Proveedor {provider.name}: {text}; lo que cabe sigue yendo a él, y lo demás, al alternativo o a un ciclo "
            "posterior; libere espacio o amplíe la cuota",
            provider=provider.name,
            error_code=StorageFull.code,
        )

    def settle(self) -> None:
        """At the end of a run's transfers, forget a lack of room where executions were stored and all had room."""
        if self._memory is None:
            return
        with self._lock:
            worked = self._worked - self._unusable
        for provider_id in self._shortages.over(worked):
            self._memory.forget(provider_id, noted_here=int(self._shortages.is_reported(provider_id)))
            text = f"El proveedor {self.name(provider_id)} vuelve a tener espacio"
            emit(logging.INFO, "provider_has_room", text, provider=self.name(provider_id))

    def note_success(self, provider: Provider, size_bytes: int = 0) -> None:
        """Forget the failures of a provider that has stored an execution; it had room for `size_bytes`."""
        with self._lock:
            self._worked.add(provider.id)
            self._failures.pop(provider.id, None)
        self._shortages.note_stored(provider.id, size_bytes)

    def close(self) -> None:
        """Close every provider that was built."""
        for provider in (*self._built.values(), *self._unprobed.values()):
            provider.close()
