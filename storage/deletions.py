"""Deletions at a place that may be used again only once it is known that none of them arrives late."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from datetime import datetime
from functools import partial

from config.models import StoredObject
from providers.base import Provider, ProviderError, ProviderUnavailable, UnsafeDestination, naming_object
from providers.retries import with_retries
from storage.attempt_records import AttemptRecords
from storage.keys import Place
from storage.lease import ClaimLost


def require_open(place: Place, closed_until: datetime | None) -> None:
    """Raises `UnsafeDestination` for a place to which something may be on its way until a certain time."""
    if closed_until is not None:
        raise UnsafeDestination(
            f"a {place.key_prefix} puede llegar aún algo que envió una ejecución del programa que se interrumpió; se "
            f"puede usar otra vez desde las {closed_until.astimezone():%H:%M}"
        )


class Deletions:
    """Deletions of objects of one provider, each repeated as often as it is worth."""

    def __init__(self, provider: Provider, stop: threading.Event) -> None:
        self._provider = provider
        self._stop = stop
        self.unanswered = False
        """Whether any request got no answer, so that it may still be on its way, though a later one was answered."""

    def delete(self, stored: StoredObject) -> None:
        """See `Provider.delete_exactly`."""
        with naming_object(stored.key):
            with_retries(partial(self._delete, stored), self._stop, self._provider.progress)

    def _delete(self, stored: StoredObject) -> None:
        try:
            self._provider.delete_exactly(stored)
        except ProviderUnavailable:
            self.unanswered = True
            raise


@contextlib.contextmanager
def late_deletions_kept_off(
    records: AttemptRecords, attempt_id: int, provider: Provider, stop: threading.Event
) -> Iterator[Deletions]:
    """Within, objects at an attempt's place may be deleted. Unless every deletion is answered, no other run uses the
    place for a while: one that was on its way when this run ended could hit what that run has stored. Also where
    deletions name the version that they mean: an equal file need not be sent again, and then keeps its version.
    """
    if not records.close_place(attempt_id):
        raise ClaimLost("la fila cambió")
    deletions = Deletions(provider, stop)
    try:
        yield deletions
    except ProviderUnavailable:
        raise
    except ProviderError:  # one was refused, and so answered
        if not deletions.unanswered:
            records.reopen_place(attempt_id)
        raise
    if not deletions.unanswered:
        records.reopen_place(attempt_id)
