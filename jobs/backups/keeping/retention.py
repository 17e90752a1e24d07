"""Which backups may go: a pure function of what there is, so that its promises can be tried on anything.

A full backup and its differentials are one chain: none of the differentials can be restored without it. What is kept
whatever its age: the newest good chain, a full one with a differential that is kept, the newest one that was proven to
restore with its base, and every backup of which a live one depends.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class KnownBackup:
    """A row of `historial_backup`, and what was found of it.

    `base_id` is that of a differential's full backup. `copies` are the places, the directory and providers, where it
    was seen now, with the right size; a place that could not be asked is not among them. `is_good`: the row says that
    it was completed.
    """

    id: int
    made: datetime
    base_id: int | None = None
    is_good: bool = True
    verified: datetime | None = None
    copies: frozenset[str] = frozenset()

    @property
    def is_full(self) -> bool:
        """Whether it is restored alone."""
        return self.base_id is None


class RetentionError(ValueError):
    """A number of days for which nothing may be deleted. The message is in Spanish."""


def deletable(backups: Iterable[KnownBackup], days: int, now: datetime) -> list[KnownBackup]:
    """The backups to delete everywhere, differentials before the full one that they need.

    Promised: no full one goes while a differential of it stays; the newest good full one that was seen somewhere stays,
    and so do the newest verified one and its base. Nothing goes that is not older than `days`. When no good full one
    is seen anywhere, nothing goes: what looks old may be all there is. Raises `RetentionError` unless `days` is
    positive.
    """
    if days <= 0:
        raise RetentionError(f"BACKUP_RETENTION_DAYS debe ser mayor que 0, no {days}: no se borra ninguna copia")
    known = {backup.id: backup for backup in backups}
    kept = _never_deleted(known)
    if kept is None:
        return []
    oldest_kept = now - timedelta(days=days)
    kept |= {backup.id for backup in known.values() if backup.made >= oldest_kept}
    _add_bases(kept, known)
    gone = [backup for backup in known.values() if backup.id not in kept]
    return sorted(gone, key=lambda backup: (backup.is_full, backup.made, backup.id))


def _add_bases(kept: set[int], known: dict[int, KnownBackup]) -> None:
    """What a kept backup needs is kept; rows by another hand may name a differential as a base."""
    waiting = list(kept)
    while waiting:
        backup = known.get(waiting.pop())
        if backup is not None and backup.base_id in known and backup.base_id not in kept:
            kept.add(backup.base_id)
            waiting.append(backup.base_id)


def _never_deleted(known: dict[int, KnownBackup]) -> set[int] | None:
    """What stays whatever its age; `None` when there is no good full backup to rely on."""
    whole = [backup for backup in known.values() if _is_restorable(backup, known)]
    newest_full = max((backup for backup in whole if backup.is_full), key=_age, default=None)
    if newest_full is None:
        return None
    newest_verified = max(
        (backup for backup in whole if backup.verified is not None), key=lambda backup: (backup.verified, backup.id),
        default=newest_full,
    )  # fmt: skip
    newest = max(whole, key=_age)
    return {newest_full.id, newest_verified.id, newest.id}


def _is_restorable(backup: KnownBackup, known: dict[int, KnownBackup]) -> bool:
    if not backup.is_good or not backup.copies:
        return False
    if backup.base_id is None:
        return True
    base = known.get(backup.base_id)
    return base is not None and base.is_full and base.is_good and bool(base.copies)


def _age(backup: KnownBackup) -> tuple[datetime, int]:
    return backup.made, backup.id
