"""What `status` knows, as plain data. Instants are aware; what is not known is `None`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Attention:
    """One thing that needs a person."""

    code: str
    """Its stable English name."""
    subject: str
    text: str
    """What is wrong, and why, in Spanish."""
    advice: str
    """What to do, in Spanish."""
    since: datetime | None = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class MigrationState:
    """Whether anything will be migrated at all."""

    is_on: bool
    reason: str | None
    """The stable English name of what keeps it from working."""
    text: str
    """The same in Spanish."""
    retention_hours: float
    primary_provider_id: int | None
    provider_ids: tuple[int, ...]
    delete_after_migration: bool


@dataclass(frozen=True, slots=True)
class OldestDue:
    """The execution that has been due for the longest time."""

    uuid: str
    directory: str | None
    executed_at: datetime
    due_since: datetime


@dataclass(frozen=True, slots=True)
class Pending:
    """Executions still to be migrated. Those of `by_state` and `without_directory` add up to all rows."""

    total: int
    old_enough: int
    failed: int
    without_directory: int | None
    """Rows that left no files; `None` where only a look at the whole table would tell."""
    by_state: Mapping[str, int]
    by_age: Mapping[str, int]
    oldest_due: OldestDue | None
    directories_looked_for: int
    """How many due executions were looked for on this host's disk. Fewer than are due: the rest is counted as there."""
    counted_at: datetime
    is_exact: bool
    basis: str = "counted"
    """`counted`, `last_look`: that of a run and what was added since, or `sample`: estimates, like those of `by_age`,
    which then need not add up to the same.
    """

    @property
    def ready(self) -> int:
        """Due, and nothing keeps them waiting."""
        return self.by_state.get("due", 0)


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Executions that fail for one reason at one provider."""

    kind: str
    """`migration`, or `removal` of the local copy."""
    state: str
    error_code: str | None
    provider_id: int | None
    provider_name: str | None
    count: int
    oldest_at: datetime
    newest_at: datetime
    example_uuid: str
    error: str
    quarantined: int
    """How many of them no run takes up any more until an operator orders it."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A row of `cloud_providers`, or an id that the policy or an execution names."""

    provider_id: int | None
    name: str | None
    """`None`: there is no such row."""
    kind: str | None
    role: str | None
    """`primary`, `alternate`, or `None` where the policy does not name it."""
    state: str
    """`usable`, `unusable`, `inactive`, `missing` or `unknown`, where nothing was ever sent to it."""
    since: datetime | None
    error_code: str | None
    error: str | None
    failures: int
    last_good_at: datetime | None
    migrated: int
    file_count: int
    size_bytes: int
    debt: int
    """Executions on it that belong on the primary provider."""


@dataclass(frozen=True, slots=True)
class BadCopies:
    """Copies at one provider that an audit found lost or damaged, and that nobody has proven since."""

    provider_id: int
    provider_name: str | None
    count: int
    since: datetime
    """When the first of them was found."""
    example_uuid: str
    detail: str


@dataclass(frozen=True, slots=True)
class RunUnderWay:
    """A run without an end, and one job that it does."""

    run_id: int
    host: str
    process_id: int
    mode: str
    started_at: datetime
    job: str | None
    job_started_at: datetime | None
    state: str
    """`running`; `hung`: its process lives but gives no sign; `killed`: this host's, and there is no such process;
    `silent`: another host's, whose lease is over.
    """
    last_sign_at: datetime | None


@dataclass(frozen=True, slots=True)
class Host:
    """The runs of one host."""

    host: str
    last_started_at: datetime
    last_ended_at: datetime | None
    last_exit_code: int | None
    last_mode: str | None
    last_problems: tuple[str, ...]
    last_good_at: datetime | None
    last_bad_at: datetime | None
    bad_exit_code: int | None
    bad_problems: tuple[str, ...]
    is_silent: bool
    is_retired: bool


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system of one of the program's directories on this host."""

    path: str
    purpose: str
    """`root`, `temp` or `logs`."""
    total_bytes: int | None
    free_bytes: int | None
    fault: str | None
    """Why it cannot be used, in Spanish."""
    device: int | None = None
    """The same for all directories on one disk."""

    @property
    def is_nearly_full(self) -> bool:
        """Less than a twentieth, or less than a gigabyte on a disk that is larger than twenty."""
        if self.total_bytes is None or self.free_bytes is None:
            return False
        return self.free_bytes < self.total_bytes / 20 or (
            self.free_bytes < 1024**3 and self.total_bytes > 20 * 1024**3
        )


@dataclass(frozen=True, slots=True)
class Leftover:
    """What failed attempts, and copies brought to another provider, may have left at one store."""

    provider_id: int
    provider_name: str | None
    store: str
    count: int
    to_be_reused: int
    refused: int
    moved: int
    """Copies that were brought to another provider."""
    is_used: bool
    """Whether runs use the provider, so that they can remove anything there."""
    oldest_at: datetime
    example: str


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that `status` shows."""

    now: datetime
    migration: MigrationState
    pending: Pending
    migrated: int
    is_exact: bool
    """Whether what is stored was counted rather than estimated."""
    providers: tuple[Provider, ...]
    failures: tuple[FailureGroup, ...]
    latest_failures: tuple[Mapping[str, Any], ...]
    deletions_unfinished: int
    leftovers: tuple[Leftover, ...]
    bad_copies: tuple[BadCopies, ...]
    runs: tuple[RunUnderWay, ...]
    hosts: tuple[Host, ...]
    jobs: tuple[Mapping[str, Any], ...]
    disks: tuple[Disk, ...]
    freed: Mapping[str, int]
    last_run: Mapping[str, Any] | None
    host: str
    """This one."""
    broken_since: Mapping[str, datetime]
    """Since when causes of trouble last, by their names, as far as runs have noted them for the notices."""
    faults_of_every_run: tuple[str, ...] = ()
    """Settings with which a run ends before it has done anything."""
    clock_fault: str | None = None
    """How this host's clock differs from the database's."""
    database_faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """Lines of jobs that have something of their own to show."""
    unrecorded: tuple[datetime, str] | None = None
    """When the last run of this host ended with an error that the database could not record, and which."""
    own_attention: tuple[Attention, ...] = field(default=())
    """What a job of its own found that needs a person."""
