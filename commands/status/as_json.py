"""The facts of `status` as JSON. The shape is documented in `docs/schemas/status.json` and only ever grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, tzinfo
from typing import Any

from commands.status.facts import Attention, Disk, Facts


def status_as_json(facts: Facts, attentions: Sequence[Attention], zone: tzinfo) -> dict[str, Any]:
    """Everything that `status` knows, with instants as ISO 8601 on the operators' clock."""
    failed = sum(group.count for group in facts.failures)
    document = {
        "generated_at": facts.now,
        "needs_person": [asdict(each) for each in attentions],
        "migration": asdict(facts.migration),
        "pending": facts.pending.total,
        "due": facts.pending.old_enough,
        "ready": facts.pending.ready if facts.migration.is_on else 0,
        "without_files": facts.pending.without_directory,
        "pending_by_state": dict(facts.pending.by_state),
        "pending_by_age": dict(facts.pending.by_age),
        "pending_is_exact": facts.pending.is_exact,
        "pending_basis": facts.pending.basis,
        "directories_looked_for": facts.pending.directories_looked_for,
        "oldest_due": None if facts.pending.oldest_due is None else asdict(facts.pending.oldest_due),
        "migrated": facts.migrated,
        "migrated_is_exact": facts.is_exact,
        "failed": facts.pending.failed,
        "deletions_unfinished": facts.deletions_unfinished,
        "leftover_attempts": sum(each.count for each in facts.leftovers),
        "leftovers": [asdict(each) for each in facts.leftovers],
        "bad_copies": [asdict(each) for each in facts.bad_copies],
        "providers": [asdict(each) for each in facts.providers],
        "failure_groups": [asdict(each) for each in facts.failures],
        "failures": list(facts.latest_failures),
        "failures_left_out": max(0, failed - len(facts.latest_failures)),
        "runs_under_way": [asdict(each) for each in facts.runs],
        "hosts": [asdict(each) for each in facts.hosts],
        "jobs": [dict(each) for each in facts.jobs],
        "disks": [_disk(each) for each in facts.disks],
        "freed": dict(facts.freed),
        "notes": list(facts.notes),
        "last_run": None if facts.last_run is None else _with_instants(facts.last_run),
    }
    return {name: plain(value, zone) for name, value in document.items()}


def _with_instants(run: Mapping[str, Any]) -> dict[str, Any]:
    """The run with its times as instants; the database gives them as texts of its own."""
    names = ("started_at", "finished_at")
    return {**run, **{name: datetime.fromisoformat(run[name]) for name in names if run.get(name)}}


def plain(value: object, zone: tzinfo) -> Any:
    """A value as JSON holds it."""
    if isinstance(value, datetime):
        return value.astimezone(zone).isoformat(timespec="seconds")
    if isinstance(value, Mapping):
        return {str(name): plain(item, zone) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, zone) for item in value]
    return value


def _disk(disk: Disk) -> dict[str, Any]:
    """Without its device: the kernel's number of it says nothing to others, and changes."""
    shown = {**asdict(disk), "is_nearly_full": disk.is_nearly_full}
    del shown["device"]
    return shown
