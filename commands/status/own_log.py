"""What the log of this host says of its runs: the only witness of those that the database could not record."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from commands.status.facts import Host
from config.process.log_output import LOG_FILE_NAME

TAIL_BYTES = 1024 * 1024
END_OF_A_RUN = "Ciclo terminado: "
NOWHERE_ELSE = ("la base de datos rechazó la operación", "error inesperado")
"""How errors begin of which `status` would otherwise find nothing: it meets all others itself, or they are over."""


class Line(NamedTuple):
    """One line of the log."""

    at: datetime
    level: str
    message: str


def last_finished_run(log_directory: Path) -> datetime | None:
    """When the log of this host last says that a run has finished; `None` if it does not."""
    found = (_parsed(line) for line in reversed(_tail(log_directory)) if END_OF_A_RUN in line)
    return next((line.at for line in found if line is not None), None)


def unrecorded_failure(log_directory: Path, recorded: Host | None) -> Line | None:
    """The error with which the last run of this host ended before the database could record it: one that came after the
    end of the last recorded run, and after which no run has finished. `None` while a recorded run has no end.
    """
    if recorded is not None and (recorded.last_ended_at is None or recorded.last_ended_at < recorded.last_started_at):
        return None
    for text in reversed(_tail(log_directory)):
        line = _parsed(text)
        if line is None:
            continue
        if END_OF_A_RUN in line.message or (recorded is not None and line.at <= (recorded.last_ended_at or line.at)):
            return None
        if line.level == "ERROR":
            return line if line.message.startswith(NOWHERE_ELSE) else None
    return None


def _tail(log_directory: Path) -> list[str]:
    try:
        with (log_directory / LOG_FILE_NAME).open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            return file.read(TAIL_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def _parsed(line: str) -> Line | None:
    try:
        if line.startswith("{"):
            entry = json.loads(line)
            at = datetime.fromisoformat(entry["timestamp"]).astimezone(UTC)
            return Line(at, str(entry["level"]), str(entry["message"]))
        time, _, level, message = line.split(" - ", 3)
        return Line(datetime.strptime(time, "%Y-%m-%d %H:%M:%S,%f").astimezone(UTC), level, message)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
