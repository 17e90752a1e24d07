"""The outbox: the state of each cause of trouble, and a notice for each change of one that operators should know."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import NamedTuple

from config.logs import emit, one_line
from sql.connection import Connection
from sql.errors import DatabaseError, SchemaError
from sql.texts import Told, ToldJson

UNSTABLE_CHANGES = 4
UNSTABLE_HOURS = 6
"""A cause whose state changes this often in this many hours comes and goes: one notice says so."""

LONGEST_TEXT = 1000
"""Characters of one notice: several must fit into one message."""


class State:
    """How bad a cause is, from good to worst."""

    OK = "ok"
    DEGRADED = "degraded"
    """Everything works, but not as it should."""
    FAILED = "failed"
    """Something is not done. It may end by itself."""
    NEEDS_PERSON = "needs_person"
    """Something is not done, and will not be until a person acts."""


STATES = (State.OK, State.DEGRADED, State.FAILED, State.NEEDS_PERSON)
"""By severity."""


class Cause(NamedTuple):
    """The state of one cause, as it was found just now."""

    key: str
    """Its stable English name, such as `provider:7:unusable`."""
    state: str
    """One of `STATES`."""
    text: str
    """What operators read, in Spanish and on one line: what is wrong and what to do, or that it is well again."""


class Held(NamedTuple):
    """The job of the platform that a run holds, by its name and fencing token."""

    job: str = ""
    fencing_token: int = 0
    """0: it holds none, and needs none."""


NONE_HELD = Held()


class Notices:
    """Writes the states of causes, and with each change its notice."""

    def __init__(self, connection: Connection, host: str) -> None:
        self._connection = connection
        self._host = host

    def note(self, causes: Iterable[Cause], held: Held = NONE_HELD) -> int:
        """Note the states of causes; return how many notices that made. What is noted twice makes one notice. A run
        that has lost the job it held notes nothing: its view is an old one.

        Raises `ValueError` for an unknown state, and otherwise as `Connection.query`.
        """
        noted = [self._entry(cause) for cause in {cause.key: cause for cause in causes}.values()]
        if not noted:
            return 0
        parameters = {
            "causes": ToldJson(noted), "unstable_changes": UNSTABLE_CHANGES, "unstable_hours": UNSTABLE_HOURS,
            "job": held.job, "fencing_token": held.fencing_token,
        }  # fmt: skip
        made = self._connection.query("note_causes", parameters)
        if made:
            self.copy_to_platform()
        return len(made)

    def _entry(self, cause: Cause) -> dict[str, str]:
        if cause.state not in STATES:
            raise ValueError(f"{cause.state!r} is no state of a cause")
        text = one_line(cause.text)[:LONGEST_TEXT]
        return {"cause": cause.key, "state": cause.state, "text": text, "host": self._host}

    def copy_to_platform(self) -> None:
        """Copy new notices into the platform's `notificaciones`, each once. Where that table is absent or closed to
        this role, the notices only go to the channels.
        """
        try:
            self._connection.query("copy_notices_to_platform", {"good": Told("✅"), "bad": Told("⚠️")})
        except SchemaError as error:
            message = f"Los avisos no se copian en notificaciones: {one_line(error)}"
            emit(logging.DEBUG, "notices_not_in_platform", message, cause=error)
        except DatabaseError as error:
            message = f"No se pudieron copiar los avisos en notificaciones; se repite con el próximo: {one_line(error)}"
            emit(logging.WARNING, "notices_not_in_platform", message, cause=error)
