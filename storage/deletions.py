"""Deletions at a place that may only be used again once none of them can arrive late."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from datetime import datetime
from functools import partial

from config.models import StoredObject
from providers.base import Provider
from providers.errors import ProviderError, ProviderUnavailable, UnsafeDestination, naming_object
from providers.retries import with_retries
from storage.attempt_records import AttemptRecords
from storage.keys import Place
from storage.lease import ClaimLost


class PlaceClosed(UnsafeDestination):
    """Something that an earlier run sent may still arrive at a place. That passes by itself."""


def require_open(place: Place, closed_until: datetime | None) -> None:
    """Raises `UnsafeDestination` for a place where a late request may still arrive before a certain time."""
    if closed_until is not None:
        raise PlaceClosed(
            f"a {place.key_prefix} puede llegar aún algo que envió una ejecución del programa que se interrumpió; se "
            f"puede usar otra vez desde las {closed_until.astimezone():%H:%M}"
        )


class Deletions:
    """Deletes objects of one provider and retries each deletion as often as is useful."""

    def __init__(self, provider: Provider, stop: threading.Event) -> None:
        self._provider = provider
        self._stop = stop
        self.unanswered = False
        """Whether any request got no answer. It may still arrive, even if a later one was answered."""

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
    """Allow deletions at an attempt's place within the block. Unless every deletion is answered, no other run uses the
    place for a while: a late one could hit what that other run stores. This also holds where deletions name a version:
    an equal file need not be sent again, and then keeps its version.
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
