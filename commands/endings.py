"""How a command that an error has ended says so: its exit code and one line in Spanish."""

from __future__ import annotations

import logging
import sys
import traceback

import click

from config.errors import broken_environment
from config.exit_codes import EXIT_CONFIGURATION, EXIT_LOCKED
from config.logs import emit, one_line
from config.process.early_signals import EXIT_SIGNAL_BASE, interrupted_by
from config.text.wording import output_failure, reason_of
from jobs import tick
from jobs.locks import LockHeld
from jobs.signals import Stopped

EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (LockHeld, EXIT_LOCKED),
    (ImportError, EXIT_CONFIGURATION),
)
"""Of errors that no job raises."""


def exit_code_of(error: Exception) -> int:
    """The exit code of a command that an error has ended."""
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), tick.exit_code_of(error))


def report_stopped(stopped: Stopped) -> int:
    """Say that a signal has ended the command; return its exit code."""
    emit(logging.WARNING, "interrupted", interrupted_by(stopped.exit_code - EXIT_SIGNAL_BASE))
    return stopped.exit_code


def in_words(error: Exception) -> str:
    """The error in one line of Spanish."""
    if isinstance(error, ImportError):
        return one_line(broken_environment(error))
    if isinstance(error, OSError) and _is_of_the_output(error):
        return output_failure(error)
    if isinstance(error, OSError):  # an error with a known source in the program comes as one of its own
        return f"no se puede leer o escribir: {one_line(reason_of(error))}"
    return one_line(error) or type(error).__name__


def _is_of_the_output(error: OSError) -> bool:
    """Whether the standard output still holds unwritten text, or refused text too long for its buffer."""
    try:
        sys.stdout.flush()
    except OSError:
        return True
    *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
    return frame.f_code is click.echo.__code__
