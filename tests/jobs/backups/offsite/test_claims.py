"""What is replaced and removed at a provider: only what this installation stored, and nothing before it is proven."""

from __future__ import annotations

import gzip
import hashlib
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.backups.files.names import description_name
from jobs.backups.offsite.copies import spot_of
from jobs.backups.offsite.sending import Sender, parcel_of
from jobs.backups.records import Backup
from providers import build_provider
from providers.errors import IntegrityError, ProviderUnavailable
from providers.sources import BytesSource
from tests.faults.faulty_provider import Fault, FaultyProvider, fail, flip_bit, given_up
from tests.jobs.backups.desk import FULL_NAME, PREFIX, Desk, recipient_of

BESIDE = description_name(FULL_NAME)
HASH = f"{FULL_NAME}.sha256"
FAULT = given_up(ProviderUnavailable("no responde"))


def put(desk: Desk, number: int, **contents: bytes) -> None:
    """Store objects of another hand; their names by the keywords `file`, `beside`, `hash`."""
    names = {"file": FULL_NAME, "beside": BESIDE, "hash": HASH}
    with closing(build_provider(desk.destinations[number].provider_row())) as provider:
        for kind, content in contents.items():
            provider.put(f"{PREFIX}/backups/{names[kind]}", BytesSource(content))


def remove(desk: Desk, number: int, name: str) -> None:
    """Take an object away."""
    with closing(build_provider(desk.destinations[number].provider_row())) as provider:
        provider.delete(f"{PREFIX}/backups/{name}")


def theirs_of(ours: Backup, directory: Path) -> Backup:
    """Another installation's backup of the same second."""
    directory.mkdir()
    path, content = directory / FULL_NAME, gzip.compress(b"SELECT 2;\n" * 900, compresslevel=0)
    path.write_bytes(content)
    path.with_name(BESIDE).write_bytes(b'{"database": "other"}\n')
    digest = hashlib.sha256(content).hexdigest()
    return replace(ours, path=path, size_bytes=len(content), sha256=digest, description_sha256=None)


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_what_another_installation_stored_after_a_failed_try_stays(
    desk: Desk, near: int, identity: Path, *, is_encrypted: bool
) -> None:
    recipients = [recipient_of(identity)] if is_encrypted else []
    ending = ".age" if is_encrypted else ""
    desk.make()
    failing = Fault("put", fail(FAULT), key="*.gz*", calls=range(1, 99))
    desk.wraps[near] = lambda provider: FaultyProvider(provider, [failing])
    assert desk.run(recipients) != []
    desk.wraps.clear()
    with closing(build_provider(desk.destinations[near].provider_row())) as provider:
        provider.put(f"{PREFIX}/backups/{FULL_NAME}{ending}", BytesSource(b"theirs"))
    before = desk.remote(near)
    (failure,) = desk.run(recipients)
    assert "de otra instalación" in failure
    with closing(desk.delivery()) as delivery:
        delivery.remove(desk.shelf().named(1))
    assert desk.remote(near) == before
    remove(desk, near, f"{FULL_NAME}{ending}")
    desk.platform.sql("UPDATE janitor_backup_copies SET deleted_at = NULL")
    assert desk.run(recipients) == []
    assert desk.stored() == [(1, near)]


def test_of_two_installations_at_once_the_second_replaces_nothing(desk: Desk, near: int, tmp_path: Path) -> None:
    ours, stop = desk.make(), threading.Event()
    theirs = theirs_of(ours, tmp_path / "theirs")
    spot = spot_of(PREFIX, FULL_NAME, is_encrypted=False)
    with closing(build_provider(desk.destinations[near].provider_row())) as provider:
        sender = Sender(provider, stop)
        with parcel_of(ours, None, (), stop) as first, parcel_of(theirs, None, (), stop) as second:
            seen = [sender.claim(parcel, spot, ()) for parcel in (first, second)]
            sender.send(first, spot, seen[0])
            with pytest.raises(IntegrityError):
                sender.send(second, spot, seen[1])
    remote = desk.remote(near)
    assert (remote[FULL_NAME], remote[BESIDE]) == (desk.local()[FULL_NAME], desk.local()[BESIDE])


def test_a_description_that_another_installation_stores_first_stays(desk: Desk, near: int) -> None:
    desk.make()
    put(desk, near, beside=b"theirs")
    (failure,) = desk.run()
    assert "de otra instalación" in failure
    assert desk.remote(near) == {BESIDE: b"theirs"}


def test_what_another_installation_stored_in_our_place_is_not_removed(desk: Desk, near: int) -> None:
    backup = desk.make()
    assert desk.run() == []
    put(desk, near, file=b"theirs", beside=b"theirs", hash=b"0" * 64 + b"  x\n")
    with closing(desk.delivery()) as delivery:
        assert delivery.remove(backup)
        assert any("otra instalación" in text for _, text in desk.said)
    assert desk.remote(near)[FULL_NAME] == b"theirs"


def test_what_another_installation_stored_in_place_of_the_plain_copy_stays_when_encryption_begins(
    desk: Desk, near: int, identity: Path
) -> None:
    desk.make()
    assert desk.run() == []
    put(desk, near, file=b"theirs", beside=b"theirs", hash=b"0" * 64 + b"  x\n")
    assert desk.run([recipient_of(identity)]) == []
    assert desk.stored() == [(1, near)]
    remote = desk.remote(near)
    assert (remote[FULL_NAME], remote[BESIDE]) == (b"theirs", b"theirs")


def test_a_good_copy_is_not_removed_before_its_successor_is_proven(
    desk: Desk, near: int, identity: Path, tmp_path: Path
) -> None:
    """The keys were taken out of the settings, and the copy is not complete any more."""
    backup = desk.make()
    assert desk.run([recipient_of(identity)]) == []
    remove(desk, near, f"{FULL_NAME}.age.sha256")
    good, whole = desk.remote(near)[f"{FULL_NAME}.age"], backup.path.read_bytes()
    backup.path.write_bytes(flip_bit(whole))
    (failure,) = desk.run()
    assert "está dañado" in failure
    assert desk.remote(near)[f"{FULL_NAME}.age"] == good
    assert desk.fetch(backup, tmp_path / "fetched", identity)[FULL_NAME] == whole
    backup.path.write_bytes(whole)
    assert desk.run() == []
    assert desk.remote(near).keys() == {FULL_NAME, BESIDE, HASH}
