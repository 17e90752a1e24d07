"""Removals of local copies: which are to be done, and how far each of them is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from config.logs import one_line
from config.models import LEASE_SECONDS, Claim, Execution
from sql.connection import Row
from sql.errors import CopyKnownBad, DeletionHeld, DeletionSwitchedOff
from sql.session import Session, claimed
from sql.texts import Told


class RemovalRecord(NamedTuple):
    """What earlier runs recorded of one removal: the inode of the directory that they set aside, and, once that was
    empty, the device and inode of its parent. `None`: nothing recorded.
    """

    inode: str | None = None
    emptied_in: str | None = None


class UnfinishedDeletion(NamedTuple):
    """A migrated execution whose local copy is still to be removed."""

    claim: Claim
    provider_id: int
    uri: str
    manifest_sha256: str
    record: RemovalRecord
    file_count: int
    """The number of files in its proven copy."""
    listing_digest: int | None


class ListedDeletion(NamedTuple):
    """An unfinished deletion that is not claimed, and whether it is due: after several tries there are pauses. What an
    operator holds is not to be removed.
    """

    execution: Execution
    is_due: bool
    is_held: bool = False


class Removals(Session):
    """The part of `Database` that records each removal before it happens."""

    def list_deletions(self) -> list[ListedDeletion]:
        """The removals of local copies that this host began and did not finish, in the order in which to try them."""
        rows = self._connection.query("list_deletions", {"host": self._host})
        return [
            ListedDeletion(Execution(row["execution_id"], row["uuid"], row["directory"]), row["is_due"], row["is_held"])
            for row in rows
        ]

    def claim_deletions(self, executions: Iterable[Execution]) -> list[UnfinishedDeletion]:
        """Claim unfinished deletions and count a try for each. Leaves out those that have changed since they were
        listed.
        """
        parameters = {
            "execution_ids": [execution.id for execution in executions],
            "host": self._host,
            "run_id": self._run_id,
            "lease_seconds": LEASE_SECONDS,
        }
        return [
            UnfinishedDeletion(
                Claim(Execution(row["execution_id"], row["uuid"], row["directory"]), row["fencing_token"]),
                row["provider_id"],
                row["uri"],
                row["manifest_sha256"],
                RemovalRecord(row["set_aside_inode"], row["emptied_in"]),
                row["file_count"],
                row["listing_digest"],
            )
            for row in self._connection.query("claim_deletions", parameters)
        ]

    def deletion_seconds_left(self, claim: Claim) -> float | None:
        """How long a local copy is still ours to remove, by the database's clock; `None` if the claim was lost or the
        execution's row has changed since the copy was committed.

        Raises `DeletionSwitchedOff` if the policy in force no longer asks for deletion, `DeletionHeld` if an operator
        holds the execution, `CopyKnownBad` if an audit found since its proof that the stored copy is not whole.
        """
        return _seconds_left_to_delete(self._connection.query_once("deletion_seconds_left", claimed(claim)))

    def rows_in_the_way(self) -> list[tuple[int, Execution]]:
        """Pairs of an execution (by id) whose local copy this host may remove now or soon, and one still to be
        migrated whose directory equals, contains or is inside the first one's.
        """
        rows = self._connection.query("find_rows_in_the_way", {"host": self._host, "run_id": self._run_id})
        return [(row["execution_id"], Execution(row["id"], row["uuid"], row["ruta_directorio"])) for row in rows]

    def note_set_aside(self, claim: Claim, inode: str) -> float | None:
        """As `deletion_seconds_left`; unless it returns `None`, records which directory is about to be set aside."""
        return _seconds_left_to_delete(self._connection.query("note_set_aside", {**claimed(claim), "inode": inode}))

    def note_emptied(self, claim: Claim, parent: str) -> bool:
        """Record that the directory is empty and about to be removed from its parent; `False` if the claim was lost."""
        return bool(self._connection.query("note_emptied", {**claimed(claim), "parent": parent}))

    def keep_local_copy(self, claim: Claim) -> None:
        """Record that the local copy stays after all, and release the execution."""
        self._connection.query("keep_local_copy", claimed(claim))

    def finish_deletion(self, claim: Claim) -> bool:
        """Record that the local copy is gone, and release the execution. If the claim was lost or the execution's row
        changed meanwhile, change nothing and return `False`.
        """
        parameters = {**claimed(claim), "host": self._host}
        return bool(self._connection.query("finish_deletion", parameters)[0]["is_finished"])

    def stop_deletion(self, claim: Claim, error_code: str, error: str) -> None:
        """Record why the local copy could not be removed; a later tick tries again."""
        parameters = {**claimed(claim), "error_code": error_code, "error": Told(one_line(error))}
        self._connection.query("stop_deletion", parameters)

    def put_off_deletion(self, claim: Claim) -> None:
        """Release a removal that was stopped without a fault; the next tick continues it."""
        self._connection.query("put_off_deletion", claimed(claim))


def _seconds_left_to_delete(rows: list[Row]) -> float | None:
    if rows and not rows[0]["is_wanted"]:
        raise DeletionSwitchedOff
    if rows and rows[0]["is_held"]:
        raise DeletionHeld
    if rows and rows[0]["is_known_bad"]:
        raise CopyKnownBad
    return float(rows[0]["seconds_left"]) if rows else None
