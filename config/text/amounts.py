"""Amounts as operators write them: sizes (100G), durations (1h30m), a bandwidth that depends on the time of day."""

from __future__ import annotations

import re
from bisect import bisect_right
from datetime import time
from typing import NamedTuple

UNITS_BYTES = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
UNITS_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}

NUMBER = "[0-9]{1,12}(?:[.][0-9]{1,6})?"

# Patterns are texts, which `re` compiles once they are used: most runs set none of these.
SIZE = rf"(?ai)({NUMBER})([KMGT]?)(?:i?B)?"
DURATION = "".join(rf"(?:({NUMBER}){unit})?" for unit in UNITS_SECONDS)
TIME_OF_DAY = "([01]?[0-9]|2[0-3]):([0-5][0-9])"

OFF = "off"
"""Means no limit; as an option it overrides a limit from the environment."""

SLOWEST_BYTES_PER_SECOND = 1024
LONGEST_SECONDS = 366 * 86400

SIZE_HINT = "debe ser una cantidad de bytes mayor que 0, con unidad, como 500M, 100G o 1.5T, u off"
DURATION_HINT = "debe ser una duración de 1 s a 366 días, con unidad, como 90m, 5h o 1h30m, u off"
BANDWIDTH_HINT = (
    "debe ser una velocidad por segundo, con unidad y de al menos 1K, como 512k o 20M, u off; "
    "o un horario, como '08:00,512k 19:00,10M 23:00,off', sin repetir horas"
)


class AmountError(ValueError):
    """A text is not a valid amount. The message, in Spanish, says what is expected, but not where the text was."""


class Timetable(NamedTuple):
    """Bytes per second by time of day, `None` for no limit. In order; the last entry continues into the next day."""

    entries: tuple[tuple[time, int | None], ...] = ((time(), None),)

    def bytes_per_second(self, time_of_day: time) -> int | None:
        """The limit at a local time of day."""
        position = bisect_right(self.entries, time_of_day, key=lambda entry: entry[0])
        return self.entries[position - 1][1]

    @property
    def fastest_bytes_per_second(self) -> int | None:
        """The highest limit of the day."""
        rates = [rate for _, rate in self.entries if rate is not None]
        return max(rates) if len(rates) == len(self.entries) else None


UNLIMITED = Timetable()


def parse_size(text: str) -> int | None:
    """Bytes, more than none; `None` for `off`. Units are powers of 1024, as rclone's are. Raises `AmountError`.

    A unit is required, as in every amount: 100 may mean bytes, megabytes or gigabytes.
    """
    if text == OFF:
        return None
    size_bytes = _bytes(text)
    if not size_bytes or text[-1:].isdigit():
        raise AmountError(SIZE_HINT)
    return size_bytes


def parse_duration(text: str) -> float | None:
    """Seconds, at least one; `None` for `off`. Raises `AmountError`."""
    if text == OFF:
        return None
    match = re.fullmatch(DURATION, text)
    numbers = map(float, match.groups("0")) if match else ()
    seconds = sum(number * unit for number, unit in zip(numbers, UNITS_SECONDS.values(), strict=False))
    if not 1 <= seconds <= LONGEST_SECONDS:
        raise AmountError(DURATION_HINT)
    return seconds


def parse_bandwidth(text: str) -> Timetable:
    """A bandwidth, or several by time of day as in rclone's `--bwlimit`. Raises `AmountError`.

    A unit is required: rclone reads a bare number as KiB, where others expect bytes.
    """
    if "," not in text:
        return Timetable(((time(), _bandwidth(text)),))
    entries = sorted((_timetable_entry(part) for part in text.split()), key=lambda entry: entry[0])
    if len({start for start, _ in entries}) < len(entries):
        raise AmountError(BANDWIDTH_HINT)
    return Timetable(tuple(entries))


def _timetable_entry(text: str) -> tuple[time, int | None]:
    start, _, bandwidth = text.partition(",")
    match = re.fullmatch(TIME_OF_DAY, start)
    if match is None:
        raise AmountError(BANDWIDTH_HINT)
    return time(int(match[1]), int(match[2])), _bandwidth(bandwidth)


def _bandwidth(text: str) -> int | None:
    if text == OFF:
        return None
    rate = _bytes(text)
    if rate is None or text[-1:].isdigit() or rate < SLOWEST_BYTES_PER_SECOND:
        raise AmountError(BANDWIDTH_HINT)
    return rate


def _bytes(text: str) -> int | None:
    """`None` if the text is not a size."""
    match = re.fullmatch(SIZE, text)
    return int(float(match[1]) * UNITS_BYTES[match[2].upper()]) if match else None
