"""The daemon's database operations, in its own terms. Only here do rows become objects."""

from __future__ import annotations

import contextlib
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

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
from sql.connection import (
    Connection,
    Row,
    database_identity,
    database_password,
    require_database_named,
    require_database_uri,
)
from sql.errors import (
    DatabaseBusy,
    DatabaseError,
    DatabaseReadOnly,
    DatabaseUnavailable,
    DeletionHeld,
    DeletionSwitchedOff,
    SchemaError,
)
from sql.job_records import JobEnd, JobRecords, JobsSeen, jobs_seen
from sql.notices import Notices
from sql.texts import Told, ToldJson

if TYPE_CHECKING:
    from sql.memory.orders import Orders
    from sql.memory.outlook import Outlook
    from sql.memory.past import Past
    from sql.memory.provider_health import ProviderHealth

__all__ = [
    "Database",
    "DatabaseBusy",
    "DatabaseError",
    "DatabaseReadOnly",
    "DatabaseUnavailable",
    "DeletionHeld",
    "DeletionSwitchedOff",
    "SchemaError",
    "database_identity",
    "require_database_named",
    "require_database_uri",
]

CANDIDATES_PER_PAGE = 500
PENDING_PER_LOOK = 50_000
"""How many ids a run keeps at a time, and the most that a remembered look can hold."""

KINDS_IN_URIS = ("s3", "minio", "azure", "gcp", "gcs", "sftp", "local")

LARGE_TABLE_BYTES = 64 * 1024 * 1024
"""A table of this size, some 300,000 executions, takes longer to scan than a run takes to start."""

EXECUTIONS_REPORTED = 500_000
"""Of a large table a report counts the new ones among so many rows with the last ids."""

SAMPLE_OF_STORED = {"large_table_bytes": LARGE_TABLE_BYTES, "sampled_rows": 50_000}
"""What `count_stored` of the metrics takes: of larger tables it reads so many rows."""

LONGEST_RETENTION_HOURS = 20_000_000.0
"""Some 2,283 years: more would exceed PostgreSQL's timestamps, and means "never" anyway."""


BYTEA_AS_TEXT = r"\\x(?:[0-9a-f]{2})*"


class Overlap(NamedTuple):
    """What another execution has, or may have, at a place or above or below it."""

    attempt_id: int
    execution_id: int
    provider_id: int
    store: str
    key_prefix: str


class Occupied(NamedTuple):
    """Why no attempt may begin at a place: what others have there, or what may still arrive there before a given time
    (deletions, or bytes of files that have changed since).
    """

    overlaps: tuple[Overlap, ...]
    closed_until: datetime | None = None
    late_bytes_until: datetime | None = None


class FailureRecord(NamedTuple):
    """In how many runs an execution failed for a reason of its own, and whether that was once too often."""

    failed_runs: int
    is_quarantined: bool


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


class ListedDeletion(NamedTuple):
    """An unfinished deletion that is not claimed, and whether it is due: after several tries there are pauses. What an
    operator holds is not to be removed.
    """

    execution: Execution
    is_due: bool
    is_held: bool = False


class Leftover(NamedTuple):
    """A failed attempt that may have left objects that nothing points to."""

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
    migrated_manifest_sha256: str | None


class StoredExecution(NamedTuple):
    """An execution's location according to its row."""

    id: int
    uuid: str
    migrated: bool
    uri: str | None
    provider_id: int | None
    manifest_sha256: str | None
    has_directory: bool
    """Never the row of an execution that left no files."""
    directory: str | None = None
    """Its `ruta_directorio`, where the caller has asked for it."""
    is_being_removed: bool = False
    """Whether the removal of its local copy is not finished, where the caller has asked for it."""
    file_count: int | None = None
    """How many files its copy has, where the caller has asked for it and somebody knows."""


class StoredSecret(NamedTuple):
    """One row of `secretos_nube`: its token, and the column as text, which identifies this state of the row."""

    name: str
    token: bytes
    column_text: str | None


class SecretUse(NamedTuple):
    """The secrets that a provider's row names, and the fields that hold a secret in plain text."""

    provider: str
    active: bool
    names: tuple[str, ...]
    literal_fields: tuple[str, ...]


class PendingSource(NamedTuple):
    """Which rows of the platform's table may be pending: a list of ids, as text, and all higher ones, or all rows."""

    execution_ids: str = "{}"
    after_id: int = 0
    is_scanned: bool = False
    is_exact: bool = True
    """Whether no other row can be pending: one that was set back since the last look would be missed."""

    def parameters(self, retention_hours: float) -> dict[str, object]:
        """As the statements take them."""
        return {
            "is_scanned": self.is_scanned,
            "execution_ids": self.execution_ids,
            "after_id": self.after_id,
            "retention_seconds": _retention_seconds(retention_hours),
        }


WHOLE_TABLE = PendingSource(is_scanned=True)


class Database:
    """Every query and command that the daemon sends to PostgreSQL.

    All methods raise `DatabaseUnavailable` if the database cannot be reached, `SchemaError` if its tables do not fit,
    `DatabaseError` otherwise.
    """

    def __init__(self, database_url: str, host: str) -> None:
        self._connection = Connection(database_url)
        self._host = Told(host)
        self._run_id = 0
        redactor.add(database_password(database_url))

    def connect(self) -> None:
        """Connect now, so that an unreachable database is noticed before anything else begins."""
        self._connection.connect()

    def idle(self) -> contextlib.AbstractContextManager[None]:
        """Inside this context, no thread is running a statement, so the process may fork."""
        return self._connection.idle()

    def go_on_in_forked_process(self) -> None:
        """Continue the same run on a new connection in this process, which was forked from the run's."""
        self._connection = self._connection.forked()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def limit_statements(self, seconds: int) -> None:
        """From now on the server gives up any statement that takes longer."""
        self._connection.limit_statements(seconds)

    def initialize(self) -> tuple[str, ...]:
        """Create and upgrade tables; return the names of the upgrades applied. See `sql.schema.initialize`."""
        return schema.initialize(self._connection, schema.known_upgrades())

    def require_current_schema(self) -> None:
        """Raises `SchemaError` unless the tables have this version."""
        schema.require_current(self._connection, schema.known_upgrades())

    def require_whole_schema(self) -> None:
        """Raises `SchemaError` if somebody has removed a table or a column of the program's own."""
        schema.require_whole(self._connection)

    def require_rights(self) -> None:
        """Raises `DatabaseReadOnly` or, naming tables, `SchemaError` unless this role may do what a run needs."""
        if self._connection.query("is_read_only")[0]["read_only"]:
            raise DatabaseReadOnly("la base de datos solo admite lecturas, como una réplica")
        missing = [row["missing"] for row in self._connection.query("find_missing_rights")]
        if missing:
            raise SchemaError(f"el usuario de la base de datos no tiene permiso de {', '.join(missing)}")

    def missing_columns(self) -> list[tuple[str, str]]:
        """The columns that the program reads and the platform's tables lack: table and column."""
        rows = self._connection.query("find_missing_columns")
        return [(row["table_name"], row["column_name"]) for row in rows]

    # Configuration

    def load_policy(self) -> MigrationPolicy | None:
        """The row of `ejecuciones_config` in force, `None` if there is none. Raises `FieldError` for a wrong value."""
        rows = self._connection.query("load_policy")
        return _policy(rows[0]["policy"]) if rows else None

    def load_provider_rows(self) -> Iterator[ProviderRow | tuple[Row, FieldError]]:
        """Every row of `cloud_providers` with its secrets resolved, or an unreadable row with its error."""
        for row in self._connection.query("load_providers"):
            try:
                yield _provider_row(row, self._fetch_secret)
            except FieldError as error:
                yield row, error

    def local_directories(self) -> list[str]:
        """The `ruta` of every `local` provider, active or not; an unreadable row holds no copies."""
        found = (_local_directory(row) for row in self._connection.query("list_local_directories"))
        return [directory for directory in found if directory is not None]

    # Secrets

    def _fetch_secret(self, name: str) -> bytes | None:
        rows = self._connection.query("load_secret", {"name": name})
        if len(rows) > 1:  # the platform's own table may not enforce unique names
            raise FieldError(f"el secreto {name!r} tiene varios valores distintos en secretos_nube")
        return _stored_bytes(rows[0]["valor_cifrado"]) if rows else None

    def load_secrets(self) -> list[StoredSecret]:
        """Every secret, still encrypted, by name; a name twice if it has two values."""
        return [
            StoredSecret(row["nombre"], _stored_bytes(row["valor_cifrado"]), row["valor_cifrado"])
            for row in self._connection.query("list_secrets")
        ]

    def store_secret(self, name: str, token: str) -> bool:
        """Replace the encrypted secret of this name and return `True`, or add it: never a second one of a name."""
        # No escapes, as PostgreSQL refuses those that its encoding lacks, even where it holds the text itself.
        secret = json.dumps({"nombre": name, "valor_cifrado": token}, ensure_ascii=False)
        return bool(self._connection.query("store_secret", {"secret": secret})[0]["replaced"])

    def replace_secrets(self, renewed: Iterable[tuple[StoredSecret, str]]) -> int | None:
        """Replace all tokens that were read, at once; return their number. If any other token exists by now, change
        nothing and return `None`.
        """
        secrets = [
            {"nombre": secret.name, "valor_cifrado": token, "previous": secret.column_text} for secret, token in renewed
        ]
        (outcome,) = self._connection.query("replace_secrets", {"secrets": json.dumps(secrets, ensure_ascii=False)})
        return None if outcome["changed"] else int(outcome["replaced"])

    def remove_secret(self, name: str) -> bool:
        """Remove a secret; `False` if there was none with this name."""
        return bool(self._connection.query_once("remove_secret", {"name": name}))

    def secret_uses(self) -> list[SecretUse]:
        """How each row of `cloud_providers` refers to its secrets; unreadable rows are left out."""
        return [use for row in self._connection.query("load_providers") if (use := _secret_use(row)) is not None]

    # Runs

    def start_run(self, process_id: int, mode: str, version: str) -> JobsSeen:
        """Record the start of a run and act on its behalf from now on; return the state of all jobs."""
        parameters = {
            "host": self._host,
            "process_id": process_id,
            "mode": mode,
            "version": version,
            "lease_seconds": LEASE_SECONDS,
        }
        row = self._connection.query("start_run", parameters)[0]
        self._run_id = row["id"]
        self.job_records = JobRecords(self._connection, self._host, self._run_id, LEASE_SECONDS)
        return jobs_seen(row)

    def jobs_seen(self) -> JobsSeen:
        """The state of all jobs, without starting a run."""
        return jobs_seen(self._connection.query("list_jobs", {"host": self._host})[0])

    def job_query(self, folder: str, name: str, parameters: Mapping[str, object]) -> list[Row]:
        """Run one of a job's statements, `queries/{name}.sql` in its folder, which may run twice."""
        return self._connection.query(f"{folder}/{name}", parameters)

    def job_query_once(self, folder: str, name: str, parameters: Mapping[str, object]) -> list[Row]:
        """The same, without waiting for a lost database or repeating what was refused."""
        return self._connection.query_once(f"{folder}/{name}", parameters)

    def record_observer(self, end: JobEnd, seconds: float) -> None:
        """Record what a job did that only looks on, if a run has begun."""
        if self._run_id:
            self.job_records.record(end, seconds)

    @property
    def notices(self) -> Notices:
        """What operators are to be told."""
        return Notices(self._connection, self._host.text)

    def missing_job_rights(self, rights: Mapping[str, str]) -> list[str]:
        """The rights on tables that a job needs and this role lacks, in words."""
        if not rights:
            return []
        pairs = [(table, right) for table, names in rights.items() for right in names.split(", ")]
        parameters = {"tables": [table for table, _ in pairs], "rights": [right for _, right in pairs]}
        return [row["missing"] for row in self._connection.query("find_missing_job_rights", parameters)]

    def finish_run(self, exit_code: int, report: Mapping[str, object]) -> None:
        """Record how the run ended, and release its claims."""
        told = ToldJson(redactor.redact_all(report))
        self.job_records.finish("finish_run", {"exit_code": exit_code, "report": told})
        is_interrupted = exit_code > EXIT_SIGNAL_BASE
        self._connection.query("release_leases", {"run_id": self._run_id, "is_interrupted": is_interrupted})

    def renew_leases(self) -> None:
        """Extend this run's claims by another lease."""
        self._connection.query(
            "renew_run_lease, renew_job_leases, renew_leases", {"run_id": self._run_id, "lease_seconds": LEASE_SECONDS}
        )

    def lease_seconds_left(self, claim: Claim) -> float | None:
        """How long a claim is still ours, by the database's clock; `None` if it is no longer ours, or its row is no
        longer to be migrated.
        """
        rows = self._connection.query_once("lease_seconds_left", _claimed(claim))
        return float(rows[0]["seconds_left"]) if rows else None

    # Migrations

    def candidates(self, retention_hours: float) -> Iterator[list[Execution]]:
        """Pages of executions that are due by the database's clock and unclaimed, oldest first.

        Every execution that was due at the start comes once, whatever happens to it meanwhile. The platform's table is
        scanned once per `PENDING_PER_LOOK` pending executions, and not at all if it is large and unchanged since the
        last look.
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
            "retention_seconds": _retention_seconds(retention_hours),
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
        """Record, before the first remote byte, that bytes will be sent; `None` if the claim is no longer ours.

        `Occupied` if the place equals, contains or is inside another execution's: in any store, except for attempts in
        `elsewhere`, which are known to be in another one. Also for a while if requests of a dead run may still arrive:
        deletions, or bytes of files that have changed since, as the `fingerprint` shows.
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
        deletion in flight when this run ends may still arrive. `False` if the attempt has ended.
        """
        parameters = {"attempt_id": attempt_id, "run_id": self._run_id, "late_seconds": LATE_SECONDS}
        return bool(self._connection.query("close_place", parameters))

    def reopen_place(self, attempt_id: int) -> None:
        """Record that every deletion at an attempt's place was answered."""
        self._connection.query("reopen_place", {"attempt_id": attempt_id, "run_id": self._run_id})

    @cached_property
    def installation(self) -> str:
        """The name of this installation, which is in every manifest. A copy of the database gets another name, so it
        never treats the original's objects at a provider as its own.
        """
        origin = self._connection.query("find_origin")[0]["origin"]
        return str(self._connection.query("name_installation", {"origin": origin})[0]["installation"])

    def note_place(self, attempt: Attempt, *, foreign_objects: bool) -> None:
        """Record, before the first object is sent, whether the attempt's place holds objects that none of our attempts
        stored: if so, nothing there is ever removed.
        """
        self._connection.query("note_place", {"attempt_id": attempt.id, "foreign_objects": foreign_objects})

    def note_answered(self, attempt: Attempt) -> None:
        """Record that every request of an attempt was answered, so that no run need wait for late ones."""
        self._connection.query("note_answered", {"attempt_id": attempt.id})

    def abandon_attempt(self, attempt: Attempt, error_code: str, error: str) -> None:
        """Record that an attempt failed, and why."""
        parameters = {"attempt_id": attempt.id, "error_code": error_code, "error": Told(one_line(error))}
        self._connection.query("abandon_attempt", parameters)

    def settle_attempt(self, attempt_id: int) -> None:
        """Record that the attempt left nothing to remove."""
        self._connection.query("settle_attempt", {"attempt_id": attempt_id})

    def put_off_leftover(self, attempt_id: int) -> datetime | None:
        """Record that removing an attempt's leftovers was refused, and return until when no run tries again; `None`
        the first few times.
        """
        rows = self._connection.query_once("put_off_leftover", {"attempt_id": attempt_id})
        next_at: datetime | None = rows[0]["next_at"] if rows else None
        return next_at

    def commit_migration(self, claim: Claim, attempt: Attempt, copy: ProvenCopy, *, delete_local_copy: bool) -> bool:
        """Point the execution's row at its proven copy, completely or not at all (`False`).

        `False` means that the claim was lost, or that the row changed or was migrated meanwhile. If the connection
        breaks and the outcome is unknown, the commit is repeated on new connections. If the repetition changes nothing,
        the outcome is queried: the first commit has ended by then, at the latest while the second waited for its locks.
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
            **_claimed(claim),
            "state": state,
            "error_code": error_code,
            "error": Told(one_line(error)),
            "max_failed_runs": max_failed_runs,
            "host": self._host,
            "run_id": self._run_id,
        }
        rows = self._connection.query("fail_migration", parameters)
        return FailureRecord(**rows[0]) if rows else FailureRecord(0, is_quarantined=False)

    # Removal of local copies and of leftovers

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
            )
            for row in self._connection.query("claim_deletions", parameters)
        ]

    def deletion_seconds_left(self, claim: Claim) -> float | None:
        """How long a local copy is still ours to remove, by the database's clock; `None` if the claim was lost or the
        execution's row has changed since the copy was committed.

        Raises `DeletionSwitchedOff` if the policy in force no longer asks for deletion, `DeletionHeld` if an operator
        holds the execution.
        """
        return _seconds_left_to_delete(self._connection.query_once("deletion_seconds_left", _claimed(claim)))

    def rows_in_the_way(self) -> list[tuple[int, Execution]]:
        """Pairs of an execution (by id) whose local copy this host may remove now or soon, and one still to be
        migrated whose directory equals, contains or is inside the first one's.
        """
        rows = self._connection.query("find_rows_in_the_way", {"host": self._host, "run_id": self._run_id})
        return [(row["execution_id"], Execution(row["id"], row["uuid"], row["ruta_directorio"])) for row in rows]

    def note_set_aside(self, claim: Claim, inode: str) -> float | None:
        """As `deletion_seconds_left`; unless it returns `None`, records which directory is about to be set aside."""
        return _seconds_left_to_delete(self._connection.query("note_set_aside", {**_claimed(claim), "inode": inode}))

    def note_emptied(self, claim: Claim, parent: str) -> bool:
        """Record that the directory is empty and about to be removed from its parent; `False` if the claim was lost."""
        return bool(self._connection.query("note_emptied", {**_claimed(claim), "parent": parent}))

    def keep_local_copy(self, claim: Claim) -> None:
        """Record that the local copy stays after all, and release the execution."""
        self._connection.query("keep_local_copy", _claimed(claim))

    def finish_deletion(self, claim: Claim) -> bool:
        """Record that the local copy is gone, and release the execution. If the claim was lost or the execution's row
        changed meanwhile, change nothing and return `False`.
        """
        parameters = {**_claimed(claim), "host": self._host}
        return bool(self._connection.query("finish_deletion", parameters)[0]["is_finished"])

    def stop_deletion(self, claim: Claim, error_code: str, error: str) -> None:
        """Record why the local copy could not be removed; a later tick tries again."""
        parameters = {**_claimed(claim), "error_code": error_code, "error": Told(one_line(error))}
        self._connection.query("stop_deletion", parameters)

    def put_off_deletion(self, claim: Claim) -> None:
        """Release a removal that was stopped without a fault; the next tick continues it."""
        self._connection.query("put_off_deletion", _claimed(claim))

    def leftovers(self) -> Iterator[Leftover]:
        """Failed attempts of executions that are stored elsewhere now."""
        after_id = 0
        while rows := self._connection.query("find_leftovers", self._leftovers_after(after_id, CANDIDATES_PER_PAGE)):
            for row in rows:
                yield Leftover(**row)
            after_id = rows[-1]["attempt_id"]

    def is_leftover(self, leftover: Leftover) -> bool:
        """Whether it is still a leftover, and not part of a copy committed meanwhile."""
        rows = self._connection.query("find_leftovers", self._leftovers_after(leftover.attempt_id - 1, 1))
        return [Leftover(**row) for row in rows] == [leftover]

    def _leftovers_after(self, attempt_id: int, page_size: int) -> dict[str, object]:
        return {"host": self._host, "run_id": self._run_id, "after_id": attempt_id, "page_size": page_size}

    def rows_at(self, execution_id: int, key_prefix: str) -> list[int]:
        """The ids of other rows whose `ruta_nube`, written by any program, equals, is inside or contains a place."""
        parts = key_prefix.split("/")
        above = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
        parameters = {
            "execution_id": execution_id,
            "place": key_prefix,
            "uris_above": [f"cloud://{kind}/{place}" for kind in KINDS_IN_URIS for place in above],
        }
        return [row["id"] for row in self._connection.query("find_rows_at_place", parameters)]

    # Memory across runs

    @property
    def provider_health(self) -> ProviderHealth:
        """Which providers failed as a whole, for all hosts."""
        from sql.memory.provider_health import ProviderHealth  # a run with nothing to do asks for none

        return ProviderHealth(self._connection, self._host)

    @property
    def orders(self) -> Orders:
        """What operators order of single executions."""
        from sql.memory.orders import Orders  # no run needs it

        return Orders(self._connection, self._host)

    @property
    def outlook(self) -> Outlook:
        """What the next runs leave out, and how fast earlier ones were."""
        from sql.memory.outlook import Outlook  # no run needs it

        return Outlook(self._connection)

    @property
    def past(self) -> Past:
        """What happened to runs, jobs and executions."""
        from sql.memory.past import Past  # no run needs it

        return Past(self._connection)

    # Questions of operators

    def report_rows(self, name: str, days: int, zone: str) -> list[Row]:
        """The rows of `report_{name}.sql`: what happened in the last days, as `zone` divides them."""
        bounds = {"large_table_bytes": LARGE_TABLE_BYTES, "rows_read": EXECUTIONS_REPORTED}
        return self._connection.query(f"report_{name}", {"days": days, "zone": zone, **bounds})

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

    def ask(self, name: str, parameters: Mapping[str, object] | None = None) -> list[Row]:
        """Run `sql/queries/{name}.sql`, which only reads, for an operator's question."""
        return self._connection.query(name, parameters)

    def pending_source(self) -> PendingSource:
        """Where to read the pending executions of a large table: in the last look, or in one made now."""
        looks = self._connection.query("status_look")
        if looks:
            return PendingSource(looks[0]["execution_ids"], looks[0]["after_id"], is_exact=False)
        (scan,) = self._connection.query("status_scan", {"look_size": PENDING_PER_LOOK})
        return WHOLE_TABLE if scan["is_cut"] else PendingSource(scan["execution_ids"], scan["after_id"])

    def pending_by_state(
        self, retention_hours: float, source: PendingSource, page_size: int
    ) -> tuple[dict[str, Row], list[Row]]:
        """The numbers of executions still to be migrated, by what keeps them waiting; and the oldest that are due, up
        to a number.
        """
        rows = self._connection.query("status_pending", {**source.parameters(retention_hours), "page_size": page_size})
        return {row["kind"]: row for row in rows if row["kind"]}, [row for row in rows if not row["kind"]]


def _overlap(row: Mapping[str, Any]) -> Overlap:
    return Overlap(row["id"], row["execution_id"], row["provider_id"], row["store"], row["key_prefix"])


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


def _retention_seconds(retention_hours: float) -> float:
    return min(retention_hours, LONGEST_RETENTION_HOURS) * 3600


def _claimed(claim: Claim) -> dict[str, object]:
    return {"execution_id": claim.execution.id, "fencing_token": claim.fencing_token}


def _seconds_left_to_delete(rows: list[Row]) -> float | None:
    if rows and not rows[0]["is_wanted"]:
        raise DeletionSwitchedOff
    if rows and rows[0]["is_held"]:
        raise DeletionHeld
    return float(rows[0]["seconds_left"]) if rows else None


def _policy(row: Mapping[str, object]) -> MigrationPolicy:
    """NULL, or a column missing in an older installation, means the column's default."""
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
    tokens: list[bytes] = []
    resolved = resolve_secrets(credentials, _noting(tokens, fetch_secret))
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
        identity=_identity_of(row, tokens),
    )


def _noting(tokens: list[bytes], fetch_secret: Callable[[str], bytes | None]) -> Callable[[str], bytes | None]:
    """The same function, which also keeps what it returns."""

    def fetch(name: str) -> bytes | None:
        token = fetch_secret(name)
        tokens.append(token or b"")
        return token

    return fetch


def _identity_of(row: Row, tokens: Iterable[bytes]) -> str:
    """A short checksum of a provider's settings as they are stored. Others may read the table that keeps it: 32 bits
    confirm no guess of a password.
    """
    parts = (row["tipo"], row["credenciales"], row["configuracion"], *(token.hex() for token in tokens))
    return f"{zlib.crc32(json.dumps(parts).encode()):08x}"


def provider_name(row: Row) -> str:
    """The provider's name for operators: its id if it has no name."""
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
    """The bytes of a TEXT column, or of a BYTEA column, whose text is `\\x` and hexadecimal digits."""
    if text is None:
        return b""
    if re.fullmatch(BYTEA_AS_TEXT, text):
        return bytes.fromhex(text[2:])
    return text.strip().encode()


def _json_object(column: str, text: str | None, *, text_allowed: bool) -> Mapping[str, object] | str | None:
    """The content of a JSON, JSONB or TEXT column: an object, JSON text within JSON, or a bare path if allowed."""
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
