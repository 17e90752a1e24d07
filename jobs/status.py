"""Shows in words what `status` found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from config.logs import one_line

FAILURES_SHOWN = 20


def describe_status(summary: Mapping[str, Any]) -> Iterator[str]:
    """The lines of `status`, from what `Database.summarize` gives."""
    yield f"Pendientes: {summary['pending']} (listas para migrar ahora: {summary['due']})"
    yield f"Migradas: {summary['migrated']}"
    for provider in summary["providers"]:
        name = one_line(provider["name"] or "proveedor borrado")
        megabytes = provider["size_bytes"] / 1024 / 1024
        yield (
            f"  en {name} ({provider['kind'] or '?'}, id {provider['provider_id']}): "
            f"{provider['migrated']} ejecuciones, {provider['file_count']} ficheros, {megabytes:.2f} MB"
        )
    yield f"Con error: {summary['failed']}"
    for failure in summary["failures"]:
        yield f"  {one_line(failure['uuid'])}: {one_line(failure['error'])} [{failure['error_code']}]"
    if summary["deletions_unfinished"]:
        yield f"Copias locales por borrar: {summary['deletions_unfinished']}"
    if summary["leftover_attempts"]:
        yield f"Intentos con restos por limpiar: {summary['leftover_attempts']}"
    yield _describe_run(summary["last_run"])


def _describe_run(run: Mapping[str, Any] | None) -> str:
    if run is None:
        return "Última ejecución del programa: ninguna"
    end = f"código {run['exit_code']}" if run["finished_at"] else "sin terminar"
    return f"Última ejecución del programa: {run['started_at']} en {one_line(run['host'])} ({run['mode']}, {end})"
