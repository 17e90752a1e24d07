"""All causes that a tick knows of, of every kind.

A function of a kind yields every cause that it knows about, also those that are well, so that a recovery is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from jobs.context import Context
from jobs.notify.causes.of_executions import behind, quarantined, stalled
from jobs.notify.causes.of_hosts import disks, hung_runs, roots, silent_hosts
from jobs.notify.causes.of_jobs import failing_jobs, late_jobs, misconfigured_jobs
from jobs.notify.causes.of_providers import fallback, missing_providers, providers
from jobs.notify.causes.seen import Seen
from sql.memory.notices import Cause, State

KINDS: Sequence[Callable[[Seen], Iterator[Cause]]] = (
    *(providers, missing_providers, hung_runs, fallback, quarantined, roots, stalled, behind),
    *(failing_jobs, misconfigured_jobs, late_jobs, silent_hosts, disks),
)
"""Each kind of cause."""


def find_causes(context: Context) -> list[Cause]:
    """All causes that are not well, and those that have become well. Raises `DatabaseError`."""
    seen = Seen.by(context)
    found = [cause for kind in KINDS for cause in kind(seen)]
    return [cause for cause in found if cause.state != State.OK or cause.key in seen.open_causes]
