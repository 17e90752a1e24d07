"""What storing needs of the records of an attempt, wherever they are kept."""

from __future__ import annotations

from typing import Protocol

from config.models import Attempt


class AttemptRecords(Protocol):
    """Keeps what is known of attempts from one run to the next. Each method may raise errors of its own."""

    @property
    def installation(self) -> str:
        """The identity of this installation, as manifests name it."""

    def note_place(self, attempt: Attempt, *, foreign_objects: bool) -> None:
        """Record that the place was looked at, and whether objects of others were found there."""

    def close_place(self, attempt_id: int) -> bool:
        """Keep all others from the place for a while. False: the attempt is not this run's any more."""

    def reopen_place(self, attempt_id: int) -> None:
        """End what `close_place` began: every deletion was answered."""
