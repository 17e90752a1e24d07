"""A place in the cloud belongs to one execution of one installation, and what is there is proven by its bytes.

Places are asked for in the database (`open_attempt`) before the first byte, and looked at where they are. Whoever
deletes asks likewise: see `test_leftovers.py` for what failed attempts left, `test_taken_over.py` for runs that were
stopped, `stories/test_late_requests.py` for requests that come late.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import google_crc32c
import pytest

from config.errors import MigrationError, UnsafeSource
from config.models import Attempt, Claim, Evidence, Execution, ProvenCopy
from jobs.migration.attempts import Attempts
from jobs.migration.directories import DirectoryJudge
from jobs.migration.places import Neighbours
from jobs.provider_set import ProviderSet
from providers.base import Provider
from providers.errors import ProviderUnavailable, StorageFull, UnsafeDestination
from providers.sources import BytesSource
from providers.stores import store_of
from sql.database import Database
from sql.migration.attempts import Occupied
from storage import manifest as manifest_module
from storage.keys import Place
from storage.manifest import read_manifest
from storage.traffic.transfers import TransferPool
from storage.uploading.remnants import SourceShrank
from tests.databases.lent_databases import DISCONNECTED
from tests.databases.platform_database import Platform, claim_one, open_attempt
from tests.destinations import Destination
from tests.faults.faulty_provider import EVERY_CALL, Fault, FaultyProvider, after, fail, lose_answer

NEVER = threading.Event()
COPY = ProvenCopy("cloud://local/p/uuid-1", 1, "p/uuid-1", 2, 10, Evidence.CHECKSUM, "ab" * 32)


@pytest.fixture
def platform(initialized_database_url: str) -> Iterator[Platform]:
    """A database of the platform."""
    with closing(Platform(initialized_database_url)) as made:
        yield made


class Scene:
    """Executions in a directory, a provider, and runs that send the ones to the other."""

    def __init__(self, platform: Platform, destination: Destination, executions: Path) -> None:
        self.platform = platform
        self.destination = destination
        self.executions = executions
        self.judge = DirectoryJudge([str(executions)])
        self.database = platform.run()
        executions.mkdir()

    def new_execution(self, uuid: str = "uuid-1", **files: bytes) -> Execution:
        directory = self.executions / f"of-{uuid}"
        directory.mkdir()
        for name, content in (files or {"tabla": b"1,2,3\n", "registro": b"line\n" * 100}).items():
            (directory / name).write_bytes(content)
        return self.platform.add_execution(directory, uuid)

    def set_back(self) -> None:
        """The platform wants everything migrated again."""
        self.platform.sql("UPDATE ejecuciones_yaml SET migrado_a_nube = false")

    def store(self, execution: Execution, *faults: Fault, database: Database | None = None) -> FaultyProvider:
        """One attempt of a new run, at the place of its uuid; the provider that it used."""
        run = database or self.platform.run()
        row = self.destination.provider_row()
        providers = ProviderSet([row], [])
        real = providers.get(row.id)
        assert real is not None
        with (
            closing(providers),
            closing(TransferPool(2)) as pool,
            FaultyProvider(real, faults) as provider,
            self.judge.open(execution) as opened,
        ):
            attempts = Attempts(run, providers, pool, NEVER, delete_local_copy=False, neighbours=Neighbours())
            claim = claim_one(run, execution)
            self.used = provider
            try:
                attempts.store(provider, claim, Place(f"p/ejecuciones/{execution.uuid}"), opened)
            except MigrationError as error:
                run.fail_migration(claim, "failed", error.code, str(error))
                raise
            return provider

    def provider(self) -> Provider:
        """The destination itself, without faults."""
        provider = ProviderSet([self.destination.provider_row()], []).get(1)
        assert provider is not None
        return provider

    def put(self, key: str, content: bytes) -> None:
        """Store something past the daemon."""
        with closing(self.provider()) as provider:
            provider.put(f"p/ejecuciones/{key}", BytesSource(content))

    def stored(self) -> dict[str, bytes]:
        """All that is there."""
        with closing(self.provider()) as provider:
            keys = [stored.key for stored in provider.list("p/ejecuciones/")]
            return {key.removeprefix("p/ejecuciones/"): b"".join(provider.open(key)) for key in keys}

    def require_copy_of(self, execution: Execution) -> None:
        """What the row points to is what the directory holds."""
        assert execution.directory is not None
        stored = self.stored()
        files = {path.name: path.read_bytes() for path in Path(execution.directory).iterdir()}
        assert {key: content for key, content in stored.items() if key.startswith(f"{execution.uuid}/")} == {
            f"{execution.uuid}/{name}": content for name, content in files.items()
        }
        manifest = stored[f"{execution.uuid}.manifest.json"]
        assert {entry.path for entry in read_manifest(manifest).files} == set(files)


@pytest.fixture
def scene(platform: Platform, new_destination: Callable[[str], Destination], tmp_path: Path) -> Scene:
    """With a mounted directory as the provider."""
    return Scene(platform, new_destination("local"), tmp_path / "ejecuciones")


@pytest.fixture
def on_s3(platform: Platform, new_destination: Callable[[str], Destination], tmp_path: Path) -> Scene:
    """With a server that shows checksums and knows no conditions."""
    return Scene(platform, new_destination("s3-rclone"), tmp_path / "ejecuciones")


# Whose a place is, as the database knows it


def committed(database: Database, claim: Claim, attempt: Attempt) -> None:
    assert database.commit_migration(claim, attempt, COPY, delete_local_copy=False)


def failed_after_looking(database: Database, claim: Claim, attempt: Attempt) -> None:
    database.note_place(attempt, foreign_objects=False)
    database.abandon_attempt(attempt, "unavailable", "no responde")
    database.fail_migration(claim, "failed", "unavailable", "no responde")


def under_way(_database: Database, _claim: Claim, _attempt: Attempt) -> None:
    """Nothing of it has been sent yet."""


def killed_while_sending(database: Database, _claim: Claim, attempt: Attempt) -> None:
    database.note_place(attempt, foreign_objects=False)


@pytest.mark.parametrize("fate", [committed, failed_after_looking, under_way, killed_while_sending])
@pytest.mark.parametrize("key_prefix", ["p/uuid-1", "P/Uuid-1", "p/uuid-1/ejecuciones/uuid-2", "p"])
def test_a_place_of_another_execution_is_not_used(
    platform: Platform, fate: Callable[[Database, Claim, Attempt], None], key_prefix: str
) -> None:
    """The same place, one in it and one that contains it, also in other letters, whatever became of the attempt there.

    On whatever provider: that the stores differ is for the caller to show.
    """
    database = platform.run()
    claim = claim_one(database, platform.add_execution())
    fate(database, claim, open_attempt(database, claim))
    other = claim_one(database, platform.add_execution("/data/other", "uuid-2"))
    answer = database.open_attempt(other, 2, key_prefix)
    assert isinstance(answer, Occupied)
    (overlap,) = answer.overlaps
    assert (overlap.execution_id, overlap.provider_id, overlap.key_prefix) == (claim.execution.id, 1, "p/uuid-1")
    assert platform.value("SELECT count(*) FROM janitor_attempts") == 1
    assert isinstance(database.open_attempt(other, 2, key_prefix, elsewhere=[overlap.attempt_id]), Attempt)


@pytest.mark.parametrize("key_prefix", ["p/uuid-10", "p/uuid", "p/uuid-1.manifest.json.bak", "q/uuid-1", "p/uuid-"])
def test_a_place_that_only_begins_alike_is_free(platform: Platform, key_prefix: str) -> None:
    database = platform.run()
    claim = claim_one(database, platform.add_execution())
    committed(database, claim, open_attempt(database, claim))
    other = claim_one(database, platform.add_execution("/data/other", "uuid-2"))
    assert isinstance(database.open_attempt(other, 1, key_prefix), Attempt)


def test_an_attempt_that_died_before_it_looked_closes_no_place(platform: Platform) -> None:
    database = platform.run()
    claim = claim_one(database, platform.add_execution())
    open_attempt(database, claim)
    platform.sql("UPDATE janitor_migrations SET lease_expires_at = now() - interval '1 second'")
    other = claim_one(database, platform.add_execution("/data/other", "uuid-2"))
    assert isinstance(database.open_attempt(other, 1, "p/uuid-1"), Attempt)


def test_of_two_that_ask_for_one_place_at_the_same_moment_one_gets_it(platform: Platform) -> None:
    claims = [
        (run, claim_one(run, platform.add_execution(f"/data/{n}", f"uuid-{n}")))
        for n, run in enumerate([platform.run(f"host-{n}") for n in range(8)])
    ]
    together = threading.Barrier(len(claims))
    answers: list[object] = []

    def ask(run: Database, claim: Claim) -> None:
        together.wait(30)
        answers.append(run.open_attempt(claim, 1, "p/the-same"))

    threads = [threading.Thread(target=ask, args=claim) for claim in claims]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == len(claims)
    assert len([answer for answer in answers if isinstance(answer, Attempt)]) == 1


# What may still be on its way


def died_while_sending(platform: Platform, fingerprint: str) -> Execution:
    """A run that has sent something, and renewed its lease ten minutes ago for the last time."""
    execution = platform.add_execution()
    database = platform.run("host-1")
    claim = claim_one(database, execution)
    attempt = database.open_attempt(claim, 1, "p/uuid-1", fingerprint=fingerprint)
    assert isinstance(attempt, Attempt)
    database.note_place(attempt, foreign_objects=False)
    platform.sql("UPDATE janitor_migrations SET lease_expires_at = now() + interval '5 minutes'")
    return execution


def claim_of_the_next_run(platform: Platform, execution: Execution) -> tuple[Database, Claim]:
    database = platform.run("host-1")
    return database, claim_one(database, execution)


def test_bytes_of_a_file_that_changed_since_may_still_arrive(platform: Platform) -> None:
    """For an hour since the run that sent them showed life the place is closed, unless late bytes do no harm there.

    Deletions that come late are looked for in `test_leftovers.py`.
    """
    execution = died_while_sending(platform, "before")
    database, claim = claim_of_the_next_run(platform, execution)
    answer = database.open_attempt(claim, 1, "p/uuid-1", fingerprint="after")
    assert isinstance(answer, Occupied)
    assert answer.late_bytes_until is not None
    left = platform.value("SELECT extract(epoch FROM %s - now()) / 60", answer.late_bytes_until)
    assert 49 < left <= 50
    assert isinstance(
        database.open_attempt(claim, 1, "p/uuid-1", fingerprint="after", late_bytes_are_harmless=True), Attempt
    )


@pytest.mark.parametrize(
    "why",
    [
        "SELECT 'unchanged'",
        "UPDATE janitor_migrations SET last_held_at = now() - interval '61 minutes'",
        "UPDATE janitor_attempts SET state = 'abandoned'",
        "UPDATE janitor_attempts SET foreign_objects = NULL",
    ],
)
def test_nothing_is_waited_for_that_does_no_harm(platform: Platform, why: str) -> None:
    """Equal bytes, an hour later, after a run that heard all its answers, or that had sent nothing."""
    execution = died_while_sending(platform, "before")
    database, claim = claim_of_the_next_run(platform, execution)
    platform.sql(why)
    fingerprint = "before" if "unchanged" in why else "after"
    assert isinstance(database.open_attempt(claim, 1, "p/uuid-1", fingerprint=fingerprint), Attempt)


def test_a_run_that_heard_no_answer_is_waited_for_too_and_by_itself(platform: Platform) -> None:
    """It ended in order, or continues; what it sent may still be on its way."""
    execution = died_while_sending(platform, "before")
    database, claim = claim_of_the_next_run(platform, execution)
    attempt = database.open_attempt(claim, 1, "p/uuid-1", fingerprint="before")
    assert isinstance(attempt, Attempt)
    database.note_place(attempt, foreign_objects=False)
    database.abandon_attempt(attempt, "unavailable", "no responde")
    platform.sql("UPDATE janitor_attempts SET tree_fingerprint = NULL WHERE id <> %s", attempt.id)
    assert isinstance(database.open_attempt(claim, 1, "p/uuid-1", fingerprint="after"), Occupied)
    database.note_answered(attempt)
    assert isinstance(database.open_attempt(claim, 1, "p/uuid-1", fingerprint="after"), Attempt)


def change(execution: Execution) -> None:
    assert execution.directory is not None
    Path(execution.directory, "tabla").write_bytes(b"7,8,9\n")


@pytest.mark.usefixtures("little_patience")
def test_bytes_whose_answer_was_lost_are_not_overtaken_by_others(on_s3: Scene) -> None:
    """On a server without conditions. Where there are some, late bytes do no harm: see `test_late_requests.py`."""
    execution = on_s3.new_execution()
    lost = Fault("put", lose_answer(ProviderUnavailable("no responde")), key="*/tabla", calls=range(1, 100))
    with pytest.raises(ProviderUnavailable):
        on_s3.store(execution, lost)
    change(execution)
    with pytest.raises(UnsafeDestination, match="puede llegar aún"):
        on_s3.store(execution)
    on_s3.platform.sql("UPDATE janitor_attempts SET finished_at = finished_at - interval '1 hour'")
    on_s3.store(execution)
    on_s3.require_copy_of(execution)


def test_a_deletion_that_was_answered_only_the_second_time_closes_the_place(on_s3: Scene) -> None:
    """The first one may arrive when the new manifest is there. Looked for wherever objects are deleted: extra ones are
    no part of the copy, and leftovers keep the place closed.
    """
    execution = on_s3.new_execution()
    on_s3.store(execution)
    on_s3.set_back()
    change(execution)
    lost = Fault("delete", lose_answer(ProviderUnavailable("no responde")), key="*.manifest.json")
    with pytest.raises(UnsafeDestination, match="quedó una vez sin respuesta"):
        on_s3.store(execution, lost)
    with pytest.raises(UnsafeDestination, match="puede llegar aún"):
        on_s3.store(execution)
    assert not on_s3.platform.value("SELECT migrado_a_nube FROM ejecuciones_yaml")


# What may change while an execution is worked on


CHANGES = {
    "uuid": "UPDATE ejecuciones_yaml SET uuid = 'another'",
    "directory": "UPDATE ejecuciones_yaml SET ruta_directorio = '/data/another'",
    "repeated": "UPDATE ejecuciones_yaml SET fecha_ejecucion = '2020-01-02'",
    "migrated": "UPDATE ejecuciones_yaml SET migrado_a_nube = true",
    "deleted": "DELETE FROM ejecuciones_yaml",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_claim_ends_with_what_was_claimed(platform: Platform, change: str) -> None:
    """Wherever it is asked for: while files are sent, before an attempt and at the commit."""
    database, execution = platform.run(), platform.add_execution()
    claim = claim_one(database, execution)
    attempt = open_attempt(database, claim)
    assert database.lease_seconds_left(claim)
    platform.sql(CHANGES[change])
    assert database.lease_seconds_left(claim) is None
    assert database.open_attempt(claim, 2, "p/uuid-1") is None
    assert not database.commit_migration(claim, attempt, COPY, delete_local_copy=True)


@pytest.mark.parametrize("change", CHANGES)
def test_a_row_that_changed_since_it_was_read_is_not_taken_up(platform: Platform, change: str) -> None:
    database, execution = platform.run(), platform.add_execution()
    platform.sql(CHANGES[change])
    claims = database.claim([execution], retention_hours=0)
    assert [claim.execution for claim in claims] == ([execution] if change == "repeated" else [])


def test_an_execution_that_was_repeated_meanwhile_waits_for_its_retention(platform: Platform) -> None:
    database, execution = platform.run(), platform.add_execution()
    platform.sql("UPDATE ejecuciones_yaml SET fecha_ejecucion = now() - interval '1 hour'")
    assert database.claim([execution], retention_hours=1.5) == []
    assert len(database.claim([execution], retention_hours=0.5)) == 1


# Installations


def test_an_installation_keeps_its_name(platform: Platform) -> None:
    name = platform.run().installation
    assert len(name) == 36
    assert platform.run("host-2").installation == name


def test_a_copy_of_the_database_is_another_installation_and_owns_nothing_at_providers(
    platform: Platform, database_administrator: Callable[[str], None]
) -> None:
    """As a staging system that was made of production's backup, and is configured with production's bucket."""
    database = platform.run()
    claim = claim_one(database, platform.add_execution())
    failed_after_looking(database, claim, open_attempt(database, claim))
    name = database.installation
    database.close()
    original = platform.value("SELECT current_database()")
    platform.close()
    database_administrator(f"CREATE DATABASE {original}_copy TEMPLATE {original}")
    try:
        with closing(Platform(platform.database_url.replace(original, f"{original}_copy"))) as copy:
            copied = copy.run()
            assert copied.installation != name
            assert copied.installation == copy.run("host-2").installation
            claim = claim_one(copied, claim.execution)
            assert open_attempt(copied, claim).foreign_objects_here
    finally:
        database_administrator(DISCONNECTED.format(name=f"{original}_copy"))
        database_administrator(f"DROP DATABASE {original}_copy WITH (FORCE)")


# What lies at a place


def with_own_crc32c(content: bytes) -> bytes:
    """Files of one size that end in their own CRC32C have all the same one."""
    checksum: int = google_crc32c.value(content)
    return content + checksum.to_bytes(4, "little")


def test_what_an_earlier_attempt_stored_is_proven_by_its_bytes(
    platform: Platform, new_destination: Callable[[str], Destination], tmp_path: Path
) -> None:
    """Google shows a CRC32C: files of some formats carry their own, and then all of one size have the same.

    Looked for wherever a listing's checksum decides: it proves what was sent in this very attempt, and nothing else.
    """
    scene = Scene(platform, new_destination("gcs"), tmp_path / "ejecuciones")
    old, new = with_own_crc32c(b"first"), with_own_crc32c(b"other")
    assert google_crc32c.value(old) == google_crc32c.value(new)
    execution = scene.new_execution(datos=old)
    refusal = Fault("put", fail(StorageFull("lleno")), key="*.manifest.json")
    with pytest.raises(StorageFull):
        scene.store(execution, refusal)
    assert execution.directory is not None
    Path(execution.directory, "datos").write_bytes(new)
    scene.store(execution)
    scene.require_copy_of(execution)
    assert platform.value("SELECT evidence FROM janitor_migrations") == "checksum"  # of what was sent after all


def test_what_is_not_sent_again_is_read_back(on_s3: Scene) -> None:
    execution = on_s3.new_execution()
    with pytest.raises(StorageFull):
        on_s3.store(execution, Fault("put", fail(StorageFull("lleno")), key="*.manifest.json"))
    assert on_s3.store(execution).keys("put") == ["uuid-1.manifest.json"]
    assert on_s3.platform.value("SELECT evidence FROM janitor_migrations") == "read-back"
    on_s3.require_copy_of(execution)


@pytest.mark.parametrize("content", [b"1,2,4\n", b"1,2,3,4\n", b""], ids=["same size", "longer", "empty"])
@pytest.mark.parametrize("scene_name", ["scene", "on_s3"])
def test_a_file_of_somebody_else_is_not_overwritten(
    request: pytest.FixtureRequest, scene_name: str, content: bytes
) -> None:
    scene: Scene = request.getfixturevalue(scene_name)
    execution = scene.new_execution()
    scene.put("uuid-1/tabla", content)
    for _ in range(2):  # also after an attempt that has looked
        with pytest.raises(UnsafeDestination):
            scene.store(execution)
        assert scene.used.keys("delete") == []
    assert scene.stored()["uuid-1/tabla"] == content
    assert "uuid-1.manifest.json" not in scene.stored()


def test_an_equal_file_of_somebody_else_is_proven_and_not_sent(on_s3: Scene) -> None:
    execution = on_s3.new_execution()
    on_s3.put("uuid-1/tabla", b"1,2,3\n")
    assert on_s3.store(execution).keys("put") == ["registro", "uuid-1.manifest.json"]
    on_s3.require_copy_of(execution)


def forget_everything(scene: Scene) -> None:
    """As a database does that was restored from a backup, or another one that has the same executions."""
    scene.platform.sql("TRUNCATE janitor_migrations, janitor_attempts, janitor_installation")
    scene.platform.sql("UPDATE ejecuciones_yaml SET migrado_a_nube = false, ruta_nube = NULL, nube_provider_id = NULL")


@pytest.mark.parametrize("scene_name", ["scene", "on_s3"])
def test_an_equal_copy_of_another_installation_is_an_execution_already_migrated(
    request: pytest.FixtureRequest, scene_name: str
) -> None:
    scene: Scene = request.getfixturevalue(scene_name)
    execution = scene.new_execution()
    scene.store(execution)
    before = scene.stored()
    forget_everything(scene)
    used = scene.store(execution)
    assert used.keys("put") == used.keys("delete") == []
    assert scene.stored() == before
    assert scene.platform.value("SELECT migrado_a_nube FROM ejecuciones_yaml")
    assert scene.platform.value("SELECT evidence FROM janitor_migrations") == "read-back"
    scene.require_copy_of(execution)


def change_content(directory: Path) -> None:
    status = (directory / "tabla").stat()
    (directory / "tabla").write_bytes(b"9,9,9\n")
    os.utime(directory / "tabla", ns=(status.st_atime_ns, status.st_mtime_ns))


def add_file(directory: Path) -> None:
    (directory / "nuevo").write_bytes(b"new")


def change_mode(directory: Path) -> None:
    (directory / "tabla").chmod(0o600)


def damage_copy(_directory: Path) -> None:
    """Not the original."""


def damage_manifest(_directory: Path) -> None:
    """Not the original, and not its copy."""


@pytest.mark.parametrize("change", [change_content, add_file, change_mode, damage_copy, damage_manifest])
def test_under_the_manifest_of_another_installation_nothing_is_written(
    on_s3: Scene, change: Callable[[Path], None]
) -> None:
    execution = on_s3.new_execution()
    on_s3.store(execution)
    forget_everything(on_s3)
    assert execution.directory is not None
    change(Path(execution.directory))
    if change is damage_copy:
        on_s3.put("uuid-1/tabla", b"1,2,4\n")
    if change is damage_manifest:
        manifest = on_s3.stored()["uuid-1.manifest.json"]
        digest = hashlib.sha256((Path(execution.directory) / "tabla").read_bytes()).hexdigest().encode()
        assert digest in manifest
        on_s3.put("uuid-1.manifest.json", manifest.replace(digest, b"0" * 64))
    before = on_s3.stored()
    with pytest.raises(UnsafeDestination, match=r"uuid-1\.manifest\.json"):
        on_s3.store(execution)
    assert on_s3.used.keys("put") == on_s3.used.keys("delete") == []
    assert on_s3.stored() == before


def old_format(scene: Scene) -> bytes:
    """The manifest as versions wrote it that did not say whose it is."""
    document = json.loads(scene.stored()["uuid-1.manifest.json"])
    for name in ("row", "installation", "attempt"):
        del document[name]
    return json.dumps(document).encode()


@pytest.mark.parametrize("committed_by_us", [True, False])
def test_a_manifest_of_an_earlier_version_is_ours_if_this_database_committed_it(
    scene: Scene, committed_by_us: bool
) -> None:
    """A clone of the database may have the same attempts, from before the upgrade."""
    execution = scene.new_execution()
    scene.store(execution)
    content = old_format(scene)
    scene.put("uuid-1.manifest.json", content)
    scene.set_back()
    known = hashlib.sha256(content).hexdigest() if committed_by_us else "00" * 32
    scene.platform.sql("UPDATE janitor_migrations SET manifest_sha256 = %s", known)
    scene.platform.sql("UPDATE janitor_attempts SET state = 'abandoned', foreign_objects = false, store = ''")
    change(execution)
    if committed_by_us:
        scene.store(execution)
        scene.require_copy_of(execution)
        return
    with pytest.raises(UnsafeDestination):
        scene.store(execution)
    assert scene.stored()["uuid-1.manifest.json"] == content


def test_a_row_that_was_deleted_and_added_again_finds_its_copy(on_s3: Scene) -> None:
    """Under another id: the copy that belongs to no row any more is compared by its bytes."""
    execution = on_s3.new_execution()
    on_s3.store(execution)
    on_s3.platform.sql("DELETE FROM ejecuciones_yaml")
    again = on_s3.platform.add_execution(execution.directory, "uuid-1")
    assert on_s3.store(again).keys("put") == []
    assert on_s3.platform.value("SELECT migrado_a_nube FROM ejecuciones_yaml")


def test_a_manifest_of_another_row_is_not_replaced(scene: Scene) -> None:
    """The same installation, and a uuid that went from one row to the next: attempts may have been forgotten."""
    first = scene.new_execution()
    scene.store(first)
    scene.platform.sql("TRUNCATE janitor_attempts")
    scene.platform.sql("UPDATE ejecuciones_yaml SET uuid = 'uuid-9'")
    before = scene.stored()
    shutil.rmtree(scene.executions / "of-uuid-1")
    second = scene.new_execution("uuid-1", otro=b"x")
    with pytest.raises(UnsafeDestination):
        scene.store(second)
    assert scene.stored() == before


@pytest.mark.parametrize("scene_name", ["scene", "on_s3"])
def test_a_manifest_that_somebody_stores_meanwhile_is_not_replaced(
    request: pytest.FixtureRequest, scene_name: str
) -> None:
    scene: Scene = request.getfixturevalue(scene_name)
    execution = scene.new_execution()
    theirs = json.dumps({"format": "janitor-manifest", "version": 1, "execution": "uuid-1", "entries": []}).encode()
    stores_theirs = after(lambda: scene.put("uuid-1.manifest.json", theirs))
    with pytest.raises(UnsafeDestination):
        scene.store(execution, Fault("put", stores_theirs, key="*.manifest.json"))
    assert scene.stored()["uuid-1.manifest.json"] == theirs
    assert not scene.platform.value("SELECT migrado_a_nube FROM ejecuciones_yaml")


@pytest.mark.parametrize("scene_name", ["scene", "on_s3"])
def test_while_a_copy_is_renewed_no_manifest_says_that_it_is_complete(
    request: pytest.FixtureRequest, scene_name: str
) -> None:
    """An execution that was migrated, ran again and is migrated again; the one before changes its first file."""
    scene: Scene = request.getfixturevalue(scene_name)
    execution = scene.new_execution()
    scene.store(execution)
    scene.set_back()
    assert execution.directory is not None
    Path(execution.directory, "tabla").write_bytes(b"7,8,9\n")
    with pytest.raises(StorageFull):
        scene.store(execution, Fault("put", fail(StorageFull("lleno")), "*/tabla", EVERY_CALL))
    assert "uuid-1.manifest.json" not in scene.stored()
    scene.store(execution)
    scene.require_copy_of(execution)


# What is left of an execution


def lose_a_file(directory: Path) -> None:
    (directory / "registro").unlink()


def lose_everything(directory: Path) -> None:
    for path in directory.iterdir():
        path.unlink()


def lose_the_name_of_a_file(directory: Path) -> None:
    (directory / "registro").rename(directory / ".janitor-removing-0")


def lose_a_file_and_be_copied(directory: Path) -> None:
    """Without times, as `cp` does."""
    lose_a_file(directory)
    os.utime(directory / "tabla", (1, 1))


def run_again_with_less_than_half(directory: Path) -> None:
    lose_everything(directory)
    (directory / "tabla").write_bytes(b"1")


@pytest.mark.parametrize(
    "loss",
    [lose_a_file, lose_a_file_and_be_copied, lose_everything, lose_the_name_of_a_file, run_again_with_less_than_half],
)
def test_what_a_removal_has_left_never_takes_the_place_of_the_whole(scene: Scene, loss: Callable[[Path], None]) -> None:
    execution = scene.new_execution()
    scene.store(execution)
    scene.set_back()
    before = scene.stored()
    assert execution.directory is not None
    loss(Path(execution.directory))
    with pytest.raises(SourceShrank, match=r"copia anterior en cloud://local/p/ejecuciones/uuid-1.* migrado_a_nube"):
        scene.store(execution)
    assert scene.stored() == before
    with closing(scene.provider()) as provider:
        provider.delete("p/ejecuciones/uuid-1.manifest.json")  # a person has looked
    scene.store(execution)


def set_back_to_a_backup(scene: Scene) -> None:
    """The database is restored from a backup that was made before the execution was first taken up."""
    scene.set_back()
    scene.platform.sql("DELETE FROM janitor_attempts")
    scene.platform.sql("DELETE FROM janitor_migrations")


@pytest.mark.parametrize("loss", [lose_a_file, lose_everything, lose_the_name_of_a_file])
def test_what_a_removal_has_left_goes_nowhere_though_the_database_knows_of_no_copy(
    scene: Scene, loss: Callable[[Path], None]
) -> None:
    """Not to an alternate either: the row would lead to less than there is."""
    execution = scene.new_execution()
    scene.store(execution)
    set_back_to_a_backup(scene)
    before = scene.stored()
    assert execution.directory is not None
    loss(Path(execution.directory))
    for _ in range(2):
        with pytest.raises(SourceShrank, match=r"quizá porque se restauró.* migrado_a_nube"):
            scene.store(execution)
    assert scene.stored() == before


@pytest.mark.parametrize("loss", [lose_a_file, lose_everything])
def test_what_a_removal_has_left_goes_nowhere_though_the_database_has_moved(
    scene: Scene, loss: Callable[[Path], None]
) -> None:
    """On another server it is another installation. A directory that has only other files than the copy is not what a
    removal has left: it may go to an alternate.
    """
    execution = scene.new_execution()
    scene.store(execution)
    set_back_to_a_backup(scene)
    scene.platform.sql("UPDATE janitor_installation SET installation = 'before'")
    before = scene.stored()
    assert execution.directory is not None
    directory = Path(execution.directory)
    loss(directory)
    with pytest.raises(SourceShrank, match=r"otra instalación.* migrado_a_nube"):
        scene.store(execution)
    lose_everything(directory)
    (directory / "otra").write_bytes(b"of another execution")
    with pytest.raises(UnsafeDestination, match="es de otra copia"):
        scene.store(execution)
    assert scene.stored() == before


def test_a_copy_of_ours_that_the_database_does_not_know_is_not_replaced(scene: Scene) -> None:
    """By what the directory holds now, which may be older. The attempt that was refused makes it no more ours."""
    execution = scene.new_execution()
    scene.store(execution)
    set_back_to_a_backup(scene)
    before = scene.stored()
    assert execution.directory is not None
    Path(execution.directory, "tabla").write_bytes(b"of before, or of now")
    for _ in range(2):
        with pytest.raises(UnsafeDestination, match="no consta en la base de datos"):
            scene.store(execution)
    assert scene.stored() == before


def test_what_a_removal_has_left_replaces_no_copy_whose_attempt_was_open_at_the_backup(scene: Scene) -> None:
    """The database knows the attempt, and not that it was committed since."""
    execution = scene.new_execution()
    scene.store(execution)
    scene.set_back()
    scene.platform.sql("UPDATE janitor_attempts SET state = 'open'")
    scene.platform.sql("DELETE FROM janitor_migrations")
    before = scene.stored()
    assert execution.directory is not None
    lose_a_file(Path(execution.directory))
    with pytest.raises(SourceShrank, match="quizá porque se restauró"):
        scene.store(execution)
    assert scene.stored() == before


def test_a_copy_of_a_later_attempt_than_the_database_knows_is_not_replaced(scene: Scene) -> None:
    """At the backup an attempt there had failed."""
    execution = scene.new_execution()
    with pytest.raises(StorageFull):
        scene.store(execution, Fault("put", fail(StorageFull("lleno")), "*/tabla", EVERY_CALL))
    scene.store(execution)
    scene.set_back()
    scene.platform.sql("DELETE FROM janitor_attempts WHERE state = 'committed'")
    scene.platform.sql("UPDATE janitor_attempts SET state = 'abandoned'")
    scene.platform.sql("DELETE FROM janitor_migrations")
    before = scene.stored()
    assert execution.directory is not None
    Path(execution.directory, "tabla").write_bytes(b"of before, or of now")
    for _ in range(2):
        with pytest.raises(UnsafeDestination, match="no consta en la base de datos"):
            scene.store(execution)
    assert scene.stored() == before


def test_an_attempt_at_another_provider_makes_no_copy_ours_that_the_database_does_not_know(scene: Scene) -> None:
    """The unknown copy keeps its place, so an alternate provider is used, in attempts of higher numbers."""
    execution = scene.new_execution()
    scene.store(execution)
    set_back_to_a_backup(scene)
    before = scene.stored()
    assert execution.directory is not None
    Path(execution.directory, "tabla").write_bytes(b"of before, or of now")
    for committed_elsewhere in (False, True):
        run = scene.platform.run()
        claim = claim_one(run, execution)
        attempt = run.open_attempt(claim, 2, "p/ejecuciones/uuid-1", "local:/alternate")
        assert isinstance(attempt, Attempt)
        run.note_place(attempt, foreign_objects=False)
        if committed_elsewhere:
            elsewhere = COPY._replace(provider_id=2, key_prefix="p/ejecuciones/uuid-1")
            assert run.commit_migration(claim, attempt, elsewhere, delete_local_copy=False)
            scene.set_back()
        else:
            run.abandon_attempt(attempt, "storage_full", "lleno")
            run.fail_migration(claim, "failed", "storage_full", "lleno")
        with pytest.raises(UnsafeDestination, match="no consta en la base de datos"):
            scene.store(execution)
        assert scene.stored() == before


def moved_elsewhere(scene: Scene, execution: Execution) -> Execution:
    """Its directory has another name, which the row says, and is to be migrated again."""
    assert execution.directory is not None
    moved = execution._replace(directory=f"{execution.directory}-moved")
    assert moved.directory is not None
    Path(execution.directory).rename(moved.directory)
    scene.platform.sql("UPDATE ejecuciones_yaml SET ruta_directorio = %s", moved.directory)
    scene.set_back()
    return moved


def test_a_directory_that_only_looks_like_the_one_before_does_not_replace_its_copy(scene: Scene) -> None:
    """Names, sizes and times are the same, as in directories that were unpacked from archives, and the bytes others."""
    execution = scene.new_execution()
    scene.store(execution)
    before = scene.stored()
    moved = moved_elsewhere(scene, execution)
    path = Path(moved.directory or "", "tabla")
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=times)
    with pytest.raises(UnsafeDestination, match="es de la copia de otro directorio"):
        scene.store(moved)
    assert scene.stored() == before


def test_a_directory_that_was_only_moved_is_stored_at_its_place(scene: Scene) -> None:
    execution = scene.new_execution()
    scene.store(execution)
    moved = moved_elsewhere(scene, execution)
    scene.store(moved)
    scene.require_copy_of(moved)
    assert json.loads(scene.stored()["uuid-1.manifest.json"])["directory"] == moved.directory


def test_a_number_given_anew_to_an_attempt_elsewhere_makes_no_copy_ours(scene: Scene) -> None:
    """After the database was set back, an attempt at another provider has the number that the manifest here names."""
    execution = scene.new_execution()
    scene.store(execution)
    scene.set_back()
    scene.platform.sql("UPDATE janitor_attempts SET provider_id = provider_id + 1, store = 'local:/alternate'")
    scene.platform.sql("DELETE FROM janitor_migrations")
    before = scene.stored()
    assert execution.directory is not None
    Path(execution.directory, "tabla").write_bytes(b"of before, or of now")
    with pytest.raises(UnsafeDestination, match="no consta en la base de datos"):
        scene.store(execution)
    assert scene.stored() == before


def test_an_equal_copy_of_ours_that_the_database_does_not_know_is_ours_again(scene: Scene) -> None:
    execution = scene.new_execution()
    scene.store(execution)
    set_back_to_a_backup(scene)
    before = scene.stored()
    provider = scene.store(execution)
    assert provider.keys("put") == provider.keys("replace") == []
    assert scene.stored() == before
    scene.require_copy_of(execution)


def test_a_directory_whose_removal_was_begun_lacks_nothing_though_something_came_to_it(scene: Scene) -> None:
    """The database knows the directory by its inode. A new directory of the same files may have less."""
    execution = scene.new_execution(a=b"aaaa", b=b"bbbb", c=b"cccc")
    scene.store(execution)
    scene.set_back()
    assert execution.directory is not None
    directory = Path(execution.directory)
    scene.platform.sql("UPDATE janitor_migrations SET set_aside_inode = %s", str(directory.stat().st_ino))
    (directory / "a").unlink()
    (directory / "nuevo").write_bytes(b"this is more than there was before")
    before = scene.stored()
    with pytest.raises(SourceShrank):
        scene.store(execution)
    assert scene.stored() == before
    (directory / "a").write_bytes(b"AAAA")
    scene.store(execution)


def test_an_execution_that_ran_again_takes_its_place(scene: Scene) -> None:
    execution = scene.new_execution(a=b"aaaa", b=b"bbbb", c=b"cccc")
    scene.store(execution)
    scene.set_back()
    assert execution.directory is not None
    Path(execution.directory, "a").unlink()
    Path(execution.directory, "b").write_bytes(b"BBB")
    scene.store(execution)
    assert scene.platform.value("SELECT file_count FROM janitor_migrations") == 2


def test_a_copy_that_cannot_be_read_for_comparison_keeps_its_place(scene: Scene) -> None:
    execution = scene.new_execution()
    scene.store(execution)
    scene.set_back()
    assert execution.directory is not None
    lose_a_file(Path(execution.directory))
    scene.platform.sql("UPDATE janitor_migrations SET provider_id = 9")
    with pytest.raises(SourceShrank, match="no se puede usar"):
        scene.store(execution)


def test_more_files_than_a_manifest_may_name_are_refused_before_any_is_sent(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = scene.new_execution()
    scene.store(execution)
    size_bytes = len(scene.stored()["uuid-1.manifest.json"])
    forget_everything(scene)
    shutil.rmtree(scene.destination.directory / "p")
    monkeypatch.setattr(manifest_module, "MAXIMUM_SIZE_BYTES", size_bytes // 2)
    with pytest.raises(UnsafeSource, match="demasiados ficheros"):
        scene.store(execution)
    assert scene.used.keys("put") == []
    monkeypatch.setattr(manifest_module, "MAXIMUM_SIZE_BYTES", size_bytes + 10)
    scene.store(execution)


# Directories that are copies, or hold them


def test_the_directory_of_all_copies_is_no_execution(scene: Scene) -> None:
    """Below an earlier prefix, say, which the configuration does not name any more."""
    scene.store(scene.new_execution())
    copies = scene.executions / "copias"
    shutil.copytree(scene.destination.directory / "p" / "ejecuciones", copies)
    with pytest.raises(UnsafeSource, match="contiene una copia"):
        scene.store(scene.platform.add_execution(copies, "uuid-2"))


def test_a_directory_beside_a_file_of_that_name_may_be_no_copy(scene: Scene) -> None:
    execution = scene.new_execution()
    assert execution.directory is not None
    Path(execution.directory, "datos.manifest.json").write_bytes(b"{}")
    Path(execution.directory, "datos").mkdir()
    scene.store(execution)


@pytest.mark.parametrize("server", ["local", "sftp-asyncssh", "sftp-openssh"])
@pytest.mark.parametrize("where", ["the same", "around it"])
def test_copies_are_not_kept_in_the_executions_themselves(
    platform: Platform, new_destination: Callable[[str], Destination], tmp_path: Path, server: str, where: str
) -> None:
    """As with a server that is this very host, or a directory that is mounted twice."""
    destination = new_destination(server)
    top = destination.directory / "p" / "ejecuciones"
    directory = top / "uuid-1" if where == "the same" else top / "uuid-1" / "deep" / "e"
    directory.mkdir(parents=True)
    destination.directory.chmod(0o777)
    for made in (destination.directory / "p", *(destination.directory / "p").rglob("*")):
        made.chmod(0o777)
    (directory / "tabla").write_bytes(b"1,2,3\n")
    through_link = tmp_path / "ejecuciones"
    scene = Scene(platform, destination, through_link)
    scene.judge = DirectoryJudge([str(destination.directory)])
    status = (directory / "tabla").stat()
    with pytest.raises(UnsafeDestination, match="donde este equipo tiene las ejecuciones"):
        scene.store(platform.add_execution(directory, "uuid-1"))
    assert (directory / "tabla").stat() == status
    left = {path.relative_to(destination.directory).name for path in destination.directory.rglob("*")}
    assert left <= {"p", "ejecuciones", "uuid-1", "deep", "e", "tabla"}


def test_stores_are_named_without_secrets(new_destination: Callable[[str], Destination]) -> None:
    for name in ("s3-rclone", "azure", "gcs", "sftp-asyncssh", "local"):
        destination = new_destination(name)
        named = store_of(destination.provider_row())
        assert named not in ("", f"{destination.kind}:")
        assert not any(secret in named for secret in destination.secrets)


# What rows say that others have written


@pytest.mark.parametrize(
    ("uri", "refused"),
    [
        ("cloud://s3/p/ejecuciones/uuid-1", True),
        ("cloud://s3/p/ejecuciones/uuid-1/deeper", True),
        ("cloud://azure/p/ejecuciones", False),
        ("cloud://azure/p", False),
        ("cloud://s3/p/ejecuciones/uuid-10", False),
        ("cloud://s3/ejecuciones/uuid-1", False),
        ("cloud://s3/p/ejecuciones/uuid-2", False),
        ("by hand", False),
    ],
)
@pytest.mark.parametrize("migrated", [True, False])
def test_a_place_that_another_row_names_is_not_used(
    platform: Platform, uri: str, refused: bool, migrated: bool
) -> None:
    """By whomever that was written, under whatever uuid, in whatever state."""
    execution = platform.add_execution()
    other = platform.add_execution("/data/other", "uuid-2")
    change = "UPDATE ejecuciones_yaml SET ruta_nube = %s, migrado_a_nube = %s WHERE id = %s"
    platform.sql(change, uri, migrated, other.id)
    conflicts = platform.run().conflicts(lambda _: True, "p/ejecuciones")
    reason = conflicts.reason(execution)
    assert (reason is not None) == refused
    assert not refused or f"id {other.id}" in (reason or "")


def test_what_this_program_committed_is_judged_by_its_attempts(platform: Platform) -> None:
    """They know the store, too."""
    database, execution = platform.run(), platform.add_execution()
    claim = claim_one(database, execution)
    committed(database, claim, open_attempt(database, claim))
    platform.sql("UPDATE ejecuciones_yaml SET uuid = 'uuid-9'")
    later = platform.add_execution("/data/later", "uuid-1")
    assert platform.run().conflicts(lambda _: True, "p").reason(later) is None
