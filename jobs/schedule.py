"""When a job is due: pure functions of a schedule, of what is known of the job's runs, and of the time.

A job is due when the last instant of its schedule has passed and no run that began since then succeeded. So a machine
that slept for days catches up once, and a late tick does the work of its own slot only.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import ClassVar

from config.models import JobState

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ONE_DAY = timedelta(days=1)

FIRST_PAUSE = timedelta(minutes=10)
LONGEST_PAUSE = timedelta(hours=6)
"""The pause after a job's second failure in a row, and the longest one. There is none after the first failure."""


class Schedule(ABC):
    """The instants at which a job should run. All times are aware; `zone` is the operators' time zone."""

    is_local: ClassVar[bool] = False
    """Whether the zone matters. Where it does not, any will do."""

    @property
    @abstractmethod
    def period(self) -> timedelta:
        """The distance between two instants, apart from changes of the clock."""

    @abstractmethod
    def last_instant(self, now: datetime, zone: tzinfo) -> datetime:
        """The latest instant that is not after `now`."""

    @abstractmethod
    def next_instant(self, now: datetime, zone: tzinfo) -> datetime:
        """The first instant after `now`."""


@dataclass(frozen=True, slots=True)
class EveryTick(Schedule):
    """Due at every tick."""

    @property
    def period(self) -> timedelta:
        return timedelta(0)

    def last_instant(self, now: datetime, zone: tzinfo) -> datetime:
        return now

    def next_instant(self, now: datetime, zone: tzinfo) -> datetime:
        return now


@dataclass(frozen=True, slots=True)
class Every(Schedule):
    """Due once in each span of this many hours. Spans are counted from a fixed instant, not from the last run, which
    would drift: a tick that began a second too early would have to wait for the next one.
    """

    hours: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.hours) and self.hours > 0):
            raise ValueError(f"a period of {self.hours} hours")

    @property
    def period(self) -> timedelta:
        return timedelta(hours=self.hours)

    def last_instant(self, now: datetime, zone: tzinfo) -> datetime:
        return EPOCH + (now - EPOCH) // self.period * self.period

    def next_instant(self, now: datetime, zone: tzinfo) -> datetime:
        return self.last_instant(now, zone) + self.period


class _OnDays(Schedule):
    """Instants at a fixed time of certain local days.

    A time that a clock change skips counts as the time an hour later; of a time that occurs twice, the first counts. So
    each of these days has exactly one instant.
    """

    is_local = True
    at: time

    @abstractmethod
    def _days_around(self, today: date) -> Iterable[date]:
        """Days in order, at least two before `today` and two after it: a zone may skip a whole day."""

    def last_instant(self, now: datetime, zone: tzinfo) -> datetime:
        return max(instant for instant in self._instants(now, zone) if instant <= now)

    def next_instant(self, now: datetime, zone: tzinfo) -> datetime:
        return min(instant for instant in self._instants(now, zone) if instant > now)

    def _instants(self, now: datetime, zone: tzinfo) -> list[datetime]:
        days = self._days_around(now.astimezone(zone).date())
        return [datetime.combine(day, self.at, zone).astimezone(UTC) for day in days]


@dataclass(frozen=True, slots=True)
class Daily(_OnDays):
    """Due once a day, from a local time of day on."""

    at: time

    @property
    def period(self) -> timedelta:
        return ONE_DAY

    def _days_around(self, today: date) -> Iterable[date]:
        return (today + days * ONE_DAY for days in range(-2, 3))


@dataclass(frozen=True, slots=True)
class Weekly(_OnDays):
    """Due once a week, from a time on a local weekday on; Monday is 0."""

    weekday: int
    at: time

    @property
    def period(self) -> timedelta:
        return 7 * ONE_DAY

    def _days_around(self, today: date) -> Iterable[date]:
        this_week = today + (self.weekday - today.weekday()) * ONE_DAY
        return (this_week + weeks * self.period for weeks in range(-2, 3))


NEVER_RUN = JobState()


def is_due(schedule: Schedule, state: JobState, now: datetime, zone: tzinfo) -> bool:
    """Whether a job should run now."""
    if isinstance(schedule, EveryTick):
        return True
    good = _last_good(schedule, state, now)
    if good is not None and good >= schedule.last_instant(now, zone):
        return False
    return now >= _end_of_pause(schedule, state, now)


def next_due(schedule: Schedule, state: JobState, now: datetime, zone: tzinfo) -> datetime:
    """When a job will next be due, as far as is known now; `now` if it is due."""
    if is_due(schedule, state, now, zone):
        return now
    good = _last_good(schedule, state, now)
    if good is not None and good >= schedule.last_instant(now, zone):
        return schedule.next_instant(max(now, good), zone)
    return _end_of_pause(schedule, state, now)


def _last_good(schedule: Schedule, state: JobState, now: datetime) -> datetime | None:
    """The last good run. One further ahead than a whole period was recorded by a clock that has been set back since. It
    does not count, because otherwise the job would wait for that time to come again.
    """
    if state.last_good_at is not None and state.last_good_at > now + schedule.period:
        return None
    return state.last_good_at


def _end_of_pause(schedule: Schedule, state: JobState, now: datetime) -> datetime:
    """When the pause of a failed job ends. A failure in the future, because the clock was set back, does not count."""
    if state.last_started_at is None or state.last_started_at > now:
        return now
    return state.last_started_at + _pause(state.tries, schedule.period)


def _pause(tries: int, period: timedelta) -> timedelta:
    """None after the first failure, then increasing, never longer than the job's own period."""
    if tries < 2:
        return timedelta(0)
    doublings = min(tries - 2, 20)
    return min(FIRST_PAUSE * (1 << doublings), LONGEST_PAUSE, period)
