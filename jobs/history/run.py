"""Deletes old records table by table, in batches that each take a moment."""

from __future__ import annotations

from collections.abc import Mapping

from config.text.plurals import counted
from jobs.context import Context
from jobs.job import Outcome

BATCH_ROWS = 1000
"""Few enough that a statement ends in a moment, which is also the longest wait after a signal."""

TABLES = {"jobs": "prune_jobs", "runs": "prune_runs", "job_runs": "prune_job_runs", "attempts": "prune_attempts"}
"""For each count of the outcome, the statement that deletes a batch. Jobs of silent hosts go first: what was under way
there keeps its run.
"""


def run(context: Context) -> Outcome:
    """Delete records older than the setting. Raises `RunInterrupted`, `LeaseLost`, `DatabaseError`."""
    statements = TABLES if _may_delete_jobs(context) else {**TABLES, "jobs": None}
    counts = {name: 0 if statement is None else _prune(context, statement) for name, statement in statements.items()}
    counts["audit"] = _prune_audit(context)
    context.say("history_pruned", f"Historial: {_described(counts)} de hace más de {_days(context)}")
    return Outcome(counts)


def preview(context: Context) -> None:
    """Say how much a run would delete."""
    (counts,) = context.query("count_old", {"days": context.own_settings.days})
    described = _described(counts, "se borrarían")
    context.say("history_previewed", f"[simulación] Historial: {described} de hace más de {_days(context)}")


def _may_delete_jobs(context: Context) -> bool:
    """Whether the role may delete jobs of silent hosts: those of earlier versions may not."""
    return not context.database.missing_job_rights(context.job.optional_rights)


def _prune(context: Context, statement: str) -> int:
    """Run a statement until nothing is left for it; return how many rows were deleted."""
    deleted = 0
    from_place = ""
    while True:
        context.require_going_on()
        parameters = {"days": context.own_settings.days, "batch_rows": BATCH_ROWS, "from_place": from_place}
        batch = context.query(statement, parameters)
        deleted += len(batch)
        if len(batch) < BATCH_ROWS:
            return deleted
        from_place = batch[0].get("last_place", "")


def _prune_audit(context: Context) -> int:
    """Delete the months of the audit trail that are old as a whole; return how many rows were deleted."""
    deleted = 0
    while True:
        context.require_going_on()
        months = context.query("prune_audit", {"days": context.own_settings.days})
        if not months:
            return deleted
        for month in months:
            deleted += month["deleted"]
            context.say(
                "audit_pruned", f"Registro de auditoría: se borró {month['month']}, {month['deleted']} anotaciones"
            )


def _described(counts: Mapping[str, int], verb: str = "se borraron") -> str:
    return (
        f"{verb} {counted(counts['runs'], 'ciclo', 'ciclos')}, {counted(counts['job_runs'], 'trabajo', 'trabajos')} y "
        f"{counted(counts['attempts'], 'intento', 'intentos')}{_silent(counts['jobs'])}{_audited(counts['audit'])}"
    )


def _silent(count: int) -> str:
    return f", lo sabido de {counted(count, 'trabajo', 'trabajos')} de equipos sin señales" if count else ""


def _audited(count: int) -> str:
    return f", y del registro de auditoría {counted(count, 'anotación', 'anotaciones')}," if count else ""


def _days(context: Context) -> str:
    return counted(context.own_settings.days, "día", "días")
