"""What one attempt stores, and where: the same for all parts of an upload."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from config.models import EVERYTHING, Attempt, Execution, Span, StoredObject
from files.tree import Tree
from providers.base import Provider
from providers.retries import Result, with_retries
from storage.attempt_records import AttemptRecords
from storage.keys import Place
from storage.receipts import Receipts
from storage.sending import Original
from storage.traffic.transfers import TransferPool


@dataclass(frozen=True, slots=True)
class UploadTask:
    """An attempt, its tree, and its place at a provider. `receipts` gets what was sent."""

    provider: Provider
    attempt: Attempt
    execution: Execution
    place: Place
    tree: Tree
    original: Original
    receipts: Receipts
    records: AttemptRecords
    pool: TransferPool
    interruption: threading.Event

    def retried(self, step: Callable[[], Result]) -> Result:
        """Run a step, and repeat it as `with_retries` does."""
        return with_retries(step, self.interruption, self.provider.progress)

    def listed(self, size_bytes: int, span: Span = EVERYTHING) -> Iterator[tuple[int | None, StoredObject]]:
        """The objects at the place in a new listing, each with the position of the file that it may be.

        For this, some servers read all stored bytes, up to `size_bytes`. So another question comes first, to detect a
        silent server sooner.
        """
        position = None
        for stored in self.provider.list_patiently(self.place.files_prefix, size_bytes, span):
            position = self.receipts.position_of(stored.key, (position or 0) + 1)
            yield position, stored

    def replaces_safely(self) -> bool:
        """See `Provider.replaces_safely`."""
        return self.retried(partial(self.provider.replaces_safely, self.place.probe_prefix))

    @property
    def everything_here_is_ours(self) -> bool:
        """Whether the objects here may be removed: only earlier attempts that failed have sent anything."""
        attempt = self.attempt
        return attempt.earlier_attempts_here > 0 and not (attempt.foreign_objects_here or attempt.committed_here)

    @property
    def objects_here_are_ours(self) -> bool:
        """Whether an object under a key of ours may be replaced: it was sent for this execution."""
        attempt = self.attempt
        return attempt.earlier_attempts_here > 0 and (attempt.committed_here or not attempt.foreign_objects_here)
