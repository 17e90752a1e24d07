"""Deletes old files directly in the temporary directory, by its descriptor, and nothing anywhere else."""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from config.logs import emit, one_line
from providers.descriptors import closing_descriptor, open_directory_path


class TempDirectoryMissing(Exception):
    """There is no temporary directory. The message is in Spanish."""


class TempDirectoryUnsafe(Exception):
    """The temporary directory cannot be used: a link in its path, or no permission. The message is in Spanish."""


@dataclass(slots=True)
class TempFilesReport:
    """What one cleaning did (or, in a dry run, would do)."""

    deleted_files: int = 0
    deleted_bytes: int = 0
    failures: int = 0
    first_failure: str = ""


def clean_temp_files(
    directory: Path, retention_hours: float, interruption: threading.Event, *, dry_run: bool
) -> TempFilesReport:
    """Delete the regular files directly in `directory` whose mtime is older than the retention.

    The directory is opened once, no link in its path followed; whatever is put in its place meanwhile is not seen.
    Raises `TempDirectoryMissing`, `TempDirectoryUnsafe`.
    """
    oldest_kept_ns = time.time_ns() - retention_hours * 3600e9  # which may be minus infinity
    report = TempFilesReport()
    with closing_descriptor(_open(directory)) as descriptor:
        for name, size_bytes in _old_files(descriptor, oldest_kept_ns):
            if interruption.is_set():
                break
            _delete(descriptor, name, size_bytes, report, dry_run=dry_run)
    return report


def _open(directory: Path) -> int:
    try:
        return open_directory_path(os.path.normpath(directory if directory.is_absolute() else Path.cwd() / directory))
    except FileNotFoundError as error:
        raise TempDirectoryMissing(f"no existe el directorio temporal {directory}") from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            reason = "es o atraviesa un enlace simbólico, o no es un directorio; ponga en TEMP_DIR la ruta real"
            raise TempDirectoryUnsafe(f"el directorio temporal {directory} {reason}") from error
        raise TempDirectoryUnsafe(f"no se puede abrir el directorio temporal {directory}: {error.strerror}") from error


def _old_files(descriptor: int, oldest_kept_ns: float) -> Iterator[tuple[str, int]]:
    """One after the other, so that a million of them take no memory. That they are deleted while they are listed keeps
    no other one from being listed (readdir in POSIX.1).
    """
    with os.scandir(descriptor) as listing:
        for item in listing:
            try:
                status = item.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode) and status.st_mtime_ns < oldest_kept_ns:
                yield item.name, status.st_size


def _delete(descriptor: int, name: str, size_bytes: int, report: TempFilesReport, *, dry_run: bool) -> None:
    try:
        if not dry_run:
            os.unlink(name, dir_fd=descriptor)
    except FileNotFoundError:
        return
    except OSError as error:
        report.failures += 1
        report.first_failure = report.first_failure or f"{one_line(name)}: {error.strerror}"
        return
    report.deleted_files += 1
    report.deleted_bytes += size_bytes


def report_cleaning(cleaned: TempFilesReport, *, dry_run: bool) -> None:
    """Say what a cleaning did, or would do."""
    if cleaned.failures:
        message = f"No se pudieron borrar {cleaned.failures} archivos temporales; el primero, {cleaned.first_failure}"
        emit(logging.ERROR, "temp_files_kept", message, failures=cleaned.failures)
    megabytes = f"{cleaned.deleted_bytes / 1024 / 1024:.2f} MB"
    if dry_run:
        event = "temp_files_previewed"
        message = f"[simulación] Limpieza: se eliminarían {cleaned.deleted_files} archivos temporales ({megabytes})"
    else:
        event = "temp_files_cleaned"
        message = f"Limpieza completada: {cleaned.deleted_files} archivos temporales eliminados ({megabytes})"
    emit(logging.INFO, event, message, deleted_files=cleaned.deleted_files, deleted_bytes=cleaned.deleted_bytes)
