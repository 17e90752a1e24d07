"""A bandwidth limit holds over all transfers together, by the time of day, and no wait outlasts a request to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import time as time_of_day

import pytest

from config.errors import RunInterrupted
from config.text.amounts import UNLIMITED, Timetable, parse_bandwidth
from providers.sources import BytesSource
from storage.traffic.pace import SLICE_SECONDS, PacedSource, Pacer, Traffic, transfers_within

KIBIBYTE = 1024


class Clock(threading.Event):
    """Time that passes only while somebody waits for the event, and a time of day that runs with it."""

    def __init__(self, hour: int = 12) -> None:
        super().__init__()
        self.seconds = 1000.0
        self._midnight = self.seconds - hour * 3600
        self.waits = 0

    def wait(self, timeout: float | None = None) -> bool:
        """Let time pass, unless the run was asked to stop."""
        assert timeout is not None
        if not self.is_set():
            self.waits += 1
            self.seconds += timeout
        return self.is_set()

    def time_of_day(self) -> time_of_day:
        """What a clock on the wall shows."""
        minutes, seconds = divmod(int(self.seconds - self._midnight), 60)
        return time_of_day(minutes // 60 % 24, minutes % 60, seconds)


class Awaited(threading.Event):
    """An event that says when somebody waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.is_awaited = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait, and say so before."""
        self.is_awaited.set()
        return super().wait(timeout)


def traffic_at(clock: Clock, bandwidth: str) -> Traffic:
    """Traffic by a clock that a test sets."""
    return Traffic(parse_bandwidth(bandwidth), clock, clock=lambda: clock.seconds, now=clock.time_of_day)


@pytest.mark.parametrize("sizes_bytes", [[640 * KIBIBYTE], [64 * KIBIBYTE] * 10, [100] * 6554, [1] * 10 + [655350]])
def test_as_many_bytes_as_the_limit_allows_and_no_more(sizes_bytes: list[int]) -> None:
    clock = Clock()
    traffic = traffic_at(clock, "64K")
    started = clock.seconds
    for size_bytes in sizes_bytes:
        traffic.pass_bytes(size_bytes)
    seconds = sum(sizes_bytes) / (64 * KIBIBYTE)
    assert seconds - 2 * SLICE_SECONDS <= clock.seconds - started <= seconds
    assert traffic.passed_bytes == sum(sizes_bytes)


def test_idle_time_is_not_spent_on_later_bytes() -> None:
    clock = Clock()
    traffic = traffic_at(clock, "64K")
    traffic.pass_bytes(64 * KIBIBYTE)
    clock.seconds += 3600
    started = clock.seconds
    traffic.pass_bytes(640 * KIBIBYTE)
    assert clock.seconds - started >= 10 - 2 * SLICE_SECONDS


def test_small_files_at_a_high_rate_are_not_slowed_by_as_many_waits() -> None:
    clock = Clock()
    traffic = traffic_at(clock, "100M")
    for _ in range(10_000):
        traffic.pass_bytes(KIBIBYTE)
    assert clock.waits <= 20


def test_a_change_of_the_timetable_counts_in_the_middle_of_a_file() -> None:
    clock = Clock(hour=22)
    traffic = traffic_at(clock, "08:00,1K 23:00,1M 23:30,off")
    started = clock.seconds
    traffic.pass_bytes(3600 * KIBIBYTE + 100 * KIBIBYTE * KIBIBYTE)  # an hour at 1K, then 100 seconds at 1M
    assert 3695 <= clock.seconds - started <= 3701
    clock.seconds += 1800
    started = clock.seconds
    traffic.pass_bytes(10**12)
    assert clock.seconds == started


def test_who_came_first_goes_first_even_in_the_middle_of_another_file() -> None:
    interruption = Awaited()
    traffic = Traffic(parse_bandwidth("40K"), interruption)
    early, late = traffic.new_queue_position(), traffic.new_queue_position()
    done: list[str] = []

    def send(name: str, size_bytes: int, place: int) -> None:
        traffic.pass_bytes(size_bytes, place)
        done.append(name)

    with ThreadPoolExecutor(2) as threads:
        small = threads.submit(send, "small and late", 40 * KIBIBYTE, late)
        assert interruption.is_awaited.wait(30)
        large = threads.submit(send, "large and early", 60 * KIBIBYTE, early)
        small.result()
        large.result()
    assert done == ["large and early", "small and late"]


@pytest.mark.parametrize("bandwidth", [UNLIMITED, parse_bandwidth("off")])
def test_without_a_limit_nobody_waits(bandwidth: Timetable) -> None:
    clock = Clock()
    traffic = Traffic(bandwidth, clock)
    traffic.pass_bytes(10**15)
    assert (clock.waits, traffic.passed_bytes) == (0, 10**15)


def test_a_request_to_stop_ends_every_wait_at_once() -> None:
    interruption = threading.Event()
    traffic = Traffic(parse_bandwidth("1K"), interruption)
    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(traffic.pass_bytes, 1024 * KIBIBYTE) for _ in range(8)]
        interruption.set()
        for future in waiting:
            with pytest.raises(RunInterrupted):
                future.result(timeout=30)
    assert traffic.passed_bytes == 0


def test_threads_share_one_limit() -> None:
    traffic = Traffic(parse_bandwidth("1M"))
    started = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        for future in [threads.submit(traffic.pass_bytes, 64 * KIBIBYTE) for _ in range(8)]:
            future.result()
    assert time.monotonic() - started >= 0.5 / 1.3


def test_a_paced_source_gives_the_same_bytes_every_time() -> None:
    content = bytes(range(256)) * 10
    clock = Clock()
    source = PacedSource(BytesSource(content), Pacer(traffic_at(clock, "1K"), 0))
    assert source.size_bytes == len(content)
    for _ in range(2):
        started = clock.seconds
        chunks = list(source.chunks(1000))
        assert ([len(chunk) for chunk in chunks], b"".join(chunks)) == ([1000, 1000, 560], content)
        assert clock.seconds - started >= 2.3  # what is sent again travels again


def test_a_paced_source_hands_on_what_its_source_raises() -> None:
    class Changing:
        size_bytes = 5

        def chunks(self, _chunk_size_bytes: int) -> Iterator[bytes]:
            yield b"1"
            raise RunInterrupted("interrumpido")

    with pytest.raises(RunInterrupted):
        list(PacedSource(Changing(), Pacer(Traffic(), 0)).chunks(10))


@pytest.mark.parametrize(
    ("bandwidth", "transfers"),
    [
        ("off", 16),
        ("1K", 1),
        ("64K", 4),
        ("256K", 16),
        ("20M", 16),
        ("08:00,16K 23:00,32K", 2),
        ("8:00,1K 9:00,off", 16),
    ],
)
def test_a_low_limit_keeps_fewer_transfers_moving(bandwidth: str, transfers: int) -> None:
    assert transfers_within(16, parse_bandwidth(bandwidth)) == transfers
