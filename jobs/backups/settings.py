"""The settings of the job: whether and when backups are made, of which database, how long they are kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import time
from pathlib import Path

from config.declared import declared
from config.text.parsers import (
    MOST_DAYS,
    boolean,
    hour_of_day,
    integer,
    megabytes,
    minute_of_hour,
    names,
    path,
    references,
    weekday,
    whole_days,
)


@dataclass(frozen=True, slots=True)
class BackupSettings:
    """All but `BACKUP_PATH`, which is in the program's own settings so that no other job deletes files there."""

    enabled: bool = declared(
        "BACKUP_ENABLED",
        boolean,
        default="false",
        spanish="Si se hacen copias de seguridad de la base de datos.",
        english="Whether backups of the database are made.",
    )
    retention_days: int = declared(
        "BACKUP_RETENTION_DAYS",
        whole_days,
        default="90",
        unit="days",
        spanish="Días tras los que se borra una copia de seguridad.",
        english="Backups older than that are deleted. Never the newest good chain, a full one that a differential "
        "needs, or the newest one that was proven to restore.",
    )
    full_day: int = declared(
        "BACKUP_FULL_DAY",
        weekday,
        default="0",
        spanish="Día de la semana de la copia completa, el lunes es 0; los demás, diferencial.",
        english="The weekday of the full backup, Monday is 0; differentials on the others. A full one that was missed "
        "is made the next day.",
    )
    hour: int = declared(
        "BACKUP_HOUR",
        hour_of_day,
        default="3",
        spanish="Hora local del día a la que toca.",
        english="When it is due: the hour of the local day.",
    )
    minute: int = declared(
        "BACKUP_MINUTE",
        minute_of_hour,
        default="0",
        spanish="Minuto de esa hora.",
        english="When it is due: the minute of that hour.",
    )
    database_url: str = declared(
        "BACKUP_DATABASE_URL",
        str,
        default="",
        shown="`DATABASE_URL`",
        secret=True,
        spanish="Base de datos de la que se hace la copia; por defecto, la de DATABASE_URL.",
        english="The database that is backed up, as a libpq URI.",
    )
    programs: Path | None = declared(
        "BACKUP_PG_BIN",
        path,
        shown="`PATH`, then Debian's",
        spanish="Directorio con el pg_dump y el psql que se usan.",
        english="The directory of the `pg_dump` and `psql` that are used. They must not be older than the server.",
    )

    verify_days: int = declared(
        "BACKUP_VERIFY_DAYS",
        integer(0, MOST_DAYS),
        default="7",
        unit="days",
        spanish="Cada cuántos días se comprueba la última copia, restaurándola en un servidor pasajero; 0: nunca.",
        english="How often the newest backup is proven: it is restored into a server of its own, and every table is "
        "compared. 0: never.",
    )
    providers: tuple[int | str, ...] = declared(
        "BACKUP_PROVIDERS",
        references,
        default="",
        shown="none",
        example="2,nas-oficina",
        spanish="Ids o nombres de los proveedores que guardan también cada copia, separados por comas.",
        english="Ids or names of the providers that get a proven copy of each backup, too, below `{prefix}/backups/`.",
    )
    recipients: tuple[str, ...] = declared(
        "BACKUP_RECIPIENTS",
        names,
        default="",
        shown="none",
        example="age1...",
        spanish="Claves públicas de age: con alguna, las copias salen del equipo solo cifradas para ellas.",
        english="Public keys of age: with any of them, backups leave this host only encrypted for their owners, as "
        "`….sql.gz.age`.",
    )
    identity: Path | None = declared(
        "BACKUP_IDENTITY_FILE",
        path,
        shown="none",
        example="/etc/janitor/age-key.txt",
        spanish="Fichero con la clave privada de age, solo en un equipo que compruebe lo que hay cifrado.",
        english="A file with the private key of age, for a host that proves what only a provider has, encrypted. "
        "Without it that is left to `backup verify --identity`.",
    )
    largest_mail_bytes: int = declared(
        "BACKUP_MAIL_MAX_MB",
        megabytes,
        default="10",
        unit="MB",
        spanish="Tamaño hasta el que una copia va adjunta en un correo; una mayor, solo dónde está.",
        english="Up to which size `backup send` attaches a backup. For a larger one the mail says where it is.",
    )

    def is_on(self) -> bool:
        """Whether there is anything to do."""
        return self.enabled

    @property
    def at(self) -> time:
        """The time of the local day at which it is due."""
        return time(self.hour, self.minute)
