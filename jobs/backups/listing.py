"""Backups as `list`, `show` and `stats` tell them: by the names of the platform's columns, and some more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from config.text.plurals import counted
from config.text.times import Clock
from jobs.backups.keeping.shelf import is_hidden, is_there
from jobs.backups.records import Backup, provider_of, readable_size

TIMES = ("fecha_creacion", "fecha_eliminacion", "danado_en_disco_desde", "verificado")
"""The columns that `show` tells together with their age."""


def entry_of(backup: Backup, host: str) -> dict[str, Any]:
    """One backup; `en_disco` is `None` where this host cannot tell."""
    return {
        "id_backup": backup.id,
        "tipo": backup.kind,
        "nombre_archivo": backup.name,
        "ruta_archivo": str(backup.path),
        "tamanio_bytes": backup.size_bytes,
        "tamanio_legible": None if backup.size_bytes is None else readable_size(backup.size_bytes),
        "estado": backup.state,
        "mensaje_error": backup.error,
        "duracion_segundos": backup.seconds,
        "tablas_respaldadas": backup.tables,
        "registros_totales": backup.rows,
        "hash_md5": backup.md5,
        "id_backup_base": backup.base_id,
        "fecha_creacion": _shown(backup.made),
        "fecha_eliminacion": _shown(backup.deleted),
        "eliminado": backup.is_deleted,
        "ejecutado_por": backup.made_by,
        "equipo": backup.host,
        "en_disco": None if backup.host != host or is_hidden(backup) else is_there(backup),
        "copias": list(backup.copies),
        "danado_en_disco_desde": _shown(backup.damaged),
        "verificado": _shown(backup.verified),
        "verificacion_segundos": backup.verification_seconds,
        "verificacion_error": backup.verification_error,
    }


def describe_backup(entry: Mapping[str, Any], clock: Clock) -> str:
    """One line of `list`."""
    made, damaged = clock.when_written(entry["fecha_creacion"]), entry["danado_en_disco_desde"]
    names = ("tipo", "estado", "nombre_archivo")
    parts = [
        "  ".join((str(entry["id_backup"]), made, *(str(entry[name]) for name in names))),
        entry["tamanio_legible"] or "",
        f"base {entry['id_backup_base']}" if entry["id_backup_base"] is not None else "",
        f"en {entry['equipo']}" if entry["equipo"] else "",
        f"también en {_places(entry['copias'])}" if entry["copias"] else "",
        f"DAÑADA EN EL DISCO desde {clock.when_written(damaged)}" if damaged else "",
        f"comprobada {clock.when_written(entry['verificado'])}" if entry["verificado"] else "",
        f"NO SE PUDO COMPROBAR: {entry['verificacion_error']}" if entry["verificacion_error"] else "",
        _what_is_wrong(entry, clock),
    ]
    return ", ".join(part for part in parts if part)


def lines_of(entry: Mapping[str, Any], clock: Clock) -> list[str]:
    """The lines of `show`, without what is unknown or absent."""
    known = {name: value for name, value in entry.items() if value is not None and value != []}
    return [f"{name}: {_in_words(name, value, clock)}" for name, value in known.items()]


def _in_words(name: str, value: Any, clock: Clock) -> str:
    if name in TIMES:
        return clock.when_written(value)
    if isinstance(value, bool):
        return "sí" if value else "no"
    if isinstance(value, float):
        return f"{value:.1f}"
    return _places(value) if name == "copias" else str(value)


def _places(copies: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{provider_of(copy)}{', donde FALTA' if copy['falta_desde'] else ''}" for copy in copies)


def _what_is_wrong(entry: Mapping[str, Any], clock: Clock) -> str:
    if entry["eliminado"]:
        deleted = entry["fecha_eliminacion"]
        return "borrada" if deleted is None else f"borrada {clock.when_written(deleted)}"
    if entry["mensaje_error"]:
        return str(entry["mensaje_error"])
    if entry["en_disco"] is not False or entry["estado"] != "COMPLETADO":
        return ""
    is_elsewhere = any(copy["falta_desde"] is None for copy in entry["copias"])
    return "no está en el disco" if is_elsewhere else "FALTA EL ARCHIVO"


def statistics(backups: Sequence[Backup], retention_days: int) -> dict[str, Any]:
    """How many good backups there are on all hosts, and their sizes."""
    good = [backup for backup in backups if backup.is_good]
    full = [backup for backup in good if backup.is_full]
    differential = [backup for backup in good if not backup.is_full]
    used_bytes = sum(backup.size_bytes or 0 for backup in good)
    verified = [backup.verified for backup in good if backup.verified is not None]
    return {
        "total_backups": len(good),
        "backups_completos": len(full),
        "backups_diferenciales": len(differential),
        "espacio_usado_bytes": used_bytes,
        "espacio_usado_legible": readable_size(used_bytes),
        "ultimo_backup_completo": _newest(full),
        "ultimo_backup_diferencial": _newest(differential),
        "dias_retencion": retention_days,
        "ultima_verificacion": _shown(max(verified, default=None)),
    }


def statistics_lines(found: Mapping[str, Any], clock: Clock) -> list[str]:
    """The same for people."""
    full = counted(found["backups_completos"], "completa", "completas")
    kinds = f"{full}, {counted(found['backups_diferenciales'], 'diferencial', 'diferenciales')}"
    return [
        f"Copias de seguridad: {found['total_backups']} ({kinds}), {found['espacio_usado_legible']}",
        f"Última completa: {_when(found['ultimo_backup_completo'], clock)}",
        f"Última diferencial: {_when(found['ultimo_backup_diferencial'], clock)}",
        f"Última comprobada: {_when(found['ultima_verificacion'], clock)}",
        f"Se borran pasados {found['dias_retencion']} días",
    ]


def _when(text: str | None, clock: Clock) -> str:
    return "ninguna" if text is None else clock.when_written(text)


def _newest(backups: Sequence[Backup]) -> str | None:
    newest = max(backups, key=lambda backup: backup.age_key, default=None)
    return None if newest is None else _shown(newest.made)


def _shown(instant: datetime | None) -> str | None:
    return None if instant is None else instant.astimezone().isoformat(timespec="seconds")
