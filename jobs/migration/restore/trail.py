"""Records in the audit trail what somebody did with a command that changes nothing in the database."""

from __future__ import annotations

import logging
from pathlib import Path

from config.logs import emit, one_line
from config.process.person import this_person
from sql.database import Database, DatabaseError


def note_restored(database: Database, uuid: str, destination: Path) -> None:
    """Record who restored an execution, and where to. A restore from a database that takes no writes, such as a
    standby server, is as good without: then that is only reported.
    """
    try:
        database.orders.note("restored", None, uuid, this_person(), {"destination": str(destination)})
    except DatabaseError as error:
        message = f"No se pudo anotar quién restauró la ejecución {one_line(uuid)}: {one_line(error)}"
        emit(logging.INFO, "restore_not_noted", message, cause=error, execution=uuid)


def note_url_signed(database: Database, uuid: str, path: str, seconds: int) -> None:
    """Record who got an address at which a file of a copy can be read; otherwise as `note_restored`."""
    try:
        database.orders.note("url_signed", None, uuid, this_person(), {"path": one_line(path), "seconds": seconds})
    except DatabaseError as error:
        message = f"No se pudo anotar quién pidió una dirección de la ejecución {one_line(uuid)}: {one_line(error)}"
        emit(logging.INFO, "url_not_noted", message, cause=error, execution=uuid)
