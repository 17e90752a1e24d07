"""What can go wrong between the daemon and its database, as callers must tell it apart."""

from __future__ import annotations


class DatabaseError(Exception):
    """Something about the database. The message is in Spanish, one line, without secrets."""


class DatabaseUnavailable(DatabaseError):
    """The database cannot be reached, or was lost and did not come back."""


class SchemaError(DatabaseError):
    """The tables are not those that this version of the program needs, or may not be used."""
