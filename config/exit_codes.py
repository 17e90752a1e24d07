"""Exit codes of commands, as cron and other programs read them. For signals see `early_signals`."""

from __future__ import annotations

EXIT_DONE = 0
EXIT_SOMETHING_FAILED = 1
EXIT_CONFIGURATION = 2
EXIT_DATABASE = 3
EXIT_LOCKED = 75
