"""What the database says about the next runs: what they leave out, and how fast earlier ones were."""

from __future__ import annotations

from typing import NamedTuple

from sql.connection import Connection, Row
from sql.large_tables import PENDING_SAMPLE
from sql.migration import executions
from sql.session import retention_seconds_of


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


class PendingSource(NamedTuple):
    """Which rows of the platform's table may be pending: a list of ids, as text, all higher ones, and a sample of the
    others; or all rows.
    """

    execution_ids: str = "{}"
    after_id: int = 0
    is_scanned: bool = False
    is_exact: bool = True
    """Whether no other row can be pending: one that was set back since the last look would be missed."""
    sampled_percent: float = 0.0
    """How much is read of the rows that are not listed; 0 where all of them are migrated."""

    @property
    def basis(self) -> str:
        """How the pending executions are counted, by a stable English name: `counted`, `last_look` or `sample`."""
        if self.is_exact:
            return "counted"
        return "sample" if self.sampled_percent else "last_look"

    def parameters(self, retention_hours: float) -> dict[str, object]:
        """As the statements take them."""
        return {
            "is_scanned": self.is_scanned,
            "execution_ids": self.execution_ids,
            "after_id": self.after_id,
            "sampled_percent": self.sampled_percent,
            "retention_seconds": retention_seconds_of(retention_hours),
        }


WHOLE_TABLE = PendingSource(is_scanned=True)


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

    def pending_source(self, *, is_huge: bool) -> PendingSource:
        """Where to read the pending executions of a large table: in the last look, or in one made now, or, where that
        takes too long, among the last rows and in a sample of all others.
        """
        looks = self._connection.query("status_look")
        if looks:
            return PendingSource(looks[0]["execution_ids"], looks[0]["after_id"], is_exact=False)
        if is_huge:
            (known,) = self._connection.query(
                "status_known", {**PENDING_SAMPLE, "look_size": executions.PENDING_PER_LOOK}
            )
            return PendingSource(**known, is_exact=False)
        (scan,) = self._connection.query("status_scan", {"look_size": executions.PENDING_PER_LOOK})
        return WHOLE_TABLE if scan["is_cut"] else PendingSource(scan["execution_ids"], scan["after_id"])

    def pending_by_state(
        self, retention_hours: float, source: PendingSource, page_size: int
    ) -> tuple[dict[str, Row], list[Row]]:
        """The numbers of executions still to be migrated, by what keeps them waiting; and the oldest that are due, up
        to a number. From a sample the numbers are estimates.
        """
        rows = self._connection.query("status_pending", {**source.parameters(retention_hours), "page_size": page_size})
        return {row["kind"]: row for row in rows if row["kind"]}, [row for row in rows if not row["kind"]]
