"""What `status` and `check` say of where backups are: damaged here, readable nowhere here, on one host alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby

from config.logs import one_line
from config.text.plurals import counted
from config.text.times import Clock
from jobs.backups.keeping.shelf import Shelf, is_there
from jobs.backups.records import Backup, provider_of
from jobs.backups.settings import BackupSettings
from jobs.findings import Finding, advised, bad

SUBJECT = "copias de seguridad fuera del equipo"

TIME_TO_SEND = timedelta(days=1)
"""A backup that a run could not send is sent by the next ones, and mentioned only once it is this old."""

LONGEST_SILENCE = timedelta(days=2)

LastSigns = Callable[[Iterable[str]], Mapping[str, datetime]]
"""When some hosts last began a run: one statement."""


def off_site_findings(shelf: Shelf, settings: BackupSettings, last_signs: LastSigns, clock: Clock) -> Iterator[Finding]:
    """All findings, none if nothing is wrong. Calls `last_signs` only if another host has the only copies."""
    yield from (_damaged(backup, clock) for backup in shelf.good_here() if backup.damaged is not None)
    yield from _encrypted_only(shelf, has_key=settings.identity is not None)
    yield from _on_one_host(shelf, settings, last_signs, clock)


def _damaged(backup: Backup, clock: Clock) -> Finding:
    since = clock.when(backup.damaged)
    text = f"la copia {backup.id} está dañada en el disco desde {since} ({backup.path})"
    if not backup.has_copy:
        return bad(SUBJECT, one_line(f"{text} y ya no hay otra; haga una con 'backup run --full'"))
    repair = f"tráigala con 'backup download {backup.id} DIRECTORIO' y ponga sus archivos en su sitio"
    return advised(SUBJECT, one_line(f"{text}; hay otra en {_providers_of(backup)}: {repair}"))


def _providers_of(backup: Backup) -> str:
    return ", ".join(provider_of(copy) for copy in backup.copies if copy["falta_desde"] is None)


def _encrypted_only(shelf: Shelf, *, has_key: bool) -> Iterator[Finding]:
    """Whether the newest backup of this host is nowhere where this host can read it."""
    newest = max(shelf.good_here(), key=lambda backup: backup.age_key, default=None)
    if newest is None or has_key or is_there(newest) or not newest.has_copy:
        return
    if not newest.has_readable_copy(has_key=False):
        text = f"la última, la {newest.id}, solo está cifrada en {_providers_of(newest)} y aquí no hay clave privada"
        advice = f"compruébela donde esté la clave: backup verify {newest.id} --identity FICHERO"
        yield advised(SUBJECT, f"{text}: ningún ciclo puede comprobarla; {advice}")


def _on_one_host(shelf: Shelf, settings: BackupSettings, last_signs: LastSigns, clock: Clock) -> Iterator[Finding]:
    """Backups that no provider has: those of this host only where one should, those of others if the host is silent."""
    alone = [
        backup
        for backup in shelf.backups
        if backup.is_good and backup.host is not None and not backup.has_copy
        if backup.is_dated_ahead or clock.now - backup.made > TIME_TO_SEND
        if backup.host != shelf.host or is_there(backup)
    ]
    by_host = {
        host: list(backups)
        for host, backups in groupby(sorted(alone, key=lambda backup: (backup.host or "", backup.made)), _host_of)
    }
    others = [host for host in by_host if host != shelf.host]
    signs = last_signs(others) if others else {}
    for host, backups in by_host.items():
        if host == shelf.host:
            if settings.providers:
                advice = "el registro dice por qué; las envía cada ciclo con el trabajo backup"
                yield bad(SUBJECT, f"{_alone(host, backups, clock)}; {advice}")
        elif host not in signs or clock.now - signs[host] > LONGEST_SILENCE:
            silence = f"y no da señales {_since(signs.get(host), clock)}"
            yield bad(SUBJECT, f"{_alone(host, backups, clock)}, {silence}: {IF_IT_IS_GONE}")
        elif settings.providers:
            advice = "solo él puede enviarlas: mire allí el trabajo backup"
            yield advised(SUBJECT, f"{_alone(host, backups, clock)}; {advice}")


IF_IT_IS_GONE = (
    "salve su BACKUP_PATH; si el equipo ya no existe, cuente con que se han perdido y márquelas en historial_backup "
    "(eliminado = true)"
)


def _host_of(backup: Backup) -> str:
    return backup.host or ""


def _alone(host: str, backups: Sequence[Backup], clock: Clock) -> str:
    oldest = backups[0]
    what = counted(len(backups), "copia solo está", "copias solo están")
    return one_line(f"{what} en el equipo {host}, sin otra en ningún proveedor, desde {clock.when(oldest.made)}")


def _since(instant: datetime | None, clock: Clock) -> str:
    return "desde no se sabe cuándo" if instant is None else f"desde {clock.when(instant)}"
