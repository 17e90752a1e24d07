"""How a command ends: what cron and other programs read from its exit code. Signals: see `early_signals`."""

from __future__ import annotations

EXIT_DONE = 0
EXIT_SOMETHING_FAILED = 1
EXIT_CONFIGURATION = 2
EXIT_DATABASE = 3
EXIT_LOCKED = 75
