"""Other values for constants of the program, where the real ones would make a test wait for minutes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType

A_TENTH_OF_THE_PATIENCE = {
    "providers__progress__ALIVE_SECONDS": 1.5,
    "providers__retries__LONGEST_PAUSE_SECONDS": 0.3,
    "providers__retries__LONGEST_STEP_SECONDS": 3.0,
    "providers__progress__SLOWEST_REQUESTS_PER_SECOND": 5.0,
}
"""With providers that fail or ask for fewer requests: as many tries, and a tenth of the time between and for them. For
tests that say what follows from failing again and again, and not how long it takes.
"""


def change_constant(place: str, value: float, change: Callable[[ModuleType, str, float], object]) -> None:
    """Give a constant, `sql__watchdog__TRIES`, another value wherever it was imported to. What was computed from it
    stays as it is.
    """
    *room, name = place.split("__")
    usual = getattr(importlib.import_module(".".join(room)), name)
    for module in list(sys.modules.values()):
        if getattr(module, "__dict__", {}).get(name) is usual:
            change(module, name, value)
