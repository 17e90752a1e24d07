"""Judges the facts: what needs a person, the most urgent first, and what that person can do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from commands.status.facts import (
    Attention,
    BadCopies,
    Disk,
    Facts,
    FailureGroup,
    Host,
    MigrationState,
    Pending,
    Provider,
    RunUnderWay,
)
from commands.status.providers import ADVICE
from config.logs import one_line
from config.secrets import KEYS_VARIABLE
from config.text.causes import CAUSES, NOT_WHOLE, with_cause
from config.text.clocks import ADVICE as CLOCK_ADVICE
from config.text.plurals import counted, executions
from config.text.times import ago, size
from providers.shared.answers import CLOCK_IS_OFF

STALLED_AFTER = timedelta(days=7)
"""Due for longer than this, an execution is not merely waiting for the next run."""

RETRIED_BY_ITSELF = ("unavailable", "source_changed", "database_error", "migration_error", "integrity")
PATIENCE = timedelta(hours=24)
"""How long a failure that the next runs may get over by themselves needs nobody."""

LOCAL_CAUSES = ("unsafe_source", "source_changed", "source_unreadable", "directory_missing", "database_error")
"""Codes of errors that no provider has any part in, though an execution was on its way to one."""

TO_DO = {
    "access_denied": "corrija las credenciales; el siguiente ciclo lo reintenta",
    "unsafe_source": "quite de ahí lo que se nombra, o corrija ruta_directorio en su fila o JANITOR_ROOTS",
    "unsafe_destination": "mire qué hay en ese lugar; el programa no sustituye objetos que no son suyos",
    "source_unreadable": "dé al usuario del programa permiso de lectura",
    "directory_missing": "devuelva el directorio a su sitio o corrija la fila",
    "source_changed": "termine lo que escribe en ese directorio",
    "storage_full": "libere espacio o amplíe la cuota; el siguiente ciclo lo reintenta",
    "unavailable": "arregle los proveedores que se nombran aquí; el siguiente ciclo lo reintenta",
}


def needs_a_person(facts: Facts) -> tuple[Attention, ...]:
    """Everything that somebody has to do."""
    judges = (
        *(
            _of_clock,
            _of_settings,
            _of_database,
            _of_unrecorded_runs,
            _of_copies,
            _of_migration,
            _of_providers,
            _of_disks,
            _of_runs,
            _of_failures,
            _of_jobs,
        ),
        _of_leftovers,
    )
    found = [attention for judge in judges for attention in judge(facts)]
    return (*found, *(_dated(own, facts) for own in facts.own_attention))


def _dated(own: Attention, facts: Facts) -> Attention:
    """What a job says of its own, with the beginning of its failures where they are for that reason."""
    job = next((job for job in facts.jobs if own.code == f"job_{job['name']}"), None)
    if job is None or own.text not in str(job["last_error"]):
        return own
    return replace(own, since=_failing_since(job["name"], facts))


def _of_clock(facts: Facts) -> Iterator[Attention]:
    if facts.clock_fault is not None:
        yield Attention("clock", "reloj", facts.clock_fault, CLOCK_ADVICE)


def _of_settings(facts: Facts) -> Iterator[Attention]:
    yield from map(of_setting, facts.faults_of_every_run)


def of_setting(fault: str) -> Attention:
    """A setting with which every run ends at once; its text says what to do."""
    return Attention("settings", "ajustes", fault, "hasta entonces ningún ciclo hace nada")


def _of_database(facts: Facts) -> Iterator[Attention]:
    for fault in facts.database_faults:
        advice = "sin eso ningún ciclo puede trabajar: corrija DATABASE_URL o conceda lo que falta (GRANT)"
        yield Attention("database", "base de datos", fault, advice)


def _of_unrecorded_runs(facts: Facts) -> Iterator[Attention]:
    if facts.unrecorded is not None:
        since, error = facts.unrecorded
        text = f"el último ciclo no pudo ni anotarse: {error}"
        advice = "corrija la causa y ejecute janitor-daemon; lo que se dice aquí abajo es de antes"
        yield Attention("unrecorded_run", "esta máquina", text, advice, since)


def _of_copies(facts: Facts) -> Iterator[Attention]:
    yield from of_copies(facts.bad_copies)


def of_copies(bad_copies: Iterable[BadCopies]) -> Iterator[Attention]:
    """Copies that are lost or damaged: the one table for `status` and `health`."""
    for bad in bad_copies:
        where = one_line(bad.provider_name or f"con id {bad.provider_id}")
        text = f"{counted(bad.count, *NOT_WHOLE)}, según una auditoría; por ejemplo {bad.example_uuid}: {bad.detail}"
        advice = f"ejecute janitor-daemon audit --provider {bad.provider_id}, que dice cuáles y qué hacer con cada una"
        yield Attention("copies_bad", f"proveedor {where}", text, advice, bad.since, bad.count)


ALWAYS_NEEDED = {
    "unreadable_configuration": "corrija ese valor en ejecuciones_config",
    "no_configuration": "añada una fila a ejecuciones_config",
}
"""What to do where nothing can be migrated, whether or not something is due already."""


def _of_migration(facts: Facts) -> Iterator[Attention]:
    found = of_migration(facts.migration, facts.pending, facts.now, _how_to_go_on(facts), has_roots=has_roots(facts))
    unset_since = facts.broken_since.get(f"roots:{facts.host}:unset")
    yield from (replace(each, since=unset_since) if each is ROOTS_UNSET else each for each in found)


def of_migration(
    migration: MigrationState, pending: Pending, now: datetime, how_to_go_on: str, *, has_roots: bool
) -> Iterator[Attention]:
    """What about migration needs a person: the one table for `status` and `health`, as for `check`.

    No row, an unreadable one, or no roots where deletion is asked for: always. Migration that is off on purpose, and a
    backlog: where something is due for longer than `STALLED_AFTER`. Providers and roots are named by themselves.
    """
    waiting = pending.ready + pending.by_state.get("directory_absent", 0)
    oldest = pending.oldest_due
    if migration.delete_after_migration and not has_roots:
        yield ROOTS_UNSET
    if migration.reason in ALWAYS_NEEDED:
        yield Attention(migration.reason, "migración", migration.text, ALWAYS_NEEDED[migration.reason])
        return
    if not waiting or oldest is None:
        return
    stalled = now - oldest.due_since > STALLED_AFTER
    if migration.reason in ("switched_off", "no_provider"):
        if stalled:
            needed = f"les toca a {executions(waiting)} y no se migra ninguna: {migration.text}"
            advice = "si no es a propósito, corrija ejecuciones_config"
            yield Attention(migration.reason, "migración", needed, advice, oldest.due_since, waiting)
    elif migration.reason is None and stalled and pending.ready:
        text = f"a la ejecución {one_line(oldest.uuid)} le toca y sigue sin migrar"
        yield Attention("stalled", "migración", text, how_to_go_on, oldest.due_since, pending.ready)


def _how_to_go_on(facts: Facts) -> str:
    """What to do where something is due, nothing keeps it from being migrated, and it is not."""
    if facts.last_run is None:
        return "no consta ningún ciclo: ponga la línea de cron (crontab.example), o ejecute janitor-daemon"
    limit = (facts.last_run["report"] or {}).get("limit_reached")
    if limit is not None:
        return f"el último ciclo llegó a su límite ({one_line(limit)}) y dejó lo demás: súbalo, o haga más ciclos"
    if not any(job["name"] == "migration" and job["last_started_at"] for job in facts.jobs):
        return "ningún ciclo ha hecho la migración: ejecute janitor-daemon, o mire la línea de cron (crontab.example)"
    if not facts.failures:
        return "ejecute janitor-daemon --dry-run, que dice qué haría el siguiente ciclo y qué no"
    return "janitor-daemon status dice, en Con error, por qué; si no, ejecute janitor-daemon --dry-run"


ROOTS_UNSET = Attention(
    "roots_unset",
    "JANITOR_ROOTS",
    "no está definida, y ejecuciones_config pide borrar las copias locales: no se borra ninguna",
    "defina JANITOR_ROOTS con los directorios de las ejecuciones, o quite eliminar_despues_de_migrar",
)


def has_roots(facts: Facts) -> bool:
    """Whether this host names directories in which executions may be deleted."""
    return any(disk.purpose == "root" for disk in facts.disks)


def _of_providers(facts: Facts) -> Iterator[Attention]:
    yield from (_provider(provider, facts) for provider in _unusable(facts))


def _unusable(facts: Facts) -> Iterator[Provider]:
    """Providers that the policy names and that cannot be used."""
    for provider in facts.providers:
        if provider.role is not None and provider.state in ("unusable", "missing", "inactive"):
            yield provider


def _is_to_blame(provider: Provider, group: FailureGroup) -> bool:
    """Whether executions fail because of a provider; without any usable one, because of the primary."""
    if group.kind != "migration" or group.error_code not in ADVICE:
        return False
    return group.provider_id == provider.provider_id or (group.provider_id is None and provider.role == "primary")


def _waiting_for(provider: Provider, facts: Facts) -> int:
    """How many executions a provider keeps from being migrated. Where none can be used, all of them wait for each."""
    unusable = list(_unusable(facts))
    wanted = [each for each in facts.providers if each.role is not None]
    to_blame = unusable if len(unusable) == len(wanted) else [provider]
    return sum(group.count for group in facts.failures if any(_is_to_blame(each, group) for each in to_blame))


def _provider(provider: Provider, facts: Facts) -> Attention:
    role = "proveedor primario" if provider.role == "primary" else "proveedor alternativo"
    name = "borrado" if provider.name is None else one_line(provider.name)
    code = provider.error_code or ""
    text = with_cause(code, str(provider.error))
    if waiting := _waiting_for(provider, facts):
        text = f"{text}; por eso {'sigue' if waiting == 1 else 'siguen'} sin migrar {executions(waiting)}"
    advice = ADVICE.get(code, "actívelo, o quítelo de ejecuciones_config")
    if code == "access_denied" and (facts.clock_fault is not None or CLOCK_IS_OFF in text):
        advice = "puede ser solo por el reloj: póngalo en hora antes de tocar las credenciales"
    if code == "invalid_settings" and KEYS_VARIABLE in text:
        advice = (
            f"corrija {KEYS_VARIABLE} y ejecute janitor-daemon secret rotate; si la clave se perdió, guarde otra vez "
            "el secreto con secret set"
        )
    if provider.role == "primary" and _has_usable_alternate(facts):
        advice = f"{advice}; mientras, se usan los alternativos"
    then = "el siguiente ciclo lo reintenta" if code == "storage_full" else "compruébelo con janitor-daemon check"
    return Attention(
        f"provider_{code or 'unusable'}",
        f"{role} {name} (id {provider.provider_id})",
        text,
        f"{advice}; {then}",
        provider.since
        or _earliest(facts, *(f"provider:{provider.provider_id}:{what}" for what in ("unusable", "missing"))),
    )


def _earliest(facts: Facts, *causes: str) -> datetime | None:
    """Since when any of some causes lasts, as far as runs have noted it."""
    return min((facts.broken_since[cause] for cause in causes if cause in facts.broken_since), default=None)


def _has_usable_alternate(facts: Facts) -> bool:
    return any(each.role == "alternate" and each.state in ("usable", "unknown") for each in facts.providers)


def _of_disks(facts: Facts) -> Iterator[Attention]:
    named: set[int] = set()
    for disk in facts.disks:
        if disk.is_nearly_full and disk.device is not None:
            if disk.device in named:
                continue  # one disk that holds several of them is one thing to do
            named.add(disk.device)
        attention = _missing(disk, facts) if disk.fault else _full(disk, facts) if disk.is_nearly_full else None
        if attention is not None:
            yield attention


def _missing(disk: Disk, facts: Facts) -> Attention | None:
    """A log directory is made by the first run, and without temporary files there is nothing to clean."""
    if disk.purpose != "root":
        return None
    advice = "móntela o corrija JANITOR_ROOTS; hasta entonces sus ejecuciones se dejan como están"
    since = facts.broken_since.get(f"root:{facts.host}:{disk.path}")
    text = str(disk.fault)
    waiting = facts.pending.ready + facts.pending.by_state.get("directory_absent", 0)
    if waiting and facts.migration.reason == "roots_missing":
        text = f"{text}; por eso {'sigue' if waiting == 1 else 'siguen'} sin migrar {executions(waiting)}"
    return Attention("root_missing", f"raíz {one_line(disk.path)}", text, advice, since)


def _full(disk: Disk, facts: Facts) -> Attention:
    text = f"quedan {size(disk.free_bytes or 0)} de {size(disk.total_bytes or 0)}"
    since = facts.broken_since.get(f"disk:{facts.host}:{Path(disk.path).absolute()}")
    return Attention("disk_nearly_full", f"disco de {one_line(disk.path)}", text, "libere espacio", since)


def _of_runs(facts: Facts) -> Iterator[Attention]:
    for run in facts.runs:
        if run.state in RUN_ADVICE:
            yield _run(run)
    for host in facts.hosts:
        if host.is_silent and not any(run.host == host.host for run in facts.runs):
            yield _silent(host)


RUN_ADVICE = {
    "hung": ("hung_run", "su reserva venció y el proceso sigue ahí", "mire qué espera; si no avanza, termínelo (kill)"),
    "silent": (
        "silent_run",
        "dejó de dar señales sin decir que acababa: se cortó, o perdió la base de datos",
        "mire ese equipo y su cron; el siguiente ciclo de allí sigue donde quedó",
    ),
}


def _run(run: RunUnderWay) -> Attention:
    code, text, advice = RUN_ADVICE[run.state]
    doing = f", trabajo {run.job}" if run.job else ""
    subject = f"ciclo {run.run_id} en {one_line(run.host)} (proceso {run.process_id}{doing})"
    return Attention(code, subject, text, advice, run.last_sign_at or run.started_at)


def _silent(host: Host) -> Attention:
    return Attention(
        "silent_host",
        f"máquina {one_line(host.host)}",
        "no empieza ningún ciclo",
        "mire su cron (o su timer) y si está encendida",
        host.last_started_at,
    )


def _of_failures(facts: Facts) -> Iterator[Attention]:
    yield from map(partial(_failure, facts), filter(partial(_is_for_a_person, facts), facts.failures))


def _is_for_a_person(facts: Facts, group: FailureGroup) -> bool:
    """Not where the provider is to blame and was named already, and not where the next runs may get over it."""
    if not group.quarantined and any(_is_to_blame(each, group) for each in _unusable(facts)):
        return False
    return group.quarantined > 0 or group.error_code not in RETRIED_BY_ITSELF or facts.now - group.oldest_at >= PATIENCE


def cause_of(group: FailureGroup) -> str:
    """Why executions failed, and at which provider; what concerns local files names none."""
    code = group.error_code
    if code is None:
        return "el ciclo que las tenía falló o se cortó antes de anotar la causa"
    where = f" en {one_line(group.provider_name)}" if group.provider_name and code not in LOCAL_CAUSES else ""
    return f"{CAUSES.get(code, code)}{where}"


def example_of(group: FailureGroup) -> str:
    """One of the executions that failed, with its error where one was recorded."""
    uuid = one_line(group.example_uuid)
    return f"{uuid}: {group.error}" if group.error else uuid


def _failure(facts: Facts, group: FailureGroup) -> Attention:
    code = group.error_code or "unknown"
    what = "sin migrar" if group.kind == "migration" else "con la copia local sin borrar"
    text = f"{cause_of(group)}; por ejemplo {example_of(group)}"
    advice = TO_DO.get(code, "corrija la causa; un ciclo posterior lo reintenta, y retry UUID, ya el siguiente")
    if group.error_code is None:
        text, advice = f"{text}{_error_of_migration(facts)}", "corrija ese error; el registro del programa dice más"
    if group.kind == "removal":
        advice = "compare el directorio con la copia; lo que sobra o cambió lo decide una persona"
    if group.quarantined:
        those = "a la que está" if group.quarantined == 1 else f"a las {group.quarantined} que están"
        order = "retry UUID" if group.quarantined == 1 else "retry --all"
        advice = f"{advice}; {those} en cuarentena no se vuelve sin janitor-daemon {order}"
    subject = f"{executions(group.count)} {what}"
    return Attention(f"{group.kind}_{code}", subject, text, advice, group.oldest_at, group.count)


def _error_of_migration(facts: Facts) -> str:
    """What the job itself recorded when it failed as a whole."""
    errors = [one_line(job["last_error"]) for job in facts.jobs if job["name"] == "migration" and job["last_error"]]
    return "".join(f"; el trabajo migration acabó con: {error}" for error in errors)


def _of_jobs(facts: Facts) -> Iterator[Attention]:
    for job in facts.jobs:
        if job["misconfigured"]:
            advice = "corrija esa variable: hasta entonces el trabajo no se hace"
            since = _earliest(facts, f"job:{job['name']}:{facts.host}:misconfigured")
            yield Attention("job_misconfigured", f"trabajo {job['name']}", one_line(job["reason"]), advice, since)
        elif job["on"] and job["name"] != "migration" and job["failed_runs"] and not _is_told(job, facts):
            text = f"falló {counted(job['failed_runs'], 'vez', 'veces seguidas')}: {one_line(job['last_error'] or '?')}"
            text = f"{text}; la última vez que salió bien: {_ago(job['last_good_at'], facts)}"
            text = f"{text}; el último intento: {_ago(job['last_started_at'], facts)}"
            advice = f"corrija la causa y ejecute janitor-daemon run {job['name']}"
            yield Attention("job_failing", f"trabajo {job['name']}", text, advice, _failing_since(job["name"], facts))


def _is_told(job: Mapping[str, Any], facts: Facts) -> bool:
    """Whether a job failed for a reason that has a notice of its own: the clock, or what the job itself reports."""
    error = str(job["last_error"])
    if job["name"] == "audit" and facts.bad_copies and error.endswith(NOT_WHOLE):
        return True
    if facts.clock_fault is not None and error.startswith("reloj: "):
        return True
    return any(own.code == f"job_{job['name']}" and own.text in error for own in facts.own_attention)


def _failing_since(job: str, facts: Facts) -> datetime | None:
    """Of a job of the platform, or of this host's."""
    return _earliest(facts, f"job:{job}:failing", f"job:{job}:{facts.host}:failing")


def _ago(instant: str | None, facts: Facts) -> str:
    return "ninguna" if instant is None else ago(datetime.fromisoformat(instant), facts.now)


def _of_leftovers(facts: Facts) -> Iterator[Attention]:
    named = {provider.provider_id for provider in _unusable(facts)}
    for leftover in facts.leftovers:
        subject = f"proveedor {one_line(leftover.provider_name or f'con id {leftover.provider_id}')}"
        waiting = leftover.count - leftover.to_be_reused
        example = f"por ejemplo {one_line(leftover.example)}"
        if not leftover.is_used and waiting and leftover.provider_id not in named:
            text = f"no está activo, y guarda {_remains(waiting, leftover.moved)} que por eso no se borran; {example}"
            advice = "actívelo hasta que un ciclo los borre, o bórrelos a mano"
            yield Attention("leftovers_inactive", subject, text, advice, leftover.oldest_at, waiting)
        elif leftover.refused:
            text = f"sin poder borrarse: {_remains(leftover.refused, leftover.moved)}; {example}"
            advice = (
                "el registro dice por qué ('Quedan restos de'): dé permiso de borrado si falta, o bórrelos a mano si "
                "son de otra instalación, como la base de datos de antes de una mudanza"
            )
            yield Attention("leftovers_refused", subject, text, advice, leftover.oldest_at, leftover.refused)


def _remains(count: int, moved: int) -> str:
    """Of failed attempts, of copies that are at another provider by now, or of either."""
    if not moved:
        return counted(count, "resto de un intento fallido", "restos de intentos fallidos")
    if moved >= count:
        return counted(count, "copia antigua, llevada a otro proveedor,", "copias antiguas, llevadas a otro proveedor,")
    return f"{count} restos de intentos fallidos y de copias llevadas a otro proveedor"
