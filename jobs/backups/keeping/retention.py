"""Which backups may go: a pure function of what there is, so that its promises can be tried on anything.

A full backup and its differentials are one chain: none of the differentials can be restored without it. What is kept
whatever its age: the newest good chain, a full one with a differential that is kept, the newest one that was proven to
restore with its base, and every backup of which a live one depends. What was not looked at, or failed a proof, is never
the reason for deleting another one; a differential that failed one stays with its full backup, which would seem sound
without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class KnownBackup:
    """A row of `historial_backup`, and what was found of it.

    `base_id` is that of a differential's full backup. `copies` are the places, the directory and providers, where it
    was seen now, with the right size; a place that could not be asked is not among them. `is_good`: the row says that
    it was completed. `verified`: the last good proof. `is_doubtful`: a later one failed. `may_be_unseen`: a provider
    that was not asked, or did not answer, has a copy by what is recorded. `is_own`: this host made it; another host's
    is never deleted, is relied upon for nothing, and keeps its full one.
    """

    id: int
    made: datetime
    base_id: int | None = None
    is_good: bool = True
    verified: datetime | None = None
    copies: frozenset[str] = frozenset()
    is_doubtful: bool = False
    may_be_unseen: bool = False
    is_own: bool = True

    @property
    def is_full(self) -> bool:
        """Whether it can be restored without another backup."""
        return self.base_id is None


class RetentionError(ValueError):
    """A number of days for which nothing may be deleted. The message is in Spanish."""


def deletable(backups: Iterable[KnownBackup], days: int, now: datetime) -> list[KnownBackup]:
    """The backups to delete everywhere, differentials before the full one that they need.

    Promised: no full one goes while a differential of it stays; the newest good full one that was seen somewhere stays,
    and so do the newest verified one and its base. All of them stay three times over: as judged by those seen of which
    no proof failed, by all those seen, and by the rows alone. Nothing goes of which a place that was not asked may have
    a copy, or that is not older than `days`. When no good full one is seen anywhere of which no proof failed, nothing
    goes: what looks old may be all there is. Raises `RetentionError` unless `days` is positive.
    """
    if days <= 0:
        raise RetentionError(f"BACKUP_RETENTION_DAYS debe ser mayor que 0, no {days}: no se borra ninguna copia")
    known = {backup.id: backup for backup in backups}
    kept = _never_deleted(known, now)
    if kept is None:
        return []
    oldest_kept = now - timedelta(days=days)
    kept |= {backup.id for backup in known.values() if backup.made >= oldest_kept}
    _add_bases(kept, known)
    kept |= {backup.id for backup in known.values() if backup.is_doubtful and backup.base_id in kept}
    gone = [backup for backup in known.values() if backup.id not in kept]
    return sorted(gone, key=lambda backup: (backup.is_full, backup.made, backup.id))


def _add_bases(kept: set[int], known: dict[int, KnownBackup]) -> None:
    """Add what the kept backups need. A row that somebody else wrote may name a differential as a base."""
    waiting = list(kept)
    while waiting:
        backup = known.get(waiting.pop())
        if backup is not None and backup.base_id in known and backup.base_id not in kept:
            kept.add(backup.base_id)
            waiting.append(backup.base_id)


def _never_deleted(known: dict[int, KnownBackup], now: datetime) -> set[int] | None:
    """The backups that stay whatever their age; `None` if there is no good full backup to rely on."""
    good = [backup for backup in known.values() if backup.is_good and backup.is_own]
    seen = [backup for backup in good if _is_restorable(backup, known)]
    doubtful_chains = {_chain(backup) for backup in known.values() if backup.is_doubtful}
    trusted = [backup for backup in seen if _chain(backup) not in doubtful_chains]
    if not any(backup.is_full for backup in trusted):
        return None
    kept = {backup.id for backup in known.values() if backup.may_be_unseen or not backup.is_own}
    for candidates in (trusted, seen, good):
        kept |= _newest(candidates)
        kept |= _newest([backup for backup in candidates if backup.made <= now])  # the rest may be of any age
    return kept


def _newest(candidates: Sequence[KnownBackup]) -> set[int]:
    """The newest full one, the newest verified one, and the newest of all."""
    full = [backup for backup in candidates if backup.is_full]
    verified = [backup for backup in candidates if backup.verified is not None]
    newest_verified = max(verified, key=lambda backup: (backup.verified, backup.id), default=None)
    found = (max(full, key=_age, default=None), newest_verified, max(candidates, key=_age, default=None))
    return {backup.id for backup in found if backup is not None}


def _chain(backup: KnownBackup) -> int:
    """The id of its full backup."""
    return backup.id if backup.base_id is None else backup.base_id


def _is_restorable(backup: KnownBackup, known: dict[int, KnownBackup]) -> bool:
    if not backup.is_good or not backup.copies:
        return False
    if backup.base_id is None:
        return True
    base = known.get(backup.base_id)
    return base is not None and base.is_full and base.is_good and bool(base.copies)


def _age(backup: KnownBackup) -> tuple[datetime, int]:
    return backup.made, backup.id
