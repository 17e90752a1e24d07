"""Providers with too little free space, in this run or since an earlier one."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Set

from config.errors import MigrationError
from config.text.times import size
from providers.base import Provider
from providers.errors import ProviderError, StorageFull

REFUSALS_BELIEVED = 2
"""How many executions a provider has no room for before no larger one is sent to it in the same run."""


class Shortages:
    """Notes for which executions a provider had no room. Safe to use from several threads."""

    def __init__(self, report: Callable[[Provider, str], object]) -> None:
        """`report` is called once for each provider."""
        self._report = report
        self._lock = threading.Lock()
        self._refused_bytes: defaultdict[int, list[int]] = defaultdict(list)
        """The sizes of executions for which each provider had no room."""
        self._short: set[int] = set()
        """Providers that had no room for an execution, in this run or in an earlier one."""
        self._reported: set[int] = set()

    def expect(self, provider_id: int) -> None:
        """Note that a provider had no room in an earlier run."""
        self._short.add(provider_id)

    def note(self, provider: Provider, size_bytes: int, error: MigrationError) -> None:
        """Note that a provider had no room for an execution of `size_bytes`."""
        self._note_refused(provider.id, size_bytes)
        lack = _lack_of_room(provider, size_bytes, "")
        needed = f"hacen falta {size(size_bytes)}"
        self._report_once(provider, f"sin espacio ({lack})" if lack else f"sin espacio ({needed}): {error}")

    def note_stored(self, provider_id: int, size_bytes: int) -> None:
        """Note that a provider had room for an execution of `size_bytes`."""
        with self._lock:
            refused = self._refused_bytes[provider_id]
            refused[:] = [refused_bytes for refused_bytes in refused if refused_bytes > size_bytes]

    def require_room(self, provider: Provider, size_bytes: int, prefix: str) -> None:
        """Raises `StorageFull` for an execution that would be sent in vain: to a provider that had no room before and
        says that it has too little now, or that had none for several in this run that were no larger. A smaller one
        may fit. What is below `prefix` already needs no more room.
        """
        if provider.id not in self._short:
            return
        with self._lock:
            refused = [refused for refused in self._refused_bytes[provider.id] if refused <= size_bytes]
        lack = _lack_of_room(provider, size_bytes, prefix)
        if lack is None and len(refused) < REFUSALS_BELIEVED:
            return
        why = lack or f"no cupo una ejecución de {size(max(refused))}, y esta tiene {size(size_bytes)}"
        self._note_refused(provider.id, size_bytes)
        self._report_once(provider, f"sin espacio ({why})")
        raise StorageFull(f"sin espacio en {provider.name} ({why})")

    def over(self, worked: Set[int]) -> list[int]:
        """Those of the providers in `worked`, which have stored executions, that had no room before and now had room
        for all.
        """
        with self._lock:
            return [provider_id for provider_id in self._short & worked if not self._refused_bytes[provider_id]]

    def is_reported(self, provider_id: int) -> bool:
        """Whether this run has reported a shortage of a provider."""
        return provider_id in self._reported

    def _note_refused(self, provider_id: int, size_bytes: int) -> None:
        with self._lock:
            self._refused_bytes[provider_id].append(size_bytes)
            self._short.add(provider_id)

    def _report_once(self, provider: Provider, text: str) -> None:
        with self._lock:
            if provider.id in self._reported:
                return
            self._reported.add(provider.id)
        self._report(provider, text)


def _lack_of_room(provider: Provider, size_bytes: int, prefix: str) -> str | None:
    """How much room is left and how much is needed, in Spanish; `None` if it suffices or the store does not say.

    What is stored below `prefix` already, by an attempt that was cut off, is not needed again.
    """
    try:
        free_bytes = provider.free_bytes()
        if free_bytes is None or size_bytes <= free_bytes:
            return None
        needed_bytes = size_bytes - sum(stored.size_bytes for stored in provider.list(prefix))
    except ProviderError:  # the upload meets the same error, and reports it
        return None
    return None if needed_bytes <= free_bytes else f"quedan {size(free_bytes)}, hacen falta {size(needed_bytes)}"
