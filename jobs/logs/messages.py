"""What operators read about logs. All in Spanish, one line each."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from config.logs import emit, one_line
from config.text.plurals import counted
from jobs.logs.errors import LogLeft
from jobs.logs.planning import Plan
from jobs.logs.report import LogsReport


def megabytes(size_bytes: int) -> str:
    """A size in the format that the cleaning of temporary files uses."""
    return f"{round(size_bytes / 1024 / 1024, 2) + 0.0:.2f} MB"  # adding zero takes the sign off a negative zero


def say_left(path: str, name: str, reason: LogLeft) -> None:
    """Name a log that stays as it is."""
    message = f"Se deja el registro {one_line(f'{path}/{name}')} como está: {one_line(reason)}"
    emit(reason.level, reason.event, message, directory=path, name=name)


def say_leftover(path: str, name: str, reason: LogLeft) -> None:
    """Name what an interrupted run has left, and this one could not put right."""
    where = one_line(f"{path}/{name}")
    message = f"Se deja {where}, que parece de una ejecución interrumpida: {one_line(reason)}"
    emit(reason.level, reason.event, message, directory=path, name=name)


def say_missing(path: Path | str) -> None:
    """Report a directory of `LOGS_PATH` that does not exist."""
    message = f"No existe el directorio de registros {one_line(path)}: créelo o corrija LOGS_PATH"
    emit(logging.ERROR, "logs_directory_missing", message)


def say_unusable(path: Path | str, reason: str) -> None:
    """Report a directory of `LOGS_PATH` in which nothing can be done."""
    message = f"No se puede trabajar en el directorio de registros {one_line(path)}: {reason}"
    emit(logging.ERROR, "logs_directory_unusable", message)


def say_little_room(path: str, free_bytes: int, logs: int) -> None:
    """Report a disk without room to compress all logs in the usual order."""
    count = counted(logs, "registro", "registros")
    message = (
        f"Queda poco espacio para comprimir {count} de {one_line(path)} ({megabytes(free_bytes)} libres): "
        "se comprimen uno a uno, primero los que más espacio liberan"
    )
    emit(logging.WARNING, "logs_little_room", message, directory=path, free_bytes=free_bytes)


def say_plan(path: str, plan: Plan) -> None:
    """Report what a dry run has found."""
    for what, event, logs in (
        ("se comprimiría", "log_compression_previewed", plan.compress),
        ("se eliminaría", "log_deletion_previewed", plan.delete),
    ):
        for log in logs:
            where = one_line(f"{path}/{log.name}")
            emit(logging.INFO, event, f"[simulación] {what} {where} ({megabytes(log.occupied_bytes)})")


def say_done(report: LogsReport, *, dry_run: bool) -> None:
    """Report the numbers of a run."""
    emit(
        logging.INFO,
        "logs_previewed" if dry_run else "logs_cleaned",
        _preview(report) if dry_run else f"Registros: {', '.join(_parts(report))}",
        **asdict(report),
        freed_bytes=report.freed_bytes,
    )


def _preview(report: LogsReport) -> str:
    compressed = f"se comprimirían {report.compressed_files} ({megabytes(report.bytes_before)})"
    deleted = f"se eliminarían {report.deleted_files} comprimidos ({megabytes(report.deleted_bytes)})"
    return f"[simulación] Registros: {compressed}, {deleted}"


def _parts(report: LogsReport) -> Sequence[str]:
    compressed = counted(report.compressed_files, "comprimido", "comprimidos")
    deleted = counted(report.deleted_files, "antiguo eliminado", "antiguos eliminados")
    parts = [
        f"{compressed} ({megabytes(report.bytes_before)} -> {megabytes(report.bytes_after)})",
        f"{deleted} ({megabytes(report.deleted_bytes)})",
    ]
    if report.differing_copies:
        parts.append(f"{report.differing_copies} con otro nombre, pues su .gz tenía otro contenido")
    if report.duplicate_files:
        parts.append(f"{report.duplicate_files} que ya tenían su copia ({megabytes(report.duplicate_bytes)})")
    if report.in_use:
        parts.append(f"{report.in_use} en uso")
    if report.failures:
        parts.append(counted(report.failures, "fallo", "fallos"))
    return [*parts, f"{megabytes(report.freed_bytes)} liberados"]
