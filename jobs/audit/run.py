"""The rolling audit: reads copies back, those never audited first, then those audited longest ago.

What was read is recorded copy by copy, so a run that was killed is continued by the next one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import NamedTuple

from config.logs import emit, one_line
from config.text.causes import BAD_COPIES, NOT_WHOLE
from config.text.plurals import counted, executions
from jobs.audit.examination import Examined, State, examine
from jobs.audit.records import Copy, Records
from jobs.context import Context
from jobs.job import Outcome
from jobs.provider_set import ProviderSet
from sql.large_tables import LARGE_TABLE_BYTES
from storage.traffic.pace import Traffic
from storage.traffic.transfers import TransferPool

DUE_PER_PAGE = 200
GIGABYTE = 1024**3
SAMPLED_ROWS = 20_000


class Due(NamedTuple):
    """A copy whose turn it is."""

    execution_id: int
    size_bytes: int
    is_new: bool


def run(context: Context) -> Outcome:
    """Read back what is due, within the bytes of an hour. Raises `RunInterrupted`, `LeaseLost`, `DatabaseError`."""
    due = _due(context)
    first = next(due, None)
    if first is None:
        _notify(context)  # an operator's audit may have found, or cleared, something
        return Outcome()
    traffic = Traffic(context.settings.bandwidth, context.interruption)
    with (
        closing(ProviderSet.load(context.database, context.interruption)) as providers,
        closing(TransferPool(context.settings.transfers, traffic)) as pool,
    ):
        return _Run(context, providers, pool).read_back(first, due)


def _due(context: Context) -> Iterator[Due]:
    """What is due, each copy once: what could not be read stays due, and is not asked for again by the same run."""
    seen: set[int] = set()
    page_size = DUE_PER_PAGE
    while True:
        rows = context.query("find_due", {"days": context.own_settings.days, "page_size": page_size})
        fresh = [Due(**row) for row in rows if row["execution_id"] not in seen]
        if not fresh:
            return
        for due in fresh:
            seen.add(due.execution_id)
            yield due
        page_size = DUE_PER_PAGE + len(seen)


class _Run:
    """One run."""

    def __init__(self, context: Context, providers: ProviderSet, pool: TransferPool) -> None:
        self._context = context
        self._providers = providers
        self._pool = pool
        self._records = Records(context.query)
        self._counts = {"audited": 0, "audited_bytes": 0, "bad": 0, "unread": 0}

    def read_back(self, first: Due, others: Iterator[Due]) -> Outcome:
        """Read back one copy after the other until the limit."""
        max_bytes = self._context.own_settings.max_bytes
        due: Due | None = first
        while due is not None:
            self._context.require_going_on()
            for copy in self._records.find([due.execution_id]):
                self._audit(copy)
            due = next(others, None)
            read_bytes = self._counts["audited_bytes"]
            if due is not None and max_bytes is not None and read_bytes and read_bytes + due.size_bytes > max_bytes:
                break
        return self._outcome()

    def _audit(self, copy: Copy) -> None:
        provider = self._providers.get(copy.provider_id)
        if provider is None:
            self._counts["unread"] += 1
            return
        begun = self._records.now()
        examined = examine(provider, copy, self._pool, self._context.interruption, every_byte=True)
        if examined.state is State.UNREADABLE:
            self._counts["unread"] += 1
            self._tell(copy, examined, "no se pudo leer de vuelta")
            return
        if not self._records.is_unchanged(copy):  # it was moved, or taken back, while it was read
            return
        self._counts["audited"] += 1
        self._counts["audited_bytes"] += copy.size_bytes or 0
        self._note(copy, examined, begun)
        if examined.state is not State.WHOLE:
            self._counts["bad"] += 1
            self._tell(copy, examined, "no está entera")

    def _note(self, copy: Copy, examined: Examined, begun: datetime) -> None:
        self._context.query("note_audit", {**copy.location, **examined.as_recorded(), "begun": begun})

    def _tell(self, copy: Copy, examined: Examined, what: str) -> None:
        uuid, where = one_line(copy.uuid), self._providers.name(copy.provider_id)
        advice = "" if examined.state is State.UNREADABLE else "; audit --fix dice si se puede migrar otra vez"
        emit(
            logging.ERROR,
            f"audit_{examined.state.value}",
            f"La copia de la ejecución {uuid} en {where} {what}: {examined.detail}{advice}",
            execution=uuid,
            provider=where,
        )

    def _outcome(self) -> Outcome:
        counts = {name: count for name, count in self._counts.items() if count}
        failures = []
        if self._counts["bad"]:
            failures.append(counted(self._counts["bad"], *NOT_WHOLE))
        if self._counts["unread"]:
            what = counted(self._counts["unread"], "copia no se pudo", "copias no se pudieron")
            failures.append(f"{what} leer de vuelta")
        _notify(self._context)
        return Outcome(counts, tuple(failures))


def _notify(context: Context) -> None:
    """Note whether any copy was bad when it was last read back where it is now."""
    bad = sum(row["count"] for row in context.database.ask("count_bad_copies"))
    if bad:
        what = counted(bad, "copia guardada no está entera", "copias guardadas no están enteras")
        context.notify(BAD_COPIES, "needs_person", f"{what}: janitor-daemon audit --all dice cuáles y qué hacer")
    else:
        context.notify(BAD_COPIES, "ok", "Lo que se leyó de vuelta está entero")


def preview(context: Context) -> None:
    """Say how much is due."""
    large = {"large_table_bytes": LARGE_TABLE_BYTES, "sampled_rows": SAMPLED_ROWS}
    (row,) = context.query("count_due", {"days": context.own_settings.days, **large})
    about = "" if row["is_exact"] else "unas "  # of a large table only a sample is read
    context.say(
        "audit_previewed",
        f"[simulación] Hay que leer de vuelta {about}{executions(row['executions'])}, "
        f"{about}{row['size_bytes'] / GIGABYTE:.2f} GB, "
        f"que no se leen desde hace {counted(context.own_settings.days, 'día', 'días')}",
    )
