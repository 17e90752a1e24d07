"""Decides which kind of backup to make: a pure function of the existing backups, the settings and the time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo

from jobs.backups.records import Backup
from jobs.backups.result import Kind
from jobs.backups.settings import BackupSettings
from jobs.schedule import Weekly


@dataclass(frozen=True, slots=True)
class Wish:
    """What an operator asks for when making a backup by hand; `kind` is `None` for the one that is due."""

    kind: Kind | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """The kind, and the base of a differential; `reason` says why a wanted differential became a full backup."""

    base: Backup | None
    reason: str = ""

    @property
    def kind(self) -> Kind:
        """What is to be made."""
        return Kind.FULL if self.base is None else Kind.DIFFERENTIAL


@dataclass(frozen=True, slots=True)
class Costs:
    """Bytes: to fetch a full backup that only a provider has, of another full one, and of the usual differential."""

    fetched: int
    full: int
    differential: int

    def favour_fetching(self, places: int) -> bool:
        """Whether fetching and a differential move fewer bytes than a new full one, each sent to all places."""
        return self.fetched + self.differential * places < self.full * places


def choose(newest_full: Backup | None, wish: Wish, settings: BackupSettings, now: datetime, zone: tzinfo) -> Choice:
    """A full one if there is none to begin with, and if none was made since the last day for full ones, whenever that
    was: one that was missed on Monday is made on Tuesday. Otherwise a differential. One that is dated ahead may be old.
    """
    if wish.kind is Kind.FULL:
        return Choice(None)
    if newest_full is None:
        return Choice(None, "no hay ninguna completa buena en este equipo")
    if wish.kind is Kind.DIFFERENTIAL:
        return Choice(newest_full)
    last_day = Weekly(weekday=settings.full_day, at=settings.at).last_instant(now, zone)
    is_old = newest_full.is_dated_ahead or newest_full.made < last_day
    return Choice(None if is_old else newest_full)
