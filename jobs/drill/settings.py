"""The settings of the job: how many restores are tried out in a week, and where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from config.declared import declared
from config.text.parsers import integer, path

MOST_RESTORES = 10_000


@dataclass(frozen=True, slots=True)
class DrillSettings:
    """The settings of the job."""

    count: int = declared(
        "JANITOR_DRILL",
        integer(0, MOST_RESTORES),
        default="0",
        shown="off",
        spanish="Cuántas ejecuciones al azar se restauran cada semana, para saber que se puede; 0: ninguna.",
        english="This many executions, chosen at random, are restored each week, Sunday from 05:00 on, by the "
        "program's own `restore`, compared with their manifests and removed again; the time is recorded. 0: none.",
    )
    directory: Path = declared(
        "JANITOR_DRILL_DIRECTORY",
        path,
        default="/var/tmp",  # noqa: S108 what is made there is made under a name of its own, with mode 0700
        spanish="Dónde se restauran, en un directorio propio que después se borra.",
        english="Where they are restored: in a directory of its own with mode 0700, removed afterwards, also after a "
        "kill. At most half of the free space is used.",
    )

    def is_on(self) -> bool:
        """Whether any restore is tried out."""
        return self.count > 0
