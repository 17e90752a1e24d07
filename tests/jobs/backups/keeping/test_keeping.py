"""What keeps backups: deletions that must not happen, and files that are not what was recorded.

No PostgreSQL program is needed: files of backups are any gzip here.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import threading
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from jobs.backups.errors import DamagedBackup, DiskError
from jobs.backups.files.drafts import Draft
from jobs.backups.files.names import description_name
from jobs.backups.keeping.disposal import clean, delete, to_delete
from jobs.backups.keeping.shelf import Shelf
from jobs.backups.offsite.check import is_backup_directory
from jobs.backups.offsite.fetching import download_chain
from jobs.backups.records import Backup, Records
from jobs.backups.verification.using import download
from providers import build_provider
from providers.base import Provider
from providers.errors import AccessDenied
from providers.sources import BytesSource
from tests.destinations import local_destination
from tests.faults.faulty_provider import Fault, FaultyProvider, fail
from tests.jobs.backups.desk import FULL_NAME, PREFIX, Desk

DOCUMENT = Path(__file__).parents[4] / "docs/backups.md"
OLD = "backup_20260101_030000_FULL.sql.gz"
DAYS = 90


class ClockAhead(Records):
    """Those of a database whose clock says that much time has gone by."""

    def now(self) -> datetime:
        return super().now() + timedelta(days=300)


def make_old(desk: Desk, backup: Backup) -> None:
    """Let a backup be older than retention asks for."""
    desk.platform.sql(
        "UPDATE historial_backup SET fecha_creacion = now() - interval '200 days' WHERE id_backup = %s", backup.id
    )


def silent(provider: Provider) -> Provider:
    """A provider that lists nothing."""
    return FaultyProvider(provider, [Fault("list", fail(AccessDenied("no entra")), calls=range(1, 99))])


@pytest.mark.parametrize(
    ("path", "name"), [("apuntes.sql.gz", "apuntes.sql.gz"), (OLD, FULL_NAME), (f"{OLD}.txt", f"{OLD}.txt")]
)
def test_a_row_that_somebody_changed_to_name_another_file_deletes_none(desk: Desk, path: str, name: str) -> None:
    backup = desk.make()
    other = desk.directory / path
    other.write_text("of somebody else")
    before = desk.local()
    delete([replace(backup, path=other, name=name)], desk.records, lambda: None)
    assert desk.local() == before


def test_what_another_disk_changes_while_it_is_copied_gets_no_name_there(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = desk.make()
    true_write = Draft.write

    def write(draft: Draft, data: bytes) -> None:
        true_write(draft, data[:-1] + bytes([data[-1] ^ 1]))

    monkeypatch.setattr(Draft, "write", write)
    with pytest.raises(DamagedBackup, match=str(tmp_path / "other")):
        download([backup], tmp_path / "other", threading.Event())
    assert list((tmp_path / "other").iterdir()) == []


def deleted(desk: Desk) -> list[str]:
    """What retention lets go, as a run sees it."""
    with closing(desk.delivery()) as delivery:
        delivery.look(desk.shelf())
        shelf = Shelf(tuple(desk.records.all()), "host-1", delivery.places(), delivery.asked())
        return [backup.name for backup in to_delete(shelf, DAYS, desk.records.now())]


def test_what_a_silent_provider_may_have_is_deleted_nowhere(desk: Desk, near: int) -> None:
    make_old(desk, desk.make(OLD))
    desk.make()
    assert desk.run() == []
    assert to_delete(desk.shelf(), DAYS, desk.records.now()) == []  # nobody has asked
    desk.wraps[near] = silent
    assert deleted(desk) == []
    desk.wraps.clear()
    assert deleted(desk) == [OLD]
    desk.destinations.clear()  # the row of the provider is gone: nobody can ask it
    assert deleted(desk) == [OLD]


def cleaned(desk: Desk) -> list[str]:
    """What `backup clean` deletes."""
    with closing(desk.delivery()) as delivery:
        delivery.look(desk.shelf())
        shelf = Shelf(tuple(desk.records.all()), "host-1", delivery.places(), delivery.asked())
        gone = clean(shelf, desk.records, DAYS, threading.Event(), delivery.remove, dry_run=False)
        assert desk.shelf().missing() == []
        return [backup.name for backup in gone]


def test_a_deletion_begun_long_ago_is_judged_again(desk: Desk, tmp_path: Path) -> None:
    """Its run was killed before it removed anything."""
    old, newer = desk.make(OLD), desk.make()
    make_old(desk, old)
    desk.records.note_deletion(old)
    download(desk.shelf().chain(desk.shelf().named(old.id)), tmp_path / "used", threading.Event())
    away = newer.path.rename(tmp_path / "lost")
    with closing(desk.delivery()) as delivery:
        gone = clean(desk.shelf(), desk.records, DAYS, threading.Event(), delivery.remove, dry_run=False)
    assert gone == []
    assert old.path.exists()
    assert desk.shelf().named(old.id).is_good  # counts again
    away.rename(newer.path)
    assert cleaned(desk) == [OLD]


def test_a_deletion_that_was_refused_is_not_finished_where_it_is_the_last_copy(desk: Desk, near: int) -> None:
    old, newer = desk.make(OLD), desk.make()
    assert desk.run() == []
    make_old(desk, old)
    refusal = Fault("delete", fail(AccessDenied("retenido")), calls=range(1, 99))
    desk.wraps[near] = lambda provider: FaultyProvider(provider, [refusal])
    assert cleaned(desk) == []
    assert cleaned(desk) == []  # each run tries again
    desk.wraps.clear()
    content, newest = newer.path.read_bytes(), desk.remote(near)[FULL_NAME]
    newer.path.unlink()
    with closing(build_provider(desk.destinations[near].provider_row())) as provider:
        provider.delete(f"{PREFIX}/backups/{FULL_NAME}")
        with closing(desk.delivery()) as delivery:
            delivery.look(desk.shelf())
            shelf = Shelf(tuple(desk.records.all()), "host-1", delivery.places(), delivery.asked())
            assert clean(shelf, desk.records, DAYS, threading.Event(), delivery.remove, dry_run=False) == []
        assert OLD in desk.remote(near)
        provider.put(f"{PREFIX}/backups/{FULL_NAME}", BytesSource(newest))
    newer.path.write_bytes(content)
    assert cleaned(desk) == [OLD]
    assert OLD not in desk.remote(near)


def test_a_full_one_stays_as_long_as_a_provider_keeps_its_differential(desk: Desk, near: int) -> None:
    """Objects are retained by their age, and the differential is younger."""
    full = desk.make(OLD)
    make_old(desk, full)
    make_old(desk, desk.make("backup_20260102_030000_DIFF.sql.gz", full.id))
    desk.make()
    assert desk.run() == []
    before = desk.remote(near)
    retained = Fault("delete", fail(AccessDenied("retenido")), key="*_DIFF*", calls=range(1, 99))
    desk.wraps[near] = lambda provider: FaultyProvider(provider, [retained])
    assert cleaned(desk) == []
    assert desk.remote(near) == before
    assert full.path.exists()
    desk.wraps.clear()
    assert cleaned(desk) == ["backup_20260102_030000_DIFF.sql.gz", OLD]
    assert not any(name.startswith("backup_202601") for name in desk.remote(near))


def test_a_file_that_cannot_be_deleted_keeps_no_other_chain(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """It may be in an earlier BACKUP_PATH, which can only be read by now."""
    first, second = desk.make(OLD), desk.make("backup_20260102_030000_FULL.sql.gz")
    for backup in (first, second):
        make_old(desk, backup)
    desk.make()
    beside = first.path.with_name(description_name(OLD))
    beside.unlink()
    beside.mkdir()
    with caplog.at_level(logging.INFO, "janitor_daemon"), pytest.raises(DiskError):
        cleaned(desk)
    assert [backup.name for backup in desk.shelf().backups if backup.is_deleted] == [second.name]
    assert f"Copias de seguridad antiguas borradas: {second.name}" in caplog.messages
    beside.rmdir()
    assert cleaned(desk) == [OLD]


def test_a_full_one_with_a_differential_of_another_host_stays(desk: Desk) -> None:
    """After a rebuild its differential may be another host's."""
    full = desk.make(OLD)
    make_old(desk, full)
    differential = desk.make("backup_20260302_030000_DIFF.sql.gz", full.id)
    make_old(desk, differential)
    desk.platform.sql("UPDATE janitor_backups SET host = 'host-2' WHERE id_backup = %s", differential.id)
    desk.make("backup_20260303_030000_FULL.sql.gz")
    assert deleted(desk) == []
    desk.platform.sql("UPDATE historial_backup SET eliminado = true WHERE id_backup = %s", differential.id)
    assert deleted(desk) == [OLD]


def test_a_backup_of_which_a_proof_failed_lets_the_good_one_before_it_stay(desk: Desk) -> None:
    good, damaged = desk.make(OLD), desk.make()
    make_old(desk, good)
    assert deleted(desk) == [OLD]
    desk.records.note_verified(damaged, 1.0, "no se restaura")
    assert deleted(desk) == []


def test_age_is_judged_by_the_clock_of_the_database(desk: Desk) -> None:
    desk.make(OLD)
    desk.make()
    for records, names in ((desk.records, []), (ClockAhead(desk.query, "host-1"), [OLD])):
        gone = clean(desk.shelf(), records, DAYS, threading.Event(), dry_run=True)
        assert [backup.name for backup in gone] == names


def test_a_file_that_two_rows_name_is_left_to_the_one_that_stays(desk: Desk, near: int) -> None:
    desk.make(OLD)
    desk.make()
    assert desk.run() == []
    before, at_provider = desk.local(), desk.remote(near)
    desk.platform.sql(
        "UPDATE historial_backup SET (nombre_archivo, ruta_archivo) = "
        "(SELECT nombre_archivo, ruta_archivo FROM historial_backup WHERE id_backup = 2) WHERE id_backup = 1"
    )
    desk.platform.sql(
        "UPDATE janitor_backup_copies SET key = (SELECT key FROM janitor_backup_copies WHERE id_backup = 2)"
    )
    with closing(desk.delivery()) as delivery:
        delete([desk.shelf().named(1)], desk.records, lambda: None, delivery.remove)
    assert (desk.local(), desk.remote(near)) == (before, at_provider)
    assert desk.shelf().named(1).is_deleted
    assert desk.shelf().named(2).is_good
    with closing(desk.delivery()) as delivery:
        delete([desk.shelf().named(2)], desk.records, lambda: None, delivery.remove)
    assert {*desk.local(), *desk.remote(near)} == {OLD, f"{OLD}.sha256", description_name(OLD)}


def test_a_file_with_the_hash_of_another_backup_beside_it_is_not_deleted(desk: Desk) -> None:
    backup = desk.make()
    swap(backup, b"another")
    before = desk.local()
    delete([backup], desk.records, lambda: None)
    assert desk.local() == before


def swap(backup: Backup, content: bytes) -> None:
    """Put something else in the place of a backup, with its right hash beside it."""
    backup.path.write_bytes(content)
    hashed = hashlib.sha256(content).hexdigest()
    backup.path.with_name(f"{backup.name}.sha256").write_text(f"{hashed}  {backup.name}\n")


@pytest.mark.parametrize("forgotten", ["", "UPDATE janitor_backups SET sha256 = NULL"])
def test_a_backup_with_another_hash_than_recorded_is_never_handed_out(
    desk: Desk, tmp_path: Path, forgotten: str
) -> None:
    """Also where only the hash of the platform's own column is known."""
    backup = desk.make()
    if forgotten:
        desk.platform.sql(forgotten)
    known = desk.shelf().named(backup.id)
    assert download([known], tmp_path / "as it was", threading.Event())
    swap(backup, backup.path.read_bytes()[::-1])
    with pytest.raises(DamagedBackup, match="consta en la base de datos"):
        download([known], tmp_path / "swapped", threading.Event())


def test_a_download_that_is_repeated_finds_everything_there(desk: Desk, near: int, tmp_path: Path) -> None:
    """From the disk and from a provider; what is there and differs is nobody's to replace."""
    backup, away = desk.make(), tmp_path / "fuera"
    assert desk.run() == []
    for is_here in (True, False):
        with closing(desk.delivery()) as delivery:
            order = partial(
                download_chain, desk.shelf(), backup, delivery.fetcher, desk.records, away,
                lambda part: download([part], away, threading.Event()),
            )  # fmt: skip
            first = order()
            written = {path.name: path.stat().st_mtime_ns for path in first}
            assert order() == first
            assert {path.name: path.stat().st_mtime_ns for path in away.iterdir()} == written
            (away / backup.name).write_bytes(b"something else")
            with pytest.raises(DiskError, match="ya existe"):
                order()
        shutil.rmtree(away)
        if is_here:
            backup.path.unlink()
    assert desk.stored() == [(backup.id, near)]


@pytest.mark.parametrize("link", [False, True])
def test_the_directory_of_the_backups_is_no_second_place(desk: Desk, tmp_path: Path, *, link: bool) -> None:
    number = desk.add(local_destination("nas", tmp_path / "nas"))
    inside = tmp_path / "nas" / PREFIX
    inside.mkdir(parents=True)
    if link:
        (inside / "backups").mkdir()
        desk.directory.rmdir()
        desk.directory.symlink_to(inside / "backups")
    else:
        desk.directory = inside / "backups"
        desk.directory.mkdir()
    desk.make()
    before = desk.local()
    (failure,) = desk.run()
    assert "BACKUP_PATH" in failure
    assert (desk.local(), desk.stored()) == (before, [])
    with closing(desk.delivery()) as delivery:
        assert is_backup_directory(delivery.fetcher.stores, number, desk.directory)


def test_backups_are_taken_along_to_another_directory_as_the_documents_say(desk: Desk, tmp_path: Path) -> None:
    old, new = desk.directory, tmp_path / "new"
    full = desk.make()
    desk.make("backup_20260303_030000_DIFF.sql.gz", full.id)
    old.rename(new)
    assert len(desk.shelf().missing()) == 2
    (statement,) = re.findall(r"(?s)```sql\n(UPDATE historial_backup SET ruta_archivo.*?)```", DOCUMENT.read_text())
    for name, meant in (("/new", str(new)), ("/old", str(old)), ("HOST", "host-1")):
        statement = statement.replace(f"'{name}", f"'{meant}")
    desk.platform.sql(statement)
    assert desk.shelf().missing() == []
    assert desk.shelf().newest_full() == replace(full, path=new / full.name)
