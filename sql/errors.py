"""Errors between the daemon and its database, as callers must distinguish them."""

from __future__ import annotations


class DatabaseError(Exception):
    """A database error. The message is one line of Spanish, without secrets."""


class DatabaseUnavailable(DatabaseError):
    """The database cannot be reached, or was lost and did not come back."""


class DatabaseReadOnly(DatabaseUnavailable):
    """The database is read-only: a standby server, or one switched to read-only mode."""


class DatabaseBusy(DatabaseError):
    """Other transactions or a time limit stopped a statement. Nothing was changed."""


class DatabasePooled(DatabaseError):
    """There is a pooler in between that gives one server process to several sessions, a transaction at a time."""


class SchemaError(DatabaseError):
    """The tables do not fit this version of the program, or may not be used."""


class CopyKnownBad(Exception):
    """An audit found that the stored copy of the execution whose local copy is being removed is not whole."""


class DeletionHeld(Exception):
    """An operator holds the execution whose local copy is being removed."""


class DeletionSwitchedOff(Exception):
    """The policy in force no longer asks for the removal of local copies. The database itself is fine."""
