"""The model notices what it is there for: each of its checks is shown a loss, and each of its powers at work."""

from __future__ import annotations

import fnmatch
import hashlib
import re
from pathlib import Path

import pytest

from config.models import ProviderRow, StoredObject
from jobs.locks import LockHeld
from providers import build_provider
from providers.errors import ConditionFailed, ObjectNotFound
from providers.sources import BytesSource
from tests.model.histories import Scene, play
from tests.model.runs import Cut, Fate, Killed
from tests.model.steps import (
    Audit,
    BackUp,
    Clone,
    Deliver,
    Execute,
    Hold,
    KeepCopies,
    LeaveObject,
    Rehome,
    Release,
    RestoreDatabase,
    Resume,
    Retry,
    SetBack,
    SwapBytes,
    Switch,
    TakeObjectAway,
    Tick,
    TimePasses,
)
from tests.model.stores import KINDS, MemoryProvider, MemoryStore, network
from tests.model.world import Loss, World, options_of
from tests.repository import REPOSITORY

COMMIT = "sql commit*"


@pytest.fixture
def migrated(world: World) -> MemoryStore:
    """The store that holds the only copy of an execution, in a world in which all is well."""
    world.begin(("s3",), ("one",))
    Execute(0).play(world)
    Tick("A").play(world)
    world.require_nothing_lost()
    assert not world.path_of(0).exists()
    return network.stores["one"]


@pytest.mark.parametrize("key", ["ejecuciones/u0/a", "ejecuciones/u0.manifest.json"])
def test_a_lost_object_is_a_loss(world: World, migrated: MemoryStore, key: str) -> None:
    migrated.delete(key)
    with pytest.raises(Loss):
        world.require_nothing_lost()


@pytest.mark.parametrize("key", ["ejecuciones/u0/a", "ejecuciones/u0/b"])
def test_other_bytes_are_a_loss(world: World, migrated: MemoryStore, key: str) -> None:
    migrated.put(key, b"A9999")
    with pytest.raises(Loss):
        world.require_nothing_lost()


def test_the_manifest_of_another_execution_is_a_loss(world: World, migrated: MemoryStore) -> None:
    held = migrated.get("ejecuciones/u0.manifest.json")
    assert held is not None
    migrated.put(held.key, held.content.replace(b'"u0"', b'"u1"'))
    with pytest.raises(Loss, match="nothing holds any more"):
        world.require_nothing_lost()
    world.promised.clear()
    with pytest.raises(Loss, match="no complete copy of u0"):
        world.require_nothing_lost()


def test_a_manifest_that_names_other_bytes_is_a_loss(world: World, migrated: MemoryStore) -> None:
    """Nobody could prove what is restored by it."""
    held = migrated.get("ejecuciones/u0.manifest.json")
    assert held is not None
    true_sha256 = hashlib.sha256(world.promised[0]["a"]).hexdigest().encode()
    migrated.put(held.key, held.content.replace(true_sha256, b"0" * 64))
    with pytest.raises(Loss, match="nothing holds any more"):
        world.require_nothing_lost()


def test_a_copy_is_looked_for_where_the_row_pointed_to_when_it_was_made(world: World, migrated: MemoryStore) -> None:
    SetBack(0).play(world)
    world.require_nothing_lost()
    migrated.delete("ejecuciones/u0/a")
    with pytest.raises(Loss, match="nothing holds any more"):
        world.require_nothing_lost()


def test_a_row_that_points_to_another_executions_bytes_is_a_loss(world: World, migrated: MemoryStore) -> None:
    """Though every byte is somewhere."""
    world.promised.clear()
    world.written[0] = [{"a": b"B0001"}]
    assert migrated.get("ejecuciones/u0/a")
    with pytest.raises(Loss, match="never held"):
        world.require_nothing_lost()


def test_a_directory_that_is_removed_too_soon_is_a_loss(world: World) -> None:
    world.begin(("s3",), ("one",))
    Execute(0).play(world)
    (world.path_of(0) / "a").unlink()
    with pytest.raises(Loss, match="shared/e0"):
        world.require_nothing_lost()


def test_what_the_platform_rewrites_is_no_loss(world: World, migrated: MemoryStore) -> None:
    SetBack(0).play(world)
    Execute(0, "B").play(world)
    migrated.delete("ejecuciones/u0/a")
    world.require_nothing_lost()


@pytest.mark.parametrize("left", ["lease", "attempt", "directory"])
def test_what_is_left_over_is_reported(world: World, migrated: MemoryStore, left: str) -> None:
    world.require_nothing_left_over()
    if left == "lease":
        world.production.platform.sql("UPDATE janitor_migrations SET lease_expires_at = now()")
    elif left == "attempt":
        world.production.platform.sql("UPDATE janitor_attempts SET state = 'open'")
    else:
        (world.path_of(0).parent / ".janitor-trash-1-u0").mkdir()
    with pytest.raises(Loss, match="left over"):
        world.require_nothing_left_over()


def test_a_held_execution_whose_directory_or_row_changes_is_a_loss(world: World) -> None:
    world.begin(("s3", "azure"), ("one", "two"))
    Execute(0).play(world)
    Hold(0).play(world)
    (world.path_of(0) / "a").unlink()
    network.stores["one"].put("elsewhere", world.promised[0]["a"])
    with pytest.raises(Loss, match="is held"):
        world.require_held()
    world.begin(("s3", "azure"), ("one", "two"))
    Execute(0).play(world)
    Tick("A", Cut(Fate.KILL, "sql note_set_aside*")).play(world)
    Hold(0).play(world)
    world.require_nothing_lost()
    world.production.migrated.clear()
    with pytest.raises(Loss, match="does not point to"):
        world.require_nothing_lost()
    Release(0).play(world)
    world.require_held()


@pytest.mark.parametrize("harm", ["gone", "replaced"])
def test_an_object_of_others_that_changes_is_a_loss(world: World, migrated: MemoryStore, harm: str) -> None:
    LeaveObject(1, "one").play(world)
    LeaveObject(0, "one").play(world)
    assert list(world.of_others) == [("one", "ejecuciones/u1/a")], "nothing where this program has been"
    world.require_nothing_lost()
    if harm == "gone":
        migrated.delete("ejecuciones/u1/a")
    else:
        migrated.put("ejecuciones/u1/a", b"ours")
    with pytest.raises(Loss, match="somebody else"):
        world.require_nothing_lost()


def test_others_store_nothing_where_a_restored_database_does_not_know_of_a_copy(world: World) -> None:
    world.begin(("s3",), ("one",))
    for step in (Execute(0), BackUp(), Tick("A"), RestoreDatabase(), LeaveObject(0, "one")):
        step.play(world)
    assert not world.of_others
    world.require_nothing_lost()


def test_a_run_that_breaks_down_is_reported(world: World) -> None:
    world.begin(("s3",), ("one",))
    world.production.platform.sql("UPDATE ejecuciones_config SET nube_primaria_id = NULL")
    Execute(0).play(world)
    assert world.tick("A").exit_code == 0
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("tests.model.world.JanitorDaemon.run", lambda _daemon: 1 // 0)
        with pytest.raises(Loss, match="ZeroDivisionError"):
            world.tick("A")


def test_a_loss_shows_the_history(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "require_nothing_left_over", lambda _world: pytest.fail("not a loss"))
    monkeypatch.setattr(World, "is_at_rest", lambda _world, _installation: _raise(Loss("made up")))
    with pytest.raises(Loss, match=r"made up\nin Scene\(.*\nExecute\(slot=0"):
        play(world, Scene(), [Execute(0)])


def _raise(error: Exception) -> None:
    raise error


# Kills, stops, late requests


def test_a_dead_run_does_nothing_more(world: World) -> None:
    world.begin(("s3",), ("one",))
    Execute(0).play(world)
    run = world.tick("A", Cut(Fate.KILL, COMMIT))
    assert isinstance(run.error, Killed)
    assert run.steps[-1] == "sql commit_migration"
    assert world.production.platform.value("SELECT count(*) FROM janitor_attempts WHERE state = 'open'") == 1
    assert world.production.platform.value("SELECT count(*) FROM janitor_runs WHERE finished_at IS NULL") == 1
    assert world.tick("A").exit_code == 0


def test_a_stopped_run_holds_its_lock_and_continues(world: World) -> None:
    world.begin(("s3",), ("one",))
    Execute(0).play(world)
    run = world.tick("A", Cut(Fate.STOP, COMMIT))
    assert world.runs.parked == [run]
    assert isinstance(world.tick("A").error, LockHeld)
    world.resume(run)
    assert (run.exit_code, world.runs.parked) == (0, [])
    assert world.production.migrated


def test_a_stopped_run_finds_its_lease_over(world: World) -> None:
    world.begin(("s3",), ("one",))
    Execute(0).play(world)
    run = world.tick("A", Cut(Fate.STOP, COMMIT))
    TimePasses().play(world)
    Tick("B").play(world)
    assert world.production.migrated
    world.resume(run)
    assert world.production.platform.value("SELECT max(fencing_token) FROM janitor_migrations") == 2


@pytest.mark.parametrize("fate", [Fate.KILL_SENT, Fate.STOP_SENT])
def test_a_request_under_way_arrives_when_the_history_says_so(world: World, fate: Fate) -> None:
    world.begin(("s3",), ("one",))
    Execute(0).play(world)
    world.tick("A", Cut(fate, "*/a at *"))
    assert network.stores["one"].get("ejecuciones/u0/a") is None
    Deliver().play(world)
    assert network.stores["one"].get("ejecuciones/u0/a")
    Resume().play(world)
    assert not world.runs.parked


def test_a_request_without_condition_does_not_arrive_hours_later(world: World) -> None:
    world.begin(("minio",), ("one",))
    Execute(0).play(world)
    world.tick("A", Cut(Fate.KILL_SENT, "*/a at *"))
    TimePasses(hours=2).play(world)
    Deliver().play(world)
    assert network.stores["one"].get("ejecuciones/u0/a") is None


def test_only_one_host_sees_its_own_directories(world: World) -> None:
    world.begin(("s3",), ("one",))
    Execute(2).play(world)
    Tick("B").play(world)
    assert not world.production.migrated
    Tick("A").play(world)
    assert world.production.migrated


def test_a_clone_has_rows_and_directories_of_its_own(world: World) -> None:
    world.begin(("s3",), ("one",))
    Execute(0).play(world)
    Clone(changed_slot=0).play(world)
    assert world.promised[3]["a"] != world.promised[0]["a"]
    row = world.staging.platform.sql("SELECT uuid::text AS uuid, ruta_directorio FROM ejecuciones_yaml")
    assert row == [{"uuid": "u0", "ruta_directorio": str(world.path_of(3))}]
    assert world.path_of(0).exists()


@pytest.mark.parametrize("in_place", [True, False])
def test_swapped_bytes_look_alike_to_a_short_checksum(world: World, in_place: bool) -> None:
    world.begin(("gcs",), ("one",))
    Execute(0).play(world)
    path = world.path_of(0) / "a"
    before, inode = path.read_bytes(), path.stat().st_ino
    SwapBytes(0, in_place=in_place).play(world)
    after = path.read_bytes()
    assert (before != after, len(before), before[:1]) == (True, len(after), after[:1])
    assert (path.stat().st_ino == inode) is in_place
    assert before[:1].hex() in str(provider_at("gcs").checksum(after))


def test_copies_come_home_and_a_killed_move_is_begun_again(world: World) -> None:
    world.begin(("s3", "azure"), ("one", "two"))
    for step in (Switch(is_on=False), Execute(0), Tick("A"), Switch(is_on=True)):
        step.play(world)
    assert world.production.migrated[1].store is network.stores["two"]
    Rehome("A", Cut(Fate.KILL, "sql jobs/rehome/switch")).play(world)
    assert world.production.migrated[1].store is network.stores["two"]
    Rehome("A").play(world)
    world.require_nothing_lost()
    assert world.production.migrated[1].store is network.stores["one"]
    assert network.stores["two"].get("ejecuciones/u0/a")
    Tick("A").play(world)
    assert network.stores["two"].get("ejecuciones/u0/a") is None


def test_an_audit_has_a_damaged_copy_migrated_again(world: World) -> None:
    world.begin(("s3", "azure"), ("one", "two"))
    for step in (KeepCopies(keeps=True), Execute(0), Tick("A"), TakeObjectAway(0)):
        step.play(world)
    assert network.stores["one"].get("ejecuciones/u0/a") is None
    world.require_nothing_lost()
    Audit("A").play(world)
    assert not world.production.migrated
    Tick("A").play(world)
    assert network.stores["one"].get("ejecuciones/u0/a")
    assert not world.production.damaged


def test_what_failed_in_different_runs_is_in_quarantine_until_it_is_taken_up_again(world: World) -> None:
    world.begin(("s3",), ("one",))
    network.stores["one"].put("ejecuciones/u0/a", b"of others")
    Execute(0).play(world)
    for _ in range(3):
        Tick("A").play(world)
    assert world.production.platform.value("SELECT count(*) FROM janitor_migrations WHERE quarantined_at < now()") == 1
    network.stores["one"].delete("ejecuciones/u0/a")
    Tick("A").play(world)
    assert not world.production.migrated
    Retry(0).play(world)
    Tick("A").play(world)
    assert world.production.migrated


# Stores


def provider_at(kind: str) -> MemoryProvider:
    """A provider of a kind at an empty store."""
    network.stores = {"one": MemoryStore("one")}
    provider = build_provider(ProviderRow(1, "one", kind, {}, options_of(kind, "one"), active=True))
    assert isinstance(provider, KINDS[kind])
    return provider


@pytest.mark.parametrize("kind", ["s3", "azure", "gcs"])
def test_a_condition_is_judged_when_the_request_arrives(world: World, kind: str) -> None:
    del world  # whose providers these are
    provider = provider_at(kind)
    provider.replace("k", BytesSource(b"one"), None)
    first = provider.stat("k")
    with pytest.raises(ConditionFailed):
        provider.replace("k", BytesSource(b"two"), None)
    provider.replace("k", BytesSource(b"two"), first)
    with pytest.raises(ConditionFailed):
        provider.delete_exactly(first)
    assert b"".join(provider.open("k")) == b"two"
    provider.delete_exactly(provider.stat("k"))
    with pytest.raises(ObjectNotFound):
        provider.stat("k")


def test_a_rename_finds_nothing_once_its_file_was_discarded() -> None:
    store = MemoryStore("one")
    temporary = store.begin("p/k", b"one")
    store.discard_unfinished("p/k2")
    assert store.unfinished() == [temporary]
    store.discard_unfinished("p/")
    with pytest.raises(ObjectNotFound):
        store.finish(temporary, "p/k")
    assert store.get("p/k") is None


def test_a_store_that_folds_case_has_one_object_for_both_names() -> None:
    store = MemoryStore("one", folds_case=True)
    store.put("p/U0/a", b"one")
    store.put("p/u0/a", b"two")
    assert [held.content for held in store.below("p/U0/")] == [b"two"]
    assert [StoredObject(held.key, 3) for held in store.below("p/u0/")] == [StoredObject("p/u0/a", 3)]


def test_every_statement_at_which_a_run_is_cut_exists() -> None:
    """A cut that no step matches cuts nothing, and its history tells nothing."""
    own = [path.stem for path in (REPOSITORY / "sql/queries").glob("*.sql")]
    of_jobs = (REPOSITORY / "jobs").glob("*/queries/*.sql")
    known = own + [f"jobs/{path.parts[-3]}/{path.stem}" for path in of_jobs]
    texts = (path.read_text() for path in Path(__file__).parent.rglob("*.py"))
    named = {name for text in texts for name in re.findall(r'"sql ([\w*/]+)"', text)}
    assert named, "no cut is found any more"
    assert [name for name in sorted(named) if not fnmatch.filter(known, name)] == []
