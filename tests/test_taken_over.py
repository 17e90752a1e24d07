"""Whoever was stopped while another run took over changes nothing any more: neither at a provider nor on the disk."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from config.models import Claim, Evidence, Execution, ProviderRow
from config.trees import Tree
from jobs import lease
from jobs.attempts import Attempts
from jobs.directories import DirectoryJudge
from jobs.keys import Place
from jobs.lease import ClaimLost
from jobs.local_copies import LocalCopies
from jobs.provider_set import ProviderSet
from jobs.report import TickReport
from jobs.transfers import TransferPool
from jobs.tree import walk_tree
from providers.base import BytesSource, Provider
from providers.descriptors import closing_descriptor
from providers.local import LocalProvider
from sql.database import Database, ProvenCopy
from tests.faulty_provider import Fault, FaultyProvider, after
from tests.platform_database import Platform, claim_one, open_attempt
from tests.stories.trees import snapshot

NEVER = threading.Event()
KEY_PREFIX = "p/ejecuciones/uuid-1"


@pytest.fixture
def platform(database_url: str) -> Iterator[Platform]:
    """A database of the platform."""
    with closing(Platform(database_url)) as made:
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


@pytest.mark.parametrize(("step", "number", "discarded"), [("list", 1, 0), ("abandon", 1, 1), ("abandon", 2, 2)])
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
    assert len(watched.keys("abandon")) == discarded
    assert watched.keys("delete") == watched.keys("put") == []
    assert len(list(provider.list(""))) == 2


# On the disk

LOST: dict[str, str] = {
    "another run took over": "UPDATE janitor_migrations SET fencing_token = fencing_token + 1",
    "the row was taken back": "UPDATE ejecuciones_yaml SET migrado_a_nube = false",
    "the row points elsewhere": "UPDATE ejecuciones_yaml SET ruta_nube = 'cloud://s3/by/hand'",
    "the row names another provider": "UPDATE ejecuciones_yaml SET nube_provider_id = 2",
    "the lease was given back": "UPDATE janitor_migrations SET lease_expires_at = NULL",
    "the lease is over": "UPDATE janitor_migrations SET lease_expires_at = now() - interval '1 second'",
}


@pytest.mark.parametrize("moment", ["before it is set aside", "before anything is removed"])
@pytest.mark.parametrize("loss", LOST)
def test_a_local_copy_that_is_not_ours_to_delete_any_more_stays(
    platform: Platform, directory: Path, loss: str, moment: str
) -> None:
    database = platform.run("host-1")
    claim = claim_one(database, platform.add_execution(directory))
    copy = ProvenCopy(f"cloud://local/{KEY_PREFIX}", 1, KEY_PREFIX, 1, 7, Evidence.READ_BACK, "00")
    assert database.commit_migration(claim, open_attempt(database, claim), copy, delete_local_copy=True)
    before = snapshot(directory)
    asked: list[Tree] = []

    def load_proven() -> Tree:
        with closing_descriptor(os.open(directory_now(directory), os.O_RDONLY)) as descriptor:
            asked.append(walk_tree(descriptor))
        platform.sql(LOST[loss])
        return asked[0]

    if moment == "before it is set aside":
        platform.sql(LOST[loss])
    report = TickReport()
    copies = LocalCopies(database, DirectoryJudge([str(directory.parent)]), report, NEVER)
    copies.remove(claim, load_proven)
    assert len(asked) == (1 if moment == "before anything is removed" else 0)
    assert snapshot(directory) == before
    assert (report.counts.deletions_failed, report.counts.local_copies_deleted) == (1, 0)
    assert platform.value("SELECT local_copy FROM janitor_migrations") == "deleting"


def directory_now(directory: Path) -> Path:
    """Where the execution is while it is removed: it is the only thing in its root."""
    (path,) = directory.parent.iterdir()
    return path
