"""The settings of the job `history`."""

from __future__ import annotations

from dataclasses import dataclass

from config.declared import declared
from config.text.parsers import integer

LONGEST_DAYS = 36_500


@dataclass(frozen=True, slots=True)
class HistorySettings:
    """How long records are kept."""

    days: int = declared(
        "JANITOR_HISTORY_DAYS",
        integer(0, LONGEST_DAYS),
        default="365",
        unit="days",
        spanish="Días que se guardan los registros de ciclos, trabajos e intentos terminados; 0: siempre.",
        english="For how long records of runs, of jobs and of attempts that left nothing are kept in `janitor_*`; 0: "
        "for ever. What a restore, an open attempt or a leftover needs is never deleted.",
    )

    def is_on(self) -> bool:
        """On unless everything is kept."""
        return self.days > 0
