"""What can keep a run from beginning, or an execution from being migrated, apart from the providers' own errors; see
`providers.base`.
"""

from __future__ import annotations

import errno
from typing import ClassVar


class ConfigurationError(Exception):
    """The settings cannot be used. The message is in Spanish: what is wrong and what to do, without secrets."""


class MigrationError(Exception):
    """Something kept an execution from being migrated. The message is in Spanish, one line, without secrets.

    The class says what the caller must decide: `tries` is how often the same step is worth doing in all,
    `try_next_provider` whether another provider may fare better, `provider_wide` whether the provider itself is
    to blame, rather than one object, and `code` is the stable name that logs and the database record.
    """

    code: ClassVar[str] = "migration_error"
    tries: ClassVar[int] = 1
    try_next_provider: ClassVar[bool] = False
    provider_wide: ClassVar[bool] = False

    given_up: bool = False
    """Whether the step that raised it was already repeated as often as it is worth: callers do not repeat it."""


def caused_by_too_many_open_files(error: BaseException | None) -> bool:
    """Whether an error came of too many open files, here or in the whole system: no fault of what met it."""
    looked_at: set[int] = set()
    while error is not None and id(error) not in looked_at:  # one that is kept and raised again can lead to itself
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            return True
        looked_at.add(id(error))
        error = error.__cause__ or error.__context__
    return False


class SourceError(MigrationError):
    """The execution's own files stand in the way; no provider would fare better."""

    code = "source_error"


class SourceChanged(SourceError):
    """A file changed, appeared or vanished while it was being migrated."""

    code = "source_changed"
    tries = 2


class UnsafeSource(SourceError):
    """The directory or something in it must not be touched: outside the roots, a link, a device."""

    code = "unsafe_source"


class SourceUnreadable(SourceError):
    """A file or directory cannot be read."""

    code = "source_unreadable"


class RunInterrupted(MigrationError):
    """The run was asked to stop (SIGINT, SIGTERM)."""

    code = "interrupted"


def unexpected(error: Exception) -> MigrationError:
    """A defect of the program, brought out by one execution or job, which must not stop the others."""
    wrapped = MigrationError(f"error inesperado ({type(error).__name__}); con --debug se registra dónde")
    wrapped.__cause__ = error
    return wrapped
