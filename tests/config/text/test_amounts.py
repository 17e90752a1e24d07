"""Sizes, durations and timetables as operators write them."""

from __future__ import annotations

from datetime import time

import pytest

from config.text.amounts import UNLIMITED, AmountError, parse_bandwidth, parse_duration, parse_size

BUSINESS_HOURS = "08:00,512k 19:00,10M 23:00,off"


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("1B", 1),
        ("10B", 10),
        ("1K", 1024),
        ("1k", 1024),
        ("512KiB", 512 * 1024),
        ("20MB", 20 * 1024**2),
        ("100G", 100 * 1024**3),
        ("1.5T", 1536 * 1024**3),
        ("off", None),
    ],
)
def test_sizes_are_multiples_of_1024(text: str, size_bytes: int | None) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    "text",
    ["", "0", "1", "1000", "0G", "-1G", "G", "1,5G", "1 G", "1P", "1e9", "nan", "²", "9" * 5000, "Off", "1\u212a"],
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(AmountError, match=r"^debe ser una cantidad de bytes"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("90m", 5400), ("5h", 18000), ("1h30m", 5400), ("1.5h", 5400), ("2d", 172800), ("off", None)],
)
def test_durations_are_sums_of_units(text: str, seconds: float | None) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "0h", "0.5s", "30m1h", "-5h", "5H", "1 h", "367d", "nan", "h", f"{10**99}s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(AmountError, match=r"^debe ser una duración"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "rate"), [("20M", 20 * 1024**2), ("1K", 1024), ("512k", 512 * 1024), ("1024B", 1024), ("off", None)]
)
def test_one_bandwidth_for_the_whole_day(text: str, rate: int | None) -> None:
    timetable = parse_bandwidth(text)
    assert {timetable.bytes_per_second(time(hour, 59)) for hour in range(24)} == {rate}
    assert timetable.fastest_bytes_per_second == rate


@pytest.mark.parametrize(
    ("hour", "minute", "rate"),
    [
        (8, 0, 512 * 1024),
        (18, 59, 512 * 1024),
        (19, 0, 10 * 1024**2),
        (22, 59, 10 * 1024**2),
        (23, 0, None),
        (0, 0, None),
        (7, 59, None),
    ],
)
def test_bandwidth_by_the_time_of_day(hour: int, minute: int, rate: int | None) -> None:
    for text in (BUSINESS_HOURS, "23:00,off   8:00,512k 19:00,10M"):
        assert parse_bandwidth(text).bytes_per_second(time(hour, minute, 30)) == rate


def test_the_fastest_of_a_timetable() -> None:
    assert parse_bandwidth(BUSINESS_HOURS).fastest_bytes_per_second is None
    assert parse_bandwidth("08:00,512k 19:00,10M").fastest_bytes_per_second == 10 * 1024**2
    assert UNLIMITED.fastest_bytes_per_second is None
    assert UNLIMITED.bytes_per_second(time(12)) is None


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "0K", "512", "20", "1023B", "-1M", "M", "20M/s", "veinte"),
        *("08:00,512", "08:00", "08:00,", ",512k", "24:00,1M", "8,1M", "08:60,1M", "08:00,1M 08:00,2M", "Mon-08:00,1M"),
        *("08:00,1M,2M", "1M 2M"),
    ],
)
def test_what_is_no_bandwidth(text: str) -> None:
    with pytest.raises(AmountError, match=r"^debe ser una velocidad"):
        parse_bandwidth(text)
