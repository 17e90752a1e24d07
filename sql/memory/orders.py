"""What operators order of single executions: held, released, taken up again. Each order is one recorded statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from config.logs import one_line, redactor
from config.process.person import Person
from sql.connection import Connection
from sql.texts import Told, ToldJson


class OrderedRow(NamedTuple):
    """One row of the uuid that an order names, and whether the order changed anything for it."""

    execution_id: int | None
    """`None` for a row that is gone, but was held."""
    is_migrated: bool | None
    local_copy: str | None
    is_under_way: bool
    """Whether a run works on it at this moment."""
    is_held: bool
    """Whether it was held before."""
    is_changed: bool


class Quarantined(NamedTuple):
    """An execution in quarantine, and the failure that put it there."""

    execution_id: int
    uuid: str
    error_code: str | None
    error: str


class Orders:
    """The orders of one host's operators. All methods raise as `Connection.query`."""

    def __init__(self, connection: Connection, host: Told) -> None:
        self._connection = connection
        self._host = host

    def hold(self, uuid: str, reason: str, by: Person) -> list[OrderedRow]:
        """Hold every row with this uuid: until it is released no run migrates it or removes its local copy."""
        return self._order("hold_execution", uuid, by, {"reason": Told(one_line(reason))})

    def release(self, uuid: str, by: Person) -> list[OrderedRow]:
        """Release every held row with this uuid."""
        return self._order("release_execution", uuid, by, {})

    def retry(self, uuid: str, by: Person) -> list[OrderedRow]:
        """Forget the failures of every row with this uuid: the next run takes it up."""
        return self._order("retry_execution", uuid, by, {})

    def quarantined(self) -> list[Quarantined]:
        """All that are in quarantine, the first one first."""
        return [Quarantined(**row) for row in self._connection.query("list_quarantined")]

    def retry_quarantined(self, chosen: Sequence[Quarantined], by: Person) -> list[bool]:
        """Forget the failures of those of the chosen that are still in quarantine: for each, whether it is held."""
        parameters = {**self._signed(by), "execution_ids": [each.execution_id for each in chosen]}
        return [row["is_held"] for row in self._connection.query("retry_quarantined", parameters)]

    def note(self, event: str, execution_id: int | None, uuid: str, by: Person, details: Mapping[str, object]) -> None:
        """Record in the audit trail what somebody did otherwise."""
        parameters = {
            **self._signed(by),
            "event": event,
            "execution_id": execution_id,
            "uuid": uuid,
            "details": ToldJson(redactor.redact_all(details)),
        }
        self._connection.query("note_order", parameters)

    def rights_to_change_the_trail(self) -> list[str]:
        """What this role may do to the audit trail besides adding to it: `UPDATE`, `DELETE`, `TRUNCATE`."""
        return [row["right_name"] for row in self._connection.query("find_rights_on_audit")]

    def _order(self, name: str, uuid: str, by: Person, more: Mapping[str, object]) -> list[OrderedRow]:
        rows = self._connection.query(name, {**self._signed(by), "uuid": uuid, **more})
        return [OrderedRow(**row) for row in rows]

    def _signed(self, by: Person) -> dict[str, object]:
        command = one_line(redactor.redact(by.command))
        return {"host": self._host, "os_user": Told(one_line(by.os_user)), "command": Told(command)}
