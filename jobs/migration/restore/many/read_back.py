"""Reads a copy back from its provider and compares it with its manifest, without writing anything."""

from __future__ import annotations

import hashlib
import threading
from functools import partial

from config.errors import MigrationError, RunInterrupted
from config.logs import one_line
from config.models import Entry
from files.tree import Tree
from jobs.migration.restore.filling import announced_bytes
from jobs.migration.restore.losses import Losses
from jobs.migration.restore.progress import RestoreProgress, Show, showing
from jobs.migration.restore.source import CHECK_AND_AGAIN, errors_named
from providers.base import Provider
from providers.errors import IntegrityError
from providers.retries import with_retries
from storage.keys import Place
from storage.traffic.pace import Pacer
from storage.traffic.transfers import TransferPool


def read_back(
    provider: Provider,
    place: Place,
    tree: Tree,
    pool: TransferPool,
    interruption: threading.Event,
    heading: str,
    show: Show = showing,
) -> None:
    """Read every file that a tree names. Raises the first `MigrationError`, with the number of further ones."""
    progress = RestoreProgress(place.name, tree.file_count, tree.size_bytes, heading=heading)
    reading = _Reading(provider, place, tree, pool, interruption, progress)
    with errors_named(place.name, provider.name, CHECK_AND_AGAIN, "leer"), show(progress):
        reading.run()


class _Reading:
    """One copy being read."""

    def __init__(
        self,
        provider: Provider,
        place: Place,
        tree: Tree,
        pool: TransferPool,
        interruption: threading.Event,
        progress: RestoreProgress,
    ) -> None:
        self._provider = provider
        self._place = place
        self._tree = tree
        self._pool = pool
        self._interruption = interruption
        self._progress = progress
        self._losses = Losses()

    def run(self) -> None:
        """Raises the first error after everything was tried, or at once where it is the provider's own."""
        positions = self._tree.large_ones_first(self._tree.file_positions())
        self._pool.for_each(self._check, positions, self._interruption)
        failure = self._losses.failure()
        if failure is not None:
            raise failure

    def _check(self, position: int) -> None:
        entry = self._tree.entry(position)
        pacer = Pacer(self._pool.traffic, queue_position=0)
        attempt = partial(self._read, entry, pacer)
        try:
            with_retries(attempt, self._interruption, self._provider.progress, pacer.waited_seconds)
        except MigrationError as error:
            told = type(error)(f"{one_line(entry.path)}: {error}")
            if isinstance(error, RunInterrupted) or error.provider_wide:
                raise told from error
            self._losses.note_failure(told)
        else:
            self._progress.note_file()

    def _read(self, entry: Entry, pacer: Pacer) -> None:
        digest = hashlib.sha256()
        size_bytes = 0
        with self._progress.counted() as note_bytes:
            for chunk in pacer.paced(announced_bytes(self._provider, self._place, entry)):
                digest.update(chunk)
                size_bytes += len(chunk)
                note_bytes(len(chunk))
            if (size_bytes, digest.hexdigest()) != (entry.size_bytes, entry.sha256):
                raise IntegrityError("lo leído difiere del manifiesto")
