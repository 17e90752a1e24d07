"""Copies at providers, without PostgreSQL's programs: what is stored, proven, refused, repaired and removed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pyrage
import pytest

from config.errors import ConfigurationError, MigrationError
from config.models import Evidence
from jobs.backups.choice import Costs
from jobs.backups.errors import DiskError
from jobs.backups.files.drafts import Draft
from jobs.backups.keeping.disposal import delete, half_deleted
from jobs.backups.offsite.copies import Copies
from jobs.backups.offsite.encryption import identities_in, require_recipients
from jobs.backups.offsite.fetching import BackupLost, NotFetched, fetched
from jobs.backups.offsite.opening import Opened
from jobs.backups.verification.using import download
from jobs.context import LeaseLost
from providers import build_provider
from providers.base import Provider, RecordedCopy
from providers.errors import AccessDenied, ProviderUnavailable, StorageFull
from providers.sources import BytesSource
from storage.lease import Lease, LeasedProvider
from tests.destinations import Destination, local_destination
from tests.disks.small_disk import mounted_small_disk
from tests.faults.faulty_provider import Call, Fault, FaultyProvider, fail, flip_bit, given_up, store
from tests.jobs.backups.desk import FULL_NAME, PREFIX, Desk, recipient_of
from tests.servers.base import S3Server

KINDS = ("s3-moto", "minio-rclone", "azure", "gcs", "sftp-openssh", "local")
AGE_HEADER = b"age-encryption.org/v1\n"


class Killed(BaseException):
    """The process dies here."""


def decrypted(content: bytes, identity: Path) -> bytes:
    """By the library alone."""
    key = pyrage.x25519.Identity.from_str(identity.read_text().splitlines()[2])
    found: bytes = pyrage.decrypt(content, [key])
    return found


def hash_line(content: bytes) -> bytes:
    """What `sha256sum` reads."""
    return content.splitlines()[0]


# Every kind of provider


@pytest.mark.parametrize("kind", KINDS)
def test_a_proven_copy_goes_to_each_kind_of_provider_and_comes_back(
    desk: Desk, new_destination: Callable[[str], Destination], tmp_path: Path, identity: Path, kind: str
) -> None:
    number = desk.add(new_destination(kind))
    backup = desk.make()
    here = desk.local()
    assert desk.run() == []
    there = desk.remote(number)
    assert there.keys() == here.keys()
    assert all(there[name] == here[name] for name in here if not name.endswith(".sha256"))
    assert hash_line(there[f"{FULL_NAME}.sha256"]) == hash_line(here[f"{FULL_NAME}.sha256"])
    (copy,) = desk.platform.sql("SELECT * FROM janitor_backup_copies")
    assert copy["evidence"] in set(map(str, Evidence))
    assert (copy["sha256"], copy["size_bytes"]) == (hashlib.sha256(here[FULL_NAME]).hexdigest(), backup.size_bytes)
    assert desk.fetch(backup, tmp_path / "fetched") == here
    # From now on encrypted: what is there in plain is replaced.
    desk.platform.sql("UPDATE janitor_backup_copies SET stored_at = NULL")
    assert desk.run([recipient_of(identity)]) == []
    hidden = desk.remote(number)
    stem = FULL_NAME.removesuffix(".sql.gz")
    assert hidden.keys() == {f"{FULL_NAME}.age", f"{FULL_NAME}.age.sha256", f"{stem}.json.age"}
    for name in (f"{FULL_NAME}.age", f"{stem}.json.age"):
        assert hidden[name].startswith(AGE_HEADER)
        assert decrypted(hidden[name], identity) == here[name.removesuffix(".age")]
    digest = hashlib.sha256(hidden[f"{FULL_NAME}.age"]).hexdigest()
    assert hash_line(hidden[f"{FULL_NAME}.age.sha256"]) == f"{digest}  {FULL_NAME}.age".encode()
    assert desk.fetch(backup, tmp_path / "decrypted", identity) == here
    with closing(desk.delivery()) as delivery:
        assert delivery.remove(backup)
    assert (desk.remote(number), desk.stored()) == ({}, [])


def test_nothing_is_sent_twice_and_one_listing_shows_it(desk: Desk, near: int) -> None:
    desk.make()
    assert desk.run() == []
    watched: list[FaultyProvider] = []

    def watch(provider: Provider) -> Provider:
        watched.append(FaultyProvider(provider))
        return watched[-1]

    desk.wraps[near] = watch
    assert desk.run() == []
    assert [method for method, _ in watched[0].calls] == ["list"]


# Kills


def requests_until_done(desk: Desk, number: int, kill_at: int, *, is_after: bool) -> bool:
    """Run, and die before or after the request or statement of a number; False if the run came to its end."""
    left = [kill_at]

    def step(proceed: Callable[[], Any]) -> Any:
        left[0] -= 1
        if left[0] == 0 and not is_after:
            raise Killed
        try:
            return proceed()
        finally:
            if left[0] == 0:
                raise Killed

    class Dying(FaultyProvider):
        def _call(self, method: str, *arguments: Any) -> Any:
            return step(lambda: Call(self.provider, method, arguments).proceed())

    desk.wraps[number] = Dying
    desk.before_statement = lambda _name: step(lambda: None)
    try:
        assert desk.run(desk.recipients) == []
    except Killed:
        return True
    finally:
        desk.wraps.clear()
        desk.before_statement = lambda _name: None
    return False


@pytest.mark.parametrize(("is_after", "is_encrypted"), [(False, False), (True, True)])
def test_killed_at_any_step_no_half_copy_counts_and_the_next_run_finishes(
    desk: Desk, near: int, identity: Path, tmp_path: Path, *, is_after: bool, is_encrypted: bool
) -> None:
    desk.recipients = [recipient_of(identity)] if is_encrypted else []
    backup = desk.make()
    here = desk.local()
    kills = 0
    while requests_until_done(desk, near, kills + 1, is_after=is_after):
        kills += 1
        for _ in desk.stored():  # what counts can be had
            assert desk.fetch(backup, tmp_path / f"{kills}", identity) == here
        for name in list(desk.local().keys() - here.keys()):
            (desk.directory / name).unlink()  # as the next run does
        assert desk.run(desk.recipients) == []
        assert desk.fetch(backup, tmp_path / f"after_{kills}", identity) == here
        with closing(desk.delivery()) as delivery:
            assert delivery.remove(backup)
        assert desk.remote(near) == {}
        desk.platform.sql("DELETE FROM janitor_backup_copies")
    assert kills > 10


def test_what_a_killed_run_had_begun_to_upload_is_discarded(
    desk: Desk, new_destination: Callable[[str], Destination]
) -> None:
    destination = new_destination("s3-moto")
    desk.add(destination)
    desk.make()
    assert desk.run() == []
    assert isinstance(destination.server, S3Server)
    for key in (f"{PREFIX}/backups/{FULL_NAME}", f"{PREFIX}/backups/other"):
        destination.server.client.create_multipart_upload(Bucket=destination.options["bucket"], Key=key)
    desk.platform.sql("UPDATE janitor_backup_copies SET stored_at = NULL")
    assert desk.run() == []
    unfinished = {key for key in destination.everything_stored() if key.endswith("(unfinished)")}
    assert unfinished == {f"{PREFIX}/backups/other (unfinished)"}  # not ours


# Failures

FULL_DISK = StorageFull("no queda espacio")
DENIED = AccessDenied("las credenciales no sirven")
DOWN = given_up(ProviderUnavailable("no responde"))


@pytest.mark.parametrize(
    ("method", "error"), [("put", FULL_DISK), ("put", DENIED), ("put", DOWN), ("list", DENIED), ("stat", DOWN)]
)
def test_a_provider_that_fails_is_named_stops_no_other_and_is_tried_again(
    desk: Desk, near: int, far: int, error: MigrationError, method: str
) -> None:
    backups = [desk.make(), desk.make("backup_20260303_030000_FULL.sql.gz")]
    before = desk.platform.sql("SELECT * FROM historial_backup")
    desk.wraps[near] = lambda provider: FaultyProvider(provider, [Fault(method, fail(error), calls=range(1, 99))])
    failures = desk.run()
    assert failures
    assert all(f"p{near}" in failure and str(error) in failure for failure in failures)
    assert desk.stored() == [(backup.id, far) for backup in backups]
    assert desk.platform.sql("SELECT * FROM historial_backup") == before
    desk.wraps.clear()
    assert desk.run() == []
    assert desk.stored() == [(backup.id, number) for backup in backups for number in (near, far)]


def test_wrong_credentials_are_reported_without_them_and_no_backup_is_marked_bad(
    desk: Desk, new_destination: Callable[[str], Destination]
) -> None:
    desk.make()
    number = desk.add(new_destination("minio-rclone").with_credentials(secret_key="mal-secreto-7766"))
    (failure,) = desk.run()
    assert f"p{number}" in failure
    assert "mal-secreto-7766" not in failure
    assert desk.platform.value("SELECT estado FROM historial_backup") == "COMPLETADO"
    assert desk.stored() == []


def test_a_full_provider_leaves_nothing_that_looks_whole_and_gets_its_copy_once_there_is_room(
    desk: Desk, near: int
) -> None:
    backup = desk.make(content=os.urandom(4096))
    (desk.destinations[near].directory / "sage").mkdir()
    with mounted_small_disk(desk.destinations[near].directory / "sage", 1024 * 1024):
        (failure,) = desk.run()
        assert "espacio" in failure
        assert not any(name.endswith((".gz", ".sha256")) for name in desk.remote(near))
    assert desk.run() == []
    assert desk.stored() == [(backup.id, near)]


def test_wrong_bytes_at_the_provider_are_no_copy(desk: Desk, near: int) -> None:
    backup = desk.make()
    damage = Fault("put", store(flip_bit), key="*.gz")
    desk.wraps[near] = lambda provider: FaultyProvider(provider, [damage])
    (failure,) = desk.run()
    assert "no es lo que se envió" in failure
    assert desk.stored() == []
    desk.wraps.clear()
    assert desk.run() == []
    assert desk.stored() == [(backup.id, near)]
    assert desk.remote(near)[FULL_NAME] == desk.local()[FULL_NAME]


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_a_backup_that_is_damaged_on_the_disk_is_sent_nowhere(
    desk: Desk, near: int, far: int, identity: Path, *, is_encrypted: bool
) -> None:
    backup = desk.make()
    backup.path.write_bytes(flip_bit(backup.path.read_bytes()))
    (failure,) = desk.run([recipient_of(identity)] if is_encrypted else [])
    assert "dañado en el disco" in failure
    assert desk.stored() == []
    assert not any(name.endswith((".gz", ".sha256")) for number in (near, far) for name in desk.remote(number))


def test_a_file_of_another_installation_with_the_same_name_is_not_touched(desk: Desk, near: int) -> None:
    desk.make()
    with closing(build_provider(desk.destinations[near].provider_row())) as provider:
        provider.put(f"{PREFIX}/backups/{FULL_NAME}", BytesSource(b"theirs"))
    (failure,) = desk.run()
    assert "de otra instalación" in failure
    assert desk.remote(near) == {FULL_NAME: b"theirs"}
    with closing(desk.delivery()) as delivery:
        assert delivery.remove(desk.shelf().named(1))
    assert desk.remote(near) == {FULL_NAME: b"theirs"}


def test_what_was_sent_before_the_database_was_restored_is_taken_for_its_own(
    desk: Desk, near: int, identity: Path
) -> None:
    desk.make()
    recipients = [recipient_of(identity)]
    assert desk.run(recipients) == []
    desk.platform.sql("DELETE FROM janitor_backup_copies")
    assert desk.run(recipients) == []
    assert desk.stored() == [(1, near)]


def test_what_is_gone_is_reported_once_and_sent_again(desk: Desk, near: int) -> None:
    backup = desk.make()
    assert desk.run() == []
    with closing(build_provider(desk.destinations[near].provider_row())) as provider:
        provider.delete(f"{PREFIX}/backups/{FULL_NAME}")
    assert desk.run() == []
    assert [event for event, _ in desk.said].count("backup_copy_missing") == 1
    assert desk.remote(near)[FULL_NAME] == desk.local()[FULL_NAME]
    titles = desk.platform.sql("SELECT titulo FROM notificaciones WHERE semaforo = 'AMARILLO'")
    assert [row["titulo"] for row in titles] == ["⚠️ Falta en un proveedor un Backup COMPLETO"]
    backup.path.unlink()
    with closing(build_provider(desk.destinations[near].provider_row())) as provider:
        provider.delete(f"{PREFIX}/backups/{FULL_NAME}.sha256")
    for _ in range(2):
        assert desk.run() == []
    assert len(desk.platform.sql("SELECT id FROM notificaciones WHERE semaforo = 'AMARILLO'")) == 2


def test_a_disk_that_is_not_mounted_is_silent_and_not_without_copies(desk: Desk, near: int, tmp_path: Path) -> None:
    """Its mount point is there, and empty: nothing is told gone, deleted for it or stored below it."""
    old, new = desk.make(), desk.make("backup_20260702_030000_FULL.sql.gz")
    assert desk.run() == []
    old.path.unlink()
    directory = desk.destinations[near].directory
    directory.rename(tmp_path / "not mounted")
    directory.mkdir()
    with closing(desk.delivery()) as delivery:
        delivery.look(desk.shelf())
        assert (delivery.places(), delivery.asked()) == ({}, frozenset())
    (failure,) = desk.run()
    assert "constan copias en su directorio, que está vacío: monte su disco" in failure
    assert list(directory.iterdir()) == []
    assert desk.platform.sql("SELECT id FROM notificaciones WHERE semaforo = 'AMARILLO'") == []
    with pytest.raises(NotFetched, match="monte su disco") as told:
        desk.fetch(new, tmp_path / "fetched")
    assert not isinstance(told.value, BackupLost)
    (directory / "another disk").touch()
    assert desk.run() == []
    assert desk.stored() == [(old.id, near), (new.id, near)]
    assert new.name in desk.remote(near)
    missing = desk.platform.sql("SELECT id_backup FROM janitor_backup_copies WHERE missing_since IS NOT NULL")
    assert [row["id_backup"] for row in missing] == [old.id]


def test_the_first_copy_does_not_go_below_a_mount_point_where_executions_are_missing(desk: Desk, near: int) -> None:
    """What else is recorded in that directory tells, while no backup is."""

    def with_executions(provider: Provider) -> Provider:
        provider.recorded = lambda _most: [RecordedCopy("e/uno.manifest.json", "e/uno/")]
        return provider

    desk.wraps[near] = with_executions
    desk.make()
    (failure,) = desk.run()
    assert "está vacío, aunque consta 1 copia en él: ¿está montado?" in failure
    assert list(desk.destinations[near].directory.iterdir()) == []


def test_after_a_change_of_the_prefix_what_is_there_counts_and_new_ones_go_to_the_new_place(
    desk: Desk, near: int
) -> None:
    desk.make()
    assert desk.run() == []
    desk.prefix = "otro"
    desk.make("backup_20260303_030000_FULL.sql.gz")
    assert desk.run() == []
    assert [event for event, _ in desk.said] == ["backup_copied", "backup_copied"]
    keys = desk.platform.sql("SELECT key FROM janitor_backup_copies ORDER BY id_backup")
    assert [row["key"].rpartition("/")[0] for row in keys] == [f"{PREFIX}/backups", "otro/backups"]


def test_a_row_that_leads_elsewhere_by_now_says_nothing_of_what_was_stored(
    desk: Desk, near: int, tmp_path: Path
) -> None:
    """The same is there, as somebody took it along, and it is not ours to delete."""
    backup = desk.make()
    assert desk.run() == []
    moved = local_destination("moved", tmp_path / "moved")
    shutil.copytree(desk.destinations[near].directory, moved.directory, dirs_exist_ok=True)
    desk.destinations[near] = moved
    before = desk.remote(near)
    with pytest.raises(NotFetched, match="su fila señala ahora a otro sitio"):
        desk.fetch(backup, tmp_path / "fetched")
    with closing(desk.delivery()) as delivery:
        delivery.look(desk.shelf())
        assert (delivery.places(), delivery.asked()) == ({}, frozenset((near,)))
        assert delivery.remove(backup)
    assert any("su fila señala ahora a otro sitio" in text for _, text in desk.said)
    assert desk.remote(near) == before


def test_a_provider_that_is_no_longer_wanted_and_does_not_answer_is_no_failure(desk: Desk, near: int, far: int) -> None:
    desk.make()
    assert desk.run() == []
    desk.named = (far,)
    desk.wraps[near] = lambda provider: FaultyProvider(
        provider, [Fault("list", fail(AccessDenied("no entra")), calls=range(1, 99))]
    )
    assert desk.run() == []
    assert "backup_copies_unseen" in [event for event, _ in desk.said]


def test_a_run_that_was_overtaken_sends_nothing(desk: Desk, near: int) -> None:
    desk.make()
    desk.token = 0
    with pytest.raises(LeaseLost):
        desk.run()
    assert desk.remote(near) == {}


def test_a_run_that_is_overtaken_meanwhile_stops_sending(desk: Desk, near: int) -> None:
    desk.make()
    desk.wraps[near] = lambda provider: LeasedProvider(provider, Lease(lambda: None))
    with pytest.raises(LeaseLost):
        desk.run()
    assert (desk.remote(near), desk.stored()) == ({}, [])


def test_an_unknown_provider_is_a_failure_and_the_others_get_their_copies(desk: Desk, near: int) -> None:
    desk.make()
    desk.named = (near, "nube-vieja")
    (failure,) = desk.run()
    assert "nube-vieja" in failure
    assert desk.stored() == [(1, near)]


def test_rows_that_cannot_be_read_are_a_failure_of_the_copies_alone(desk: Desk, near: int) -> None:
    backup = desk.make()
    assert desk.run() == []
    desk.are_rows_unreadable = True
    (failure,) = desk.run()
    assert "no se puede leer cloud_providers" in failure
    with closing(desk.delivery()) as delivery:
        assert delivery.is_lacking(backup)
        assert not delivery.remove(backup)
        with fetched(
            desk.shelf(), backup, delivery.fetcher, desk.records
        ) as shelf:  # what is on the disk needs no provider
            assert shelf.chain(backup) == [backup]
    assert desk.stored() == [(backup.id, near)]


# Fetching


def test_what_was_changed_at_the_provider_is_never_handed_out(desk: Desk, near: int, tmp_path: Path) -> None:
    backup = desk.make()
    desk.run()
    path = desk.destinations[near].directory / PREFIX / "backups" / FULL_NAME
    path.write_bytes(flip_bit(path.read_bytes()))
    with pytest.raises(NotFetched, match="su hash es otro"):
        desk.fetch(backup, tmp_path / "fetched")
    assert list((tmp_path / "fetched").iterdir()) == []


def test_what_others_encrypted_is_never_handed_out(desk: Desk, near: int, identity: Path, tmp_path: Path) -> None:
    """Anybody can encrypt for a public key; a database that was rebuilt does not know the hash of what is inside."""
    backup = desk.make()
    desk.run([recipient_of(identity)])
    desk.platform.sql("UPDATE janitor_backups SET sha256 = NULL")
    path = desk.destinations[near].directory / PREFIX / "backups" / f"{FULL_NAME}.age"
    key = pyrage.x25519.Recipient.from_str(recipient_of(identity))
    path.write_bytes(pyrage.encrypt(bytes(backup.size_bytes or 0), [key]))
    with pytest.raises(NotFetched, match="su hash es otro"):
        desk.fetch(desk.shelf().named(backup.id), tmp_path / "fetched", identity)


def test_a_deletion_that_a_provider_did_not_do_is_finished_later(desk: Desk, near: int) -> None:
    backup = desk.make()
    desk.run()
    refusal = Fault("delete", fail(AccessDenied("no se puede borrar")), calls=range(1, 99))
    desk.wraps[near] = lambda provider: FaultyProvider(provider, [refusal])
    for wraps, left in (({near: desk.wraps[near]}, 3), ({}, 0)):
        desk.wraps = dict(wraps)
        with closing(desk.delivery()) as delivery:
            assert half_deleted(desk.shelf()) == ([] if left else [desk.shelf().named(backup.id)])
            gone = delete([desk.shelf().named(backup.id)], desk.records, lambda: None, delivery.remove)
            assert bool(delivery.failures) == bool(left)
            assert [item.id for item in gone] == ([] if left else [backup.id])
        assert desk.shelf().named(backup.id).is_deleted == (not left)
        assert len(desk.remote(near)) == left
    assert desk.stored() == []


def test_the_second_provider_gives_what_the_first_cannot(desk: Desk, near: int, far: int, tmp_path: Path) -> None:
    backup = desk.make()
    desk.run()
    here = desk.local()
    desk.wraps[near] = lambda provider: FaultyProvider(
        provider, [Fault("open", fail(AccessDenied("no se puede leer")), calls=range(1, 99))]
    )
    assert desk.fetch(backup, tmp_path / "fetched") == here


def test_without_the_key_what_is_encrypted_stays_so(desk: Desk, near: int, identity: Path, tmp_path: Path) -> None:
    backup = desk.make()
    desk.run([recipient_of(identity)])
    with pytest.raises(NotFetched, match="--identity"):
        desk.fetch(backup, tmp_path / "none")
    other = tmp_path / "other.txt"
    other.write_text(f"{pyrage.x25519.Identity.generate()}\n")
    with pytest.raises(NotFetched, match="--identity o BACKUP_IDENTITY_FILE"):
        desk.fetch(backup, tmp_path / "wrong", other)


def test_what_is_encrypted_and_damaged_is_lost_and_no_key_is_blamed(
    desk: Desk, near: int, identity: Path, tmp_path: Path
) -> None:
    backup = desk.make()
    desk.run([recipient_of(identity)])
    path = desk.destinations[near].directory / PREFIX / "backups" / f"{FULL_NAME}.age"
    path.write_bytes(flip_bit(path.read_bytes()))
    with pytest.raises(BackupLost, match="está dañado") as told:
        desk.fetch(backup, tmp_path / "fetched", identity)
    assert "clave" not in str(told.value)
    assert list((tmp_path / "fetched").iterdir()) == []


def test_a_full_one_that_was_taken_from_beside_its_description_is_fetched_to_its_place(desk: Desk, near: int) -> None:
    backup = desk.make()
    assert desk.run() == []
    before = desk.local()
    backup.path.unlink()
    with closing(desk.delivery()) as delivery:
        delivery.fetcher.fetch(backup, desk.directory)
    assert desk.local() == before


def test_what_another_disk_changes_while_it_is_fetched_gets_no_name_there(
    desk: Desk, near: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says nothing of what the provider has."""
    backup = desk.make()
    assert desk.run() == []
    true_write = Draft.write

    def write(draft: Draft, data: bytes) -> None:
        true_write(draft, data[:-1] + bytes([data[-1] ^ 1]))

    monkeypatch.setattr(Draft, "write", write)
    with closing(desk.delivery()) as delivery, pytest.raises(DiskError, match="compruebe el disco"):
        delivery.fetcher.fetch(backup, tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == []


def test_what_a_killed_process_had_written_is_written_anew(
    desk: Desk, near: int, identity: Path, tmp_path: Path
) -> None:
    """By a run that encrypted in a directory that is no longer BACKUP_PATH, and by `backup download`."""
    backup = desk.make()
    (desk.directory / f".{FULL_NAME}.age.part").write_bytes(b"half")
    assert desk.run([recipient_of(identity)]) == []
    away = tmp_path / "away"
    away.mkdir()
    (away / f".{FULL_NAME}.part").write_bytes(b"half")
    download([backup], away, threading.Event())
    assert {path.name: path.read_bytes() for path in away.iterdir()} == desk.local()


def test_where_a_backup_is_said_to_be_it_was_seen(desk: Desk, near: int, far: int) -> None:
    backup = desk.make()
    assert desk.run() == []
    backup.path.unlink()
    (desk.destinations[near].directory / PREFIX / "backups" / FULL_NAME).unlink()
    assert desk.run() == []
    with closing(desk.delivery()) as delivery:
        fetcher = delivery.fetcher
        found = Opened(desk.records, Copies(desk.query), desk.shelf(), fetcher.stores, fetcher).places_of(backup)
    assert found == [f"el proveedor p{far}: {PREFIX}/backups/{FULL_NAME}"]


# Keys


@pytest.mark.parametrize("recipient", ["age1xyz", "AGE-SECRET-KEY-1", "ssh-ed25519 AAAA", "x"])
def test_what_is_no_public_key_is_a_configuration_error_that_does_not_quote_it(recipient: str) -> None:
    with pytest.raises(ConfigurationError, match="BACKUP_RECIPIENTS: la clave número 1") as failure:
        require_recipients([recipient])
    assert recipient == "x" or recipient not in str(failure.value)


@pytest.mark.parametrize("text", ["", "# none\n", "AGE-SECRET-KEY-1WRONG\n"])
def test_a_file_without_a_private_key_is_refused_without_quoting_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key.txt"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="--identity") as failure:
        identities_in(path)
    assert "WRONG" not in str(failure.value)


def test_a_key_that_a_password_protects_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "contraseña", "-f", path], check=True)
    encrypted = tmp_path / "key.age"
    encrypted.write_bytes(pyrage.passphrase.encrypt(b"AGE-SECRET-KEY-", "pw"))
    for each in (path, encrypted):
        with pytest.raises(ConfigurationError, match="si una contraseña la protege, dé otro fichero"):
            identities_in(each)


@pytest.mark.parametrize(
    ("fetched", "full", "differential", "places", "is_better"),
    [(100, 100, 1, 2, True), (100, 100, 1, 1, False), (100, 100, 60, 2, False), (10, 100, 5, 1, True)],
)
def test_a_full_backup_is_fetched_only_where_that_moves_fewer_bytes(
    fetched: int, full: int, differential: int, places: int, *, is_better: bool
) -> None:
    assert Costs(fetched, full, differential).favour_fetching(places) == is_better
