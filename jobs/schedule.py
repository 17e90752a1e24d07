"""When a job is due: pure functions of a schedule, of what is known of the job's runs, and of the time.

A job is due when the last instant of its schedule has passed and no run that began since then succeeded. So a machine
that slept for days catches up once, and a late tick does the work of its own slot only.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import NamedTuple

from config.models import JobState

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ONE_DAY = timedelta(days=1)

FIRST_PAUSE = timedelta(minutes=10)
LONGEST_PAUSE = timedelta(hours=6)
"""The pause after a job's second failure in a row, and the longest one. There is none after the first failure."""


# Named tuples and no dataclasses: making a class costs a tenth, and every tick pays it. Each kind of schedule has
#   is_local      whether the zone makes a difference; where it makes none, any will do
#   period        the time from one instant to the next, without regard to changes of the clock
#   last_instant  the latest instant that is not after `now`
#   next_instant  the first instant after `now`
# All times are aware; `zone` is that of the operators' clock.


class EveryTick(NamedTuple):
    """Due at every tick."""

    @property
    def is_local(self) -> bool:
        return False

    @property
    def period(self) -> timedelta:
        return timedelta(0)

    def last_instant(self, now: datetime, _zone: tzinfo) -> datetime:
        return now

    def next_instant(self, now: datetime, _zone: tzinfo) -> datetime:
        return now


class Every(NamedTuple):
    """Due once in each span of a number of hours. Spans are counted from a fixed instant and not from the last run,
    which would drift: a tick that begins a second too early would wait for the next one.
    """

    hours: float

    @property
    def is_local(self) -> bool:
        return False

    @property
    def period(self) -> timedelta:
        return timedelta(hours=self.hours)

    def last_instant(self, now: datetime, _zone: tzinfo) -> datetime:
        return EPOCH + (now - EPOCH) // self.period * self.period

    def next_instant(self, now: datetime, zone: tzinfo) -> datetime:
        return self.last_instant(now, zone) + self.period


class Daily(NamedTuple):
    """Due once a day, from a time of the local day on.

    A time that a change of the clock leaves out is the same instant as the time an hour later; of one that comes twice,
    the first counts. So each day has exactly one instant.
    """

    at: time

    @property
    def is_local(self) -> bool:
        return True

    @property
    def period(self) -> timedelta:
        return ONE_DAY

    def last_instant(self, now: datetime, zone: tzinfo) -> datetime:
        return max(instant for instant in self._instants(now, zone) if instant <= now)

    def next_instant(self, now: datetime, zone: tzinfo) -> datetime:
        return min(instant for instant in self._instants(now, zone) if instant > now)

    def _instants(self, now: datetime, zone: tzinfo) -> list[datetime]:
        today = now.astimezone(zone).date()
        return _at_time_of_days(today, ONE_DAY, self.at, zone)


class Weekly(NamedTuple):
    """Due once a week, from a time of a local weekday on; Monday is 0. Changes of the clock are as for `Daily`."""

    weekday: int
    at: time

    @property
    def is_local(self) -> bool:
        return True

    @property
    def period(self) -> timedelta:
        return 7 * ONE_DAY

    def last_instant(self, now: datetime, zone: tzinfo) -> datetime:
        return max(instant for instant in self._instants(now, zone) if instant <= now)

    def next_instant(self, now: datetime, zone: tzinfo) -> datetime:
        return min(instant for instant in self._instants(now, zone) if instant > now)

    def _instants(self, now: datetime, zone: tzinfo) -> list[datetime]:
        today = now.astimezone(zone).date()
        this_week = today + (self.weekday - today.weekday()) * ONE_DAY
        return _at_time_of_days(this_week, self.period, self.at, zone)


def _at_time_of_days(middle: date, step: timedelta, at: time, zone: tzinfo) -> list[datetime]:
    """Two days before the one in the middle at least, and two after it: a zone may leave out a whole day."""
    days = (middle + count * step for count in range(-2, 3))
    return [datetime.combine(day, at, zone).astimezone(UTC) for day in days]


Schedule = EveryTick | Every | Daily | Weekly
"""The instants at which a job is to run."""


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
