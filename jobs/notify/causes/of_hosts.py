"""Causes that concern a host: it is silent, one of its runs hangs, a root is missing or a disk is nearly full."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from jobs.locks import is_at_work
from jobs.notify.causes.seen import Seen, gone, open_causes
from jobs.notify.settings import NotifySettings
from sql.database import database_identity
from sql.memory.notices import Cause, State

FORGOTTEN_AFTER_DAYS = 30
"""A host that has not run for longer is taken for one that was retired."""

GIGABYTE = 1024**3


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
    for key in open_causes(seen, "host:"):
        host = key.removeprefix("host:").removesuffix(":silent")
        if host not in hours_since:
            yield Cause(key, State.OK, f"La máquina {host} ya no se espera")


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
    for key in open_causes(seen, prefix):
        if key not in keys:
            yield Cause(key, State.OK, f"El ciclo {key.split(':')[-2]} de {seen.host} ya no está colgado")


def roots(seen: Seen) -> Iterator[Cause]:
    """A directory of `JANITOR_ROOTS` is not there."""
    prefix = f"root:{seen.host}:"
    for root in seen.context.settings.roots:
        if Path(root).is_dir():
            yield Cause(prefix + root, State.OK, f"La raíz {root} vuelve a estar")
        else:
            text = f"La raíz {root} de JANITOR_ROOTS no está (¿un disco sin montar?); móntela o corrija JANITOR_ROOTS"
            yield Cause(prefix + root, State.NEEDS_PERSON, text)
    yield from gone(seen, prefix, [prefix + root for root in seen.context.settings.roots])
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
    yield from gone(seen, prefix, keys)


def _disk(settings: NotifySettings, prefix: str, path: str, space: os.statvfs_result) -> Cause:
    free_bytes, all_bytes = space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize
    text = f"Al disco de {path} le quedan {free_bytes / GIGABYTE:.1f} GB; libere espacio"
    if free_bytes < min(settings.disk_critical_bytes, all_bytes / 25):
        return Cause(prefix + path, State.NEEDS_PERSON, text)
    if free_bytes < min(settings.disk_warning_bytes, all_bytes / 10):
        return Cause(prefix + path, State.DEGRADED, text)
    return Cause(prefix + path, State.OK, f"El disco de {path} vuelve a tener sitio: {free_bytes / GIGABYTE:.1f} GB")
