"""What is known when a tick ends, from the database and from this tick."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from config.fields import FieldError
from config.logs import one_line
from config.models import MigrationPolicy
from jobs.context import Context
from jobs.notify.settings import NotifySettings
from jobs.report import Observations
from sql.large_tables import LARGE_TABLE_BYTES
from sql.memory.notices import Cause, State

QUARANTINED_TOLD_ONE_BY_ONE = 20
NO_OBSERVATIONS: Observations = {}


@dataclass
class Seen:
    """What is known when a tick ends."""

    context: Context
    open_causes: Mapping[str, str]
    """The causes that are not well, and what operators last read of each."""
    jobs: Sequence[Mapping[str, Any]]
    days_since_migration: float | None
    failing_providers: Sequence[Mapping[str, Any]]
    provider_names: Mapping[str, str]
    """Of all rows of `cloud_providers`, by the text of the id."""
    wanted_providers: Sequence[str]
    """The ids that the policy names."""
    runs_without_sign: Sequence[Mapping[str, Any]]
    """This host's runs without an end whose lease is over, with a job that nobody has done since."""
    quarantined: Sequence[Mapping[str, Any]]
    any_waits_after_failures: bool
    """Whether an execution that failed waits for its next try, so that a good run says nothing of it."""

    @classmethod
    def by(cls, context: Context) -> Seen:
        """Ask the database, once. Raises `DatabaseError`."""
        (row,) = context.query("look", {"most": QUARANTINED_TOLD_ONE_BY_ONE + 1, "host": context.settings.host})
        return cls(context, **row)

    @property
    def settings(self) -> NotifySettings:
        """The job's own."""
        own: NotifySettings = self.context.own_settings
        return own

    @property
    def host(self) -> str:
        """This one."""
        return self.context.settings.host

    def provider(self, provider_id: int | str) -> str:
        """A provider as operators know it: by its name, if it has a row."""
        name = self.provider_names.get(str(provider_id))
        return f"con id {provider_id}" if name is None else one_line(name)

    @property
    def missing_providers(self) -> tuple[str, ...]:
        """Those that the policy names and that have no row."""
        return tuple(each for each in self.wanted_providers if each not in self.provider_names)

    @property
    def observed(self) -> Observations:
        """What this tick has seen of providers."""
        return NO_OBSERVATIONS if self.context.report is None else self.context.report.observed

    @cached_property
    def policy(self) -> MigrationPolicy | None:
        """The policy in force; `None` if nobody can read it. Costs a statement."""
        try:
            return self.context.database.load_policy() or MigrationPolicy()
        except FieldError:  # the migration has said so
            return None

    def overdue(self) -> Iterator[tuple[str, str, datetime]]:
        """The oldest executions that are long due, with the directory and the date of each."""
        if self.policy is None:
            return
        parameters = {
            "retention_seconds": self.policy.retention_hours * 3600,
            "days": self.settings.stalled_days,
            "large_table_bytes": LARGE_TABLE_BYTES,
        }
        for row in self.context.query("find_overdue", parameters):
            yield row["uuid"], row["directory"], row["executed_at"]


def open_causes(seen: Seen, prefix: str) -> list[str]:
    """The keys with a prefix of the causes that are not well."""
    return [key for key in seen.open_causes if key.startswith(prefix)]


def gone(seen: Seen, prefix: str, known: Sequence[str]) -> Iterator[Cause]:
    """The end of causes whose subject is no longer watched."""
    for key in open_causes(seen, prefix):
        if key not in known:
            yield Cause(key, State.OK, f"Ya no se vigila {key.removeprefix(prefix)}")
