"""What can be said while the database cannot be read: why not, when this host last finished a run, and its disks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from commands.status.disks import look_at_disks
from commands.status.facts import Attention
from commands.status.own_log import last_finished_run
from config.logs import one_line
from config.settings import Settings
from config.text.times import local_with_age
from sql.database import DatabaseError, DatabaseUnavailable

MEANWHILE = (
    "hasta entonces no se migra ni se borra ninguna ejecución, y nada se pierde; el siguiente ciclo lo reintenta"
)
TO_DO = {
    "falta DATABASE_URL": "entre con cd en el directorio del .env del programa y repita, o defina DATABASE_URL",
    "contraseña": "corrija el usuario y la contraseña de DATABASE_URL (o PGPASSWORD, ~/.pgpass)",
    "no existe esa base de datos": "créela o corrija su nombre en DATABASE_URL",
    "no existe ese usuario": "créelo (CREATE ROLE) o corrija el de DATABASE_URL",
    "pg_hba.conf": "admita en pg_hba.conf a este usuario desde este equipo",
}
"""Where the server itself says what it does not accept, by a part of the error."""


def attention_for(error: DatabaseError) -> Attention:
    """What is wrong and what to do. What concerns tables and rights says in its text what to do."""
    advice = ""
    if isinstance(error, DatabaseUnavailable):
        known = (to_do for part, to_do in TO_DO.items() if part in str(error))
        advice = f"{next(known, 'arranque su servidor o corrija DATABASE_URL')}; {MEANWHILE}"
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
