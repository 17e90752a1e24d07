"""What the database is told of backups: once, by who holds the job, and of its own rows only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from jobs.backups.files.hashes import Contents
from jobs.backups.keeping.recovery import close_cut_off
from jobs.backups.keeping.shelf import Shelf
from jobs.backups.records import FOLDER, Backup, Beginning, End, Records, readable_size
from jobs.backups.result import Kind
from jobs.context import LeaseLost
from sql.connection import Row
from tests.databases.platform_database import Platform

FIRST = Beginning("attempt-1", Kind.FULL, Path("/copias/backup_20260302_030000_FULL.sql.gz"))
END = End(FIRST.attempt, FIRST.kind, FIRST.path, Contents(1536, "m" * 32, "s" * 64), 3, 10, 1.5)


@pytest.fixture
def platform(initialized_database_url: str) -> Iterator[Platform]:
    with closing(Platform(initialized_database_url)) as platform:
        yield platform


def records_of(platform: Platform, token: int = 1) -> Records:
    """As a run has them that was given this fencing token."""
    database = platform.database()

    def query(name: str, parameters: Mapping[str, object]) -> list[Row]:
        return database.job_query(FOLDER, name, {"job": "backup", "fencing_token": token, **parameters})

    return Records(query, "host-1")


def hold(platform: Platform) -> None:
    """The job is taken up, with the fencing token 1."""
    platform.sql(
        "INSERT INTO janitor_jobs (job, host, run_id, held_by, fencing_token, tries, last_started_at) "
        "VALUES ('backup', '', 1, 'host-1', 1, 1, now())"
    )


def only(records: Records) -> Backup:
    (backup,) = records.all()
    return backup


def test_who_was_overtaken_begins_nothing(platform: Platform) -> None:
    hold(platform)
    overtaken = records_of(platform, token=0)
    with pytest.raises(LeaseLost):
        overtaken.begin(FIRST, "SCHEDULER")
    assert overtaken.all() == []


def test_what_is_sent_twice_is_done_once(platform: Platform) -> None:
    """Looked for in every statement of the job: an answer of the database may be lost."""
    hold(platform)
    records = records_of(platform)
    assert records.begin(FIRST, "SCHEDULER") == records.begin(FIRST, "SCHEDULER")
    for _ in range(2):
        records.finish(END, "hecho")
        records.fail(FIRST.attempt, FIRST.kind, "tarde")
        records.note_missing(only(records), "falta")
        records.note_deletion(only(records))
        records.finish_deletion(only(records))
    backup = only(records)
    assert (backup.state, backup.error, backup.size_bytes) == ("COMPLETADO", None, 1536)
    assert platform.value("SELECT tamanio_legible FROM historial_backup") == "1.50 KB"
    colours = platform.sql("SELECT semaforo FROM notificaciones ORDER BY id")
    assert [row["semaforo"] for row in colours] == ["VERDE", "AMARILLO"]


def test_a_whole_backup_is_good_even_if_another_run_has_closed_its_row(platform: Platform) -> None:
    hold(platform)
    records = records_of(platform)
    records.begin(FIRST, "SCHEDULER")
    records.fail(FIRST.attempt, FIRST.kind, "otra máquina")
    assert only(records).error == "otra máquina"
    records.finish(END, "hecho")
    assert (only(records).state, only(records).error) == ("COMPLETADO", None)


def test_a_failed_verification_takes_the_proof_back(platform: Platform) -> None:
    hold(platform)
    records = records_of(platform)
    records.begin(FIRST, "SCHEDULER")
    records.note_verified(only(records), 2.0)
    assert only(records).verified is not None
    records.note_verified(only(records), 2.0, "dañada")
    assert (only(records).verified, only(records).verification_error) == (None, "dañada")
    assert only(records).last_proof is not None


def test_a_host_that_slept_past_its_lease_changes_nothing_of_its_successors(platform: Platform) -> None:
    """It wakes right before it closes what killed runs left, or when its proof ends. Looked for in every statement of
    the job: all others write only what is of its own host, whose lock it holds, and what it has made itself.
    """
    hold(platform)
    asleep, successor = records_of(platform), records_of(platform, token=2)
    platform.sql("UPDATE janitor_jobs SET fencing_token = 2, held_by = 'host-2'")
    successor.begin(FIRST, "SCHEDULER")
    close_cut_off(Shelf(tuple(asleep.all()), "host-1"), asleep)
    assert only(successor).state == "EN_PROCESO"
    assert platform.sql("SELECT FROM notificaciones") == []
    successor.finish(END, "hecho")
    successor.note_verified(only(successor), 1.0, "dañada")
    asleep.note_verified(only(asleep), 2.0)
    assert only(successor).verification_error == "dañada"
    records_of(platform, token=0).note_verified(only(successor), 2.0)  # by hand
    assert only(successor).verification_error is None


@pytest.mark.parametrize(
    ("size_bytes", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KB"), (5 * 1024**4 * 1024, "5120.00 TB")]
)
def test_sizes_are_readable(size_bytes: int, text: str) -> None:
    assert readable_size(size_bytes) == text
