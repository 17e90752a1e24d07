"""A job is due once for each instant of its schedule: whatever the clock does, and however long a machine slept.

Where else clocks count: leases and ages are by the database's clock (`tests/stories/hosts/test_hosts.py`), temporary
files by the host's (`tests/stories/jobs/test_time.py`).
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as some

from config.models import JobState
from jobs.schedule import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    NEVER_RUN,
    Daily,
    Every,
    EveryTick,
    Schedule,
    Weekly,
    is_due,
    next_due,
)

MADRID = ZoneInfo("Europe/Madrid")
APIA = ZoneInfo("Pacific/Apia")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")
ZONES = (MADRID, APIA, LORD_HOWE, ZoneInfo("America/New_York"), ZoneInfo("Asia/Kathmandu"), UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

times_of_day = some.builds(time, some.integers(0, 23), some.integers(0, 59))
instants = some.datetimes(datetime(2005, 1, 1), datetime(2037, 12, 31), timezones=some.just(UTC))  # noqa: DTZ001 made aware
zones = some.sampled_from(ZONES)
schedules = some.one_of(
    some.builds(Every, some.sampled_from([0.5, 1, 6, 7, 24])),
    some.builds(Daily, times_of_day),
    some.builds(Weekly, some.integers(0, 6), times_of_day),
)


def local(text: str, zone: tzinfo = MADRID) -> datetime:
    """An instant by the local clock; of one that comes twice, the first."""
    return datetime.fromisoformat(text).replace(tzinfo=zone)


def good_at(moment: datetime) -> JobState:
    """After a run that was good."""
    return JobState(last_started_at=moment, last_good_at=moment)


def failed(times: int, last: datetime, good: datetime | None = None) -> JobState:
    """After this many failures in a row."""
    return JobState(last_started_at=last, last_good_at=good, tries=times)


class Machine:
    """Ticks at the moments that a test gives, each of which does the job if it is due."""

    def __init__(self, schedule: Schedule, zone: tzinfo = MADRID) -> None:
        self.schedule, self.zone = schedule, zone
        self.state = NEVER_RUN
        self.ran: list[datetime] = []

    def tick(self, now: datetime, *, is_good: bool = True) -> bool:
        """One tick; whether the job ran."""
        if not is_due(self.schedule, self.state, now, self.zone):
            return False
        self.ran.append(now)
        tries = 0 if is_good else self.state.tries + 1
        good = now if is_good else self.state.last_good_at
        self.state = self.state._replace(last_started_at=now, last_good_at=good, tries=tries)
        return True

    def ticks(self, first: datetime, last: datetime, step: timedelta) -> int:
        """A tick after every `step`; how many did the job."""
        count_before = len(self.ran)
        now = first
        while now <= last:
            self.tick(now)
            now += step
        return len(self.ran) - count_before


# What every schedule promises


@given(schedules, instants, zones)
def test_now_is_between_the_last_instant_and_the_next(schedule: Schedule, now: datetime, zone: tzinfo) -> None:
    last, following = schedule.last_instant(now, zone), schedule.next_instant(now, zone)
    assert last <= now < following
    assert following - last <= schedule.period + 26 * HOUR  # a day that a zone leaves out, and a change of its clock


@given(schedules, instants, zones)
def test_instants_are_the_same_from_wherever_they_are_seen(schedule: Schedule, now: datetime, zone: tzinfo) -> None:
    following = schedule.next_instant(now, zone)
    assert schedule.last_instant(following, zone) == following
    assert schedule.last_instant(following - timedelta(microseconds=1), zone) == schedule.last_instant(now, zone)


@given(schedules, instants, zones)
def test_after_a_good_run_a_job_is_due_at_the_next_instant_and_not_before(
    schedule: Schedule, now: datetime, zone: tzinfo
) -> None:
    state = good_at(now)
    following = schedule.next_instant(now, zone)
    assert next_due(schedule, state, now, zone) == following
    assert not is_due(schedule, state, following - timedelta(microseconds=1), zone)
    assert is_due(schedule, state, following, zone)


@given(schedules, instants, zones, some.lists(some.timedeltas(MINUTE, 20 * DAY), max_size=30))
def test_a_job_runs_at_most_once_between_two_instants(
    schedule: Schedule, start: datetime, zone: tzinfo, pauses: list[timedelta]
) -> None:
    machine = Machine(schedule, zone)
    now = start
    for pause in pauses:
        machine.tick(now)
        now += pause
    slots = [schedule.last_instant(moment, zone) for moment in machine.ran]
    assert len(set(slots)) == len(slots)


@given(schedules, instants, zones, some.timedeltas(-400 * DAY, 400 * DAY))
def test_wherever_the_clock_jumps_to_the_job_runs_again_within_two_periods(
    schedule: Schedule, now: datetime, zone: tzinfo, jump: timedelta
) -> None:
    state = good_at(now)
    after = now + jump
    due = next_due(schedule, state, after, zone)
    assert due <= after + 2 * schedule.period + 26 * HOUR
    assert is_due(schedule, state, due, zone)


@given(schedules, instants, zones, some.integers(1, 200))
def test_a_failed_job_is_tried_again_and_never_later_than_the_longest_pause(
    schedule: Schedule, now: datetime, zone: tzinfo, times: int
) -> None:
    state = failed(times, now)
    due = next_due(schedule, state, now, zone)
    assert now <= due <= now + min(LONGEST_PAUSE, schedule.period)
    assert is_due(schedule, state, due, zone)


@given(instants, zones)
def test_what_is_due_at_every_tick_always_is(now: datetime, zone: tzinfo) -> None:
    for state in (NEVER_RUN, good_at(now), good_at(now + DAY), failed(50, now)):
        assert is_due(EveryTick(), state, now, zone)
        assert next_due(EveryTick(), state, now, zone) == now


# Days on which the clock changes


@pytest.mark.parametrize("at", [time(2, 0), time(2, 30), time(3, 0), time(3, 30)])
@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25", "2026-06-01"])
def test_a_daily_job_runs_once_on_a_day_whose_clock_changes(at: time, day: str) -> None:
    """On 29 March 02:00 to 03:00 is left out, on 25 October it comes twice."""
    machine = Machine(Daily(at))
    midnight = local(f"{day}T00:00").astimezone(UTC)
    machine.state = good_at(midnight - HOUR)
    end_of_day = local(f"{day}T23:59").astimezone(UTC)
    assert machine.ticks(midnight, end_of_day, 10 * MINUTE) == 1


def test_a_time_that_is_left_out_is_an_hour_later() -> None:
    now = local("2026-03-29T12:00")
    assert Daily(time(2, 30)).last_instant(now, MADRID) == local("2026-03-29T03:30")


def test_of_a_time_that_comes_twice_the_first_counts() -> None:
    now = local("2026-10-25T12:00")
    assert Daily(time(2, 30)).last_instant(now, MADRID) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


def test_a_day_that_a_zone_leaves_out_is_none() -> None:
    """Samoa went from 29 to 31 December 2011."""
    machine = Machine(Daily(time(12, 0)), APIA)
    machine.state = good_at(local("2011-12-29T12:00", APIA))
    assert machine.ticks(local("2011-12-29T13:00", APIA).astimezone(UTC), local("2012-01-01T11:00", APIA), HOUR) == 1


def test_a_local_time_of_day_stays_the_same_through_the_year() -> None:
    for month in range(1, 13):
        instant = Daily(time(3, 0)).last_instant(local(f"2026-{month:02}-15T12:00"), MADRID)
        assert instant.astimezone(MADRID).time() == time(3, 0)


def test_a_weekly_job_runs_on_its_day() -> None:
    machine = Machine(Weekly(6, time(3, 0)))
    machine.state = good_at(local("2026-11-23T00:00"))  # a Monday
    machine.ticks(local("2026-11-23T00:00"), local("2026-12-07T00:00"), HOUR)
    assert machine.ran == [local("2026-11-29T03:00"), local("2026-12-06T03:00")]


# Machines that sleep and clocks that jump


@pytest.mark.parametrize("schedule", [Daily(time(3, 0)), Every(6), Every(24), Weekly(5, time(3, 0))])
def test_a_machine_that_slept_for_three_days_catches_up_once(schedule: Schedule) -> None:
    machine = Machine(schedule)
    machine.tick(local("2026-11-25T12:00"))
    woken = local("2026-11-28T12:00")
    assert machine.tick(woken)
    assert not machine.tick(woken + MINUTE)


def test_a_run_that_began_before_the_instant_does_not_count_for_it() -> None:
    assert is_due(Daily(time(3, 0)), good_at(local("2026-11-28T02:59:59")), local("2026-11-28T03:00"), MADRID)


@pytest.mark.parametrize("early", [timedelta(0), timedelta(seconds=59)])
def test_a_tick_every_six_hours_does_a_six_hourly_job_each_time(early: timedelta) -> None:
    """However many seconds cron takes to start it."""
    machine = Machine(Every(6))
    for number in range(8):
        assert machine.tick(local("2026-11-28T00:01:00", UTC) + number * 6 * HOUR - early * (number % 2))


def test_a_clock_that_was_set_back_an_hour_repeats_nothing() -> None:
    machine = Machine(Daily(time(3, 0)))
    machine.tick(local("2026-11-28T03:05"))
    assert machine.ticks(local("2026-11-28T02:05"), local("2026-11-28T23:00"), 10 * MINUTE) == 0


def test_a_clock_that_was_forty_days_ahead_stops_nothing() -> None:
    machine = Machine(Daily(time(3, 0)))
    machine.tick(local("2026-11-28T03:05") + 40 * DAY)
    assert machine.tick(local("2026-11-28T03:10"))
    assert machine.ticks(local("2026-11-28T03:20"), local("2026-11-30T12:00"), HOUR) == 2


# After failures


def test_pauses_after_failures_grow_and_end_with_a_good_run() -> None:
    machine = Machine(Every(24))
    now = local("2026-11-28T00:00", UTC)
    pauses = []
    for _ in range(9):
        assert machine.tick(now, is_good=False)
        due = next_due(machine.schedule, machine.state, now, UTC)
        pauses.append(due - now)
        now = due
    assert pauses[:4] == [timedelta(0), FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE
    assert pauses == sorted(pauses)
    machine.tick(now)
    assert machine.state.tries == 0


def test_a_frequent_job_that_fails_is_not_left_alone_longer_than_its_period() -> None:
    now = local("2026-11-28T00:00", UTC)
    assert next_due(Every(0.5), failed(30, now), now, UTC) == now + HOUR / 2


def test_a_failure_dated_in_the_future_delays_no_run() -> None:
    """The clock was set back since."""
    now = local("2026-11-28T12:00")
    assert is_due(Daily(time(3, 0)), failed(9, now + 30 * DAY), now, MADRID)
