"""Reads that go on where they were cut off."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice

import pytest

from providers import retries
from providers.errors import IntegrityError, ProviderUnavailable
from providers.progress import Progress
from providers.shared import resumed_reads
from providers.shared.resumed_reads import resumed

CONTENT = bytes(range(200))


class CutStore:
    """Holds one object, and cuts each request after this many pieces of ten bytes; remembers where each began."""

    def __init__(self, *pieces_until_cut: int, error: type[Exception] = ProviderUnavailable) -> None:
        self.asked_from: list[int] = []
        self._cuts = iter(pieces_until_cut)
        self._error = error

    def open_from(self, position: int) -> Iterator[bytes]:
        self.asked_from.append(position)
        pieces = next(self._cuts, None)
        starts = range(position, len(CONTENT), 10)
        yield from (CONTENT[start : start + 10] for start in islice(starts, pieces))
        if pieces is not None:
            raise self._error("se cortó")


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "sleep_using_event", lambda _event: lambda _seconds: None)


def test_what_is_missing_is_asked_for_once_more() -> None:
    store = CutStore(3, 1)
    assert b"".join(resumed(store.open_from, Progress())) == CONTENT
    assert store.asked_from == [0, 30, 40]


def test_a_cut_after_the_last_byte_costs_no_byte() -> None:
    store = CutStore(20)
    assert b"".join(resumed(store.open_from, Progress())) == CONTENT
    assert store.asked_from == [0, 200]


def test_any_number_of_cuts_is_survived_as_long_as_bytes_come() -> None:
    store = CutStore(*[1] * 19)
    assert b"".join(resumed(store.open_from, Progress())) == CONTENT
    assert store.asked_from == list(range(0, 200, 10))


def test_a_server_that_says_nothing_from_the_start_is_given_up_after_as_many_tries_as_ever() -> None:
    store = CutStore(*[0] * 100)
    with pytest.raises(ProviderUnavailable) as caught:
        list(resumed(store.open_from, Progress()))
    assert store.asked_from == [0] * 5
    assert caught.value.given_up


def test_what_asking_again_does_not_mend_is_reported_at_once() -> None:
    store = CutStore(3, error=IntegrityError)
    with pytest.raises(IntegrityError):
        list(resumed(store.open_from, Progress()))
    assert store.asked_from == [0]


def test_a_long_read_is_noted_as_progress_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not each piece of it: that would let a limited rate of requests rise with the bytes."""
    seconds = count(step=0.25)
    monkeypatch.setattr(resumed_reads, "monotonic", lambda: float(next(seconds)))
    noted: list[None] = []

    class Noting(Progress):
        def note_success(self) -> None:
            noted.append(None)

    list(resumed(CutStore().open_from, Noting()))
    assert 2 <= len(noted) <= 10


def test_a_piece_is_asked_for_when_it_is_wanted() -> None:
    store = CutStore()
    pieces = resumed(store.open_from, Progress())
    assert store.asked_from == []
    next(pieces)
    assert store.asked_from == [0]


def test_a_reading_that_hardly_gets_on_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sends a byte of each answer. Looked for in listings, too, which count names."""
    seconds = count(1000)
    monkeypatch.setattr(resumed_reads, "monotonic", lambda: float(next(seconds)))
    monkeypatch.setattr(retries, "sleep_using_event", lambda _event: lambda _seconds: None)

    def open_from(position: int) -> Iterator[bytes]:
        yield b"x"
        raise ProviderUnavailable("se cortó la conexión")

    with pytest.raises(ProviderUnavailable, match="una y otra vez"):
        for _ in resumed(open_from, Progress()):
            pass
