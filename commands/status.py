"""Describes the result of `status` in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from config.logs import one_line
from config.text.plurals import executions, files

FAILURES_SHOWN = 20


def describe_status(summary: Mapping[str, Any]) -> Iterator[str]:
    """The lines of `status`, from what `Database.summarize` gives."""
    yield f"Pendientes: {summary['pending']} (listas para migrar ahora: {summary['due']})"
    if summary["without_files"]:
        yield f"Sin ficheros (ruta_directorio es NULL, no hay nada que migrar): {summary['without_files']}"
    yield f"Migradas: {summary['migrated']}"
    for provider in summary["providers"]:
        name = "proveedor borrado" if provider["name"] is None else one_line(provider["name"].strip() or "sin nombre")
        megabytes = provider["size_bytes"] / 1024 / 1024
        yield (
            f"  en {name} ({provider['kind'] or '?'}, id {provider['provider_id']}): "
            f"{executions(provider['migrated'])}, {files(provider['file_count'])}, {megabytes:.2f} MB"
        )
    yield f"Con error: {summary['failed']}"
    yield from _describe_failures(summary["failures"], of_removals=False)
    if summary["deletions_unfinished"]:
        yield f"Copias locales por borrar: {summary['deletions_unfinished']}"
        yield from _describe_failures(summary["failures"], of_removals=True)
    if summary["leftover_attempts"]:
        yield f"Intentos con restos por limpiar: {summary['leftover_attempts']}"
    yield from _describe_run(summary["last_run"])


def _describe_failures(failures: list[Mapping[str, Any]], *, of_removals: bool) -> Iterator[str]:
    for failure in failures:
        if (failure["state"] == "migrated") == of_removals:
            yield f"  {one_line(failure['uuid'])}: {one_line(failure['error'])} [{failure['error_code']}]"


def _describe_run(run: Mapping[str, Any] | None) -> Iterator[str]:
    """The last run, and the reasons for an exit code other than 0."""
    if run is None:
        yield "Última ejecución del programa: ninguna"
        return
    end = f"código {run['exit_code']}" if run["finished_at"] else "sin terminar"
    yield f"Última ejecución del programa: {run['started_at']} en {one_line(run['host'])} ({run['mode']}, {end})"
    for problem in (run["report"] or {}).get("problems", ()):
        yield f"  {one_line(problem)}"
