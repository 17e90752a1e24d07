"""Which kind is due: full ones once a week, made later if they were missed, by the clock of the schedule."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from jobs.backups.choice import Wish, choose
from jobs.backups.records import Backup
from jobs.backups.result import Kind
from jobs.backups.settings import BackupSettings

MADRID = ZoneInfo("Europe/Madrid")
SETTINGS = BackupSettings(enabled=True, full_day=0, hour=3, minute=0)
MONDAY = datetime(2026, 3, 2, 3, 0, 5, tzinfo=MADRID)
FULL, DIFFERENTIAL = Kind.FULL, Kind.DIFFERENTIAL


def full_of(made: datetime) -> Backup:
    """A good full backup."""
    return Backup(
        id=1, kind=FULL, name="", path=Path("/x"), state="COMPLETADO", made=made, size_bytes=1, error=None,
        seconds=None, tables=None, rows=None, md5=None, base_id=None, is_deleted=False, deleted=None, made_by=None,
        host="h", attempt="a", is_being_deleted=False, verified=None, verification_seconds=None,
        verification_error=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("made", "now", "kind"),
    [
        (None, MONDAY, FULL),
        (MONDAY, MONDAY + timedelta(days=1), DIFFERENTIAL),
        (MONDAY, MONDAY + timedelta(days=6), DIFFERENTIAL),
        (MONDAY, MONDAY + timedelta(days=7, minutes=-1), DIFFERENTIAL),
        (MONDAY, MONDAY + timedelta(days=7), FULL),
        (MONDAY, MONDAY + timedelta(days=8), FULL),
        (MONDAY + timedelta(days=1), MONDAY + timedelta(days=2), DIFFERENTIAL),
        (MONDAY - timedelta(hours=2), MONDAY, FULL),
        (datetime(2026, 3, 23, 3, 0, 1, tzinfo=MADRID), datetime(2026, 3, 30, 2, 59, tzinfo=MADRID), DIFFERENTIAL),
        (datetime(2026, 3, 23, 3, 0, 1, tzinfo=MADRID), datetime(2026, 3, 30, 3, 0, tzinfo=MADRID), FULL),
    ],
)
def test_a_full_one_is_due_once_its_day_has_come_since_the_last(
    made: datetime | None, now: datetime, kind: Kind
) -> None:
    base = None if made is None else full_of(made)
    assert choose(base, Wish(), SETTINGS, now, MADRID).kind is kind


def test_who_asks_for_a_kind_gets_it_where_it_can_be_made() -> None:
    late = MONDAY + timedelta(days=30)
    assert choose(full_of(MONDAY), Wish(FULL), SETTINGS, MONDAY, MADRID).kind is FULL
    assert choose(full_of(MONDAY), Wish(DIFFERENTIAL), SETTINGS, late, MADRID).kind is DIFFERENTIAL
    without = choose(None, Wish(DIFFERENTIAL), SETTINGS, late, MADRID)
    assert (without.kind, without.reason) == (FULL, "no hay ninguna completa buena en este equipo")
