"""What can go wrong between the daemon and its database, as callers must tell it apart."""

from __future__ import annotations


class DatabaseError(Exception):
    """Something about the database. The message is in Spanish, one line, without secrets."""


class DatabaseUnavailable(DatabaseError):
    """The database cannot be reached, or was lost and did not come back."""


class DatabaseReadOnly(DatabaseUnavailable):
    """The database takes nothing down: a standby server, or one that was switched to reading only."""


class DatabaseBusy(DatabaseError):
    """Others' transactions, or a limit of time, kept a statement from being done. Nothing was changed."""


class SchemaError(DatabaseError):
    """The tables are not those that this version of the program needs, or may not be used."""


class DeletionSwitchedOff(Exception):
    """The policy in force does not ask any more for the removal of local copies. Says nothing against the database."""
