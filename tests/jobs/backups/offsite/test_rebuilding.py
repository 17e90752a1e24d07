"""Rows written from what a provider has: only for the bytes that they are about, and complete in the end."""

from __future__ import annotations

import gzip
import hashlib
import json
from contextlib import closing
from datetime import UTC

from jobs.backups.files import description_name
from jobs.backups.offsite.copies import Copies
from jobs.backups.offsite.rebuilding import Rebuilt, found_copies, rebuild
from jobs.backups.offsite.sending import ABOUT, beginning_of
from providers import build_provider
from providers.sources import BytesSource
from tests.jobs.backups.desk import FULL_NAME, PREFIX, Desk
from tests.jobs.backups.keeping.test_keeping import OLD, deleted, make_old

DIFFERENTIAL = "backup_20260305_030000_DIFF.sql.gz"


def rebuilt(desk: Desk, number: int) -> list[Rebuilt]:
    """What `backup rebuild` does."""
    with closing(desk.delivery()) as delivery:
        stores = delivery.fetcher.stores
        found = found_copies(stores, number, desk.directory, UTC)
        return list(rebuild(found, number, stores.open(number).store, desk.records, Copies(desk.query), "yo"))


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
    desk.platform.sql("TRUNCATE janitor_backup_copies, janitor_backups, historial_backup")
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
