"""What the daemon asks of its database and tells it, in the daemon's own terms. Rows become objects here only."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from config.fields import FieldError
from config.logs import learn_secrets, one_line, redactor
from config.models import (
    LATE_SECONDS,
    LEASE_SECONDS,
    Attempt,
    Claim,
    CommittedCopy,
    Execution,
    MigrationPolicy,
    ProvenCopy,
    ProviderRow,
)
from config.process.early_signals import EXIT_SIGNAL_BASE
from config.secrets import literal_secrets, named_secrets, resolve_secrets
from sql import schema
from sql.conflicts import Conflicts, normal_path
from sql.connection import Connection, Row, database_identity, database_password, require_database_named
from sql.errors import (
    DatabaseBusy,
    DatabaseError,
    DatabaseReadOnly,
    DatabaseUnavailable,
    DeletionSwitchedOff,
    SchemaError,
)
from sql.job_records import JobRecords, JobsSeen, jobs_seen
from sql.texts import Told, ToldJson

__all__ = [
    "Database",
    "DatabaseBusy",
    "DatabaseError",
    "DatabaseReadOnly",
    "DatabaseUnavailable",
    "DeletionSwitchedOff",
    "SchemaError",
    "database_identity",
    "require_database_named",
]

CANDIDATES_PER_PAGE = 500
PENDING_PER_LOOK = 50_000
"""How many ids a run keeps at a time, and a look that is remembered can hold."""

KINDS_IN_URIS = ("s3", "minio", "azure", "gcp", "gcs", "sftp", "local")

LARGE_TABLE_BYTES = 64 * 1024 * 1024
"""A table from this size on, some 300,000 executions, takes longer to look through than a run to start."""

LONGEST_RETENTION_HOURS = 20_000_000.0
"""Some 2,283 years: more would leave the range of PostgreSQL's timestamps, and means "never" all the same."""


BYTEA_AS_TEXT = re.compile(r"\\x(?:[0-9a-f]{2})*")


@dataclass(frozen=True, slots=True)
class Overlap:
    """What another execution has, or may have, at a place, above it or below it."""

    attempt_id: int
    execution_id: int
    provider_id: int
    store: str
    key_prefix: str


@dataclass(frozen=True, slots=True)
class Occupied:
    """Why no attempt may begin at a place: what others have there, or what may still arrive there until a certain time:
    deletions, or bytes of files that have changed since.
    """

    overlaps: tuple[Overlap, ...]
    closed_until: datetime | None = None
    late_bytes_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class RemovalRecord:
    """What earlier runs wrote down of one removal: the inode of the directory that they set aside, and once it was
    empty the device and inode of the directory that holds it. `None`: nothing.
    """

    inode: str | None = None
    emptied_in: str | None = None


@dataclass(frozen=True, slots=True)
class UnfinishedDeletion:
    """A migrated execution whose local copy is still to be removed."""

    claim: Claim
    provider_id: int
    uri: str
    manifest_sha256: str
    record: RemovalRecord
    file_count: int
    """How many files its proven copy has."""


@dataclass(frozen=True, slots=True)
class ListedDeletion:
    """One of those, not taken up, and whether it is its turn: after several tries there are pauses."""

    execution: Execution
    is_due: bool


@dataclass(frozen=True, slots=True)
class Leftover:
    """A failed attempt whose objects may lie at a place from which nothing points to them."""

    attempt_id: int
    execution_id: int
    uuid: str
    provider_id: int
    key_prefix: str
    store: str
    host: str
    directory: str | None
    foreign_objects: bool
    is_given_up: bool
    migrated_provider_id: int | None
    migrated_uri: str | None


@dataclass(frozen=True, slots=True)
class StoredExecution:
    """Where a row says that an execution lies."""

    id: int
    uuid: str
    migrated: bool
    uri: str | None
    provider_id: int | None
    manifest_sha256: str | None
    has_directory: bool
    """Not that of an execution that left no files."""


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """One row of `secretos_nube`: the token in it, and the column as text, by which the same state is known again."""

    name: str
    token: bytes
    column_text: str | None


@dataclass(frozen=True, slots=True)
class SecretUse:
    """The secrets that a provider's row names, and the fields in which it holds some itself."""

    provider: str
    active: bool
    names: tuple[str, ...]
    literal_fields: tuple[str, ...]


class Database:
    """Every question and order that the daemon has for PostgreSQL.

    All methods raise `DatabaseUnavailable` when the database cannot be reached, `SchemaError` when its tables do not
    fit, `DatabaseError` otherwise.
    """

    def __init__(self, database_url: str, host: str) -> None:
        self._connection = Connection(database_url)
        self._host = Told(host)
        self._run_id = 0
        redactor.add(database_password(database_url))

    def connect(self) -> None:
        """Connect now, so that an unreachable database is known before anything else is begun."""
        self._connection.connect()

    def idle(self) -> contextlib.AbstractContextManager[None]:
        """Within, no thread has a statement under way: a time at which the process may be forked."""
        return self._connection.idle()

    def go_on_in_forked_process(self) -> None:
        """Act in the name of the same run on a connection of this process, which was forked from the run's own."""
        self._connection = self._connection.forked()

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()

    def initialize(self) -> tuple[str, ...]:
        """Create and upgrade tables; the names of the upgrades applied. See `sql.schema.initialize`."""
        return schema.initialize(self._connection, schema.known_upgrades())

    def require_current_schema(self) -> None:
        """Raises `SchemaError` unless the tables are those of this version."""
        schema.require_current(self._connection, schema.known_upgrades())

    def require_rights(self) -> None:
        """Raises `DatabaseReadOnly` or, naming tables, `SchemaError` unless this role may do what a run needs."""
        if self._connection.query("is_read_only")[0]["read_only"]:
            raise DatabaseReadOnly("la base de datos solo admite lecturas, como una réplica")
        missing = [row["missing"] for row in self._connection.query("find_missing_rights")]
        if missing:
            raise SchemaError(f"el usuario de la base de datos no tiene permiso de {', '.join(missing)}")

    def missing_columns(self) -> list[tuple[str, str]]:
        """What the platform's tables lack of what the program reads: table and column."""
        rows = self._connection.query("find_missing_columns")
        return [(row["table_name"], row["column_name"]) for row in rows]

    # Configuration

    def load_policy(self) -> MigrationPolicy | None:
        """The row of `ejecuciones_config` in force, `None` without one. Raises `FieldError` for a wrong value."""
        rows = self._connection.query("load_policy")
        return _policy(rows[0]["policy"]) if rows else None

    def load_provider_rows(self) -> Iterator[ProviderRow | tuple[Row, FieldError]]:
        """Every row of `cloud_providers`, its secrets resolved; a row that cannot be read comes with its error."""
        for row in self._connection.query("load_providers"):
            try:
                yield _provider_row(row, self._fetch_secret)
            except FieldError as error:
                yield row, error

    def local_directories(self) -> list[str]:
        """The `ruta` of every provider of kind `local`, active or not; a row that cannot be read keeps no copies."""
        found = (_local_directory(row) for row in self._connection.query("list_local_directories"))
        return [directory for directory in found if directory is not None]

    # Secrets

    def _fetch_secret(self, name: str) -> bytes | None:
        rows = self._connection.query("load_secret", {"name": name})
        if len(rows) > 1:  # the platform's own table may have nothing that makes names unique
            raise FieldError(f"el secreto {name!r} tiene varios valores distintos en secretos_nube")
        return _stored_bytes(rows[0]["valor_cifrado"]) if rows else None

    def load_secrets(self) -> list[StoredSecret]:
        """Every secret, still encrypted, by name; a name twice if it has two values."""
        return [
            StoredSecret(row["nombre"], _stored_bytes(row["valor_cifrado"]), row["valor_cifrado"])
            for row in self._connection.query("list_secrets")
        ]

    def store_secret(self, name: str, token: str) -> bool:
        """Put an encrypted secret in the place of the one of this name, and give `True`, or add it: never a second."""
        # No escapes, as PostgreSQL refuses those that its encoding lacks, even where it holds the text itself.
        secret = json.dumps({"nombre": name, "valor_cifrado": token}, ensure_ascii=False)
        return bool(self._connection.query("store_secret", {"secret": secret})[0]["replaced"])

    def replace_secrets(self, renewed: Iterable[tuple[StoredSecret, str]]) -> int | None:
        """Put new tokens in the place of all that were read, at once; how many. `None`, and nothing, if there is any
        other by now.
        """
        secrets = [
            {"nombre": secret.name, "valor_cifrado": token, "previous": secret.column_text} for secret, token in renewed
        ]
        (outcome,) = self._connection.query("replace_secrets", {"secrets": json.dumps(secrets, ensure_ascii=False)})
        return None if outcome["changed"] else int(outcome["replaced"])

    def remove_secret(self, name: str) -> bool:
        """Remove a secret; `False` if there was none of this name."""
        return bool(self._connection.query_once("remove_secret", {"name": name}))

    def secret_uses(self) -> list[SecretUse]:
        """What each row of `cloud_providers` does about its secrets; rows that cannot be read are left out."""
        return [use for row in self._connection.query("load_providers") if (use := _secret_use(row)) is not None]

    # Runs

    def start_run(self, process_id: int, mode: str, version: str) -> JobsSeen:
        """Record that a run begins, and act in its name from now on; give what is known of all jobs."""
        parameters = {"host": self._host, "process_id": process_id, "mode": mode, "version": version}
        row = self._connection.query("start_run", parameters)[0]
        self._run_id = row["id"]
        self.job_records = JobRecords(self._connection, self._host, self._run_id, LEASE_SECONDS)
        return jobs_seen(row)

    def jobs_seen(self) -> JobsSeen:
        """What is known of all jobs, for who only looks."""
        return jobs_seen(self._connection.query("list_jobs", {"host": self._host})[0])

    def job_query(self, folder: str, name: str, parameters: Mapping[str, object]) -> list[Row]:
        """Run one of a job's own statements: `queries/{name}.sql` in its folder, which may be run twice."""
        return self._connection.query(f"{folder}/{name}", parameters)

    def missing_job_rights(self, rights: Mapping[str, str]) -> list[str]:
        """Which of the rights that a job needs on tables this role lacks, in words."""
        if not rights:
            return []
        pairs = [(table, right) for table, names in rights.items() for right in names.split(", ")]
        parameters = {"tables": [table for table, _ in pairs], "rights": [right for _, right in pairs]}
        return [row["missing"] for row in self._connection.query("find_missing_job_rights", parameters)]

    def finish_run(self, exit_code: int, report: Mapping[str, object]) -> None:
        """Record how the run ended, and free what it still holds."""
        told = ToldJson(redactor.redact_all(report))
        self.job_records.finish("finish_run", {"exit_code": exit_code, "report": told})
        is_interrupted = exit_code > EXIT_SIGNAL_BASE
        self._connection.query("release_leases", {"run_id": self._run_id, "is_interrupted": is_interrupted})

    def renew_leases(self) -> None:
        """Keep what this run holds for another lease."""
        self._connection.query(
            "renew_job_leases, renew_leases", {"run_id": self._run_id, "lease_seconds": LEASE_SECONDS}
        )

    def lease_seconds_left(self, claim: Claim) -> float | None:
        """For how long a claim is still ours, by the database's clock; `None` when it is not ours any more, or its row
        does not say any more that it is to be migrated.
        """
        rows = self._connection.query_once("lease_seconds_left", _claimed(claim))
        return float(rows[0]["seconds_left"]) if rows else None

    # Migrations

    def candidates(self, retention_hours: float) -> Iterator[list[Execution]]:
        """Pages of executions that are due by the database's clock and that nobody works on, oldest first.

        Every execution that was due at the beginning comes once, whatever happens to it meanwhile. However many are
        pending, the platform's table is looked through once for each `PENDING_PER_LOOK` of them, and not at all where
        it is large and has not changed since the last look.
        """
        retention_seconds = _retention_seconds(retention_hours)
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
        """The ids of due executions, oldest first, as look after look finds them."""
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
        """How many executions are due that nobody works on and that this run has not taken up; at most `count_to`."""
        parameters = {
            "retention_seconds": _retention_seconds(retention_hours),
            "host": self._host,
            "run_id": self._run_id,
            "count_to": count_to,
        }
        return int(self._connection.query("count_due", parameters)[0]["count"])

    def conflicts(self, is_acceptable: Callable[[Execution], bool], shared_prefix: str = "") -> Conflicts:
        """Executions that must not be migrated because of another row. `shared_prefix` is what their places in the
        cloud have in common.

        A row that is not acceptable is refused for its own sake, and stands in no other one's way: otherwise a single
        one that names a directory above all others would stop everything.
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
        """Take up executions. Those that another run holds or has migrated meanwhile are not in the answer, nor those
        whose rows changed since they were read, or whose files are not that old any more, as of a repeated execution.
        """
        by_id = {execution.id: execution for execution in executions}
        parameters = {
            "execution_ids": list(by_id),
            "uuids": [execution.uuid for execution in by_id.values()],
            "directories": [execution.directory for execution in by_id.values()],
            "retention_seconds": None if retention_hours is None else _retention_seconds(retention_hours),
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

    def open_attempt(
        self,
        claim: Claim,
        provider_id: int,
        key_prefix: str,
        store: str = "",
        elsewhere: Iterable[int] = (),
        *,
        fingerprint: str | None = None,
        late_bytes_are_harmless: bool = False,
    ) -> Attempt | Occupied | None:
        """Record, before the first remote byte, that bytes will be sent; `None` when the claim is no longer ours.

        `Occupied` where the place is another execution's, or contains or lies in one: in any store, but for the
        attempts in `elsewhere`, which are known to lie in another one. Also for a while where a run that is dead may
        have something on its way: deletions, or bytes of files that have changed since, as the `fingerprint` tells.
        """
        parts = key_prefix.split("/")
        parameters = {
            **_claimed(claim),
            "run_id": self._run_id,
            "host": self._host,
            "provider_id": provider_id,
            "key_prefix": key_prefix,
            "store": store,
            "places_above": ["/".join(parts[:depth]) for depth in range(1, len(parts))],
            "elsewhere": list(elsewhere),
            "fingerprint": fingerprint,
            "late_bytes_are_harmless": late_bytes_are_harmless,
            "late_seconds": LATE_SECONDS,
        }
        (row,) = self._connection.query("open_attempt", parameters)
        if not row["held"]:
            return None
        if row["id"] is None:
            overlaps = tuple(map(_overlap, row["overlapping"]))
            return Occupied(overlaps, row["closed_until"], row["late_bytes_until"])
        return Attempt(
            row["id"],
            provider_id,
            key_prefix,
            row["earlier_attempts_here"],
            bool(row["foreign_objects_here"]),
            bool(row["committed_here"]),
            row["committed_manifest_sha256"],
        )

    def close_place(self, attempt_id: int) -> bool:
        """Record, before the first deletion at an attempt's place, that no other run may use the place for a while: a
        deletion that was on its way when this run ended may still arrive there. `False` when the attempt has ended.
        """
        parameters = {"attempt_id": attempt_id, "run_id": self._run_id, "late_seconds": LATE_SECONDS}
        return bool(self._connection.query("close_place", parameters))

    def reopen_place(self, attempt_id: int) -> None:
        """Record that every deletion at an attempt's place was answered."""
        self._connection.query("reopen_place", {"attempt_id": attempt_id, "run_id": self._run_id})

    @cached_property
    def installation(self) -> str:
        """The name of this installation, which is in every manifest. A copy of the database gets another one, and takes
        nothing that was left at a provider for its own.
        """
        origin = self._connection.query("find_origin")[0]["origin"]
        return str(self._connection.query("name_installation", {"origin": origin})[0]["installation"])

    def note_place(self, attempt: Attempt, *, foreign_objects: bool) -> None:
        """Record, before the first object is sent, whether objects lie at the attempt's place which no attempt of ours
        made: then nothing there is ever removed.
        """
        self._connection.query("note_place", {"attempt_id": attempt.id, "foreign_objects": foreign_objects})

    def note_answered(self, attempt: Attempt) -> None:
        """Record that every request of an attempt was answered, so that nobody need wait for one that comes late."""
        self._connection.query("note_answered", {"attempt_id": attempt.id})

    def abandon_attempt(self, attempt: Attempt, error_code: str, error: str) -> None:
        """Record that an attempt failed, and why."""
        parameters = {"attempt_id": attempt.id, "error_code": error_code, "error": Told(one_line(error))}
        self._connection.query("abandon_attempt", parameters)

    def settle_attempt(self, attempt_id: int) -> None:
        """Record that nothing of an attempt is left to remove."""
        self._connection.query("settle_attempt", {"attempt_id": attempt_id})

    def put_off_leftover(self, attempt_id: int) -> datetime | None:
        """Record that the removal of what an attempt left was refused, and give until when no run tries again; `None`
        for the first times.
        """
        rows = self._connection.query_once("put_off_leftover", {"attempt_id": attempt_id})
        next_at: datetime | None = rows[0]["next_at"] if rows else None
        return next_at

    def commit_migration(self, claim: Claim, attempt: Attempt, copy: ProvenCopy, *, delete_local_copy: bool) -> bool:
        """Point the execution's row at its proven copy: the whole of it, or nothing and `False`.

        `False` means that the claim was lost, or that the row changed or was migrated meanwhile. When the connection
        breaks so that nobody knows the outcome, it is done again on new ones, and when that changes nothing, asked
        for: what was sent before the break has happened then, at the latest while this one waited for its locks.
        """
        parameters = {
            **_claimed(claim),
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
            "local_copy": "deleting" if delete_local_copy else "kept",
        }
        changed_rows = self._connection.query("commit_migration", parameters)[0]["changed_rows"]
        return changed_rows == 1 or self._is_committed(attempt)

    def _is_committed(self, attempt: Attempt) -> bool:
        return bool(self._connection.query("find_commit", {"attempt_id": attempt.id})[0]["committed"])

    def fail_migration(self, claim: Claim, state: str, error_code: str, error: str) -> None:
        """Record why an execution was not migrated (`failed`) or must not be (`refused`), and let go of it."""
        parameters = {**_claimed(claim), "state": state, "error_code": error_code, "error": Told(one_line(error))}
        self._connection.query("fail_migration", parameters)

    # Removal of local copies and of leftovers

    def list_deletions(self) -> list[ListedDeletion]:
        """The removals of local copies that this host began and did not finish, in the order of their turns."""
        rows = self._connection.query("list_deletions", {"host": self._host})
        return [
            ListedDeletion(Execution(row["execution_id"], row["uuid"], row["directory"]), row["is_due"]) for row in rows
        ]

    def claim_deletions(self, executions: Iterable[Execution]) -> list[UnfinishedDeletion]:
        """Take up some of them, and count that as a try; those that changed since they were listed are not in the
        answer.
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
            )
            for row in self._connection.query("claim_deletions", parameters)
        ]

    def deletion_seconds_left(self, claim: Claim) -> float | None:
        """For how long a local copy is still ours to remove, by the database's clock; `None` when the claim was lost,
        or the execution's row does not say any more what it said when the copy was committed.

        Raises `DeletionSwitchedOff` when the policy in force does not ask for it any more.
        """
        return _seconds_left_to_delete(self._connection.query_once("deletion_seconds_left", _claimed(claim)))

    def rows_in_the_way(self) -> list[tuple[int, Execution]]:
        """Pairs of an execution whose local copy this host is, or may soon be, to remove, by its id, and another one
        still to be migrated whose directory is, contains or lies in that one's.
        """
        rows = self._connection.query("find_rows_in_the_way", {"host": self._host, "run_id": self._run_id})
        return [(row["execution_id"], Execution(row["id"], row["uuid"], row["ruta_directorio"])) for row in rows]

    def note_set_aside(self, claim: Claim, inode: str) -> float | None:
        """As `deletion_seconds_left`; unless it gives `None`, it records which directory is about to be set aside."""
        return _seconds_left_to_delete(self._connection.query("note_set_aside", {**_claimed(claim), "inode": inode}))

    def note_emptied(self, claim: Claim, parent: str) -> bool:
        """Record that it is empty and about to be removed from its parent; `False` when the claim was lost."""
        return bool(self._connection.query("note_emptied", {**_claimed(claim), "parent": parent}))

    def keep_local_copy(self, claim: Claim) -> None:
        """Record that a local copy is not to be removed after all, and let go of the execution."""
        self._connection.query("keep_local_copy", _claimed(claim))

    def finish_deletion(self, claim: Claim) -> bool:
        """Record that the local copy is gone, and let go of the execution. `False`, and nothing, when the claim was
        lost or the execution's row changed meanwhile.
        """
        return bool(self._connection.query("finish_deletion", _claimed(claim))[0]["is_finished"])

    def stop_deletion(self, claim: Claim, error_code: str, error: str) -> None:
        """Record why the local copy could not be removed; a later tick tries again."""
        parameters = {**_claimed(claim), "error_code": error_code, "error": Told(one_line(error))}
        self._connection.query("stop_deletion", parameters)

    def put_off_deletion(self, claim: Claim) -> None:
        """Let go of a removal that was stopped for no fault; the next tick goes on."""
        self._connection.query("put_off_deletion", _claimed(claim))

    def leftovers(self) -> Iterator[Leftover]:
        """Failed attempts of executions that lie elsewhere now."""
        after_id = 0
        while rows := self._connection.query("find_leftovers", self._leftovers_after(after_id, CANDIDATES_PER_PAGE)):
            for row in rows:
                yield Leftover(**row)
            after_id = rows[-1]["attempt_id"]

    def is_leftover(self, leftover: Leftover) -> bool:
        """Whether this still is one, and not part of a copy that was committed meanwhile."""
        rows = self._connection.query("find_leftovers", self._leftovers_after(leftover.attempt_id - 1, 1))
        return [Leftover(**row) for row in rows] == [leftover]

    def _leftovers_after(self, attempt_id: int, page_size: int) -> dict[str, object]:
        return {"host": self._host, "run_id": self._run_id, "after_id": attempt_id, "page_size": page_size}

    def rows_at(self, execution_id: int, key_prefix: str) -> list[int]:
        """The ids of other rows whose `ruta_nube`, whoever wrote it, is a place, lies in it or contains it."""
        parts = key_prefix.split("/")
        above = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
        parameters = {
            "execution_id": execution_id,
            "place": key_prefix,
            "uris_above": [f"cloud://{kind}/{place}" for kind in KINDS_IN_URIS for place in above],
        }
        return [row["id"] for row in self._connection.query("find_rows_at_place", parameters)]

    # Questions of operators

    def find_executions(self, uuid: str) -> list[StoredExecution]:
        """The rows with this uuid, a migrated one first."""
        return [
            StoredExecution(
                row["id"],
                row["uuid"],
                bool(row["migrado_a_nube"]),
                row["ruta_nube"],
                row["nube_provider_id"],
                row["manifest_sha256"],
                row["has_directory"],
            )
            for row in self._connection.query("find_execution", {"uuid": uuid})
        ]

    def summarize(self, retention_hours: float, failures_shown: int) -> dict[str, object]:
        """Counts of executions, by provider, the last failures and the last run: what `status` shows."""
        retention_seconds = _retention_seconds(retention_hours)
        executions = self._connection.query("summarize_executions", {"retention_seconds": retention_seconds})[0]
        last_runs = self._connection.query("last_run")
        return {
            **executions,
            "leftover_attempts": self._connection.query("count_leftovers")[0]["count"],
            "providers": [dict(row) for row in self._connection.query("summarize_providers")],
            "failures": [dict(row) for row in self._connection.query("list_failures", {"page_size": failures_shown})],
            "last_run": dict(last_runs[0]) if last_runs else None,
        }


def _overlap(row: Mapping[str, Any]) -> Overlap:
    return Overlap(row["id"], row["execution_id"], row["provider_id"], row["store"], row["key_prefix"])


def _committed_copy(row: Row) -> CommittedCopy | None:
    """What the last commit recorded, if there was one."""
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


def _retention_seconds(retention_hours: float) -> float:
    return min(retention_hours, LONGEST_RETENTION_HOURS) * 3600


def _claimed(claim: Claim) -> dict[str, object]:
    return {"execution_id": claim.execution.id, "fencing_token": claim.fencing_token}


def _seconds_left_to_delete(rows: list[Row]) -> float | None:
    if rows and not rows[0]["is_wanted"]:
        raise DeletionSwitchedOff
    return float(rows[0]["seconds_left"]) if rows else None


def _policy(row: Mapping[str, object]) -> MigrationPolicy:
    """A NULL, like a column that an older installation lacks, means the column's default."""
    return MigrationPolicy(
        primary_provider_id=_optional_integer(row.get("nube_primaria_id")),
        alternate_provider_ids=_integers(row.get("nubes_alternativas")),
        retention_hours=_retention(row.get("tiempo_retencion_local")),
        key_prefix=_key_prefix(row.get("prefijo_ruta_nube")),
        migrate_automatically=row.get("migrar_automaticamente") is not False,
        delete_after_migration=row.get("eliminar_despues_de_migrar") is True,
    )


def _optional_integer(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _integers(value: object) -> tuple[int, ...]:
    return tuple(item for item in value if isinstance(item, int)) if isinstance(value, list) else ()


def _retention(value: object) -> float:
    if value is None:
        return 0.0
    if not isinstance(value, (int, float)) or value < 0:
        raise FieldError("ejecuciones_config.tiempo_retencion_local: debe ser un número de horas mayor o igual que 0")
    return float(value)


def _key_prefix(value: object) -> str:
    """The prefix without leading, final and doubled slashes."""
    parts = [part for part in str(value or "").split("/") if part]
    if any(part in (".", "..") or not part.isprintable() for part in parts):
        raise FieldError("ejecuciones_config.prefijo_ruta_nube: no admite '.', '..' ni caracteres de control")
    return "/".join(parts)


def _provider_row(row: Row, fetch_secret: Callable[[str], bytes | None]) -> ProviderRow:
    credentials = _json_object("credenciales", row["credenciales"], text_allowed=True)
    learn_secrets(credentials)
    resolved = resolve_secrets(credentials, fetch_secret)
    if isinstance(resolved, str) and resolved.lstrip().startswith("{"):  # a secret that holds a whole JSON object
        resolved = _json_object("credenciales", resolved, text_allowed=False)
    learn_secrets(resolved)
    options = _json_object("configuracion", row["configuracion"], text_allowed=False)
    return ProviderRow(
        id=row["id"],
        name=provider_name(row),
        kind=str(row["tipo"]).strip().lower(),
        credentials=resolved if isinstance(resolved, (Mapping, str)) else None,
        options=options if isinstance(options, Mapping) else {},
        active=row["activo"] is True,
    )


def provider_name(row: Row) -> str:
    """What operators know a provider by: its id where it has no name."""
    name = one_line(row["nombre"] or "")
    return name if name.strip() else f"con id {row['id']}"


def _local_directory(row: Row) -> str | None:
    try:
        options = _json_object("configuracion", row["configuracion"], text_allowed=False)
    except FieldError:
        return None
    directory = options.get("ruta") if isinstance(options, Mapping) else None
    return directory if isinstance(directory, str) and directory and "\0" not in directory else None


def _secret_use(row: Row) -> SecretUse | None:
    try:
        credentials = _json_object("credenciales", row["credenciales"], text_allowed=True)
    except FieldError:
        return None
    names = tuple(dict.fromkeys(named_secrets(credentials)))
    return SecretUse(provider_name(row), row["activo"] is True, names, literal_secrets(credentials))


def _stored_bytes(text: str | None) -> bytes:
    """A column of type TEXT as it is, and one of type BYTEA, which as text is `\\x` and hexadecimal digits."""
    if text is None:
        return b""
    if BYTEA_AS_TEXT.fullmatch(text):
        return bytes.fromhex(text[2:])
    return text.strip().encode()


def _json_object(column: str, text: str | None, *, text_allowed: bool) -> Mapping[str, object] | str | None:
    """What a JSON, JSONB or TEXT column holds: an object; also JSON text within JSON; also a bare path if allowed."""
    if text is None or text.strip() in ("", "null"):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        value = text.strip() if text_allowed and not text.lstrip().startswith(("{", "[")) else None
    if isinstance(value, str) and value.lstrip().startswith("{"):
        return _json_object(column, value, text_allowed=text_allowed)
    if isinstance(value, Mapping) or (isinstance(value, str) and text_allowed):
        return value
    raise FieldError(f"{column}: debe ser un objeto JSON")
