"""Why a log stays as it is. The messages are in Spanish."""

from __future__ import annotations

import logging

from config.text.wording import reason_of


class LogLeft(Exception):
    """A log stays where it is, whole. The others are still processed."""

    event = "log_left"
    level = logging.ERROR
    is_failure = True


def left_for(error: OSError) -> LogLeft:
    """Why the system keeps this program from a log; where a right is missing, which ones it takes."""
    if isinstance(error, PermissionError):
        return LogLeft(f"{reason_of(error)}; este usuario necesita leerlo y escribir en su directorio")
    return LogLeft(reason_of(error))


class LogInUse(LogLeft):
    """A program has it open for writing. No failure: it is left until no program has."""

    event = "log_in_use"
    level = logging.WARNING
    is_failure = False


class LogChanged(LogLeft):
    """The log was replaced or changed a moment ago. That is no failure: a later run looks again."""

    event = "log_changed"
    level = logging.WARNING
    is_failure = False


class NoRoom(LogLeft):
    """There is no room for its compressed copy."""

    event = "log_without_room"


class RunStopped(Exception):
    """The run has to end. What was begun is undone."""
