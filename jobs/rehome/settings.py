"""The settings of the job: whether copies are brought to the primary provider, and how much of them in a tick."""

from __future__ import annotations

from dataclasses import dataclass

from config.declared import declared
from config.text.amounts import parse_size
from config.text.parsers import boolean


@dataclass(frozen=True, slots=True)
class RehomeSettings:
    """The settings of the job."""

    enabled: bool = declared(
        "JANITOR_REHOME",
        boolean,
        default="false",
        shown="`off`",
        spanish="Si lo que quedó en un proveedor alternativo se lleva al primario.",
        english="Whether copies that are on another provider than the primary one are brought there: copied, proven, "
        "then removed from the other. After a change of `nube_primaria_id` that means all earlier copies.",
    )
    max_bytes: int | None = declared(
        "JANITOR_REHOME_MAX_BYTES",
        parse_size,
        default="20G",
        example="20G",
        spanish="En un ciclo no se lleva al primario ninguna ejecución con la que se pasaría de esto: 20G.",
        english="How much is brought to the primary provider in one tick, with a unit. `off`: all. One "
        "that is larger is moved when its turn comes, and no other one in that tick.",
    )

    def is_on(self) -> bool:
        """Whether there is anything to do."""
        return self.enabled
