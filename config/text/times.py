"""Instants and sizes as operators read them: local time with its age, bytes with their unit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple, Self

AGES = ((86400, "d"), (3600, "h"), (60, "min"))
UNITS = ("B", "KB", "MB", "GB", "TB", "PB")


def age(span: timedelta) -> str:
    """A span in its largest unit, rounded down: "3 h"; from two days on in days, so that "30 h" stays exact enough."""
    seconds = int(span.total_seconds())
    for unit_seconds, unit in AGES:
        if seconds >= unit_seconds * (2 if unit == "d" else 1):
            return f"{seconds // unit_seconds} {unit}"
    return f"{max(seconds, 0)} s"


def ago(instant: datetime, now: datetime) -> str:
    """How long ago an instant was: "hace 3 h"; "dentro de 3 h" for one to come."""
    return f"hace {age(now - instant)}" if instant <= now else f"dentro de {age(instant - now)}"


def local(instant: datetime, zone: tzinfo) -> str:
    """An instant on the operators' clock, to the minute."""
    return instant.astimezone(zone).strftime("%Y-%m-%d %H:%M")


def local_with_age(instant: datetime, now: datetime, zone: tzinfo) -> str:
    """Both: "2026-11-28 03:00 (hace 3 h)"."""
    return f"{local(instant, zone)} ({ago(instant, now)})"


class Clock(NamedTuple):
    """The operators' clock."""

    now: datetime
    zone: tzinfo

    @classmethod
    def of_this_host(cls, zone: tzinfo) -> Self:
        """By this host's time, for what asks no database for it."""
        return cls(datetime.now(UTC), zone)

    def when(self, instant: datetime | None) -> str:
        """An instant with its age."""
        return "nunca" if instant is None else local_with_age(instant, self.now, self.zone)

    def when_written(self, text: str | None) -> str:
        """The same of an instant as JSON has it."""
        return self.when(None if text is None else datetime.fromisoformat(text))


def size(size_bytes: float) -> str:
    """Bytes in the largest unit that leaves at least 1; units are powers of 1024."""
    amount, unit = float(size_bytes), UNITS[0]
    for unit in UNITS:
        if abs(amount) < 1024 or unit == UNITS[-1]:
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.2f} {unit}"
