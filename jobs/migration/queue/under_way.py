"""Knows which uploads are under way, so that a run asked to stop can discard those that hang at a provider."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator

from config.errors import MigrationError
from config.logs import emit
from providers.base import Provider
from storage.keys import Place


class UploadsUnderWay:
    """The places that are receiving files. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: list[tuple[Provider, Place]] = []

    @contextlib.contextmanager
    def noted(self, provider: Provider, place: Place) -> Iterator[None]:
        """Note that files may be on their way to `place` within the block."""
        upload = (provider, place)
        with self._lock:
            self._places.append(upload)
        try:
            yield
        finally:
            with self._lock:
                self._places.remove(upload)

    def abandon_all(self, seconds: float) -> None:
        """Discard the unfinished uploads that are still under way, as far as this number of seconds allows.

        Only for a process that is about to end: its own transfers may still be waiting for an answer, and the next run
        finds what they leave after all.
        """
        deadline = time.monotonic() + seconds
        with self._lock:
            threads = [threading.Thread(target=_abandon, args=upload, daemon=True) for upload in self._places]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def _abandon(provider: Provider, place: Place) -> None:
    for prefix in place.unfinished_prefixes:
        try:
            provider.discard_unfinished(prefix)
        except MigrationError as error:
            emit(logging.DEBUG, "upload_not_abandoned", f"{provider.name}: {error}", cause=error)
