"""What `status` and `check` say of the backups: how old the last ones are, whether they are proven, what is unusual."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from config.logs import one_line
from config.text.plurals import counted
from config.text.times import Clock
from config.text.wording import reason_of
from jobs.backups.files.directory import SPACE_MARGIN
from jobs.backups.keeping.place import open_to_others, why_not_writable
from jobs.backups.keeping.shelf import Shelf, is_gone, is_there, why_hidden, why_missing
from jobs.backups.records import Backup, readable_size
from jobs.findings import Finding, advised, bad, good

SUBJECT = "copias de seguridad"
LONGEST_DAYS_WITHOUT = 8
"""A week, and a day to make up for what was missed."""

COMPARED_SIZES = 5
NAMED_AT_MOST = 3
SUDDEN_FACTOR = 2
SUDDEN_BYTES = 1024 * 1024
"""A smaller difference says nothing, whatever its factor: an almost empty database doubles in a day."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The newest backups that can be used, of all hosts; files of other hosts are believed to be there."""

    full: Backup | None
    differential: Backup | None
    proven: Backup | None
    """The backup whose proof is the most recent."""
    doubtful: Backup | None
    """The newest backup whose last proof failed."""
    previous_sizes: tuple[int, ...]
    """The sizes of the full backups before the last one, newest first."""

    @property
    def has_changed_suddenly(self) -> bool:
        """Whether the last full one is far larger or smaller than those before."""
        if self.full is None or not self.previous_sizes:
            return False
        usual, size = statistics.median(self.previous_sizes), self.full.size_bytes or 0
        ratio_is_large = max(usual, size) > SUDDEN_FACTOR * min(usual, size)
        return ratio_is_large and abs(usual - size) > SUDDEN_BYTES


@dataclass(frozen=True, slots=True)
class Room:
    """The space in the directory of the backups, and what the next full one will take; 0 if nobody knows."""

    directory: Path
    free_bytes: int
    needed_bytes: int

    @property
    def suffices(self) -> bool:
        """Whether the next one fits."""
        return self.free_bytes >= self.needed_bytes


def summarize(shelf: Shelf) -> Summary:
    """Look at the rows, and for files of this host at the directory, unless a provider has them."""
    usable = [backup for backup in shelf.backups if backup.is_good and _can_be_had(backup, shelf.host)]
    full = sorted((backup for backup in usable if backup.is_full), key=_age, reverse=True)
    proven = [backup for backup in usable if backup.verified is not None]
    return Summary(
        full=full[0] if full else None,
        differential=_newest(backup for backup in usable if not backup.is_full),
        proven=max(proven, key=lambda backup: (backup.verified, backup.id), default=None),
        doubtful=_newest(backup for backup in usable if backup.verification_error is not None),
        previous_sizes=tuple(backup.size_bytes or 0 for backup in full[1 : 1 + COMPARED_SIZES]),
    )


def describe(summary: Summary, verify_days: int, clock: Clock) -> Iterator[Finding]:
    """The summary in words."""
    if summary.full is None:
        yield advised(SUBJECT, "todavía no hay ninguna completa")
        return
    yield _ages(summary, summary.full, clock)
    if summary.previous_sizes:
        yield _sizes(summary, summary.full)
    yield _proof(summary, verify_days, clock.now)


def describe_lost(shelf: Shelf) -> Iterator[Finding]:
    """Backups of this host that nobody has any more."""
    lost = [backup for backup in shelf.missing() if not backup.has_copy]
    if lost:
        names = ", ".join(f"{backup.id} ({backup.name})" for backup in lost[:NAMED_AT_MOST])
        more = f" y {len(lost) - NAMED_AT_MOST} más" if len(lost) > NAMED_AT_MOST else ""
        what = counted(len(lost), "copia hecha no está", "copias hechas no están")
        advice = "devuelva su archivo a su sitio, o márquelas en historial_backup (eliminado = true)"
        yield bad(SUBJECT, one_line(f"{what} en el disco ni en ningún proveedor: {names}{more}; {advice}"))


def describe_hidden(shelf: Shelf) -> Iterator[Finding]:
    """Backups of which nobody can tell whether they are on the disk."""
    hidden = shelf.hidden()
    if hidden:
        where = ", ".join(sorted({str(backup.path.parent) for backup in hidden}))
        what = f"no se sabe si {counted(len(hidden), 'copia está', 'copias están')}"
        reasons = " · ".join(sorted({reason for backup in hidden if (reason := why_hidden(backup)) is not None}))
        yield bad(SUBJECT, one_line(f"{what} en {where}: {reasons}"))


def describe_dated_ahead(shelf: Shelf) -> Iterator[Finding]:
    """Backups whose date is still to come."""
    ahead = [backup for backup in shelf.backups if backup.is_good and backup.is_dated_ahead]
    if ahead:
        names = ", ".join(f"{backup.id} ({backup.made:%Y-%m-%d})" for backup in ahead[:NAMED_AT_MOST])
        what = counted(len(ahead), "copia tiene", "copias tienen")
        advice = "no se borran ni cuentan como las últimas; corrija fecha_creacion en historial_backup"
        yield advised(SUBJECT, one_line(f"{what} una fecha que aún no ha llegado: {names}; {advice}"))


def describe_cut_off(shelf: Shelf) -> Iterator[Finding]:
    """Backups that killed runs left unfinished, with their files, until the next run."""
    for backup in shelf.backups:
        if backup.is_cut_off:
            where = "" if backup.host == shelf.host else f" en el equipo {backup.host}"
            text = (
                f"la copia {backup.id} ({backup.name}) se quedó a medias{where}: el proceso que la hacía terminó antes "
                "de acabarla; 'backup run' borra allí lo que dejó y hace otra; si no, lo hará la próxima que toque"
            )
            yield advised(SUBJECT, one_line(text))


def _ages(summary: Summary, full: Backup, clock: Clock) -> Finding:
    differential = None if summary.differential is None else summary.differential.made
    proven = None if summary.proven is None else summary.proven.verified
    text = (
        f"última completa {_shown(full.made, clock)}, última diferencial {_shown(differential, clock)}, "
        f"última comprobada {_shown(proven, clock)}"
    )
    if full.is_dated_ahead or (clock.now - full.made).days > LONGEST_DAYS_WITHOUT:
        late = "hace más de una semana que no se hace una completa; janitor-daemon history backup dice por qué"
        return bad(SUBJECT, f"{text}: {late}")
    return good(SUBJECT, text)


def _sizes(summary: Summary, full: Backup) -> Finding:
    before = ", ".join(map(readable_size, summary.previous_sizes))
    text = f"la última completa ocupa {readable_size(full.size_bytes or 0)}; las anteriores, {before}"
    if summary.has_changed_suddenly:
        return advised(SUBJECT, f"{text}: un cambio brusco; mire si faltan o sobran datos en la base de datos")
    return good(SUBJECT, text)


def _proof(summary: Summary, verify_days: int, now: datetime) -> Finding:
    if summary.doubtful is not None:
        wrong = summary.doubtful
        text = f"la copia {wrong.id} no se pudo comprobar: {wrong.verification_error}"
        return bad(SUBJECT, one_line(f"{text}; haga otra con 'backup run --full' y compruébela con 'backup verify'"))
    proven = summary.proven
    if proven is None or proven.verified is None:
        return advised(SUBJECT, "ninguna está comprobada; compruebe una con 'backup verify'")
    late = now - proven.verified - timedelta(days=verify_days)
    if verify_days and late > timedelta(days=LONGEST_DAYS_WITHOUT):
        days = (now - proven.verified).days
        return advised(SUBJECT, f"la última comprobación es de hace {days} días; compruebe una con 'backup verify'")
    return good(SUBJECT, f"la copia {proven.id} se restauró y comparó en {proven.verification_seconds or 0:.0f} s")


def room(directory: Path, shelf: Shelf) -> Room:
    """Raises `OSError` where the directory cannot be looked at."""
    sizes = [backup.size_bytes or 0 for backup in shelf.good_here() if backup.is_full]
    needed_bytes = int(sizes[-1] * SPACE_MARGIN) if sizes else 0
    return Room(directory, shutil.disk_usage(directory).free, needed_bytes)


def describe_room(directory: Path, shelf: Shelf) -> Iterator[Finding]:
    """Whether the next one can be written, whether it fits, and whether others can read it."""
    if (fault := why_not_writable(directory)) is not None:
        yield bad(SUBJECT, f"no se puede escribir en {one_line(directory)} (BACKUP_PATH): {fault}")
        return
    if is_gone(directory):
        yield good(SUBJECT, f"{directory} (BACKUP_PATH) no existe aún; la primera copia lo crea")
        return
    if (warning := open_to_others(directory)) is not None:
        yield advised(SUBJECT, warning)
    try:
        found = room(directory, shelf)
    except OSError as error:
        yield bad(SUBJECT, f"no se puede usar {directory} (BACKUP_PATH): {reason_of(error)}")
        return
    free, needed = readable_size(found.free_bytes), readable_size(found.needed_bytes)
    text = f"quedan {free} en {directory}; la próxima completa ocupará {needed}"
    yield good(SUBJECT, text) if found.suffices else bad(SUBJECT, f"{text}: libere espacio")


def _can_be_had(backup: Backup, host: str) -> bool:
    return backup.host != host or is_there(backup) or backup.has_copy


def _newest(backups: Iterable[Backup]) -> Backup | None:
    return max(backups, key=_age, default=None)


def _age(backup: Backup) -> tuple[bool, datetime, int]:
    return backup.age_key


def _shown(instant: datetime | None, clock: Clock) -> str:
    return "ninguna" if instant is None else clock.when(instant)


def findings(shelf: Shelf, directory: Path, verify_days: int, clock: Clock) -> Sequence[Finding]:
    """All findings; if the directory is gone, none that merely follows from that."""
    if is_gone(directory) and shelf.has_made_in(directory):
        return [bad(SUBJECT, why_missing(directory))]
    described = [*describe_lost(shelf), *describe_hidden(shelf), *describe_dated_ahead(shelf), *describe_cut_off(shelf)]
    return [*described, *describe(summarize(shelf), verify_days, clock), *describe_room(directory, shelf)]
