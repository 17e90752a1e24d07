"""Deletes old records table by table, in batches that each take a moment."""

from __future__ import annotations

from collections.abc import Mapping

from config.text.plurals import counted
from jobs.context import Context
from jobs.job import Outcome

BATCH_ROWS = 1000
"""Few enough that a statement ends in a moment, which is also the longest wait after a signal."""

TABLES = {"runs": "prune_runs", "job_runs": "prune_job_runs", "attempts": "prune_attempts"}
"""For each count of the outcome, the statement that deletes a batch."""


def run(context: Context) -> Outcome:
    """Delete records older than the setting. Raises `RunInterrupted`, `LeaseLost`, `DatabaseError`."""
    counts = {name: _prune(context, statement) for name, statement in TABLES.items()}
    context.say("history_pruned", f"Historial: {_described(counts)} de hace más de {_days(context)}")
    return Outcome(counts)


def preview(context: Context) -> None:
    """Say how much a run would delete."""
    (counts,) = context.query("count_old", {"days": context.own_settings.days})
    described = _described(counts, "se borrarían")
    context.say("history_previewed", f"[simulación] Historial: {described} de hace más de {_days(context)}")


def _prune(context: Context, statement: str) -> int:
    """Run a statement until nothing is left for it; return how many rows were deleted."""
    deleted = 0
    while True:
        context.require_going_on()
        parameters = {"days": context.own_settings.days, "batch_rows": BATCH_ROWS}
        batch = len(context.query(statement, parameters))
        deleted += batch
        if batch < BATCH_ROWS:
            return deleted


def _described(counts: Mapping[str, int], verb: str = "se borraron") -> str:
    return (
        f"{verb} {counted(counts['runs'], 'ciclo', 'ciclos')}, {counted(counts['job_runs'], 'trabajo', 'trabajos')} y "
        f"{counted(counts['attempts'], 'intento', 'intentos')}"
    )


def _days(context: Context) -> str:
    return counted(context.own_settings.days, "día", "días")
