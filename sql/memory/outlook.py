"""What the database says about the next runs: what they leave out, and how fast earlier ones were."""

from __future__ import annotations

from typing import NamedTuple

from sql.connection import Connection


class PutOff(NamedTuple):
    """Executions still to be migrated that no run takes up for the time being; each counts once."""

    held: int
    quarantined: int
    waiting: int


class Throughput(NamedTuple):
    """What the migrations of the last 30 days came to."""

    executions: int
    size_bytes: int
    seconds: float

    def seconds_for(self, executions: int, size_bytes: int) -> float | None:
        """How long as much would take: by bytes or by executions, whichever is longer; `None` if nothing is known."""
        if not self.executions:
            return None
        by_bytes = self.seconds * size_bytes / self.size_bytes if self.size_bytes else 0.0
        return max(by_bytes, self.seconds * executions / self.executions)


class Outlook:
    """Questions about the next runs. All methods raise as `Connection.query`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put_off(self) -> PutOff:
        """How many executions no run takes up for the time being."""
        return PutOff(**self._connection.query("count_put_off")[0])

    def past_throughput(self) -> Throughput:
        """How fast the migrations of the last 30 days were, of all hosts."""
        return Throughput(**self._connection.query("past_throughput")[0])
