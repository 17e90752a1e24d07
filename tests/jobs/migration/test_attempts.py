"""An attempt ends where its claim does: nothing is sent without one, and a commit that was refused is none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from config.errors import MigrationError, SourceChanged
from config.models import Claim, ProviderRow
from jobs.migration.attempts import Attempts
from jobs.migration.directories import DirectoryJudge
from jobs.provider_set import ProviderSet
from providers.local.provider import LocalProvider
from sql.database import Database, DatabaseUnavailable
from storage.keys import Place
from storage.traffic.transfers import TransferPool
from tests.databases.platform_database import Platform, claim_one
from tests.faults.faulty_provider import Fault, FaultyProvider, after

NEVER = threading.Event()
PLACE = Place("p/ejecuciones/uuid-1")


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


def store(database: Database, claim: Claim, provider: FaultyProvider) -> None:
    """One attempt, as a run makes it."""
    with closing(TransferPool(1)) as pool, DirectoryJudge([]).open(claim.execution) as opened:
        attempts = Attempts(database, ProviderSet((), ()), pool, NEVER, delete_local_copy=True)
        attempts.store(provider, claim, PLACE, opened)


def test_nothing_is_sent_once_the_claim_is_lost(platform: Platform, directory: Path, provider: LocalProvider) -> None:
    execution = platform.add_execution(directory)
    late = platform.run("host-1")
    old = claim_one(late, execution)
    platform.sql("UPDATE janitor_migrations SET lease_expires_at = now() - interval '1 second'")
    claim_one(platform.run("host-2"), execution)
    with FaultyProvider(provider) as watched, pytest.raises(MigrationError) as caught:
        store(late, old, watched)
    assert caught.value.code == "claim_lost"
    assert watched.calls == []
    assert platform.sql("SELECT id FROM janitor_attempts") == []


def test_a_database_that_is_silent_for_a_moment_ends_no_attempt(
    platform: Platform, directory: Path, provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last answer holds until the lease would end."""
    monkeypatch.setattr("storage.lease.FRESH_SECONDS", 0.0)  # so that it is asked before each step
    database = platform.run()
    claim = claim_one(database, platform.add_execution(directory))
    answers = [database.lease_seconds_left(claim)]
    silences: list[DatabaseUnavailable] = []

    def ask(_claim: Claim) -> float | None:
        if answers:
            return answers.pop()
        silences.append(DatabaseUnavailable("no responde"))
        raise silences[-1]

    monkeypatch.setattr(database, "lease_seconds_left", ask)
    with FaultyProvider(provider) as watched:
        store(database, claim, watched)
    assert silences
    assert platform.value("SELECT migrado_a_nube FROM ejecuciones_yaml") is True


def test_an_attempt_whose_commit_is_refused_has_failed(
    platform: Platform, directory: Path, provider: LocalProvider
) -> None:
    execution = platform.add_execution(directory)
    database = platform.run()
    claim = claim_one(database, execution)
    by_hand = "UPDATE ejecuciones_yaml SET migrado_a_nube = true, ruta_nube = 'cloud://s3/by/hand'"
    last_question = Fault("digests", after(lambda: platform.sql(by_hand)))
    with FaultyProvider(provider, [last_question]) as watched, pytest.raises(MigrationError) as caught:
        store(database, claim, watched)
    assert caught.value.code == "claim_lost"
    assert platform.value("SELECT ruta_nube FROM ejecuciones_yaml") == "cloud://s3/by/hand"
    assert platform.value("SELECT local_copy FROM janitor_migrations") == "kept"
    assert platform.value("SELECT state FROM janitor_attempts") == "abandoned"


def replace(directory: Path) -> None:
    directory.rename(directory.with_name("moved"))
    directory.mkdir()
    (directory / "file").write_bytes(b"content")


def replace_parent(directory: Path) -> None:
    parent = directory.parent
    parent.rename(parent.with_name("moved"))
    directory.mkdir(parents=True)
    (directory / "file").write_bytes(b"content")


def replace_by_link(directory: Path) -> None:
    directory.rename(directory.with_name("moved"))
    directory.symlink_to("moved")


def move_away(directory: Path) -> None:
    directory.rename(directory.with_name("moved"))


SENT_ELSEWHERE: dict[str, tuple[Callable[[Path], None], str]] = {
    "another one in its place": (replace, "source_changed"),
    "another one by another parent": (replace_parent, "source_changed"),
    "a link in its place": (replace_by_link, "unsafe_source"),
    "nothing in its place": (move_away, "directory_missing"),
}


@pytest.mark.parametrize("moment", ["put", "digests"])
@pytest.mark.parametrize("change", SENT_ELSEWHERE)
def test_a_directory_that_is_not_at_its_place_any_more_is_not_committed(
    platform: Platform, directory: Path, provider: LocalProvider, change: str, moment: str
) -> None:
    """It is whole and held open, and yet not what the row names."""
    action, code = SENT_ELSEWHERE[change]
    execution = platform.add_execution(directory)
    database = platform.run()
    claim = claim_one(database, execution)
    fault = Fault(moment, after(partial(action, directory)))
    with FaultyProvider(provider, [fault]) as watched, pytest.raises(MigrationError) as caught:
        store(database, claim, watched)
    assert caught.value.code == code
    assert platform.value("SELECT migrado_a_nube FROM ejecuciones_yaml") is False
    assert platform.sql("SELECT FROM janitor_attempts WHERE state <> 'abandoned'") == []


def swap(directory: Path) -> None:
    """Another directory of the same content takes the execution's place."""
    directory.rename(directory.with_name("moved"))
    directory.mkdir()
    (directory / "file").write_bytes(b"content")


def test_a_directory_that_was_swapped_before_it_is_walked_is_not_sent(
    platform: Platform, directory: Path, provider: LocalProvider
) -> None:
    database = platform.run()
    claim = claim_one(database, platform.add_execution(directory))
    with (
        FaultyProvider(provider) as watched,
        closing(TransferPool(1)) as pool,
        DirectoryJudge([]).open(claim.execution) as opened,
    ):
        swap(directory)
        attempts = Attempts(database, ProviderSet((), ()), pool, NEVER, delete_local_copy=True)
        with pytest.raises(SourceChanged):
            attempts.store(watched, claim, PLACE, opened)
    assert watched.calls == []
