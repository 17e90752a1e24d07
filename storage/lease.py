"""The right to work on an execution. It ends with the lease, or when another run takes the execution over.

A process can be stopped at any moment for longer than its lease (SIGSTOP, a suspended machine, a hanging disk), and
does not notice when it resumes. The database then refuses its writes; no provider and no file system can. So every step
that changes something outside the database asks first, unless the last answer is younger than `FRESH_SECONDS`. A
request that was sent before the process stopped may still arrive. For equal files that changes nothing, because equal
files have equal manifests.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from config.errors import MigrationError
from config.models import EVERYTHING, LEASE_SECONDS, ContentDigest, PutReceipt, Span, StoredObject
from providers.base import Provider, Right
from providers.errors import ProviderError, name_object, naming_object
from providers.sources import Source

FRESH_SECONDS = 0.5
ASK_AGAIN_SECONDS = 10.0
"""How long the work continues before a database that did not answer is asked again."""

MARGIN_SECONDS = LEASE_SECONDS / 6
"""No step begins this close to the end of a lease: it would not finish in time."""

CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # keeps running while the machine is suspended


class ClaimLost(MigrationError):
    """Another run took the execution over, or its row changed: this run must not touch it any more."""

    code = "claim_lost"


class Lease:
    """The right to work on one execution. `ask` returns for how many seconds it is still ours, or `None` when it is
    not. It raises an `unanswered` error, with a message in Spanish, when that cannot be found out now.

    Time is measured from before the question, by a clock that nobody sets. So this lease ends before the one in the
    database, whatever the time of day on either side. It never extends more than `LEASE_SECONDS` ahead, even when the
    database's clock was set back. Safe to use from several threads.
    """

    def __init__(self, ask: Callable[[], float | None], unanswered: type[Exception] | tuple[()] = ()) -> None:
        self._ask = ask
        self._unanswered = unanswered
        self._turn = threading.Lock()
        self._fresh_until = 0.0
        self._ends_at = 0.0

    @classmethod
    def until(cls, ends_at: Callable[[], float]) -> Lease:
        """A lease known only by its end, for a process that receives that end and cannot ask; see `held_until`."""
        return cls(lambda: ends_at() + MARGIN_SECONDS - now())

    def held_until(self) -> float:
        """The earliest time at which the lease can end, by the clock of `now`. Raises as `require_held`."""
        self.require_held()
        return self._ends_at

    def require_held(self) -> None:
        """Raises `ClaimLost`, also when the database cannot be asked and the lease is about to end."""
        if now() < self._fresh_until:
            return
        with self._turn:
            if now() >= self._fresh_until:
                self._renew_knowledge()

    def _renew_knowledge(self) -> None:
        asked_at = now()
        try:
            seconds_left = self._ask()
        except self._unanswered as error:
            if now() >= self._ends_at:
                raise ClaimLost(f"no se sabe si la reserva sigue vigente: {error}") from error
            self._fresh_until = min(now() + ASK_AGAIN_SECONDS, self._ends_at)
            return
        if seconds_left is None:
            raise ClaimLost("otro proceso de janitor se hizo cargo, o la fila cambió")
        # No lease is longer: one that seems longer was given before the database's clock was set back.
        self._ends_at = asked_at + min(seconds_left, LEASE_SECONDS) - MARGIN_SECONDS
        if now() >= self._ends_at:
            raise ClaimLost("la reserva venció: el programa estuvo parado o sin base de datos demasiado tiempo")
        self._fresh_until = asked_at + FRESH_SECONDS


def now() -> float:
    """Seconds since the machine was started."""
    return time.clock_gettime(CLOCK)


class LeasedProvider(Provider):
    """A provider for the holder of a lease: nothing is changed there once the lease is over.

    The methods that change something raise `ClaimLost` besides the provider's own errors. A refusal of one object is
    raised with its key.
    """

    def __init__(self, provider: Provider, lease: Lease) -> None:
        super().__init__(provider.id, provider.name, provider.kind)
        self.store = provider.store
        self.progress = provider.progress
        self.told = provider.told
        self.longest_key_bytes = provider.longest_key_bytes  # type: ignore[misc] # one instance's, as another class's
        self.offload_threshold_bytes = provider.offload_threshold_bytes  # type: ignore[misc]
        self.listed_at_once = provider.listed_at_once  # type: ignore[misc]
        self.only_conditions_stop_late_puts = provider.only_conditions_stop_late_puts  # type: ignore[misc]
        self.what_is_there_is_durable = provider.what_is_there_is_durable  # type: ignore[misc]
        self.may_be_unmounted = provider.may_be_unmounted  # type: ignore[misc]
        self.recorded = provider.recorded
        self._provider = provider
        self._lease = lease

    @property
    def objects_at_once(self) -> int:
        return self._provider.objects_at_once

    def put(self, key: str, source: Source) -> PutReceipt:
        self._lease.require_held()
        with naming_object(key):
            return self._provider.put(key, _LeasedSource(source, self._lease))

    def put_many(self, sources: Mapping[str, Source]) -> Iterator[tuple[str, PutReceipt]]:
        self._lease.require_held()
        yield from self._provider.put_many({key: _LeasedSource(source, self._lease) for key, source in sources.items()})

    def put_new_many(self, sources: Mapping[str, Source]) -> Iterator[tuple[str, PutReceipt]]:
        self._lease.require_held()
        leased = {key: _LeasedSource(source, self._lease) for key, source in sources.items()}
        try:
            yield from self._provider.put_new_many(leased)
        except ProviderError as error:
            if len(sources) == 1:
                name_object(error, next(iter(sources)))
            raise

    def delete(self, key: str) -> None:
        self._lease.require_held()
        with naming_object(key):
            self._provider.delete(key)

    def replace(self, key: str, source: Source, expected: StoredObject | None) -> PutReceipt:
        self._lease.require_held()
        with naming_object(key):
            return self._provider.replace(key, _LeasedSource(source, self._lease), expected)

    def delete_exactly(self, stored: StoredObject) -> None:
        self._lease.require_held()
        with naming_object(stored.key):
            self._provider.delete_exactly(stored)

    def replaces_safely(self, prefix: str = "") -> bool:
        self._lease.require_held()
        return self._provider.replaces_safely(prefix)

    def creates_safely(self, prefix: str = "") -> bool:
        self._lease.require_held()
        return self._provider.creates_safely(prefix)

    def deletes_safely(self, prefix: str = "") -> bool:
        self._lease.require_held()
        return self._provider.deletes_safely(prefix)

    def folds_names(self, prefix: str = "") -> bool:
        self._lease.require_held()
        return self._provider.folds_names(prefix)

    def discard_unfinished(self, prefix: str) -> None:
        self._lease.require_held()
        self._provider.discard_unfinished(prefix)

    def discard_unfinished_but_for(self, prefix: str, is_wanted: Callable[[str], bool]) -> bool:
        self._lease.require_held()
        return self._provider.discard_unfinished_but_for(prefix, is_wanted)

    def hand_over_unfinished(self, keys: Iterable[str]) -> Sequence[object]:
        return self._provider.hand_over_unfinished(keys)

    def continue_with(self, kept: Sequence[object]) -> None:
        self._provider.continue_with(kept)

    def further_rights(self, key: str) -> Iterator[Right]:
        return self._provider.further_rights(key)

    def signed_url(self, key: str, seconds: int) -> str:
        return self._provider.signed_url(key, seconds)

    def request_restore(self, key: str) -> bool:
        self._lease.require_held()
        return self._provider.request_restore(key)

    def measure(self, source: Source) -> PutReceipt:
        return self._provider.measure(source)

    def open(self, key: str) -> Iterator[bytes]:
        with naming_object(key):
            yield from self._provider.open(key)

    def open_sized(self, key: str, size_bytes: int) -> Iterator[bytes]:
        return self._provider.open_sized(key, size_bytes)

    def open_from(self, key: str, size_bytes: int, start_bytes: int) -> Iterator[bytes]:
        return self._provider.open_from(key, size_bytes, start_bytes)

    def stat(self, key: str) -> StoredObject:
        with naming_object(key):
            return self._provider.stat(key)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        return self._provider.list(prefix)

    def free_bytes(self) -> int | None:
        return self._provider.free_bytes()

    def top_names(self) -> Sequence[str]:
        return self._provider.top_names()

    def list_patiently(self, prefix: str, size_bytes: int, span: Span = EVERYTHING) -> Iterator[StoredObject]:
        return self._provider.list_patiently(prefix, size_bytes, span)

    def digests(self, keys: Iterable[str]) -> Iterator[ContentDigest]:
        return self._provider.digests(keys)

    def close(self) -> None:
        """Do nothing: the provider belongs to the run and outlives the lease."""


class _LeasedSource:
    """Bytes that stop with an error once the lease is over, so that a long upload does not seem to end normally."""

    def __init__(self, source: Source, lease: Lease) -> None:
        self._source = source
        self._lease = lease

    @property
    def size_bytes(self) -> int:
        return self._source.size_bytes

    def chunks(self, chunk_size_bytes: int) -> Iterator[bytes]:
        for chunk in self._source.chunks(chunk_size_bytes):
            self._lease.require_held()
            yield chunk
