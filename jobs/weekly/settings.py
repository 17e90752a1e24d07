"""The settings of the weekly report."""

from __future__ import annotations

from dataclasses import dataclass

from config.declared import declared
from config.text.parsers import weekday


@dataclass(frozen=True, slots=True)
class WeeklySettings:
    """When the report goes out. Whom it reaches is a setting of the notices."""

    day: int | None = declared(
        "JANITOR_REPORT_DAY",
        weekday,
        shown="none",
        example="0",
        spanish="Día de la semana en que el informe va por correo a JANITOR_NOTIFY_URLS, el lunes es 0.",
        english="The weekday, Monday is 0, on which the report of the last seven days goes by mail, from 06:00 on, to "
        "the mail addresses of `JANITOR_NOTIFY_URLS`: once a week for all hosts of a database.",
    )

    def is_on(self) -> bool:
        """On when there is a day."""
        return self.day is not None
