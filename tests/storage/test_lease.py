"""Nothing is changed outside the database once a claim is lost, or once nobody can say whether it still holds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from config.models import LEASE_SECONDS, ProviderRow
from files.descriptors import CHUNK_SIZE_BYTES
from providers.base import Provider
from providers.local.provider import LocalProvider
from providers.sources import BytesSource, Source
from storage import lease as lease_module
from storage.lease import (
    ASK_AGAIN_SECONDS,
    FRESH_SECONDS,
    MARGIN_SECONDS,
    ClaimLost,
    Lease,
    LeasedProvider,
)
from tests.faults.faulty_provider import FaultyProvider


class Unanswered(Exception):
    """A database that does not answer."""


class Clock:
    """A clock that a test sets, and a database that answers as the test says."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.answer: float | Unanswered | None = LEASE_SECONDS
        self.asked_at: list[float] = []
        self.answer_takes_seconds = 0.0

    def ask(self) -> float | None:
        """What the records of the claim would say."""
        self.asked_at.append(self.seconds)
        self.seconds += self.answer_takes_seconds
        if isinstance(self.answer, Unanswered):
            raise self.answer
        return self.answer

    def pass_by(self, seconds: float) -> None:
        """Let time pass."""
        self.seconds += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of all leases."""
    made = Clock()
    monkeypatch.setattr(lease_module, "now", lambda: made.seconds)
    return made


def test_an_answer_is_good_for_half_a_second(clock: Clock) -> None:
    lease = Lease(clock.ask, Unanswered)
    lease.require_held()
    clock.pass_by(FRESH_SECONDS * 0.9)
    lease.require_held()
    assert len(clock.asked_at) == 1
    clock.pass_by(FRESH_SECONDS * 0.2)
    lease.require_held()
    assert len(clock.asked_at) == 2


def test_a_claim_that_was_taken_over_is_lost(clock: Clock) -> None:
    lease = Lease(clock.ask, Unanswered)
    lease.require_held()
    clock.answer = None
    clock.pass_by(3600)
    for _ in range(2):
        with pytest.raises(ClaimLost):
            lease.require_held()


@pytest.mark.parametrize("seconds_left", [MARGIN_SECONDS * 0.9, 0, -3600])
def test_a_lease_that_is_over_or_about_to_be_is_lost_though_nobody_took_over(clock: Clock, seconds_left: float) -> None:
    clock.answer = seconds_left
    with pytest.raises(ClaimLost):
        Lease(clock.ask, Unanswered).require_held()


def test_while_the_database_is_silent_the_lease_continues_to_its_end_and_no_further(clock: Clock) -> None:
    lease = Lease(clock.ask, Unanswered)
    lease.require_held()
    known_at = clock.seconds
    clock.answer = Unanswered("no responde")
    while clock.seconds < known_at + LEASE_SECONDS - MARGIN_SECONDS - 1:
        clock.pass_by(1)
        lease.require_held()
    pauses = [later - earlier for earlier, later in zip(clock.asked_at[1:], clock.asked_at[2:], strict=False)]
    assert min(pauses) >= ASK_AGAIN_SECONDS  # a database that is away does not hold up the work
    clock.pass_by(1)
    with pytest.raises(ClaimLost, match="no responde"):
        lease.require_held()
    clock.answer = LEASE_SECONDS  # it is back, and the lease was renewed
    lease.require_held()


def test_time_counts_from_the_question_and_not_from_the_answer(clock: Clock) -> None:
    """Whoever is stopped while the answer is on its way must not take it for new."""
    clock.answer_takes_seconds = LEASE_SECONDS
    with pytest.raises(ClaimLost):
        Lease(clock.ask, Unanswered).require_held()


@pytest.mark.parametrize("set_back_seconds", [1.0, 3600.0, 1e9])
def test_a_database_whose_clock_was_set_back_gives_no_longer_lease(clock: Clock, set_back_seconds: float) -> None:
    """By its clock there is much time left, and none as soon as the clock is set right, when another run takes over.

    Looked for elsewhere, too: a helper is told of an end that was capped, as all of them are made by `Lease`, and by
    no other part of the program is a time of the database compared with one of this machine.
    """
    clock.answer = LEASE_SECONDS + set_back_seconds
    lease = Lease(clock.ask, Unanswered)
    assert lease.held_until() == clock.seconds + LEASE_SECONDS - MARGIN_SECONDS
    clock.answer = Unanswered("no responde")
    clock.pass_by(LEASE_SECONDS - MARGIN_SECONDS - 1)
    lease.require_held()
    clock.pass_by(1)
    with pytest.raises(ClaimLost, match="no responde"):
        lease.require_held()


def test_what_was_never_known_to_be_held_is_not(clock: Clock) -> None:
    clock.answer = Unanswered("no responde")
    with pytest.raises(ClaimLost, match="no responde"):
        Lease(clock.ask, Unanswered).require_held()


def test_many_threads_ask_once(clock: Clock) -> None:
    lease = Lease(clock.ask, Unanswered)
    start = threading.Barrier(8)

    def require_held(_number: int) -> None:
        start.wait()
        lease.require_held()

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(require_held, range(8)))
    assert len(clock.asked_at) == 1


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[FaultyProvider]:
    """A directory, whose calls are counted."""
    row = ProviderRow(1, "NAS", "local", None, {"ruta": str(tmp_path)}, active=True)
    with closing(FaultyProvider(LocalProvider(row))) as provider:
        yield provider


def test_without_its_lease_a_provider_can_be_read_and_not_changed(clock: Clock, watched: FaultyProvider) -> None:
    provider = LeasedProvider(watched, Lease(clock.ask, Unanswered))
    provider.put("e/a", BytesSource(b"content"))
    stored = provider.stat("e/a")
    clock.answer = None
    clock.pass_by(1)
    watched.calls.clear()
    with pytest.raises(ClaimLost):
        provider.put("e/a", BytesSource(b""))
    with pytest.raises(ClaimLost):
        list(provider.put_many({"e/a": BytesSource(b"")}))
    with pytest.raises(ClaimLost):
        list(provider.put_new_many({"e/a": BytesSource(b"")}))
    with pytest.raises(ClaimLost):
        provider.delete("e/a")
    with pytest.raises(ClaimLost):
        provider.discard_unfinished("e/")
    with pytest.raises(ClaimLost):
        provider.replace("e/a", BytesSource(b""), stored)
    with pytest.raises(ClaimLost):
        provider.delete_exactly(stored)
    with pytest.raises(ClaimLost):
        provider.replaces_safely("e")
    with pytest.raises(ClaimLost):
        provider.creates_safely("e")
    with pytest.raises(ClaimLost):
        provider.deletes_safely("e")
    with pytest.raises(ClaimLost):
        provider.folds_names("e")
    assert watched.calls == []
    assert b"".join(provider.open("e/a")) == b"content"
    assert [stored.key for stored in provider.list("e/")] == [provider.stat("e/a").key]
    assert [digest.key for digest in provider.digests(["e/a"])] == ["e/a"]


@pytest.mark.parametrize("method", ["put", "put_new_many", "replace"])
def test_a_lease_that_is_lost_in_the_middle_of_a_file_ends_its_upload(
    clock: Clock, watched: FaultyProvider, tmp_path: Path, method: str
) -> None:
    class Slow(BytesSource):
        def chunks(self, chunk_size_bytes: int) -> Iterator[bytes]:
            for chunk in super().chunks(chunk_size_bytes):
                yield chunk
                clock.pass_by(1)
                clock.answer = None

    leased = LeasedProvider(watched, Lease(clock.ask, Unanswered))
    ways: dict[str, Callable[[Source], object]] = {
        "put": lambda source: leased.put("e/a", source),
        "put_new_many": lambda source: list(leased.put_new_many({"e/a": source})),
        "replace": lambda source: leased.replace("e/a", source, None),
    }
    with pytest.raises(ClaimLost):
        ways[method](Slow(bytes(3 * CHUNK_SIZE_BYTES)))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_machine_that_sleeps_does_not_stop_the_clock_of_a_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one of the kernel's clocks advances then. Looked for besides: nothing else in `jobs` reckons with leases."""
    asked: list[int] = []
    monkeypatch.setattr(time, "clock_gettime", asked.append)
    lease_module.now()
    assert asked == [time.CLOCK_BOOTTIME]


def test_whatever_a_provider_does_in_its_own_way_is_done_so_under_a_lease() -> None:
    """None of its methods may be shadowed by what they are where a provider does not say."""
    of_every_provider = {
        name for name, value in vars(Provider).items() if callable(value) or isinstance(value, property)
    }
    public = {name for name in of_every_provider if not name.startswith("_")}
    assert public - vars(LeasedProvider).keys() == {"check"}
