"""Errors that stop a run from starting or an execution from being migrated; `providers.errors` has the providers'."""

from __future__ import annotations

import errno
from typing import ClassVar


class ConfigurationError(Exception):
    """The settings cannot be used. The message, in Spanish, says what is wrong and what to do, without secrets."""


class MigrationError(Exception):
    """An execution could not be migrated. The message is one line of Spanish, without secrets.

    The class tells the caller what to do: `tries` is the total number of tries that the step is worth,
    `try_next_provider` whether another provider may succeed, `provider_wide` whether the provider itself is
    to blame rather than one object, and `code` is the stable name in logs and in the database.
    """

    code: ClassVar[str] = "migration_error"
    tries: ClassVar[int] = 1
    try_next_provider: ClassVar[bool] = False
    provider_wide: ClassVar[bool] = False

    given_up: bool = False
    """Whether the failed step has used up its tries already: callers do not repeat it."""


def caused_by_too_many_open_files(error: BaseException | None) -> bool:
    """Whether too many open files, here or system-wide, caused an error: the step that met it is not to blame."""
    looked_at: set[int] = set()
    while error is not None and id(error) not in looked_at:  # an error that is stored and raised again may cause itself
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            return True
        looked_at.add(id(error))
        error = error.__cause__ or error.__context__
    return False


class SourceError(MigrationError):
    """The execution's own files cause the error; no other provider would succeed."""

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
    """A defect of the program, met in one execution or job; it must not stop the others."""
    if isinstance(error, ImportError):
        wrapped = MigrationError(broken_environment(error))
    else:
        wrapped = MigrationError(f"error inesperado ({type(error).__name__}); con --debug se registra dónde")
    wrapped.__cause__ = error
    return wrapped


def broken_environment(error: ImportError) -> str:
    """What operators read where a package of Python is missing, or is there and does not load."""
    if isinstance(error, ModuleNotFoundError):
        return f"falta el paquete {error.name}; instale los de requirements.lock, o use .venv/bin/python"
    text = " ".join(str(error).split())
    return f"un paquete de Python no se puede cargar ({text}); instale de nuevo los de requirements.lock en .venv"
