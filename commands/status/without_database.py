"""What can be said while the database cannot be read: why not, when this host last finished a run, and its disks."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from commands.status.disks import look_at_disks
from commands.status.facts import Attention
from config.logs import LOG_FILE_NAME, one_line
from config.settings import Settings
from config.text.times import local_with_age
from sql.database import DatabaseError, DatabaseUnavailable

TAIL_BYTES = 1024 * 1024
END_OF_A_RUN = "Ciclo terminado: "
UNREACHABLE = (
    "arranque su servidor o corrija DATABASE_URL; hasta entonces no se migra ni se borra ninguna ejecución, y nada se "
    "pierde; el siguiente ciclo lo reintenta"
)


def last_finished_run(log_directory: Path) -> datetime | None:
    """When the log of this host last says that a run has finished; `None` if it does not."""
    try:
        with (log_directory / LOG_FILE_NAME).open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            lines = file.read(TAIL_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        return None
    return next((_instant(line) for line in reversed(lines) if END_OF_A_RUN in line), None)


def _instant(line: str) -> datetime | None:
    try:
        if line.startswith("{"):
            return datetime.fromisoformat(json.loads(line)["timestamp"]).astimezone(UTC)
        return datetime.strptime(line.partition(" - ")[0], "%Y-%m-%d %H:%M:%S,%f").astimezone(UTC)
    except (ValueError, KeyError, TypeError):
        return None


def attention_for(error: DatabaseError) -> Attention:
    """What is wrong and what to do. What concerns tables and rights says in its text what to do."""
    advice = UNREACHABLE if isinstance(error, DatabaseUnavailable) else ""
    return Attention("database", "base de datos", one_line(error), advice)


def describe_without_database(settings: Settings) -> Iterator[str]:
    """The lines that follow the error."""
    finished = last_finished_run(settings.log_directory)
    when = "no consta" if finished is None else local_with_age(finished, datetime.now(UTC), settings.time_zone)
    yield f"Último ciclo terminado en esta máquina, según su registro: {when}"
    for disk in look_at_disks(settings):
        if disk.purpose == "root" and disk.fault is not None:
            yield one_line(f"Raíz {disk.path}: {disk.fault}")
        elif disk.is_nearly_full:
            yield one_line(f"El disco de {disk.path} está casi lleno")
