"""What may be wrong: one function for each kind of cause, each from what the database and this tick know.

A function yields every cause that it knows about, also those that are well, so that a recovery is seen.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from config.errors import ConfigurationError
from config.fields import FieldError
from config.logs import one_line
from config.models import MigrationPolicy
from config.text.causes import BAD_COPIES, NOT_WHOLE
from jobs.context import Context
from jobs.job import Job, Phase, Scope
from jobs.locks import is_at_work
from jobs.notify.settings import NotifySettings
from jobs.registry import all_jobs
from jobs.report import Named, Observations, Observed
from jobs.schedule import EveryTick, Schedule
from jobs.tick import plan_of
from sql.database import database_identity
from sql.large_tables import LARGE_TABLE_BYTES
from sql.memory.notices import Cause, State

FORGOTTEN_AFTER_DAYS = 30
"""A host that has not run for longer is taken for one that was retired."""

CUT_OFF_TRIES = 3
"""A job that was begun so often without a good end, and is not ended now, is killed each time."""

LEVELS_OF_ERRORS = 2
SHORTEST_REASON = 20
"""An error says what failed, and then why. Shorter than this, two reasons are equal by chance."""

FOLDED_INTO = {"verify": "backup"}
"""A job that one cause, such as a missing program, stops together with another job: the notice of that one is enough.

No others: two full disks have the same reason, and mending one of them mends one of the jobs.
"""

SLACK_HOURS = 2
QUARANTINED_TOLD_ONE_BY_ONE = 20
GIGABYTE = 1024**3
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


def providers(seen: Seen) -> Iterator[Cause]:
    """A provider of the policy cannot be used, as any host has found out."""
    used = seen.policy.provider_ids if seen.failing_providers and seen.policy is not None else ()
    keys = []
    for provider in seen.failing_providers:
        if provider["id"] not in used:
            continue
        keys.append(f"provider:{provider['id']}:unusable")
        text = f"El proveedor {provider['name']} no se puede usar: {provider['error']}"
        if provider["error_code"] == "storage_full":
            text = f"Al proveedor {provider['name']} le falta espacio: {provider['error']}"
            yield Cause(keys[-1], State.NEEDS_PERSON, f"{text}; libere espacio o amplíe la cuota: se reintenta solo")
        elif provider["needs_a_person"]:
            text = f"{text}; arréglelo y compruébelo con 'janitor-daemon check'"
            yield Cause(keys[-1], State.NEEDS_PERSON, text)
        else:
            yield Cause(keys[-1], State.FAILED, f"{text}; se repite solo")
    for key in _open(seen, "provider:"):
        if key.endswith(":unusable") and key not in keys:
            yield Cause(
                key, State.OK, f"El proveedor {seen.provider(key.split(':')[1])} vuelve a funcionar, o ya no se usa"
            )


def missing_providers(seen: Seen) -> Iterator[Cause]:
    """A provider that the policy names has no row any more: what it stands for is not used, and nothing fails."""
    for provider_id in seen.missing_providers:
        text = (
            f"ejecuciones_config nombra el proveedor con id {provider_id}, que no existe en cloud_providers: no se "
            "usa; devuelva su fila, o quítelo de ejecuciones_config"
        )
        yield Cause(f"provider:{provider_id}:missing", State.NEEDS_PERSON, text)
    for key in _open(seen, "provider:"):
        provider_id = key.split(":")[1]
        if key.endswith(":missing") and provider_id not in seen.missing_providers:
            text = f"El proveedor {seen.provider(provider_id)} vuelve a tener fila, o ya no se usa"
            yield Cause(key, State.OK, text)


def hung_runs(seen: Seen) -> Iterator[Cause]:
    """A run of this host gives no sign any more, and its process is there: its job waits for it."""
    prefix = f"run:{seen.host}:"
    settings = seen.context.settings
    keys = []
    for run in seen.runs_without_sign:
        key = f"{prefix}{run['id']}:hung"
        if key in keys or not is_at_work(
            settings.host, database_identity(settings.database_url), run["job"], run["process_id"]
        ):
            continue
        keys.append(key)
        text = (
            f"El ciclo {run['id']} de {seen.host} (proceso {run['process_id']}, trabajo {run['job']}) no da señales y "
            "sigue ahí, y los demás lo esperan; mire qué espera y, si no avanza, termínelo (kill)"
        )
        yield Cause(key, State.NEEDS_PERSON, text)
    for key in _open(seen, prefix):
        if key not in keys:
            yield Cause(key, State.OK, f"El ciclo {key.split(':')[-2]} de {seen.host} ya no está colgado")


def fallback(seen: Seen) -> Iterator[Cause]:
    """Executions go to an alternate, because the primary does not take them."""
    replaced = seen.observed.get(Observed.WAS_REPLACED, {})
    for provider_id, other in replaced.items():
        text = (
            f"Se usa el proveedor alternativo {other}, porque el primario {seen.provider(provider_id)} no lo acepta "
            "todo; en cuanto funcione, lo nuevo vuelve a él"
        )
        yield Cause(f"provider:{provider_id}:replaced", State.DEGRADED, text)
    for provider_id in seen.observed.get(Observed.WORKED, {}).keys() - replaced.keys():
        yield Cause(
            f"provider:{provider_id}:replaced", State.OK, f"Lo nuevo vuelve al proveedor {seen.provider(provider_id)}"
        )
    for key in _open(seen, "provider:"):
        if key.endswith(":replaced") and seen.policy and seen.policy.primary_provider_id != int(key.split(":")[1]):
            yield Cause(key, State.OK, f"El proveedor {seen.provider(key.split(':')[1])} ya no es el primario")


def quarantined(seen: Seen) -> Iterator[Cause]:
    """An execution failed in too many runs, so none takes it up any more. More than a few are reported together."""
    together = "executions:quarantined"
    if len(seen.quarantined) > QUARANTINED_TOLD_ONE_BY_ONE:
        text = (
            f"Hay más de {QUARANTINED_TOLD_ONE_BY_ONE} ejecuciones en cuarentena; 'janitor-daemon status' dice cuáles, "
            "y 'janitor-daemon retry --all' las repite todas"
        )
        yield Cause(together, State.NEEDS_PERSON, text)
        return
    keys = [f"execution:{row['uuid']}:quarantined" for row in seen.quarantined]
    for key, row in zip(keys, seen.quarantined, strict=True):
        text = (
            f"La ejecución {row['uuid']} está en cuarentena, y ningún ciclo la intenta ya: {row['error']}; arréglelo y "
            f"ejecute 'janitor-daemon retry {row['uuid']}'"
        )
        yield Cause(key, State.NEEDS_PERSON, text)
    yield Cause(together, State.OK, "Quedan pocas ejecuciones en cuarentena")
    for key in _open(seen, "execution:"):
        if key.endswith(":quarantined") and key not in keys:
            uuid = key.split(":", 1)[1].removesuffix(":quarantined")
            yield Cause(key, State.OK, f"La ejecución {uuid} salió de la cuarentena")


def roots(seen: Seen) -> Iterator[Cause]:
    """A directory of `JANITOR_ROOTS` is not there."""
    prefix = f"root:{seen.host}:"
    for root in seen.context.settings.roots:
        if Path(root).is_dir():
            yield Cause(prefix + root, State.OK, f"La raíz {root} vuelve a estar")
        else:
            text = f"La raíz {root} de JANITOR_ROOTS no está (¿un disco sin montar?); móntela o corrija JANITOR_ROOTS"
            yield Cause(prefix + root, State.NEEDS_PERSON, text)
    yield from _gone(seen, prefix, [prefix + root for root in seen.context.settings.roots])
    yield _unset_roots(seen)


def _unset_roots(seen: Seen) -> Cause:
    """Deletion is asked for, and no host deletes without `JANITOR_ROOTS`. The policy is read only where it is unset."""
    key = f"roots:{seen.host}:unset"
    if seen.context.settings.roots or seen.policy is None or not seen.policy.delete_after_migration:
        return Cause(key, State.OK, "JANITOR_ROOTS está definida, o ya no se pide borrar las copias locales")
    text = (
        "JANITOR_ROOTS no está definida, y ejecuciones_config pide borrar las copias locales: no se borra ninguna; "
        "defínala, o quite eliminar_despues_de_migrar"
    )
    return Cause(key, State.NEEDS_PERSON, text)


def stalled(seen: Seen) -> Iterator[Cause]:
    """Nothing was migrated for days, though something here is due: also where migration is off, as nobody may know."""
    days = seen.settings.stalled_days
    overdue = None
    if _is_without_provider(seen):
        return
    if seen.days_since_migration is None or seen.days_since_migration > days:
        overdue = _first_overdue_here(seen)
    key = f"migration:{seen.host}:stalled"
    if overdue is None:
        yield Cause(key, State.OK, "La migración vuelve a avanzar")
        return
    uuid, executed_at = overdue
    text = (
        f"No se ha migrado nada en {days} días y hay ejecuciones que tocan: la más antigua es {one_line(uuid)}, del "
        f"{executed_at.astimezone(seen.context.settings.time_zone):%d/%m/%Y}; "
    )
    why = _why_it_is_off(seen.policy or MigrationPolicy())
    if why is None:
        yield Cause(key, State.FAILED, f"{text}'janitor-daemon status' dice por qué")
    else:
        yield Cause(key, State.NEEDS_PERSON, f"{text}{why}")


def behind(seen: Seen) -> Iterator[Cause]:
    """Every run ends at its limit, and what it leaves grows old: nothing fails, and nobody would notice."""
    report, days = seen.context.report, seen.days_since_migration
    if report is None or not any(done.name == "migration" for done in report.jobs):
        return
    is_stalled = days is None or days > seen.settings.stalled_days  # a cause of its own
    limit = report.limit_reached
    overdue = None if limit is None or is_stalled else _first_overdue_here(seen)
    key = f"migration:{seen.host}:behind"
    if overdue is None:
        yield Cause(key, State.OK, "La migración vuelve a dar abasto")
        return
    uuid, executed_at = overdue
    text = (
        f"La migración no da abasto: el ciclo llegó a su límite ({limit}) y queda por migrar {one_line(uuid)}, del "
        f"{executed_at.astimezone(seen.context.settings.time_zone):%d/%m/%Y}; suba el límite, o haga más ciclos"
    )
    yield Cause(key, State.DEGRADED, text)


def _is_without_provider(seen: Seen) -> bool:
    """Whether each provider of the policy is a cause of its own, so that nothing can be migrated."""
    told = {str(each["id"]) for each in seen.failing_providers} | set(seen.missing_providers)
    return bool(seen.wanted_providers) and told.issuperset(seen.wanted_providers)


def _why_it_is_off(policy: MigrationPolicy) -> str | None:
    if policy.primary_provider_id is None:
        return "ejecuciones_config no tiene ninguna fila, o su nube_primaria_id está vacía: corríjalo"
    if not policy.migrate_automatically:
        return "está desactivada (migrar_automaticamente): si no es a propósito, actívela"
    return None


def _first_overdue_here(seen: Seen) -> tuple[str, datetime] | None:
    found = ((uuid, executed_at) for uuid, directory, executed_at in seen.overdue() if Path(directory).is_dir())
    return next(found, None)


def failing_jobs(seen: Seen) -> Iterator[Cause]:
    """A job whose last run failed, or whose runs are killed. What a job cannot end for a provider or a root that is
    told by itself is not told twice.
    """
    own = {_key_of_failing(seen, job): job for job, _ in _jobs_on(seen)}
    told: dict[str, list[str]] = {}
    for key in _open(seen, "job:"):
        if key.endswith(":failing") and key not in own and _is_of_host(key, seen.host):
            yield Cause(key, State.OK, f"El trabajo {key.split(':')[1]} ya no está activado")
    for key, job in own.items():
        row = _row_of(seen, job)
        if row is None or (job.name == "migration" and _is_explained(seen)):
            continue
        if not row["is_ended"]:
            if row["tries"] > CUT_OFF_TRIES:
                advice = f"janitor-daemon history {job.name} dice cuándo, y dmesg si fue por memoria"
                text = f"El trabajo de {job.title} se corta cada vez a medias; {advice}"
                yield Cause(key, State.FAILED, text)
        elif row["outcome"] == "failed":
            error = str(row["error"])
            if _is_told_already(seen, job, error, told):
                continue
            told[job.name] = _reasons(error)
            text = f"El trabajo de {job.title} falla{_since_good(seen, row)}: {error}{_why(seen, job)}"
            yield Cause(key, State.FAILED, text)
        elif row["outcome"] == "done" and not (job.name == "migration" and _any_still_fails(seen)):
            yield Cause(key, State.OK, f"El trabajo de {job.title} vuelve a ir bien")


def _is_told_already(seen: Seen, job: Job, error: str, told: Mapping[str, Sequence[str]]) -> bool:
    """Whether another cause says it: copies that an audit found bad, or a job that fails for the same reason."""
    if job.name == "audit" and BAD_COPIES in seen.open_causes and error.endswith(NOT_WHOLE):
        return True
    return any(reason in error for reason in told.get(FOLDED_INTO.get(job.name, ""), ()))


def _why(seen: Seen, job: Job) -> str:
    """Why the first of the executions failed that the migration of this tick names."""
    report = seen.context.report
    failed = () if report is None else report.named.get(Named.FAILED, ())
    if job.name != "migration" or not failed:
        return ""
    rows = seen.context.query("find_failure", {"uuid": failed[0]})
    return f"; {one_line(failed[0])}: {rows[0]['error']}" if rows else ""


def _any_still_fails(seen: Seen) -> bool:
    """Whether executions that failed were not tried in this run."""
    return bool(seen.quarantined) or seen.any_waits_after_failures


def _reasons(error: str) -> list[str]:
    """The parts of an error that another job's may end with, too: what follows what it was about."""
    parts = error.split(": ", LEVELS_OF_ERRORS)
    found = [": ".join(parts[start:]) for start in range(len(parts))]
    return [reason for reason in found if len(reason) >= SHORTEST_REASON]


def _since_good(seen: Seen, row: Mapping[str, Any]) -> str:
    """The day of the last good run, where that is not today: a text that changes at every tick would not be one."""
    hours = row["hours_since_good"]
    if hours is None or hours < 24:
        return ""
    day = (seen.context.now - timedelta(hours=hours)).astimezone(seen.context.settings.time_zone)
    return f" (la última vez bien, el {day:%d/%m/%Y})"


def _is_of_host(key: str, host: str) -> bool:
    """Whether the cause of a failing job is everybody's or this host's. The name of a host may contain colons."""
    return key.split(":", 2)[2] in ("failing", f"{host}:failing")


def _key_of_failing(seen: Seen, job: Job) -> str:
    return f"job:{job.name}:failing" if job.scope == Scope.PLATFORM else f"job:{job.name}:{seen.host}:failing"


def _is_explained(seen: Seen) -> bool:
    """Whether a provider, a root or executions in quarantine are at fault, each a cause of its own."""
    report = seen.context.report
    is_root = report is not None and bool(report.named.get(Named.ROOT))
    failed = () if report is None else report.named.get(Named.FAILED, ())
    quarantined = {row["uuid"] for row in seen.quarantined}
    is_quarantine = bool(failed) and set(failed) <= quarantined
    return is_root or is_quarantine or any(cause.state != State.OK for cause in providers(seen))


def misconfigured_jobs(seen: Seen) -> Iterator[Cause]:
    """A job that no run does, as its settings are wrong. Also of those that only accompany the others."""
    for job in all_jobs():
        key = f"job:{job.name}:{seen.host}:misconfigured"
        try:
            plan_of(job, seen.context.settings)
        except ConfigurationError as error:
            text = f"El trabajo de {job.title} está mal configurado y no se hace: {one_line(error)}"
            yield Cause(key, State.NEEDS_PERSON, text)
        else:
            yield Cause(key, State.OK, f"El trabajo de {job.title} ya no está mal configurado")


def late_jobs(seen: Seen) -> Iterator[Cause]:
    """A job of the platform that is on and has not had a good run for two of its periods: a backup that is too old."""
    keys = []
    for job, schedule in _jobs_on(seen):
        if isinstance(schedule, EveryTick) or job.scope != Scope.PLATFORM:
            continue
        row = _row_of(seen, job)
        hours = None if row is None else row["hours_since_good"]
        longest_hours = 2 * schedule.period.total_seconds() / 3600 + SLACK_HOURS
        key = "backup:too_old" if job.name == "backup" else f"job:{job.name}:late"
        keys.append(key)
        if row is None or hours is None or _has_failed(row):
            continue  # a failure is reported with its reason, and is why it is late
        if hours > longest_hours:
            text = (
                f"El trabajo de {job.title} no acaba bien desde hace {hours / 24:.0f} días; mire 'janitor-daemon jobs'"
            )
            yield Cause(key, State.FAILED, text)
        else:
            yield Cause(key, State.OK, f"El trabajo de {job.title} está al día")
    for key in seen.open_causes:
        if (key == "backup:too_old" or (key.startswith("job:") and key.endswith(":late"))) and key not in keys:
            yield Cause(key, State.OK, f"El trabajo {key.removeprefix('job:').split(':')[0]} ya no está activado")


def _has_failed(row: Mapping[str, Any]) -> bool:
    return bool(row["outcome"] == "failed" if row["is_ended"] else row["tries"] > CUT_OFF_TRIES)


def silent_hosts(seen: Seen) -> Iterator[Cause]:
    """A host that ran before does not run any more. One that is silent for a month counts as retired."""
    hours_since: dict[str, float] = {}
    for row in seen.jobs:
        if row["host"]:
            known = hours_since.get(row["host"], row["hours_since_start"])
            hours_since[row["host"]] = min(known, row["hours_since_start"])
    for host, hours in hours_since.items():
        key = f"host:{host}:silent"
        if hours <= seen.settings.silent_hours:
            yield Cause(key, State.OK, f"La máquina {host} vuelve a trabajar")
        elif hours > FORGOTTEN_AFTER_DAYS * 24:
            yield Cause(key, State.OK, f"La máquina {host} ya no se espera: calla desde hace un mes")
        else:
            text = f"La máquina {host} no ha hecho ningún ciclo en {hours:.0f} horas; mire si está encendida y su cron"
            yield Cause(key, State.FAILED, text)
    for key in _open(seen, "host:"):
        host = key.removeprefix("host:").removesuffix(":silent")
        if host not in hours_since:
            yield Cause(key, State.OK, f"La máquina {host} ya no se espera")


def disks(seen: Seen) -> Iterator[Cause]:
    """A disk on which executions, temporary files, backups or the log are kept is nearly full."""
    settings = seen.context.settings
    prefix = f"disk:{seen.host}:"
    keys = []
    looked_at: set[int] = set()
    own = (settings.temp_directory, settings.backup_directory, settings.log_directory)
    for path in (*settings.roots, *(str(directory.absolute()) for directory in own)):
        try:
            device, space = Path(path).stat().st_dev, os.statvfs(path)
        except OSError:  # an absent root is a cause of its own
            continue
        if device in looked_at:
            continue
        looked_at.add(device)
        keys.append(prefix + path)
        yield _disk(seen.settings, prefix, path, space)
    yield from _gone(seen, prefix, keys)


def _disk(settings: NotifySettings, prefix: str, path: str, space: os.statvfs_result) -> Cause:
    free_bytes, all_bytes = space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize
    text = f"Al disco de {path} le quedan {free_bytes / GIGABYTE:.1f} GB; libere espacio"
    if free_bytes < min(settings.disk_critical_bytes, all_bytes / 25):
        return Cause(prefix + path, State.NEEDS_PERSON, text)
    if free_bytes < min(settings.disk_warning_bytes, all_bytes / 10):
        return Cause(prefix + path, State.DEGRADED, text)
    return Cause(prefix + path, State.OK, f"El disco de {path} vuelve a tener sitio: {free_bytes / GIGABYTE:.1f} GB")


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


def _open(seen: Seen, prefix: str) -> list[str]:
    return [key for key in seen.open_causes if key.startswith(prefix)]


def _gone(seen: Seen, prefix: str, known: Sequence[str]) -> Iterator[Cause]:
    """The end of causes whose subject is no longer watched."""
    for key in _open(seen, prefix):
        if key not in known:
            yield Cause(key, State.OK, f"Ya no se vigila {key.removeprefix(prefix)}")


def _jobs_on(seen: Seen) -> Iterator[tuple[Job, Schedule]]:
    """The jobs that are on here, without those that only accompany the others."""
    for job in all_jobs():
        if job.phase == Phase.AFTER:
            continue
        try:
            plan = plan_of(job, seen.context.settings)
        except ConfigurationError:  # the tick has said so
            continue
        if plan is not None:
            yield job, plan.schedule


def _row_of(seen: Seen, job: Job) -> Mapping[str, Any] | None:
    host = "" if job.scope == Scope.PLATFORM else seen.host
    return next((row for row in seen.jobs if row["job"] == job.name and row["host"] == host), None)
