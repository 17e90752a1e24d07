"""A directory whose disk is not mounted is neither written to nor believed, whatever else is in it.

Looked for besides: what else takes absence for truth (a lost copy, a removed leftover, an execution that has no copy
any more), a probe that is stored below the mount point, a disk that vanishes in the middle of a run.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from config.models import Evidence, ProvenCopy, ProviderRow
from jobs.migration.attempts import Attempts
from jobs.migration.directories import DirectoryJudge
from jobs.provider_set import ProviderSet
from jobs.provider_state.memory import ProviderMemory
from providers.errors import ConnectionDenied, NotMounted
from providers.mounts import TRUSTED_NAME
from providers.sources import BytesSource
from providers.stores import store_of
from sql.database import Database
from storage.keys import Place, place_of
from storage.traffic.transfers import TransferPool
from tests.databases.platform_database import Platform, claim_one
from tests.destinations import Destination
from tests.faults.faulty_provider import Fault, FaultyProvider, after


class Nas:
    """A directory that holds copies, two rows that lead to it (1 and 2), and one that leads elsewhere (3)."""

    def __init__(self, directory: Path, platform: Platform) -> None:
        self.directory = directory
        self.platform = platform
        self.database = platform.run()
        directory.mkdir()
        (directory.parent / "otro").mkdir()
        self.rows = [self._row(1), self._row(2), self._row(3, directory.parent / "otro")]

    def _row(self, number: int, directory: Path | None = None) -> ProviderRow:
        options = {"ruta": str(directory or self.directory)}
        return ProviderRow(number, f"NAS {number}", "local", None, options, active=True)

    def store(self, uuid: str, provider_id: int = 1) -> Place:
        """Have a copy there, and the row of its execution."""
        place = Place(f"ejecuciones/{uuid}")
        (self.directory / place.key_prefix).mkdir(parents=True)
        (self.directory / place.key_prefix / "a.txt").write_text("a")
        (self.directory / place.manifest_key).write_text("{}")
        execution = self.platform.add_execution(f"/data/{uuid}", uuid)
        claim = claim_one(self.database, execution)
        attempt = self.database.open_attempt(claim, provider_id, place.key_prefix, store_of(self.rows[0]))
        copy = ProvenCopy(place.uri("local"), provider_id, place.key_prefix, 1, 1, Evidence.READ_BACK, "0" * 64)
        assert self.database.commit_migration(claim, attempt, copy, delete_local_copy=False)  # type: ignore[arg-type]
        return place

    def unmount(self) -> None:
        """Only the mount point is left."""
        self.directory.rename(self.directory.with_name("away"))
        self.directory.mkdir()

    def mount(self) -> None:
        shutil.rmtree(self.directory)
        self.directory.with_name("away").rename(self.directory)

    def run(self, database: Database | None = None) -> ProviderSet:
        """The providers of a run."""
        asked = database or self.database
        return ProviderSet(self.rows, (), memory=ProviderMemory(asked, "ejecuciones"), database=asked)

    def is_used(self, provider_id: int = 1) -> bool:
        """Whether a new run uses a provider."""
        with closing(self.run()) as providers:
            return providers.get(provider_id) is not None


@pytest.fixture
def platform(initialized_database_url: str) -> Iterator[Platform]:
    """An empty database."""
    with closing(Platform(initialized_database_url)) as made:
        yield made


@pytest.fixture
def nas(platform: Platform, tmp_path: Path) -> Nas:
    """With two copies."""
    made = Nas(tmp_path / "nas", platform)
    made.store("uno")
    made.store("dos")
    return made


def stray_file(directory: Path) -> None:
    (directory / "LEEME.txt").touch()


def new_file_system(directory: Path) -> None:
    (directory / "lost+found").mkdir()


def earlier_run(directory: Path) -> None:
    """What a release without this rule has stored below the mount point, for rows that were set back since."""
    (directory / "ejecuciones" / "tres").mkdir(parents=True)
    (directory / "ejecuciones" / "tres.manifest.json").write_text("{}")


def nothing(_directory: Path) -> None:
    """The directory alone."""


@pytest.mark.parametrize("left", [nothing, new_file_system, stray_file, earlier_run])
def test_a_mount_point_is_not_used_and_the_disk_is_as_soon_as_it_is_mounted(
    nas: Nas, left: Callable[[Path], None]
) -> None:
    assert nas.is_used()
    nas.unmount()
    left(nas.directory)
    before = sorted(nas.directory.rglob("*"))
    assert not nas.is_used()
    assert not nas.is_used(2)  # by another row for the same directory
    assert nas.is_used(3)
    for _ in range(3):  # and no probe is stored there, nor a pause made
        assert not nas.is_used()
    assert sorted(nas.directory.rglob("*")) == before
    nas.mount()
    assert nas.is_used()
    assert nas.platform.sql("SELECT * FROM janitor_provider_health WHERE provider_id = 1") == []


def test_nothing_is_stored_for_an_alternate_that_is_not_mounted(nas: Nas) -> None:
    """The order of the policy gives it without a look; a caller that stores there looks first."""
    nas.unmount()
    with closing(nas.run()) as providers:
        (provider,) = providers.in_order([1])
        with pytest.raises(NotMounted, match=r"está vacío, aunque constan 2 copias en él: ¿está montado\?") as told:
            providers.require_mounted(provider)
        providers.note_failure(provider, told.value, "ejecuciones")
        assert list(providers.in_order([1])) == []
    assert list(nas.directory.iterdir()) == []


def test_what_failed_before_is_not_probed_below_the_mount_point(nas: Nas) -> None:
    with closing(nas.run()) as providers:
        (provider,) = providers.in_order([1])
        providers.note_failure(provider, ConnectionDenied("x"), "")
    nas.platform.sql("UPDATE janitor_provider_health SET until = now(), needs_a_person = true")
    nas.unmount()
    untouched = nas.directory.stat().st_mtime_ns
    with closing(nas.run()) as providers:
        assert list(providers.in_order([1])) == []
    with closing(nas.run()) as providers:
        assert providers.for_removal(1) is None
    assert nas.directory.stat().st_mtime_ns == untouched


def test_a_person_may_say_that_it_is_the_right_one(nas: Nas) -> None:
    nas.unmount()
    (nas.directory / TRUSTED_NAME).touch()
    assert nas.is_used()


@pytest.mark.parametrize("statement", [
    "UPDATE ejecuciones_yaml SET migrado_a_nube = false",
    "DELETE FROM ejecuciones_yaml",
    "UPDATE ejecuciones_yaml SET nube_provider_id = 3",
    "UPDATE janitor_attempts SET store = 'local:/elsewhere'",
])  # fmt: skip
def test_copies_that_no_row_expects_there_are_not_missed(nas: Nas, statement: str) -> None:
    nas.platform.sql(statement)
    nas.unmount()
    assert nas.is_used()


def test_one_of_the_newest_copies_is_enough(nas: Nas) -> None:
    """A copy may be lost; that is for an audit to tell."""
    shutil.rmtree(nas.directory / "ejecuciones" / "dos")
    (nas.directory / "ejecuciones" / "dos.manifest.json").unlink()
    assert nas.is_used()
    (nas.directory / "ejecuciones" / "uno.manifest.json").unlink()
    assert nas.is_used()
    shutil.rmtree(nas.directory / "ejecuciones" / "uno")
    assert not nas.is_used()


def test_a_disk_that_goes_in_the_middle_is_not_written_to(nas: Nas) -> None:
    """Also one that is mounted over: the directory stays open, and is compared before each step."""
    with closing(nas.run()) as providers:
        provider = providers.get(1)
        assert provider is not None
        nas.unmount()
        with pytest.raises(NotMounted, match=r"¿se desmontó\?") as told:
            provider.put("ejecuciones/tres/a", BytesSource(b"a"))
        providers.note_failure(provider, told.value, "ejecuciones")
        assert providers.get(1) is None
    assert list(nas.directory.iterdir()) == []


def test_a_servers_disk_that_goes_in_the_middle_gets_no_copy_recorded(
    platform: Platform, new_destination: Callable[[str], Destination], tmp_path: Path
) -> None:
    """It is another directory then, which only its contents tell. It goes before the second execution's first byte."""
    database = platform.run()
    destination = new_destination("sftp-openssh")
    executions = tmp_path / "executions"
    for uuid in ("uno", "dos"):
        (executions / uuid).mkdir(parents=True)
        (executions / uuid / "a.txt").write_text("a")

    def unmount() -> None:
        destination.directory.rename(destination.directory.with_name(f"{destination.directory.name}-away"))
        destination.directory.mkdir(mode=0o777)

    providers = ProviderSet([destination.provider_row()], (), database=database)
    real = providers.get(1)
    assert real is not None
    judge = DirectoryJudge([str(executions)])
    with closing(providers), closing(TransferPool(2)) as pool:
        attempts = Attempts(database, providers, pool, threading.Event(), delete_local_copy=False)
        for uuid, faults in (("uno", ()), ("dos", (Fault("put", after(unmount)),))):
            execution = platform.add_execution(executions / uuid, uuid)
            with FaultyProvider(real, faults) as provider, judge.open(execution) as opened:
                provider.recorded = real.recorded
                store = partial(attempts.store, provider, claim_one(database, execution), place_of("", uuid), opened)
                if not faults:
                    store()
                    continue
                with pytest.raises(NotMounted, match="no está ninguna de las últimas, aunque consta 1 copia"):
                    store()
        assert list(providers.in_order([1])) == []
    assert platform.value("SELECT array_agg(uuid) FROM ejecuciones_yaml WHERE migrado_a_nube") == ["uno"]
