"""Reads that resume after a cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from time import monotonic
from typing import Generic, TypeVar

from providers.errors import ProviderUnavailable
from providers.progress import Progress
from providers.retries import LONGEST_STEP_SECONDS, with_retries
from providers.shared.answers import SLOWEST_ANSWER_BYTES_PER_SECOND

Piece = TypeVar("Piece", bound=Sized)
"""Bytes of an object, or what a page of a listing holds."""

NOTED_EVERY_SECONDS = 1.0
"""How often arriving bytes are noted as progress: each piece alone would count as a request."""


PATIENCE_WITH_CUTS_SECONDS = LONGEST_STEP_SECONDS
"""How long a repeatedly cut read may be slower than the minimum pace of one answer."""


def resumed(
    open_from: Callable[[int], Iterator[Piece]],
    progress: Progress,
    slowest_per_second: float = SLOWEST_ANSWER_BYTES_PER_SECOND,
) -> Iterator[Piece]:
    """The bytes of an object, in which every cut costs one more request, for what is missing, after a pause.

    `open_from` gives the bytes from a position on (or the entries of a listing), and sees to it that they are of the
    same object; from the end on there are none. It may do its work at the first piece. Raises what it raises,
    `ProviderUnavailable` once the step is not worth another try, or where cuts let less pass than `slowest_per_second`.
    """
    reading = _Reading(open_from)
    pace = _PaceOfCuts(slowest_per_second)
    while True:
        piece = with_retries(reading.first_piece, progress.interruption, progress)
        noted_at = monotonic()
        while piece is not None:
            given_at = monotonic()
            yield piece
            taken_at = monotonic()
            pace.free_seconds += taken_at - given_at
            piece = reading.next_piece()
            if piece is not None and taken_at - noted_at > NOTED_EVERY_SECONDS:
                noted_at = taken_at
                progress.note_success()
        if reading.cut is None:
            return
        pace.require(reading.position)


class _PaceOfCuts:
    """Ends a read on which every request makes only a little progress."""

    def __init__(self, slowest_per_second: float) -> None:
        self.free_seconds = 0.0
        """The time that the reader itself has taken."""
        self._slowest_per_second = slowest_per_second
        self._first_cut: tuple[float, int] | None = None

    def require(self, position: int) -> None:
        """Note a cut at a position. Raises `ProviderUnavailable` for too little since the first one."""
        busy_at = monotonic() - self.free_seconds
        if self._first_cut is None:
            self._first_cut = (busy_at, position)
        seconds, pieces = busy_at - self._first_cut[0], position - self._first_cut[1]
        if seconds > PATIENCE_WITH_CUTS_SECONDS + pieces / self._slowest_per_second:
            error = ProviderUnavailable("la conexión se corta una y otra vez, y apenas llega nada")
            error.given_up = True
            raise error


class _Reading(Generic[Piece]):
    """The position in an object, and the current request."""

    def __init__(self, open_from: Callable[[int], Iterator[Piece]]) -> None:
        self.cut: ProviderUnavailable | None = None
        """The error that cut the latest request short."""
        self._open_from = open_from
        self.position = 0
        self._pieces: Iterator[Piece] = iter(())

    def first_piece(self) -> Piece | None:
        """Request the missing rest; `None` if nothing is missing. First raises the error that ended the last request,
        so that the retrier decides whether and when to continue.
        """
        cut, self.cut = self.cut, None
        if cut is not None:
            raise cut
        self._pieces = self._open_from(self.position)
        return self._counted(next(self._pieces, None))

    def next_piece(self) -> Piece | None:
        """The next piece; `None` at the end and at a cut."""
        try:
            return self._counted(next(self._pieces, None))
        except ProviderUnavailable as error:
            self.cut = error
            return None

    def _counted(self, piece: Piece | None) -> Piece | None:
        self.position += 0 if piece is None else len(piece)
        return piece
