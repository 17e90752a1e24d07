"""Tells the facts of `status` in words: what needs a person first, each line complete in itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any

from commands.jobs import describe_jobs
from commands.status.attention import cause_of, example_of, has_roots, needs_a_person
from commands.status.collect import collect
from commands.status.facts import Attention, Disk, Facts, FailureGroup, Host, Provider, RunUnderWay
from config.logs import one_line
from config.settings import Settings
from config.text.plurals import counted, executions, files
from config.text.times import Clock, age, size
from sql.database import Database

STATE_NAMES = {
    "due": "listas para migrar",
    "under_way": "migrándose",
    "not_due": "sin edad todavía",
    "held": "retenidas",
    "quarantined": "en cuarentena",
    "refused": "rechazadas",
    "put_off": "a la espera de otro intento",
    "directory_absent": "sin directorio en esta máquina",
    "without_date": "sin fecha",
}
AGE_NAMES = {
    "up_to_a_day": "de hasta 1 día",
    "up_to_a_week": "de 1 a 7 días",
    "up_to_a_month": "de 7 a 30 días",
    "older": "de más de 30 días",
}
RUN_STATES = {
    "running": "en marcha",
    "hung": "COLGADO",
    "killed": "se cortó",
    "silent": "SIN SEÑALES",
}


def describe_attention(attentions: Sequence[Attention], clock: Clock) -> Iterator[str]:
    """What needs a person, one line each; one line where nothing does."""
    if not attentions:
        yield "Nada necesita a una persona"
        return
    yield f"Necesita a una persona ({len(attentions)}):"
    yield from (f"  ! {_describe(each, clock)}" for each in attentions)


def _describe(attention: Attention, clock: Clock) -> str:
    since = f", desde {clock.when(attention.since)}" if attention.since else ""
    advice = f". Qué hacer: {attention.advice}" if attention.advice else ""  # a job says it in its text
    return one_line(f"{attention.subject}: {attention.text}{since}{advice}")


def in_need_of_a_person(database: Database, settings: Settings) -> Iterator[str]:
    """What `status` would say first now, a line for each. Raises `DatabaseError`."""
    facts = collect(database, settings)
    clock = Clock(facts.now, settings.time_zone)
    return (_describe(each, clock) for each in needs_a_person(facts))


def describe_status(facts: Facts, attentions: Sequence[Attention], zone: tzinfo) -> Iterator[str]:
    """All lines of `status`."""
    clock = Clock(facts.now, zone)
    yield from describe_attention(attentions, clock)
    if not attentions:
        yield from _tried_again(facts.failures)
    yield from _executions(facts, clock)
    yield from _failures(facts, clock)
    yield from _providers(facts, clock)
    yield from _leftovers(facts, clock)
    yield from _disks(facts)
    yield from _freed(facts.freed)
    yield "Trabajos:"
    yield from (f"  {line}" for line in describe_jobs(facts.jobs, clock))
    yield from facts.notes
    yield from _runs(facts, clock)


def _tried_again(failures: Sequence[FailureGroup]) -> Iterator[str]:
    """What failed and needs nobody yet, so that it is not overlooked."""
    for group in failures:
        what = "sin migrar" if group.kind == "migration" else "con la copia local sin borrar"
        yield f"  {executions(group.count)} {what}, y se reintenta en otro ciclo: {cause_of(group)}"


def _executions(facts: Facts, clock: Clock) -> Iterator[str]:
    migration, pending = facts.migration, facts.pending
    is_sampled = pending.basis == "sample"
    roughly = "unas " if is_sampled else ""
    if migration.is_on:
        copy = "se borra" if migration.delete_after_migration and has_roots(facts) else "se conserva"
        order = ", ".join(_name(facts, each) for each in migration.provider_ids)
        yield f"Migración: activada, tras {migration.retention_hours:g} h; la copia local {copy}; proveedores: {order}"
        ready = f"listas para migrar ahora: {roughly}{pending.ready}"
    else:
        yield f"Migración: NO SE MIGRA NADA: {str(migration.text).removesuffix(': no se migra nada')}"
        ready = f"les toca a {roughly}{pending.ready}, pero no se migra nada"
    yield f"Pendientes: {roughly}{pending.total} ({ready})"
    yield from _split(
        pending.by_state, STATE_NAMES if migration.is_on else {**STATE_NAMES, "due": "a las que les toca"}
    )
    yield from _split(pending.by_age, AGE_NAMES)
    if (looked_for := pending.directories_looked_for) < pending.ready + pending.by_state.get("directory_absent", 0):
        which = f"{looked_for}" if is_sampled else f"las {looked_for} más antiguas"
        yield f"  se buscaron los directorios de {which}; los demás se dan por presentes"
    if pending.oldest_due is not None:
        oldest = pending.oldest_due
        which = "la más antigua de las leídas" if is_sampled else "la más antigua"
        yield f"  a {which}, {one_line(oldest.uuid)}, le toca desde {clock.when(oldest.due_since)}"
    if is_sampled:
        yield "  estimado: se leyeron las últimas filas, las que fallaron y una muestra de las demás"
    elif not pending.is_exact:
        yield "  recuento rápido: la última pasada y lo añadido desde entonces"
    if pending.without_directory:
        yield f"Sin ficheros (ruta_directorio es NULL, no hay nada que migrar): {pending.without_directory}"
    about = "" if facts.is_exact else "unas "
    yield f"Migradas: {about}{facts.migrated}"


def _name(facts: Facts, provider_id: int) -> str:
    names = {each.provider_id: each.name for each in facts.providers}
    return one_line(f"{names.get(provider_id) or '?'} (id {provider_id})")


def _split(counts: Mapping[str, int], names: Mapping[str, str]) -> Iterator[str]:
    told = [f"{counts[name]} {text}" for name, text in names.items() if counts.get(name)]
    if told:
        yield f"  {', '.join(told)}"


def _failures(facts: Facts, clock: Clock) -> Iterator[str]:
    yield f"Con error: {facts.pending.failed}"
    for group in facts.failures:
        if group.kind == "migration":
            yield _group(group, clock)
    if facts.deletions_unfinished:
        yield f"Copias locales por borrar: {facts.deletions_unfinished}"
        for group in facts.failures:
            if group.kind == "removal":
                yield _group(group, clock)


def _group(group: FailureGroup, clock: Clock) -> str:
    span = f"la primera {clock.when(group.oldest_at)}, la última {clock.when(group.newest_at)}"
    put_aside = f", {group.quarantined} en cuarentena" if group.quarantined else ""
    return f"  {executions(group.count)}{put_aside}: {cause_of(group)}; {span}; p. ej. {example_of(group)}"


def _providers(facts: Facts, clock: Clock) -> Iterator[str]:
    yield "Proveedores:"
    for each in facts.providers:
        yield f"  en {_title(each)}: {_stored(each, exact=facts.is_exact)}"
        yield f"    {_state(each, clock)}{_debt(each)}"


def _title(each: Provider) -> str:
    name = "proveedor borrado" if each.name is None else one_line(each.name)
    if name.startswith("con id "):
        name = "sin nombre"
    return f"{name} ({each.kind or '?'}, id {each.provider_id})"


def _stored(each: Provider, *, exact: bool) -> str:
    about = "" if exact or not each.migrated else "unas "
    return f"{about}{executions(each.migrated)}, {files(each.file_count)}, {each.size_bytes / 1024 / 1024:.2f} MB"


def _state(each: Provider, clock: Clock) -> str:
    role = {"primary": "primario", "alternate": "alternativo", None: "la configuración no lo nombra"}[each.role]
    if each.state == "usable":
        return f"{role}; se puede usar (último éxito {clock.when(each.last_good_at)})"
    if each.state == "unknown":
        return f"{role}; todavía no se le ha enviado ninguna ejecución"
    since = f" desde {clock.when(each.since)}" if each.since else ""
    return f"{role}; NO se puede usar{since}: {each.error}"


def _debt(each: Provider) -> str:
    return f"; {executions(each.debt)} fuera del primario" if each.debt else ""


def _leftovers(facts: Facts, clock: Clock) -> Iterator[str]:
    total = sum(each.count for each in facts.leftovers)
    if not total:
        return
    any_moved = any(each.moved for each in facts.leftovers)
    yield f"{'Restos' if any_moved else 'Intentos con restos'} por limpiar: {total}"
    for each in facts.leftovers:
        name = one_line(each.provider_name or f"proveedor con id {each.provider_id}")
        reused = f", {each.to_be_reused} para reutilizar" if each.to_be_reused else ""
        reused += f", {counted(each.moved, 'copia antigua', 'copias antiguas')}" if each.moved else ""
        place = one_line(f"{each.store} {each.example}".strip())
        yield f"  en {name}: {each.count}{reused}, desde {clock.when(each.oldest_at)}; p. ej. {place}"


def _disks(facts: Facts) -> Iterator[str]:
    yield "Discos de esta máquina:"
    for disk in facts.disks:
        yield f"  {_disk(disk)}"


def _disk(disk: Disk) -> str:
    name = {"root": "raíz", "temp": "temporales", "logs": "registro"}[disk.purpose]
    if disk.fault is not None or not disk.total_bytes:
        return f"{name} {one_line(disk.path)}: {disk.fault or 'tamaño desconocido'}"
    free = disk.free_bytes or 0
    share = f"{100 * free / disk.total_bytes:.0f} %"
    return f"{name} {one_line(disk.path)}: {size(free)} libres de {size(disk.total_bytes)} ({share})"


def _freed(freed: Mapping[str, int]) -> Iterator[str]:
    spans = (("day", "24 h"), ("week", "7 días"), ("month", "30 días"))
    told = (f"{size(freed[f'copies_{name}'] + freed[f'temp_{name}'])} en {text}" for name, text in spans)
    yield f"Liberado: {', '.join(told)}"
    cleaned = counted(freed["temp_files_day"], "archivo temporal", "archivos temporales")
    yield f"Limpieza: {cleaned} en 24 h, {size(freed['temp_day'])}"


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _runs(facts: Facts, clock: Clock) -> Iterator[str]:
    for run in facts.runs:
        yield _under_way(run, clock)
    for host in facts.hosts:
        yield from _host(host, clock)
    yield from _last_run(facts.last_run, clock)


def _under_way(run: RunUnderWay, clock: Clock) -> str:
    doing = f", trabajo {run.job} desde hace {age(clock.now - run.job_started_at)}" if run.job_started_at else ""
    state = RUN_STATES[run.state]
    start = clock.when(run.started_at)
    return f"Ciclo {run.run_id} en {one_line(run.host)}: {state} (proceso {run.process_id}{doing}), empezó {start}"


def _host(host: Host, clock: Clock) -> Iterator[str]:
    mark = " (SILENCIOSA)" if host.is_silent else " (retirada)" if host.is_retired else ""
    yield f"Máquina {one_line(host.host)}{mark}: último ciclo bueno {clock.when(host.last_good_at)}"
    if host.last_bad_at is not None:
        why = f": {'; '.join(host.bad_problems)}" if host.bad_problems else ""
        yield f"  último malo {clock.when(host.last_bad_at)}, código {host.bad_exit_code}{why}"


def _last_run(run: Mapping[str, Any] | None, clock: Clock) -> Iterator[str]:
    """The last run of all hosts, and the reasons for an exit code other than 0."""
    if run is None:
        yield "Última ejecución del programa: ninguna"
        return
    end = f"código {run['exit_code']}" if run["finished_at"] else "sin terminar"
    started = clock.when(_instant(run["started_at"]))
    yield f"Última ejecución del programa: {started} en {one_line(run['host'])} ({run['mode']}, {end})"
    for problem in (run["report"] or {}).get("problems", ()):
        yield f"  {one_line(problem)}"
