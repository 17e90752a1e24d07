"""Providers that failed as a whole, remembered for all hosts until they work again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from config.logs import one_line
from sql.connection import Connection
from sql.texts import Told


class ProviderFailure(NamedTuple):
    """What is remembered of one provider."""

    settings: str
    """Identifies the settings with which it failed."""
    since: datetime
    until: datetime
    """Before this time it is left alone."""
    failures: int
    error_code: str
    error: str
    needs_a_person: bool
    is_paused: bool
    """Whether that time is still to come, by the database's clock."""


class ProviderHealth:
    """The record that all hosts share. All methods raise as `Connection.query`."""

    def __init__(self, connection: Connection, host: Told) -> None:
        self._connection = connection
        self._host = host

    def recall(self) -> Mapping[int, ProviderFailure]:
        """What is remembered, by the provider's id."""
        rows = self._connection.query("recall_provider_health")
        return {row["id"]: ProviderFailure(*(row[field] for field in ProviderFailure._fields)) for row in rows}

    def note_failure(
        self,
        provider_id: int,
        settings: str,
        known_failures: int,
        error: tuple[str, str],
        *,
        needs_a_person: bool,
        has_pauses: bool,
    ) -> datetime | None:
        """Record a failure by its code and text; return until when the provider is left alone, `None` if it is not.

        `known_failures` is the number of failures remembered before. If another host has recorded one since, that
        stands for both.
        """
        code, text = error
        parameters = {
            "provider_id": provider_id,
            "settings": settings,
            "known_failures": known_failures,
            "error_code": code,
            "error": Told(one_line(text)),
            "needs_a_person": needs_a_person,
            "has_pauses": has_pauses,
            "host": self._host,
        }
        rows = self._connection.query("note_provider_failure", parameters)
        return rows[0]["until"] if rows and rows[0]["is_paused"] else None

    def forget(self, provider_id: int, known_failures: int) -> None:
        """Record that a provider works again. A failure that was recorded after these stays."""
        parameters = {"provider_id": provider_id, "known_failures": known_failures}
        self._connection.query("forget_provider_failure", parameters)
