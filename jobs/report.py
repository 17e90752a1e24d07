"""What one tick did: counted during its work, stored in `janitor_runs` and turned into the exit code."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from config.exit_codes import EXIT_DONE, EXIT_SOMETHING_FAILED
from config.process.early_signals import EXIT_SIGNAL_BASE
from config.text.plurals import counted

MAX_DURATION = "--max-duration"
MAX_BYTES = "--max-bytes"

DUE_COUNTED_TO = 10_000
"""Executions still to begin are counted up to this number; the exact number beyond it is not worth a wait."""


NAMED_AT_MOST = 10
"""How many items of one kind a report names; the log names all of them."""


class Named:
    """Kinds of items that a report also names, because they explain an exit code of 1."""

    FAILED = "failed"
    """An execution that was not migrated. Only the first few are named."""
    PROVIDER = "unusable_providers"
    """A provider that the policy names and that only a person can fix."""
    PLACE = "unsafe_destinations"
    """An execution and the provider whose place holds foreign objects."""
    COPY = "deletions_failed"
    """An execution whose local copy could not be removed."""
    ROOT = "missing_roots"
    TEMP_DIRECTORY = "unusable_temp_directory"
    JOB = "stopped_jobs"
    UNDONE = "jobs_with_failures"
    """A job that ended with failures but did the rest."""
    LOG = "unwritable_log"


class Observed:
    """What a tick has seen of a provider, by its id. Unlike `Named` these decide no exit code."""

    WORKED = "worked"
    """An execution was migrated to it."""
    WAS_REPLACED = "was_replaced"
    """An execution that was meant for it went to another one."""


Observations = Mapping[str, Mapping[int, str]]
"""By kind and provider, in Spanish: which provider it is, or why it failed."""


class JobDone(NamedTuple):
    """One job of a run that has ended: its name, `JobEnd.outcome`, how long it took, and what it counted."""

    name: str
    outcome: str
    seconds: float
    counts: Mapping[str, int] = MappingProxyType({})

    def recorded(self) -> dict[str, object]:
        """What the report of the run keeps of it: no count that is 0."""
        return {"outcome": self.outcome, "counts": {name: count for name, count in self.counts.items() if count}}


class TickReport:
    """Counts from several threads, and the worst problem of the tick as a whole.

    `counted` are the names that the report has in any case; every count begins at 0.
    """

    def __init__(self, counted: Iterable[str] = ()) -> None:
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._counts = Counter(dict.fromkeys(counted, 0))
        self._problem_exit_code = EXIT_DONE
        self._signal_number: int | None = None
        self._named: dict[str, tuple[str, ...]] = {}
        self.jobs: list[JobDone] = []
        """The jobs that have ended, in order."""
        self._observed: dict[str, dict[int, str]] = {}
        self.limit_reached: str | None = None
        """The option that kept work from beginning or finishing."""

    def count(self, **increments: int) -> None:
        """Add to counts, by their names."""
        with self._lock:
            sums = self._counts.copy()  # a reader keeps the sums of one moment
            sums.update(increments)
            self._counts = sums

    def name(self, kind: str, what: str) -> None:
        """Remember an item that explains the exit code; each once, and of one kind only the first few."""
        with self._lock:
            known = self._named.get(kind, ())
            if what not in known and len(known) < NAMED_AT_MOST:
                self._named[kind] = (*known, what)

    @property
    def named(self) -> Mapping[str, tuple[str, ...]]:
        """The items named so far, by kind."""
        with self._lock:
            return dict(self._named)

    def observe(self, kind: str, provider_id: int, text: str) -> None:
        """Remember what was seen of a provider; of each kind the last word counts."""
        with self._lock:
            self._observed.setdefault(kind, {})[provider_id] = text

    @property
    def observed(self) -> Observations:
        """What was seen of providers so far."""
        with self._lock:
            return {kind: dict(by_provider) for kind, by_provider in self._observed.items()}

    def note_signal(self, number: int) -> None:
        """Remember that a signal ended the run, which decides the exit code."""
        self._signal_number = number

    @property
    def is_ended_by_signal(self) -> bool:
        """Whether a signal has ended the run."""
        return self._signal_number is not None

    def note_problem(self, exit_code: int) -> None:
        """Remember that a whole job could not be done, by the exit code for the reason."""
        with self._lock:
            self._problem_exit_code = max(self._problem_exit_code, exit_code)

    @property
    def elapsed_seconds(self) -> float:
        """How long the tick has taken so far."""
        return time.monotonic() - self._started

    @property
    def counts(self) -> Counter[str]:
        """The counts so far, by name."""
        return self._counts

    @property
    def exit_code(self) -> int:
        """0 when everything that was begun was done, otherwise the documented code of the worst problem."""
        if self._signal_number is not None:
            return EXIT_SIGNAL_BASE + self._signal_number
        if self._problem_exit_code != EXIT_DONE:
            return self._problem_exit_code
        undone = any(self._counts[name] for name in PROBLEMS)
        return EXIT_SOMETHING_FAILED if undone or self._named else EXIT_DONE

    def problems(self) -> tuple[str, ...]:
        """In words, with numbers and names, everything that makes the exit code 1; failed executions come first."""
        named = self.named
        counts = {
            **{kind: len(names) for kind, names in named.items()},
            **{name: number for name, number in self._counts.items() if name in PROBLEMS},
        }
        return tuple(
            _with_names(counted(counts[kind], *forms), counts[kind], named.get(kind, ()))
            for kind, forms in PROBLEMS.items()
            if counts.get(kind)
        )


PROBLEMS: Mapping[str, tuple[str, str]] = {
    Named.FAILED: ("ejecución con error", "ejecuciones con error"),
    Named.PROVIDER: ("proveedor que alguien tiene que arreglar", "proveedores que alguien tiene que arreglar"),
    Named.PLACE: ("lugar ocupado por objetos de otros", "lugares ocupados por objetos de otros"),
    Named.COPY: ("copia local que no se pudo borrar", "copias locales que no se pudieron borrar"),
    "deletions_waiting": ("copia local que espera a otro intento", "copias locales que esperan a otro intento"),
    "temp_failures": ("archivo temporal sin borrar", "archivos temporales sin borrar"),
    Named.ROOT: ("raíz de JANITOR_ROOTS que no está", "raíces de JANITOR_ROOTS que no están"),
    Named.TEMP_DIRECTORY: ("directorio temporal que no se puede usar", "directorios temporales que no se pueden usar"),
    Named.JOB: ("trabajo que no pudo terminar", "trabajos que no pudieron terminar"),
    Named.UNDONE: ("trabajo con algo sin hacer", "trabajos con algo sin hacer"),
    Named.LOG: ("registro que no se pudo escribir", "registros que no se pudieron escribir"),
}
"""The problems that make the exit code 1, by count or kind, in singular and plural."""


def _with_names(text: str, count: int, names: Iterable[str]) -> str:
    """The text with the names of the first few."""
    listed = tuple(names)
    if not listed:
        return text
    return f"{text}: {', '.join(listed)}{', …' if count > len(listed) else ''}"
