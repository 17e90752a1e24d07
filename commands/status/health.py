"""The health of the whole, for a platform's health endpoint: what can be said within five seconds, whatever hangs."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from commands.jobs import list_jobs, status_of_jobs
from commands.status.attention import of_copies, of_migration
from commands.status.collect import bad_copies, database_faults, migration_state, waiting, with_roots
from commands.status.disks import look_at_disks
from commands.status.providers import known_providers, providers
from commands.status.runs import hosts, runs_under_way
from config.exit_codes import EXIT_DATABASE, EXIT_DONE, EXIT_SOMETHING_FAILED
from config.logs import one_line
from config.settings import Settings
from config.text.clocks import difference
from jobs.temp_files.guard import faults_of_every_run
from sql.database import Database, DatabaseError

OK, DEGRADED, DOWN = "ok", "degradado", "caido"
EXIT_CODES = {OK: EXIT_DONE, DEGRADED: EXIT_SOMETHING_FAILED, DOWN: EXIT_DATABASE}

LIMIT_SECONDS = 4.0
"""For everything together; starting Python takes most of the fifth second on a busy machine."""

STATEMENT_LIMIT_SECONDS = 3
"""The server gives up a statement that nobody waits for any more."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the whole."""

    state: str
    texts: tuple[str, ...] = ()
    """What is wrong, in Spanish."""


@dataclass(frozen=True, slots=True)
class Health:
    """The parts, and the worst of them."""

    parts: Mapping[str, Part]
    seconds: float

    @property
    def state(self) -> str:
        """`ok`, `degradado` or `caido`."""
        states = {part.state for part in self.parts.values()}
        return next(state for state in (DOWN, DEGRADED, OK) if state in states)

    @property
    def exit_code(self) -> int:
        """0, 1 or 3."""
        return EXIT_CODES[self.state]

    def as_json(self) -> dict[str, Any]:
        """The shape is documented in `docs/schemas/health.json` and only ever grows."""
        parts = {name: {**asdict(part), "texts": list(part.texts)} for name, part in self.parts.items()}
        return {"state": self.state, "parts": parts, "seconds": round(self.seconds, 3)}

    def lines(self) -> Iterator[str]:
        """One for the whole, and one for each fault."""
        yield f"Estado: {self.state}"
        for name, part in self.parts.items():
            yield from (one_line(f"  {name}: {text}") for text in part.texts)


def examine(settings: Settings, limit_seconds: float = LIMIT_SECONDS) -> Health:
    """Examine all parts at once, and give up what has not answered at the end of the time."""
    started = time.monotonic()
    found: dict[str, Part] = {}
    tasks: tuple[Callable[[], Mapping[str, Part]], ...] = (
        lambda: _database_parts(settings),
        lambda: _disks(settings),
        lambda: _part_of_its_own("migration", _migration_faults, settings),
        lambda: _part_of_its_own("copies", _copy_faults, settings),
    )
    threads = [
        threading.Thread(target=lambda task=task: found.update(task()), name="health", daemon=True) for task in tasks
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, started + limit_seconds - time.monotonic()))
    silent = f"no contesta en {limit_seconds:g} s"
    parts = {
        "database": found.get("database", Part(DOWN, (f"la base de datos {silent}",))),
        "jobs": found.get("jobs", Part(DEGRADED, ("no se sabe sin la base de datos",))),
        "disks": found.get("disks", Part(DEGRADED, (f"algún disco {silent}",))),
        "providers": found.get("providers", Part(DEGRADED, ("no se sabe sin la base de datos",))),
        **{
            name: found.get(name, Part(DEGRADED, (f"la base de datos o algún disco {silent}",)))
            for name in ("migration", "copies")
        },
    }
    return Health(parts, time.monotonic() - started)


def _database_parts(settings: Settings) -> Mapping[str, Part]:
    """The database, and what it remembers of jobs and providers."""
    with contextlib.closing(Database(settings.database_url, settings.host)) as database:
        database.limit_statements(STATEMENT_LIMIT_SECONDS)
        try:
            database.connect()  # a statement would try again for longer than there is time
            asked_at = datetime.now(UTC)
            now = database.ask("read_clock")[0]["now"]
            off = difference(asked_at, now, datetime.now(UTC))
            clock_faults = () if off is None else (f"reloj: {off}",)
            entries = list_jobs(database, settings)
            return {
                "database": _part((*clock_faults, *database_faults(database))),
                "jobs": _part(_job_faults(entries, database, settings, now)),
                "providers": _part(_provider_faults(database)),
            }
        except DatabaseError as error:
            return {"database": Part(DOWN, (one_line(error),))}


def _part(faults: Iterable[str]) -> Part:
    texts = tuple(map(one_line, faults))
    return Part(DEGRADED if texts else OK, texts)


def _job_faults(
    entries: Iterable[Mapping[str, Any]], database: Database, settings: Settings, now: datetime
) -> Iterator[str]:
    yield from (f"{fault}; hasta entonces ningún ciclo hace nada" for fault in faults_of_every_run(settings))
    for entry in entries:
        if entry["misconfigured"]:
            yield f"{entry['name']} mal configurado: {entry['reason']}"
        elif entry["on"] and entry["failed_runs"]:
            yield f"{entry['name']} falló la última vez: {entry['last_error'] or '?'}"
    under_way = runs_under_way(database, settings)
    for run in under_way:
        if run.state in ("hung", "silent"):
            yield f"el ciclo {run.run_id} de {run.host} (proceso {run.process_id}) no da señales"
    busy = {run.host for run in under_way}
    for host in hosts(database, now):
        if host.is_silent and host.host not in busy:
            yield f"la máquina {host.host} no empieza ningún ciclo desde {host.last_started_at:%Y-%m-%d %H:%M} UTC"


def _provider_faults(database: Database) -> Iterator[str]:
    known = known_providers(database)
    migration = migration_state(database, known)
    if migration.reason == "no_usable_provider":
        yield migration.text
    for provider in providers(database, known, migration, {}):
        if provider.role is not None and provider.state in ("unusable", "missing", "inactive"):
            yield f"{provider.name or provider.provider_id} no se puede usar: {provider.error}"


def _part_of_its_own(
    name: str, faults: Callable[[Database, Settings], Iterable[str]], settings: Settings
) -> Mapping[str, Part]:
    """By a connection of its own, because it looks at disks that may not answer."""
    with contextlib.closing(Database(settings.database_url, settings.host)) as database:
        database.limit_statements(STATEMENT_LIMIT_SECONDS)
        try:
            database.connect()
            return {name: _part(faults(database, settings))}
        except DatabaseError:
            return {name: Part(DEGRADED, ("no se sabe sin la base de datos",))}


def _migration_faults(database: Database, settings: Settings) -> Iterator[str]:
    """What `status` says needs a person, by the same table."""
    disks = look_at_disks(settings)
    migration = with_roots(migration_state(database, known_providers(database)), disks)
    pending, now = waiting(database, migration.retention_hours)
    has_roots = any(disk.purpose == "root" for disk in disks)
    for attention in of_migration(migration, pending, now, "", has_roots=has_roots):
        yield f"{attention.subject}: {attention.text}"


def _copy_faults(database: Database, settings: Settings) -> Iterator[str]:
    """Copies of executions that an audit found lost or damaged, and what jobs find wrong with what they keep: backups.

    Whatever `status` says of them needs a person.
    """
    for attention in of_copies(bad_copies(database, known_providers(database))):
        yield f"{attention.subject}: {attention.text}"
    for _, finding in status_of_jobs(database, settings):
        if not finding.in_order:
            yield f"{finding.subject}: {finding.text}"


def _disks(settings: Settings) -> Mapping[str, Part]:
    return {"disks": _part(_disk_faults(settings))}


def _disk_faults(settings: Settings) -> Iterator[str]:
    for disk in look_at_disks(settings):
        if disk.fault is not None and disk.purpose == "root":
            yield f"raíz {disk.path}: {disk.fault}"
        elif disk.is_nearly_full:
            yield f"el disco de {disk.path} está casi lleno"
