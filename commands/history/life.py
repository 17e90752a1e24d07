"""What `history` tells: runs, the runs of one job, the life of one execution, as JSON values and as lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from commands.history.counts import in_words
from config.logs import one_line
from config.text.causes import with_cause
from config.text.plurals import counted, files
from config.text.times import Clock, ago
from jobs.registry import all_jobs
from sql.connection import Row
from sql.memory.past import Past

COUNTS_SHOWN = (
    ("migrated", "migrada", "migradas"),
    ("failed", "con error", "con error"),
    ("local_copies_deleted", "copia local borrada", "copias locales borradas"),
    ("temp_files_deleted", "archivo temporal borrado", "archivos temporales borrados"),
)
OUTCOMES = {"done": "bien", "failed": "con fallos", "interrupted": "interrumpido", "put_off": "a medias"}


def find_runs(past: Past, limit: int) -> dict[str, Any]:
    """The last runs, newest first."""
    runs, is_cut = _first(past.runs(limit + 1), limit)
    return {"kind": "runs", "runs": [_with_times(run) for run in runs], "is_cut": is_cut}


def find_runs_of_job(past: Past, job: str, limit: int) -> dict[str, Any]:
    """The last runs of one job, newest first."""
    runs, is_cut = _first(past.runs_of_job(job, limit + 1), limit)
    return {"kind": "job", "job": job, "runs": [_with_times(run) for run in runs], "is_cut": is_cut}


def find_life(past: Past, uuid: str, limit: int) -> dict[str, Any] | None:
    """The rows of a uuid and what happened to them, oldest first; `None` if nothing is known of it."""
    rows = past.rows_of(uuid)
    ids = [row["execution_id"] for row in rows]
    events, is_cut = _first(past.events_of(uuid, ids, limit + 1), limit)
    if not rows and not events:
        return None
    return {
        "kind": "execution",
        "uuid": uuid,
        "rows": [_with_times(row) for row in rows],
        "events": [_with_times(event) for event in reversed(events)],
        "is_cut": is_cut,
    }


def _first(rows: Sequence[Row], limit: int) -> tuple[Sequence[Row], bool]:
    """The rows that may be shown, and whether there are more."""
    return rows[:limit], len(rows) > limit


def _with_times(row: Row) -> dict[str, Any]:
    """The row with its times as texts: ISO 8601 with their offset."""
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}


def describe(found: Mapping[str, Any], clock: Clock) -> Iterator[str]:
    """The lines for people."""
    tell = {"runs": _tell_runs, "job": _tell_runs_of_job, "execution": _tell_life}[found["kind"]]
    yield from tell(found, clock)
    if found["is_cut"]:
        yield "Hay más, anteriores: --limit las enseña"


def _when(text: str, clock: Clock) -> str:
    """To the second, as events follow each other closely, with its age."""
    instant = datetime.fromisoformat(text)
    return f"{instant.astimezone(clock.zone):%Y-%m-%d %H:%M:%S} ({ago(instant, clock.now)})"


def _span(run: Row, clock: Clock) -> str:
    """When it ran, and for how long."""
    began = _when(run["started_at"], clock)
    if run["finished_at"] is None:
        return began
    seconds = (datetime.fromisoformat(run["finished_at"]) - datetime.fromisoformat(run["started_at"])).total_seconds()
    return f"{began}, {seconds:.0f} s,"


def _tell_runs(found: Mapping[str, Any], clock: Clock) -> Iterator[str]:
    if not found["runs"]:
        yield "No consta ningún ciclo"
    for run in found["runs"]:
        end = "sin terminar" if run["finished_at"] is None else f"código {run['exit_code']}"
        told = "; ".join((*_done_in(run["report"]), *map(one_line, run["report"].get("problems", ()))))
        if not told and "jobs" in run["report"]:  # an earlier version, and a killed run, recorded no jobs
            told = "nada que hacer"
        yield f"{_span(run, clock)} {one_line(run['host'])} {one_line(run['mode'])}, {end}{f': {told}' if told else ''}"


def _done_in(report: Mapping[str, Any]) -> Iterator[str]:
    """What a run did: executions and temporary files first, then each other job that did something."""
    counts = [
        counted(report[name], one, many)
        for name, one, many in COUNTS_SHOWN
        if isinstance(report.get(name), int) and report[name]
    ]
    if counts:
        yield ", ".join(counts)
    counted_by_the_run = [job.name for job in all_jobs() if job.is_done_by_daemon]
    for name, job in report.get("jobs", {}).items():
        words = ", ".join(in_words(name, job["counts"]))
        if name not in counted_by_the_run and (words or job["outcome"] != "done"):
            yield f"{one_line(name)} {OUTCOMES.get(job['outcome'], '?')}{f' ({words})' if words else ''}"


def _tell_runs_of_job(found: Mapping[str, Any], clock: Clock) -> Iterator[str]:
    if not found["runs"]:
        yield f"No consta que el trabajo {found['job']} se haya hecho nunca"
    for run in found["runs"]:
        outcome = OUTCOMES.get(run["outcome"], "sin terminar")
        counts = ", ".join(in_words(found["job"], run["counts"]))
        told = "; ".join(part for part in (counts, one_line(run["error"] or "")) if part)
        yield f"{_span(run, clock)} {one_line(run['host'])} {outcome}{f': {told}' if told else ''}"


def _tell_life(found: Mapping[str, Any], clock: Clock) -> Iterator[str]:
    for row in found["rows"]:
        yield f"Ejecución {one_line(found['uuid'])}, fila {row['execution_id']}: {_state_of(row, clock)}"
    for event in found["events"]:
        who = f" por {one_line(event['os_user'])}" if event["os_user"] else ""
        command = f" ({one_line(event['command'])})" if event["command"] else ""
        yield f"{_when(event['at'], clock)} {_words_of(event)}{who} en {one_line(event['host'])}{command}"


def _state_of(row: Row, clock: Clock) -> str:
    """What it is now, in words."""
    held = f"; retenida: {one_line(row['hold_reason'])}" if row["hold_reason"] is not None else ""
    if not row["has_row"]:
        return f"su fila ya no tiene ese uuid{held}"
    if row["is_migrated"]:
        return f"{_copy_of(row)}{held}"
    if row["quarantined_at"]:
        state = f"en cuarentena desde {_when(row['quarantined_at'], clock)}: {one_line(row['error'])}; retry la libera"
    elif row["is_under_way"]:
        state = "la tiene un ciclo en marcha"
    elif row["next_try_at"]:
        state = f"falló en {counted(row['failed_runs'], 'ciclo', 'ciclos')}: {one_line(row['error'])}; se intenta otra "
        state += f"vez desde {_when(row['next_try_at'], clock)}"
    else:
        state = f"pendiente{'; ' + one_line(row['error']) if row['error'] else ''}"
    return f"{state}{held}"


def _copy_of(row: Row) -> str:
    size = "" if row["file_count"] is None else f", {files(row['file_count'])}, {row['size_bytes']} bytes"
    evidence = f", prueba: {row['evidence']}" if row["evidence"] else ""
    local = {"kept": "se conserva", "deleting": "se está borrando", "deleted": "se borró"}.get(row["local_copy"], "")
    copy = f"; la copia local {local}" if local else ""
    return f"migrada a {one_line(row['uri'])} ({one_line(row['provider'] or row['provider_id'])}{size}{evidence}){copy}"


EVENTS = {
    "attempt_began": "empieza a subir a {provider}",
    "attempt_failed": "falla la subida a {provider}: {why}",
    "migrated": "migrada y probada en {provider}",
    "failed": "ciclo fallido número {failed_runs}: {why}",
    "quarantined": "queda en cuarentena tras {cycles}: {why}",
    "held": "retenida ({reason})",
    "released": "liberada",
    "retried": "se pide que se reintente",
    "restored": "restaurada en {destination}",
    "url_signed": "dirección de {path} firmada para {seconds} s",
    "local_copy_deleted": "se borra su copia local, {directory}",
    "rehomed": "llevada de {from_uri} al proveedor primario, a {to_uri}",
    "migrated_again": "se pide que se migre otra vez, pues su copia no está entera: {detail}",
    "orphan_given_up": "se pide que se retire lo que un intento dejó en {place}",
}


class _Texts(dict[str, str]):
    """Texts by name; `?` for one that is not known."""

    def __missing__(self, name: str) -> str:
        return "?"


def _words_of(event: Row) -> str:
    texts = {**event["details"], **{name: value for name, value in event.items() if value is not None}}
    if isinstance(texts.get("failed_runs"), int):
        texts["cycles"] = counted(texts["failed_runs"], "ciclo", "ciclos")
    texts["why"] = with_cause(texts.get("error_code"), one_line(texts.get("error") or ""))
    return EVENTS.get(event["event"], one_line(event["event"])).format_map(
        _Texts({name: one_line(value) for name, value in texts.items()})
    )
