"""The settings of the rolling audit: in how many days everything is read back, and how much at a time."""

from __future__ import annotations

from dataclasses import dataclass

from config.declared import declared
from config.text.amounts import parse_size
from config.text.parsers import MOST_DAYS, integer


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """The settings of the job."""

    days: int = declared(
        "JANITOR_AUDIT_DAYS",
        integer(0, MOST_DAYS),
        default="0",
        unit="days",
        shown="off",
        spanish="En cuántos días se lee de vuelta todo lo que hay en los proveedores; 0: no se lee.",
        english="Every stored copy is read back once in this many days and compared with its manifest. 0: never. "
        "Reading may cost money at a provider.",
    )
    max_bytes: int | None = declared(
        "JANITOR_AUDIT_MAX_BYTES",
        parse_size,
        default="20G",
        example="20G",
        spanish="Cuánto se lee de vuelta en una hora como mucho, con unidad: 20G.",
        english="How much is read back in an hour, with a unit. `off`: all that is due. A larger copy is read when its "
        "turn comes, and no other one in that hour.",
    )

    def is_on(self) -> bool:
        """Whether anything is read back."""
        return self.days > 0
