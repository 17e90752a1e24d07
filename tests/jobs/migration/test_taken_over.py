"""Whoever was stopped while another run took over changes nothing any more: neither at a provider nor on the disk."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from config.models import Claim, Evidence, Execution, ProvenCopy, ProviderRow
from files.descriptors import closing_descriptor
from files.tree import Tree
from files.walk import walk_tree
from jobs.migration.attempts import Attempts
from jobs.migration.directories import DirectoryJudge, KnownConflicts
from jobs.migration.removal.local_copies import LocalCopies
from jobs.provider_set import ProviderSet
from jobs.report import TickReport
from jobs.signals import Interruption
from providers.base import Provider
from providers.local.provider import LocalProvider
from providers.sources import BytesSource
from sql.database import Database
from storage import lease
from storage.keys import Place
from storage.lease import ClaimLost
from storage.traffic.transfers import TransferPool
from tests.databases.platform_database import Platform, claim_one, open_attempt
from tests.faults.faulty_provider import Fault, FaultyProvider, after
from tests.jobs.migration.removal.test_removal import after_first_unlink
from tests.stories.trees import snapshot

NEVER = threading.Event()
KEY_PREFIX = "p/ejecuciones/uuid-1"


@pytest.fixture
def platform(initialized_database_url: str) -> Iterator[Platform]:
    """A database of the platform."""
    with closing(Platform(initialized_database_url)) as made:
        yield made


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An execution."""
    path = tmp_path / "executions" / "e1"
    path.mkdir(parents=True)
    (path / "file").write_bytes(b"content")
    return path


@pytest.fixture
def provider(tmp_path: Path) -> LocalProvider:
    """Where it is to go."""
    (tmp_path / "nas").mkdir()
    return LocalProvider(ProviderRow(1, "nas", "local", None, {"ruta": str(tmp_path / "nas")}, active=True))


@pytest.fixture(autouse=True)
def asked_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer is taken for fresh, so that no test depends on how fast it is."""
    monkeypatch.setattr(lease, "FRESH_SECONDS", 0.0)


def take_over(platform: Platform, execution: Execution) -> None:
    """As another host does once a lease is over."""
    platform.sql("UPDATE janitor_migrations SET lease_expires_at = now() - interval '1 second'")
    claim_one(platform.run("host-2"), execution)


def store(database: Database, claim: Claim, provider: Provider) -> None:
    with closing(TransferPool(1)) as pool, DirectoryJudge([]).open(claim.execution) as opened:
        attempts = Attempts(database, ProviderSet((), ()), pool, NEVER, delete_local_copy=True)
        attempts.store(provider, claim, Place(KEY_PREFIX), opened)


# At a provider


@pytest.mark.parametrize("content", [b"", b"content"])
def test_nothing_more_is_sent(platform: Platform, directory: Path, provider: LocalProvider, content: bytes) -> None:
    """It happened while the place was looked at. An empty file has no bytes at which to stop."""
    (directory / "file").write_bytes(content)
    execution = platform.add_execution(directory)
    database = platform.run("host-1")
    claim = claim_one(database, execution)
    taken = Fault("list", after(lambda: take_over(platform, execution)))
    with FaultyProvider(provider, [taken]) as watched, pytest.raises(ClaimLost):
        store(database, claim, watched)
    assert watched.keys("put") == []
    assert list(provider.list("")) == []


def test_what_is_being_sent_is_not_stored(platform: Platform, directory: Path, provider: LocalProvider) -> None:
    execution = platform.add_execution(directory)
    database = platform.run("host-1")
    claim = claim_one(database, execution)
    taken = Fault("put", after(lambda: take_over(platform, execution)), key="*/file")
    with FaultyProvider(provider, [taken]) as watched, pytest.raises(ClaimLost):
        store(database, claim, watched)
    assert list(provider.list("")) == []


@pytest.mark.parametrize(
    ("step", "number", "discarded"), [("list", 1, 0), ("discard_unfinished", 1, 1), ("discard_unfinished", 2, 2)]
)
def test_nothing_is_removed_from_the_provider(
    platform: Platform, directory: Path, provider: LocalProvider, step: str, number: int, discarded: int
) -> None:
    """What an earlier attempt stored, unfinished or whole, may be part of the other run's copy by now."""
    execution = platform.add_execution(directory)
    database = platform.run("host-1")
    claim = claim_one(database, execution)
    database.note_place(open_attempt(database, claim, 1, KEY_PREFIX), foreign_objects=False)
    for key in (f"{KEY_PREFIX}/file", f"{KEY_PREFIX}.manifest.json"):
        provider.put(key, BytesSource(b"stored before"))
    taken = Fault(step, after(lambda: take_over(platform, execution)), calls=(number,))
    with FaultyProvider(provider, [taken]) as watched, pytest.raises(ClaimLost):
        store(database, claim, watched)
    assert len(watched.keys("discard_unfinished")) == discarded
    assert watched.keys("delete") == watched.keys("put") == []
    assert len(list(provider.list(""))) == 2


# On the disk

LOST: dict[str, str] = {
    "another run took over": "UPDATE janitor_migrations SET fencing_token = fencing_token + 1",
    "the row was taken back": "UPDATE ejecuciones_yaml SET migrado_a_nube = false",
    "the row points elsewhere": "UPDATE ejecuciones_yaml SET ruta_nube = 'cloud://s3/by/hand'",
    "the row names another provider": "UPDATE ejecuciones_yaml SET nube_provider_id = 2",
    "the row has another uuid": "UPDATE ejecuciones_yaml SET uuid = 'another'",
    "the row names another directory": "UPDATE ejecuciones_yaml SET ruta_directorio = '/data/moved'",
    "the row is gone": "DELETE FROM ejecuciones_yaml",
    "the lease was given back": "UPDATE janitor_migrations SET lease_expires_at = NULL",
    "the lease is over": "UPDATE janitor_migrations SET lease_expires_at = now() - interval '1 second'",
}


class Migrated:
    """An execution that was just migrated, and whose local copy is to be removed."""

    def __init__(self, platform: Platform, directory: Path) -> None:
        platform.switch_deletion_on()
        self.directory = directory
        self.report = TickReport()
        self.database = platform.run("host-1")
        self.claim = claim_one(self.database, platform.add_execution(directory))
        copy = ProvenCopy(f"cloud://local/{KEY_PREFIX}", 1, KEY_PREFIX, 1, 7, Evidence.READ_BACK, "00")
        attempt = open_attempt(self.database, self.claim)
        assert self.database.commit_migration(self.claim, attempt, copy, delete_local_copy=True)
        self.judge = DirectoryJudge([str(directory.parent)])
        self.interruption = Interruption()
        self.copies = LocalCopies(
            self.database, self.judge, KnownConflicts(self.database, self.judge), self.report, self.interruption
        )

    def proven(self) -> Tree:
        """What is there, as if a copy held it."""
        with closing_descriptor(os.open(directory_now(self.directory), os.O_RDONLY)) as descriptor:
            return walk_tree(descriptor)

    def remove(self, then: Callable[[], object] = lambda: None) -> None:
        """Remove the local copy; `then` happens once what is proven is known."""
        proven = self.proven()

        def load_proven() -> Tree:
            then()
            return proven

        self.copies.remove(self.claim, load_proven)


@pytest.fixture
def migrated(platform: Platform, directory: Path) -> Migrated:
    """That execution."""
    return Migrated(platform, directory)


@pytest.mark.parametrize("moment", ["before it is set aside", "before anything is removed"])
@pytest.mark.parametrize("loss", LOST)
def test_a_local_copy_that_is_not_ours_to_delete_any_more_stays(
    platform: Platform, migrated: Migrated, directory: Path, loss: str, moment: str
) -> None:
    before = snapshot(directory)
    looked_at: list[Path] = []

    def lose() -> None:
        looked_at.append(directory_now(directory))
        platform.sql(LOST[loss])

    if moment == "before it is set aside":
        platform.sql(LOST[loss])
    migrated.remove(lose)
    assert len(looked_at) == (1 if moment == "before anything is removed" else 0)
    assert snapshot(directory) == before
    assert (migrated.report.counts["deletions_failed"], migrated.report.counts["local_copies_deleted"]) == (1, 0)
    assert platform.value("SELECT local_copy FROM janitor_migrations") == "deleting"


SWITCH_OFF = "INSERT INTO ejecuciones_config (eliminar_despues_de_migrar) VALUES (false)"


@pytest.mark.parametrize("moment", ["before it is set aside", "before anything is removed", "in the middle"])
def test_deletion_that_is_switched_off_during_a_run_ends_at_once(
    platform: Platform,
    migrated: Migrated,
    directory: Path,
    moment: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (directory / "another").write_bytes(b"content")
    caplog.set_level("INFO", logger="janitor_daemon")
    if moment == "before it is set aside":
        platform.sql(SWITCH_OFF)
    if moment == "in the middle":
        with after_first_unlink(monkeypatch, lambda: platform.sql(SWITCH_OFF)):
            migrated.remove()
    else:
        migrated.remove(lambda: platform.sql(SWITCH_OFF))
    assert len(os.listdir(directory)) == (1 if moment == "in the middle" else 2)
    assert migrated.report.exit_code == 0
    assert platform.value("SELECT local_copy FROM janitor_migrations") == "kept"
    (record,) = caplog.records
    assert "eliminar_despues_de_migrar" in record.message
    assert record.levelname == ("WARNING" if moment == "in the middle" else "INFO")
    assert ("le falta 1 de sus 2 ficheros" in record.message) == (moment == "in the middle")


@pytest.mark.parametrize("loss", LOST)
def test_of_a_local_copy_that_is_lost_in_the_middle_one_entry_more_goes_at_most(
    platform: Platform, migrated: Migrated, directory: Path, loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for whoever was stopped just then, and continues hours later; here no answer is ever taken for fresh."""
    for number in range(10):
        (directory / f"file {number}").write_bytes(b"content")
    with after_first_unlink(monkeypatch, lambda: platform.sql(LOST[loss])):
        migrated.remove()
    assert len(os.listdir(directory)) == 10
    assert migrated.report.counts["local_copies_deleted"] == 0


def test_a_directory_that_got_its_name_back_meanwhile_stays(
    migrated: Migrated, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a person, who need not have told the database yet."""
    for number in range(10):
        (directory / f"file {number}").write_bytes(b"content")

    def give_name_back() -> None:
        directory_now(directory).rename(directory)

    with after_first_unlink(monkeypatch, give_name_back):
        migrated.remove()
    assert len(os.listdir(directory)) == 10
    assert migrated.report.counts["deletions_failed"] == 1


@pytest.mark.parametrize("loss", ["the row was taken back", "the row names another directory"])
def test_nothing_is_said_to_be_deleted_of_a_row_that_changed_while_the_last_of_it_went(
    platform: Platform, migrated: Migrated, loss: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="janitor_daemon")
    rmdir = os.rmdir

    def remove_and_change(path: str, *, dir_fd: int) -> None:
        rmdir(path, dir_fd=dir_fd)
        platform.sql(LOST[loss])

    monkeypatch.setattr(os, "rmdir", remove_and_change)
    migrated.remove()
    assert (migrated.report.counts["deletions_failed"], migrated.report.counts["local_copies_deleted"]) == (1, 0)
    assert platform.value("SELECT local_copy FROM janitor_migrations") == "deleting"
    assert [vars(record)["event"] for record in caplog.records] == ["removal_not_recorded"]


def test_a_run_that_was_asked_to_stop_puts_a_removal_off(
    platform: Platform, migrated: Migrated, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """That is no failure: it continues in the next run, at once."""
    caplog.set_level("INFO", logger="janitor_daemon")
    before = snapshot(directory)
    migrated.remove(migrated.interruption.set)
    assert snapshot(directory) == before
    assert migrated.report.exit_code == 0
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert platform.sql("SELECT local_copy, lease_expires_at, error FROM janitor_migrations") == [
        {"local_copy": "deleting", "lease_expires_at": None, "error": None}
    ]


@pytest.mark.parametrize("stopped", ["by a limit", "by a signal", "by the cut-off"])
def test_no_unfinished_removal_is_taken_up_once_the_run_is_to_end(
    platform: Platform, migrated: Migrated, directory: Path, stopped: str
) -> None:
    before = snapshot(directory)
    platform.sql("UPDATE janitor_migrations SET lease_expires_at = NULL")
    if stopped == "by a signal":
        migrated.interruption.set()
    if stopped == "by the cut-off":
        migrated.interruption.migrations.set()
    migrated.copies.finish_removals([migrated.claim.execution], ProviderSet((), ()), lambda: stopped != "by a limit")
    assert snapshot(directory) == before
    assert platform.value("SELECT deletion_tries FROM janitor_migrations") == 0
    assert migrated.report.exit_code == 0


# Rows that came later


@pytest.mark.parametrize(("took_seconds", "good_for_seconds"), [(0.1, 30), (1.4, 30), (10, 200)])
def test_knowledge_of_other_rows_is_good_for_half_a_minute_or_for_what_it_cost(
    platform: Platform, directory: Path, took_seconds: float, good_for_seconds: float
) -> None:
    execution = platform.add_execution(directory)
    clock = [1000.0]
    looks = []

    class Slow(Database):
        def rows_in_the_way(self) -> list[tuple[int, Execution]]:
            looks.append(clock[0])
            clock[0] += took_seconds
            return super().rows_in_the_way()

    with closing(Slow(platform.database_url, "host-1")) as slow:
        conflicts = KnownConflicts(slow, DirectoryJudge([str(directory.parent)]), lambda: clock[0])
        for seconds, looks_so_far in ((0.0, 1), (good_for_seconds * 0.99, 1), (good_for_seconds * 0.02, 2)):
            clock[0] += seconds
            assert conflicts.of_removal(execution) is None
            assert len(looks) == looks_so_far


def test_a_directory_that_another_row_names_by_now_stays(
    platform: Platform, migrated: Migrated, directory: Path
) -> None:
    """It arose while files were sent. Looked for elsewhere: a migration goes by the same knowledge."""
    before = snapshot(directory)
    platform.add_execution(directory / "below", "la-nueva")
    migrated.remove()
    assert snapshot(directory) == before
    assert migrated.report.counts["deletions_failed"] == 1
    assert platform.value("SELECT error_code FROM janitor_migrations") == "directory_in_conflict"
    assert "la-nueva" in platform.value("SELECT error FROM janitor_migrations")


def test_a_row_that_is_refused_delays_no_other(platform: Platform, migrated: Migrated, directory: Path) -> None:
    platform.add_execution(directory.parent, "todo")
    migrated.remove()
    assert not directory.exists()


def directory_now(directory: Path) -> Path:
    """Where the execution is while it is removed: it is the only thing in its root."""
    (path,) = directory.parent.iterdir()
    return path
