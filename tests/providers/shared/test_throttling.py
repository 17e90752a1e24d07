"""Dates that servers send in their headers: what makes no sense asks for nothing, and is nobody's error."""

from __future__ import annotations

import pytest

from providers.shared.answers import clock_is_off
from providers.shared.throttling import pause_seconds

NO_DATES = (
    None,
    "",
    "soon",
    "-5",
    "٣",
    "Wed, 21 Oct 2015 07:28:0099999999999",
    "Wed, 21 Oct 99999 07:28:00 GMT",
    "Wed, 00 Foo 2015 07:28:00 +9999999",
)


@pytest.mark.parametrize("header", NO_DATES)
def test_a_header_that_makes_no_sense_is_passed_over(header: str | None) -> None:
    assert pause_seconds(header) == 0
    assert not clock_is_off(header)


@pytest.mark.parametrize(("header", "seconds"), [("7", 7), (" 12 ", 12), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)])
def test_a_pause_is_reported_in_seconds_or_by_a_date(header: str, seconds: float) -> None:
    assert pause_seconds(header) == seconds


@pytest.mark.parametrize("date", ["Wed, 21 Oct 2015 07:27:50 GMT", "Wed, 21 Oct 2015 09:27:50 +0200"])
def test_a_date_counts_from_that_of_the_answer_whatever_this_hosts_clock_says(date: str) -> None:
    """Looked for in all tables of errors, and in notices: each hands on the date of its answer."""
    assert pause_seconds("Wed, 21 Oct 2015 07:28:00 GMT", date) == 10
    assert pause_seconds("Wed, 21 Oct 2015 07:27:00 GMT", date) == 0


@pytest.mark.parametrize("date", NO_DATES)
def test_an_answer_whose_date_makes_no_sense_counts_from_this_hosts_clock(date: str | None) -> None:
    assert pause_seconds("Wed, 21 Oct 2015 07:28:00 GMT", date) == 0


def test_an_answer_of_another_day_shows_that_a_clock_is_off() -> None:
    assert clock_is_off("Wed, 21 Oct 2015 07:28:00 GMT")
