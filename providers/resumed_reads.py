"""Reads that go on where they were cut off."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from time import monotonic
from typing import Generic, TypeVar

from providers.base import ProviderUnavailable
from providers.progress import Progress
from providers.retries import with_retries

Piece = TypeVar("Piece", bound=Sized)
"""Bytes of an object, or what a page of a listing holds."""

NOTED_EVERY_SECONDS = 1.0
"""So often bytes that arrive are noted as progress: each piece by itself would count as a request."""


def resumed(open_from: Callable[[int], Iterator[Piece]], progress: Progress) -> Iterator[Piece]:
    """The bytes of an object, in which every cut costs one more request, for what is missing, after a pause.

    `open_from` gives the bytes from a position on (or the entries of a listing), and sees to it that they are of the
    same object; from the end on there are none. It may do its work at the first piece. Raises what it raises,
    `ProviderUnavailable` once the step is not worth another try.
    """
    reading = _Reading(open_from)
    while True:
        piece = with_retries(reading.first_piece, progress.interruption, progress)
        noted_at = monotonic()
        while piece is not None:
            yield piece
            piece = reading.next_piece()
            if monotonic() - noted_at > NOTED_EVERY_SECONDS:
                noted_at = monotonic()
                progress.note_success()
        if reading.cut is None:
            return


class _Reading(Generic[Piece]):
    """How far an object has been read, by which request."""

    def __init__(self, open_from: Callable[[int], Iterator[Piece]]) -> None:
        self.cut: ProviderUnavailable | None = None
        """What ended the latest request before its bytes did."""
        self._open_from = open_from
        self._position = 0
        self._pieces: Iterator[Piece] = iter(())

    def first_piece(self) -> Piece | None:
        """Ask for what is missing; `None` where nothing is. Raises first what ended the request before, so that the
        retrier decides whether and when to go on.
        """
        cut, self.cut = self.cut, None
        if cut is not None:
            raise cut
        self._pieces = self._open_from(self._position)
        return self._counted(next(self._pieces, None))

    def next_piece(self) -> Piece | None:
        """What follows; `None` at the end and at a cut."""
        try:
            return self._counted(next(self._pieces, None))
        except ProviderUnavailable as error:
            self.cut = error
            return None

    def _counted(self, piece: Piece | None) -> Piece | None:
        self._position += 0 if piece is None else len(piece)
        return piece
