"""What storing needs of the records of an attempt, wherever they are kept."""

from __future__ import annotations

from typing import Protocol

from config.models import Attempt


class AttemptRecords(Protocol):
    """Keeps what is known of attempts from one run to the next. Each method may raise its own errors."""

    @property
    def installation(self) -> str:
        """The identity of this installation, as manifests name it."""

    def note_place(self, attempt: Attempt, *, foreign_objects: bool) -> None:
        """Record that the place was inspected, and whether foreign objects were found there."""

    def close_place(self, attempt_id: int) -> bool:
        """Keep everybody else out of the place for a while. False: the attempt no longer belongs to this run."""

    def reopen_place(self, attempt_id: int) -> None:
        """End what `close_place` began, once every deletion was answered."""
