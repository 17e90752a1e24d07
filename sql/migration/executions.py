"""Executions still to be migrated: which are due, which conflict, whose they are, and how their migration ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from config.logs import one_line
from config.models import LEASE_SECONDS, Attempt, Claim, CommittedCopy, Execution, ProvenCopy
from sql.connection import Row
from sql.large_tables import LARGE_TABLE_BYTES
from sql.session import Session, claimed, retention_seconds_of
from sql.texts import Told

CANDIDATES_PER_PAGE = 500
PENDING_PER_LOOK = 50_000
"""How many ids a run keeps at a time, and the most that a remembered look can hold."""

TwoRows = tuple[int, int]
"""The ids of two different executions."""

NO_ROWS: Mapping[str, TwoRows] = MappingProxyType({})
NO_PLACES: Mapping[int, int] = MappingProxyType({})


class FailureRecord(NamedTuple):
    """In how many runs an execution failed for a reason of its own, and whether that was once too often."""

    failed_runs: int
    is_quarantined: bool


class Conflicts(NamedTuple):
    """The conflicts among all executions still to be migrated, at one moment.

    Takes memory only for containers and duplicates, not for every execution: a single row may name a directory above
    all others. `containers` are directories equal to or above another row's, each with a row that names it and one that
    it contains; `uuids` are those of several rows, each with two of the rows. Rows refused for another reason,
    `refused_ids`, conflict with none. `places` maps an execution to a row whose `ruta_nube` is at that execution's
    destination.
    """

    containers: Mapping[str, TwoRows] = NO_ROWS
    uuids: Mapping[str, TwoRows] = NO_ROWS
    refused_ids: frozenset[int] = frozenset()
    places: Mapping[int, int] = NO_PLACES

    def reason(self, execution: Execution) -> str | None:
        """Why another row prevents an execution from being migrated, in Spanish; `None` if none does."""
        if execution.uuid in self.uuids:
            other_id = _other(self.uuids[execution.uuid], execution)
            return f"la ejecución con id {other_id} tiene el mismo uuid"
        if execution.id in self.places:
            return f"la ejecución con id {self.places[execution.id]} dice estar en el mismo lugar, en su ruta_nube"
        if execution.id in self.refused_ids or not self.containers:
            return None
        for directory in _with_those_above(execution.directory):
            if directory in self.containers:
                other_id = _other(self.containers[directory], execution)
                return f"su directorio es, contiene o está dentro del de la ejecución con id {other_id}"
        return None


class Executions(Session):
    """The part of `Database` that finds executions, claims them, and records what became of them."""

    def candidates(self, retention_hours: float) -> Iterator[list[Execution]]:
        """Pages of executions that are due by the database's clock and unclaimed, oldest first.

        Every execution that was due at the start comes once, whatever happens to it meanwhile. The platform's table is
        scanned once per `PENDING_PER_LOOK` pending executions, and not at all if it is large and unchanged since the
        last look.
        """
        retention_seconds = retention_seconds_of(retention_hours)
        for due_ids in self._looks(retention_seconds):
            for first in range(0, len(due_ids), CANDIDATES_PER_PAGE):
                parameters = {
                    "execution_ids": due_ids[first : first + CANDIDATES_PER_PAGE],
                    "retention_seconds": retention_seconds,
                    "host": self._host,
                    "run_id": self._run_id,
                }
                rows = self._connection.query("find_candidates", parameters)
                if rows:
                    yield [Execution(row["id"], row["uuid"], row["ruta_directorio"]) for row in rows]

    def _looks(self, retention_seconds: float) -> Iterator[list[int]]:
        """The ids of due executions, oldest first, one look after another."""
        recalled = self._connection.query(
            "recall_look", {"retention_seconds": retention_seconds, "large_table_bytes": LARGE_TABLE_BYTES}
        )
        if recalled and recalled[0]["due_ids"] is not None:
            yield recalled[0]["due_ids"]
            return
        is_wanted = bool(recalled) and self._run_id > 0  # a dry run writes nothing down
        look = self._look(retention_seconds, None, 0, is_wanted=is_wanted)
        if is_wanted and look["is_last"]:
            self._connection.query("remember_look", {"table_state": recalled[0]["table_state"], **look})
        yield look["due_ids"]
        while look["due_ids"] and not look["is_last"]:
            look = self._look(retention_seconds, look["last_executed_at"], look["last_id"], is_wanted=False)
            yield look["due_ids"]

    def _look(self, retention_seconds: float, after_executed_at: str | None, after_id: int, *, is_wanted: bool) -> Row:
        parameters = {
            "retention_seconds": retention_seconds,
            "after_executed_at": after_executed_at,
            "after_id": after_id,
            "look_size": PENDING_PER_LOOK,
            "is_wanted": is_wanted,
        }
        return self._connection.query("find_pending", parameters)[0]

    def count_due(self, retention_hours: float, count_to: int) -> int:
        """The number of due executions that are unclaimed and that this run has not claimed; at most `count_to`."""
        parameters = {
            "retention_seconds": retention_seconds_of(retention_hours),
            "host": self._host,
            "run_id": self._run_id,
            "count_to": count_to,
        }
        return int(self._connection.query("count_due", parameters)[0]["count"])

    def conflicts(self, is_acceptable: Callable[[Execution], bool], shared_prefix: str = "") -> Conflicts:
        """Executions that must not be migrated because of another row. `shared_prefix` is the common prefix of their
        places in the cloud.

        An unacceptable row is refused by itself and conflicts with none: otherwise a single row naming a directory
        above all others would stop everything.
        """
        refused_ids: list[int] = []
        while True:
            rows = self._connection.query("find_containers", {"refused_ids": refused_ids})
            unacceptable_ids = [
                row["id"]
                for row in rows
                if not is_acceptable(Execution(row["id"], row["uuid"], row["ruta_directorio"]))
            ]
            if not unacceptable_ids:
                break
            refused_ids += unacceptable_ids
        return Conflicts(
            {normal_path(row["ruta_directorio"]): (row["id"], row["next_id"]) for row in rows},
            {row["uuid"]: (row["first_id"], row["last_id"]) for row in self._connection.query("find_same_uuids")},
            frozenset(refused_ids),
            self._claimed_places(shared_prefix),
        )

    def _claimed_places(self, shared_prefix: str) -> dict[int, int]:
        uuid_part = len(f"cloud://tipo/{shared_prefix}".split("/")) + 1
        parameters = {"shared_prefix": shared_prefix, "uuid_part": uuid_part}
        rows = self._connection.query("find_claimed_places", parameters)
        return {row["execution_id"]: row["holder_id"] for row in rows}

    def claim(self, executions: Iterable[Execution], retention_hours: float | None = None) -> list[Claim]:
        """Claim executions. Leaves out those that another run has claimed or migrated meanwhile, those whose rows have
        changed since they were read, and those no longer old enough, such as a repeated execution.
        """
        by_id = {execution.id: execution for execution in executions}
        parameters = {
            "execution_ids": list(by_id),
            "uuids": [execution.uuid for execution in by_id.values()],
            "directories": [execution.directory for execution in by_id.values()],
            "retention_seconds": None if retention_hours is None else retention_seconds_of(retention_hours),
            "host": self._host,
            "run_id": self._run_id,
            "lease_seconds": LEASE_SECONDS,
        }
        rows = self._connection.query("claim_executions", parameters)
        claims = {
            row["execution_id"]: Claim(by_id[row["execution_id"]], row["fencing_token"], _committed_copy(row))
            for row in rows
        }
        return [claims[execution_id] for execution_id in by_id if execution_id in claims]

    def lease_seconds_left(self, claim: Claim) -> float | None:
        """How long a claim is still ours, by the database's clock; `None` if it is no longer ours, or its row is no
        longer to be migrated.
        """
        rows = self._connection.query_once("lease_seconds_left", claimed(claim))
        return float(rows[0]["seconds_left"]) if rows else None

    def commit_migration(self, claim: Claim, attempt: Attempt, copy: ProvenCopy, *, delete_local_copy: bool) -> bool:
        """Point the execution's row at its proven copy, completely or not at all (`False`).

        `False` means that the claim was lost, or that the row changed or was migrated meanwhile. If the connection
        breaks and the outcome is unknown, the commit is repeated on new connections. If the repetition changes nothing,
        the outcome is queried: the first commit has ended by then, at the latest while the second waited for its locks.
        """
        parameters = {
            **claimed(claim),
            "attempt_id": attempt.id,
            "uuid": claim.execution.uuid,
            "directory": claim.execution.directory,
            "uri": copy.uri,
            "provider_id": copy.provider_id,
            "key_prefix": copy.key_prefix,
            "file_count": copy.file_count,
            "size_bytes": copy.size_bytes,
            "evidence": copy.evidence.value,
            "manifest_sha256": copy.manifest_sha256,
            "listing_digest": copy.listing_digest,
            "local_copy": "deleting" if delete_local_copy else "kept",
        }
        changed_rows = self._connection.query("commit_migration", parameters)[0]["changed_rows"]
        return changed_rows == 1 or self._is_committed(attempt)

    def _is_committed(self, attempt: Attempt) -> bool:
        return bool(self._connection.query("find_commit", {"attempt_id": attempt.id})[0]["committed"])

    def fail_migration(
        self, claim: Claim, state: str, error_code: str, error: str, max_failed_runs: int | None = None
    ) -> FailureRecord:
        """Record why an execution was not migrated (`failed`) or must not be (`refused`), and release it.

        With `max_failed_runs` the failure counts against it: pauses grow, and after that many it is in quarantine.
        """
        parameters = {
            **claimed(claim),
            "state": state,
            "error_code": error_code,
            "error": Told(one_line(error)),
            "max_failed_runs": max_failed_runs,
            "host": self._host,
            "run_id": self._run_id,
        }
        rows = self._connection.query("fail_migration", parameters)
        return FailureRecord(**rows[0]) if rows else FailureRecord(0, is_quarantined=False)


def _committed_copy(row: Row) -> CommittedCopy | None:
    """The record of the last commit, if any."""
    if row["uri"] is None or row["manifest_sha256"] is None:
        return None
    return CommittedCopy(
        row["uri"],
        row["provider_id"],
        row["file_count"],
        row["size_bytes"],
        row["manifest_sha256"],
        row["set_aside_inode"],
    )


def normal_path(directory: str | None) -> str:
    """An absolute path without doubled and final slashes; '' for any other text, and for the root."""
    if not directory or not directory.startswith("/"):
        return ""
    return "".join(f"/{part}" for part in directory.split("/") if part)


def _with_those_above(directory: str | None) -> list[str]:
    """A directory and its ancestors, except the root."""
    parts = normal_path(directory).split("/")
    return ["/".join(parts[:depth]) for depth in range(len(parts), 1, -1)]


def _other(rows: TwoRows, execution: Execution) -> int:
    return rows[1] if rows[0] == execution.id else rows[0]
