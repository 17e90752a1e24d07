"""Rows written from what a provider has: only for the bytes that they are about, and complete in the end."""

from __future__ import annotations

import gzip
import hashlib
import json
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs.backups.files.names import description_name
from jobs.backups.offsite.copies import Copies
from jobs.backups.offsite.rebuilding import Rebuilt, found_copies, rebuild
from jobs.backups.offsite.sending import ABOUT, beginning_of
from providers import build_provider
from providers.errors import AccessDenied, ObjectArchived
from providers.sources import BytesSource
from tests.faults.faulty_provider import Fault, FaultyProvider, fail
from tests.jobs.backups.desk import FULL_NAME, PREFIX, Desk, recipient_of
from tests.jobs.backups.keeping.test_keeping import OLD, deleted, make_old

DIFFERENTIAL = "backup_20260305_030000_DIFF.sql.gz"
FORGET = "TRUNCATE janitor_backup_copies, janitor_backups, historial_backup"


def rebuilt(desk: Desk, number: int) -> list[Rebuilt]:
    """What `backup rebuild` does."""
    with closing(desk.delivery()) as delivery:
        stores = delivery.fetcher.stores
        found = found_copies(stores, number, desk.directory, UTC)
        return list(rebuild(found.copies, number, stores.open(number).store, desk.records, Copies(desk.query), "yo"))


def put_theirs(desk: Desk, number: int, about: bytes = b"") -> None:
    """A whole backup of another installation, with our name."""
    content = gzip.compress(b"SELECT 2;\n" * 900, compresslevel=0)
    digest = hashlib.sha256(content).hexdigest()
    files = {
        description_name(FULL_NAME): b"{}",
        FULL_NAME: content,
        f"{FULL_NAME}.sha256": f"{digest}  {FULL_NAME}\n".encode() + about,
    }
    with closing(build_provider(desk.destinations[number].provider_row())) as provider:
        for name, part in files.items():
            provider.put(f"{PREFIX}/backups/{name}", BytesSource(part))


def test_a_backup_of_another_installation_with_this_name_is_no_copy_of_ours(desk: Desk, near: int) -> None:
    make_old(desk, desk.make(OLD))
    ours = desk.make()
    before = desk.platform.sql("SELECT * FROM historial_backup ORDER BY 1")
    put_theirs(desk, near)
    (done,) = rebuilt(desk, near)
    assert (done.row.backup_id, done.row.is_another) == (None, True)
    assert desk.stored() == []
    assert desk.platform.sql("SELECT * FROM historial_backup ORDER BY 1") == before
    ours.path.unlink()  # the old one is the last good full one now
    assert deleted(desk) == []


def test_a_row_without_a_hash_is_completed_only_while_nobody_finished_it(desk: Desk, near: int) -> None:
    desk.make()
    put_theirs(desk, near)
    desk.platform.sql("UPDATE janitor_backups SET sha256 = NULL")
    (done,) = rebuilt(desk, near)
    assert done.row.is_another  # the MD5 tells, too; nothing is known of theirs
    desk.platform.sql("UPDATE historial_backup SET hash_md5 = NULL, estado = 'EN_PROCESO'")
    (done,) = rebuilt(desk, near)
    assert done.row.is_new  # a restored database knows its own backup like this
    assert desk.stored() == [(1, near)]


def test_a_chain_at_two_providers_is_complete_in_either_order(desk: Desk, near: int, far: int) -> None:
    full = desk.make()
    desk.named = [far]
    assert desk.run() == []
    desk.make(DIFFERENTIAL, full.id)
    desk.named = [near]
    assert desk.run() == []
    with closing(build_provider(desk.destinations[near].provider_row())) as provider:
        for name in (f"{FULL_NAME}.sha256", FULL_NAME, description_name(FULL_NAME)):
            provider.delete(f"{PREFIX}/backups/{name}")
    desk.platform.sql(FORGET)
    assert [done.lacks_base for done in rebuilt(desk, near)] == [True]
    assert [done.lacks_base for done in rebuilt(desk, far)] == [False]
    assert [(done.lacks_base, done.row.is_new) for done in rebuilt(desk, near)] == [(False, False)]
    backups = {backup.name: backup for backup in desk.records.all()}
    assert backups[DIFFERENTIAL].base_id == backups[FULL_NAME].id
    assert backups[FULL_NAME].description_sha256 == full.description_sha256


def test_a_hash_file_that_contradicts_itself_makes_no_copy_of_ours(desk: Desk, near: int) -> None:
    """Its first hash is that of the bytes that are there, and the other one that of our backup."""
    old = desk.make(OLD)
    make_old(desk, old)
    ours = desk.make()
    put_theirs(desk, near, f"{ABOUT}{json.dumps({'sha256': ours.sha256})}\n".encode())
    assert rebuilt(desk, near) == []
    (failure,) = desk.run()
    assert "ya hay otra copia de seguridad con el nombre" in str(failure), "what is there is not replaced either"
    ours.path.unlink()
    assert deleted(desk) == [], "the old one is the last good one now"


def test_what_should_be_small_is_not_read_to_its_end(desk: Desk, near: int) -> None:
    """An object of any size could be there."""
    with closing(build_provider(desk.destinations[near].provider_row())) as provider:
        provider.put("large", BytesSource(bytes(8 * 1024 * 1024)))
        assert 10 < len(beginning_of(provider, "large", 10)) < 8 * 1024 * 1024


def test_a_hash_file_that_nobody_can_read_stops_no_other_copy(desk: Desk, near: int) -> None:
    desk.make()
    put_theirs(desk, near, ABOUT.encode() + b"[" * 60_000)
    (failure,) = desk.run()
    assert "ya hay otra copia de seguridad con el nombre" in str(failure)
    assert [done.copy.spot.name for done in rebuilt(desk, near)] == [FULL_NAME]


@pytest.mark.parametrize("made", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00"])
def test_an_instant_that_no_time_zone_can_show_is_not_believed(desk: Desk, near: int, made: str) -> None:
    put_theirs(desk, near, f"{ABOUT}{json.dumps({'made': made})}\n".encode())
    (done,) = rebuilt(desk, near)
    assert done.copy.backup.made == datetime(2026, 3, 2, 3, tzinfo=UTC)  # that of the name


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_a_size_that_cannot_be_is_not_believed(desk: Desk, near: int, identity: Path, *, is_encrypted: bool) -> None:
    """A command would ask for so much room in TMPDIR before it fetches anything."""
    backup = desk.make()
    assert desk.run([recipient_of(identity)] if is_encrypted else []) == []
    (path,) = (desk.destinations[near].directory / PREFIX / "backups").glob("*.sha256")
    path.write_text(path.read_text().replace(f'"size_bytes": {backup.size_bytes}', f'"size_bytes": {2**62}'))
    desk.platform.sql(FORGET)
    (done,) = rebuilt(desk, near)
    assert done.copy.backup.size_bytes == (None if is_encrypted else backup.size_bytes)


def test_a_name_with_an_impossible_time_and_an_object_that_cannot_be_read_hide_no_other_copy(
    desk: Desk, near: int
) -> None:
    desk.make()
    desk.make(OLD)
    assert desk.run() == []
    directory = desk.destinations[near].directory / PREFIX / "backups"
    impossible = "backup_20261301_000000_FULL.sql.gz"
    (directory / impossible).touch()
    (directory / f"{impossible}.sha256").write_text((directory / f"{OLD}.sha256").read_text())
    desk.platform.sql(FORGET)
    archived = Fault("open", fail(ObjectArchived("está archivado")), key=f"*{OLD}.sha256", calls=range(1, 99))
    desk.wraps[near] = lambda provider: FaultyProvider(provider, [archived])
    with closing(desk.delivery()) as delivery:
        copies, unread = found_copies(delivery.fetcher.stores, near, desk.directory, UTC)
    assert [copy.spot.name for copy in copies] == [FULL_NAME]
    assert unread == [f"{PREFIX}/backups/{OLD}.sha256: está archivado"]
    denied = Fault("open", fail(AccessDenied("no entra")), key=f"*{OLD}.sha256", calls=range(1, 99))
    desk.wraps[near] = lambda provider: FaultyProvider(provider, [denied])
    with closing(desk.delivery()) as delivery, pytest.raises(AccessDenied):
        found_copies(delivery.fetcher.stores, near, desk.directory, UTC)


def test_a_copy_whose_description_is_lost_is_found_and_comes_back_without_it(
    desk: Desk, near: int, far: int, tmp_path: Path
) -> None:
    """What restores is there. A provider that has all of it is asked first."""
    full = desk.make()
    assert desk.run() == []
    (desk.destinations[near].directory / PREFIX / "backups" / description_name(FULL_NAME)).unlink()
    here = desk.local()
    assert desk.fetch(full, tmp_path / "whole") == here
    del desk.destinations[far]
    desk.platform.sql(FORGET)
    (done,) = rebuilt(desk, near)
    assert done.copy.lacks_description
    found = desk.fetch(desk.shelf().named(done.row.backup_id or 0), tmp_path / "bare")
    assert found == {name: here[name] for name in (FULL_NAME, f"{FULL_NAME}.sha256")}
