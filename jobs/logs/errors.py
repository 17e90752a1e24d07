"""Why a log stays as it is. The messages are in Spanish."""

from __future__ import annotations

import errno
import logging
from dataclasses import dataclass

from config.text.wording import reason_of


class LogLeft(Exception):
    """A log stays where it is, whole. The others are still processed."""

    event = "log_left"
    level = logging.ERROR
    is_failure = True


def left_for(error: OSError) -> LogLeft:
    """Why the system keeps this program from a log; where a right is missing, which ones it takes."""
    if isinstance(error, PermissionError):
        needed = "este usuario necesita leerlo y escribir en su directorio"
        if error.errno == errno.EPERM:
            needed += "; si ya puede, mire con lsattr si uno u otro está protegido (i, a) y quítelo con chattr"
        return LogLeft(f"{reason_of(error)}; {needed}")
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


class NothingGained(LogLeft):
    """Its compressed copy would take more of the disk than it does. No failure: nobody can change that."""

    event = "log_gains_nothing"
    level = logging.WARNING
    is_failure = False


class NameTooLong(LogLeft):
    """The name of its copy would be longer than the file system allows. No failure: only a person can rename it."""

    event = "log_name_too_long"
    level = logging.WARNING
    is_failure = False


class OfAnotherRun(LogLeft):
    """What an interrupted run has left, and this user must not touch. No failure: it may be anybody's."""

    event = "logs_leftover"
    level = logging.WARNING
    is_failure = False


@dataclass(frozen=True, slots=True)
class Left:
    """A log that stays as it is, or what an interrupted run has left, and why."""

    name: str
    reason: LogLeft


class RunStopped(Exception):
    """The run has to end. What was begun is undone."""
