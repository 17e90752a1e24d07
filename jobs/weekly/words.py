"""A report in words: the lines for a terminal, and the phrases that the page shares with them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta

from config.logs import one_line
from config.text.plurals import counted, executions
from jobs.weekly.data import BackupLine, Disk, Report

UNITS = ("B", "KB", "MB", "GB", "TB", "PB")
KINDS = {"COMPLETO": "completa", "DIFERENCIAL": "diferencial"}
OVERDUE_DAYS = 2
OLD_BACKUP = timedelta(days=2)
LITTLE_FREE = 0.1
SOON_DAYS = 7
NOT_MIGRATED = re.compile("[0-9]+ ejecuci(ón|ones) sin migrar:|proveedor primario ")
"""How a line of `status` begins that names why executions are not migrated."""
ESTIMATED = "≈ lo enviado y lo guardado se estiman con una muestra, pues las tablas son grandes"


def size(number: float) -> str:
    """Bytes as people read them; units are powers of 1024."""
    for unit in UNITS:
        if abs(number) < 1024 or unit == UNITS[-1]:
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit == "B" or abs(number) >= 100 else f"{number:.1f} {unit}"


def duration(seconds: float) -> str:
    """A duration in its largest fitting unit."""
    for name, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {name}"
    return f"{seconds:.1f} s"


def moment(instant: datetime) -> str:
    """A local time."""
    return instant.strftime("%Y-%m-%d %H:%M")


def attention(report: Report) -> Iterator[str]:
    """What needs a person, the worst first: what is wrong, and what to do. It begins with what `status` says."""
    yield from report.needs_person
    for disk in report.disks:
        if _says(report, f"disco de {one_line(disk.path)}"):
            continue
        if disk.free_bytes < LITTLE_FREE * disk.size_bytes:
            yield f"Queda {_share(disk)} libre en {one_line(disk.path)}: libere espacio o acorte la retención."
        elif disk.forecast.days is not None and disk.forecast.days <= SOON_DAYS:
            yield f"El disco de {one_line(disk.path)} se llena en unos {disk.forecast.days:.0f} días."
    is_overdue = report.oldest_due is not None and report.made - report.oldest_due > timedelta(days=OVERDUE_DAYS)
    if report.oldest_due is not None and is_overdue and report.due and not _says_why_not_migrated(report):
        oldest = moment(report.oldest_due)
        yield f"{executions(report.due)} por migrar, la más antigua del {oldest}: status o --dry-run dicen por qué."
    for job in report.jobs:
        is_told = job.name == "migration" and _says_why_not_migrated(report)
        if job.failed and job.last_good is None and not is_told and not _says(report, f"trabajo {job.name}"):
            reason = one_line(job.error or "")
            yield f"El trabajo {job.name} no ha salido bien ni una vez en {one_line(job.host)}: {reason}"
    yield from _about_backups(report)


def _says(report: Report, subject: str) -> bool:
    """Whether `status` says something of it already."""
    return any(line.startswith(f"{subject}:") for line in report.needs_person)


def _says_why_not_migrated(report: Report) -> bool:
    """Whether `status` names what keeps executions from being migrated."""
    return _says(report, "migración") or any(NOT_MIGRATED.match(line) for line in report.needs_person)


def _about_backups(report: Report) -> Iterator[str]:
    if not report.is_backup_on or _says(report, "copias de seguridad"):
        return
    if not report.backups:
        yield "No hay ninguna copia de seguridad buena: run backup hace una ahora."
    elif report.made - max(backup.made for backup in report.backups) > OLD_BACKUP:
        yield "La copia de seguridad más nueva tiene más de dos días: jobs dice por qué falla backup."


def lines(report: Report) -> Iterator[str]:
    """What the terminal shows."""
    yield f"{period(report)}, {one_line(report.host)}"
    found = list(attention(report))
    yield "Necesita atención:" if found else "Nada necesita atención."
    yield from (f"  {line}" for line in found)
    yield f"Migradas: {executions(report.migrated)}, {size(report.bytes)}{_rate(report)}"
    due = counted(report.due, "ya vencida", "ya vencidas")
    yield f"Intentos con error: {report.failed}; pendientes: {report.pending}, {due}"
    executed = sum(day.executed for day in report.days)
    freed = sum(day.freed_bytes for day in report.days)
    yield f"Ejecuciones nuevas: {executed}; espacio liberado: {size(freed)}"
    for store in report.stores:
        yield (
            f"  {one_line(store.name)} ({store.role}): {executions(store.executions)}, {size(store.bytes)}; "
            f"nuevo: {size(store.new_bytes)}; intentos con error: {store.failed}"
        )
    if report.is_estimated:
        yield f"  {ESTIMATED}"
    for disk in report.disks:
        yield f"Disco de {one_line(disk.path)}: {size(disk.free_bytes)} libres ({_share(disk)}); {outlook(disk)}"
    for host, codes in report.runs.items():
        runs = ", ".join(f"{count} con código {code}" for code, count in codes.items())
        yield f"Ciclos de {one_line(host)}: {runs}"
    for job in report.jobs:
        good = moment(job.last_good) if job.last_good else "nunca" if job.failed else "todavía ninguno"
        runs = counted(job.runs, "vez", "veces")
        yield f"  {job.name} en {one_line(job.host)}: {runs}, {job.failed} con error, el último bueno {good}"
    yield from (f"Copia de seguridad {described(backup)}" for backup in report.backups)


def period(report: Report) -> str:
    """Which days the report is about."""
    return f"Del {report.days[0].day} al {report.days[-1].day}"


def _rate(report: Report) -> str:
    seconds = sum(day.seconds for day in report.days)
    if not report.migrated or seconds <= 0:
        return ""
    each = duration(seconds / report.migrated)
    return f" ({size(report.bytes / seconds)}/s en cada envío, {each} por ejecución)"


def _share(disk: Disk) -> str:
    return f"{100 * disk.free_bytes / max(disk.size_bytes, 1):.0f} %"


def outlook(disk: Disk) -> str:
    """When it will be full, or why that cannot be said."""
    if disk.forecast.days is None:
        return f"sin previsión: {disk.forecast.why_not}"
    return f"lleno en unos {counted(round(disk.forecast.days), 'día', 'días')} al ritmo actual"


def described(backup: BackupLine) -> str:
    """A backup in words."""
    parts = [KINDS.get(backup.kind, one_line(backup.kind)), moment(backup.made)]
    if backup.size_bytes is not None:
        parts.append(size(backup.size_bytes))
    if backup.verified is not None:
        parts.append(f"alguna comprobada el {moment(backup.verified)}")
    return ", ".join(parts)
