"""Dates that no run would write: of a clock that was ahead, or by hand."""

from __future__ import annotations

from datetime import UTC

import pytest

from config.text.times import Clock
from jobs.backups.choice import Wish, choose
from jobs.backups.keeping.summary import findings, summarize
from jobs.backups.listing import describe_backup, entry_of, statistics
from jobs.backups.records import Backup
from jobs.backups.result import Kind
from jobs.backups.settings import BackupSettings
from tests.jobs.backups.desk import Desk
from tests.jobs.backups.keeping.test_keeping import OLD, deleted, make_old


def date(desk: Desk, backup: Backup, when: str | None) -> None:
    """Give a backup another date."""
    desk.platform.sql(
        "UPDATE historial_backup SET fecha_creacion = %s::timestamptz WHERE id_backup = %s", when, backup.id
    )


def chosen(desk: Desk) -> Kind:
    """The kind that is due."""
    newest = desk.shelf().newest_full()
    return choose(newest, Wish(), BackupSettings(enabled=True), desk.records.now(), UTC).kind


def test_a_full_one_dated_ahead_does_not_count_as_the_last(desk: Desk) -> None:
    ahead = desk.make(OLD)
    date(desk, ahead, "2999-01-01")
    assert chosen(desk) is Kind.FULL  # it may be of any age
    real = desk.make()
    assert chosen(desk) is Kind.DIFFERENTIAL
    make_old(desk, real)
    assert chosen(desk) is Kind.FULL
    shelf = desk.shelf()
    newest = [shelf.newest_full(), shelf.newest(), shelf.newest_provable(has_key=False), summarize(shelf).full]
    assert [backup and backup.id for backup in newest] == [real.id] * 4
    told = [finding.text for finding in findings(shelf, desk.directory, 7, Clock(desk.records.now(), UTC))]
    assert any("aún no ha llegado" in text for text in told)
    assert any("hace más de una semana" in text for text in told)
    assert deleted(desk) == []  # the newest one whose date can be believed stays, too
    assert (
        statistics(shelf.backups, 90)["ultimo_backup_completo"] == entry_of(shelf.named(real.id), "")["fecha_creacion"]
    )


@pytest.mark.parametrize("when", ["infinity", "-infinity", "20000-01-01", "0044-03-15 BC", None])
def test_what_was_written_by_hand_stops_nothing(desk: Desk, near: int, when: str | None) -> None:
    odd = desk.make(OLD)
    desk.make()
    date(desk, odd, when)
    desk.platform.sql("UPDATE historial_backup SET fecha_eliminacion = fecha_creacion")
    assert desk.run() == []
    assert desk.stored() == [(1, near), (2, near)]
    assert deleted(desk) == ([OLD] if when in ("-infinity", "0044-03-15 BC") else [])
    clock = Clock(desk.records.now(), UTC)
    assert findings(desk.shelf(), desk.directory, 7, clock)
    entries = [entry_of(backup, "host-1") for backup in desk.records.all()]
    assert [OLD in describe_backup(entry, clock) for entry in entries] == [True, False]
