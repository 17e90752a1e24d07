"""Says when a disk will be full, or why that cannot be said."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import median, quantiles
from typing import NamedTuple

DAY_SECONDS = 86400.0
SHORTEST_SPAN_DAYS = 5.0
FEWEST_MEASUREMENTS = 12
MOST_MEASUREMENTS = 120
LONGEST_DAYS_PER_SPAN = 4.0
"""A forecast reaches at most this many times as far ahead as the measurements reach back."""


class Measurement(NamedTuple):
    """Free space at one time."""

    at: float
    free_bytes: int


class Forecast(NamedTuple):
    """Days until the disk is full, or in Spanish why there are none."""

    days: float | None
    why_not: str = ""


UNMEASURED = Forecast(None, "nadie mide el disco; para eso ponga JANITOR_METRICS_FILE")


def forecast(measurements: Sequence[Measurement]) -> Forecast:
    """The median slope of all pairs: single days on which much was deleted or added do not bend it. Sound only where
    the middle half of the slopes agree that the space shrinks.
    """
    if len(measurements) < FEWEST_MEASUREMENTS:
        return Forecast(None, f"hay {len(measurements)} medidas y hacen falta {FEWEST_MEASUREMENTS}")
    span_days = (measurements[-1].at - measurements[0].at) / DAY_SECONDS
    if span_days < SHORTEST_SPAN_DAYS:
        return Forecast(None, f"las medidas abarcan {span_days:.1f} días y hacen falta {SHORTEST_SPAN_DAYS:.0f}")
    slopes = [
        (later.free_bytes - earlier.free_bytes) / (later.at - earlier.at) * DAY_SECONDS
        for earlier, later in combinations(_thinned(measurements), 2)
        if later.at > earlier.at
    ]
    lowest, slope, highest = quantiles(slopes, n=4)
    if highest < 0:
        days = median(each.free_bytes for each in measurements[-3:]) / -slope
        if days > LONGEST_DAYS_PER_SPAN * span_days:
            return Forecast(None, f"faltan más de {LONGEST_DAYS_PER_SPAN * span_days:.0f} días")
        return Forecast(days)
    if lowest < 0:
        return Forecast(None, "el espacio libre sube y baja, sin una tendencia clara")
    return Forecast(None, "el espacio libre no disminuye")


def _thinned(measurements: Sequence[Measurement]) -> Sequence[Measurement]:
    step = -(-len(measurements) // MOST_MEASUREMENTS)
    return measurements[::step]
