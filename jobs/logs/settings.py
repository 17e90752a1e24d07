"""The settings of the job: where logs are, their names, and their ages."""

from __future__ import annotations

from dataclasses import dataclass

from config.declared import declared
from config.text.amounts import AmountError
from config.text.parsers import (
    MOST_DAYS,
    boolean,
    directories,
    file_patterns,
    hour_of_day,
    minute_of_hour,
    number,
    whole_days,
)

days = number(0, MOST_DAYS)


@dataclass(frozen=True, slots=True)
class LogsSettings:
    """The settings of the logs job."""

    paths: tuple[str, ...] = declared(
        "LOGS_PATH",
        directories,
        default="",
        shown="none",
        example="/var/log/sage",
        spanish="Directorios cuyos registros antiguos se comprimen y, pasado más tiempo, se borran; separados por ':'.",
        english="Directories whose old logs are compressed and later deleted, `:` between them, absolute, without "
        "symbolic links. Their files, not those in directories below. Refused where others keep files: the system's "
        "directories (`/var/log` itself, but not what programs have in it), roots, `TEMP_DIR`, `BACKUP_PATH` and what "
        "is in these, copies of executions.",
    )
    compression_enabled: bool = declared(
        "LOGS_COMPRESSION_ENABLED",
        boolean,
        default="true",
        spanish="Si se comprimen los registros antiguos.",
        english="Whether old logs are compressed.",
    )
    compression_days: float = declared(
        "LOGS_COMPRESSION_DAYS",
        days,
        default="7",
        unit="days",
        spanish="Días sin escritura tras los que un registro se comprime.",
        english="A log that was last written to longer ago becomes `NAME.gz`, with the same owner, mode and time. One "
        "that a program has open for writing is left.",
    )
    retention_days: int = declared(
        "LOGS_RETENTION_DAYS",
        whole_days,
        default="90",
        unit="days",
        spanish="Días sin escritura tras los que se borra un registro comprimido.",
        english="Compressed logs that were last written to longer ago are deleted. Not less than "
        "`LOGS_COMPRESSION_DAYS`.",
    )
    patterns: tuple[str, ...] = declared(
        "LOGS_PATTERNS",
        file_patterns,
        default="*.log,*.log.*",
        spanish="Qué nombres son de registros, separados por comas.",
        english="Which names are logs, commas between them. As in a shell, `*` does not stand for a dot at the "
        "beginning. A compressed log matches by the name that it had before, too.",
    )
    hour: int = declared(
        "LOGS_HOUR",
        hour_of_day,
        default="4",
        spanish="Hora local del día a la que toca.",
        english="When it is due: the hour of the local day.",
    )
    minute: int = declared(
        "LOGS_MINUTE",
        minute_of_hour,
        default="0",
        spanish="Minuto de esa hora.",
        english="When it is due: the minute of that hour.",
    )

    def __post_init__(self) -> None:
        if self.compression_enabled and self.retention_days < self.compression_days:
            raise AmountError(
                f"LOGS_RETENTION_DAYS ({self.retention_days}) debe ser igual o mayor que LOGS_COMPRESSION_DAYS "
                f"({self.compression_days:g}): un registro se comprime y solo después se borra"
            )

    def is_on(self) -> bool:
        """On when at least one directory is set."""
        return bool(self.paths)
