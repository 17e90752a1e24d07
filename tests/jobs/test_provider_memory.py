"""A provider that failed is left alone for a while by every host, and then probed before it is used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from config.models import ProviderRow
from jobs.provider_set import ProviderSet
from jobs.provider_state.memory import ProviderMemory
from providers.errors import AccessDenied, ConnectionDenied, StorageFull
from sql.database import Database
from tests.databases.platform_database import Platform


@pytest.fixture
def platform(initialized_database_url: str) -> Iterator[Platform]:
    """An empty database."""
    with closing(Platform(initialized_database_url)) as made:
        yield made


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    """A directory that is not there: its provider fails."""
    return tmp_path / "nas"


def run_of(database: Database, destination: Path, identity: str = "as it was") -> ProviderSet:
    """The providers of a run, of which 1 keeps copies in `destination`."""
    row = ProviderRow(1, "El NAS", "local", None, {"ruta": str(destination)}, active=True, identity=identity)
    return ProviderSet([row], (), needs_a_person=lambda *told: NEEDED.append(told), memory=ProviderMemory(database, ""))


NEEDED: list[tuple[object, ...]] = []


@pytest.fixture(autouse=True)
def needed() -> list[tuple[object, ...]]:
    """For which providers a person was asked."""
    NEEDED.clear()
    return NEEDED


def fail(database: Database, destination: Path, identity: str = "as it was") -> bool:
    """One run in which provider 1 is asked for; whether it is in use at its end."""
    with closing(run_of(database, destination, identity)) as providers:
        provider = providers.get(1)
        if provider is None:
            return False
        providers.note_failure(provider, ConnectionDenied("clave rechazada"), "")
        return providers.get(1) is not None


def remembered(platform: Platform) -> tuple[int, float]:
    """The failures noted of provider 1, and for how many minutes it is left alone; (0, 0) if none."""
    rows = platform.sql(
        "SELECT failures, round(extract(epoch FROM until - noted_at) / 60) AS minutes FROM janitor_provider_health"
    )
    return (rows[0]["failures"], float(rows[0]["minutes"])) if rows else (0, 0.0)


def end_pause(platform: Platform) -> None:
    platform.sql("UPDATE janitor_provider_health SET until = now()")


def test_a_provider_that_failed_is_probed_before_it_is_used(platform: Platform, destination: Path) -> None:
    """The first failure is followed by a probe at the next tick; what works again is forgotten."""
    database = platform.run()
    destination.mkdir()
    assert not fail(database, destination)
    assert remembered(platform) == (1, 0.0)
    destination.rmdir()
    assert run_of(database, destination).get(1) is None
    assert remembered(platform) == (2, 15.0)
    destination.mkdir()
    assert run_of(database, destination).get(1) is None
    end_pause(platform)
    with closing(run_of(database, destination)) as providers:
        assert providers.get(1) is not None
    assert list(destination.iterdir()) == []
    assert remembered(platform) == (0, 0.0)


def test_a_pause_doubles_up_to_six_hours(platform: Platform, destination: Path) -> None:
    database = platform.run()
    platform.sql(
        "INSERT INTO janitor_provider_health (provider_id, settings, error_code, error, needs_a_person, host) "
        "VALUES (1, 'as it was', 'unavailable', 'no responde', false, 'h')"
    )
    minutes = []
    for _ in range(7):
        end_pause(platform)
        assert run_of(database, destination).get(1) is None
        minutes.append(remembered(platform)[1])
    assert minutes == [15, 30, 60, 120, 240, 360, 360]


def test_a_paused_provider_is_not_contacted_by_any_host(platform: Platform, destination: Path) -> None:
    """What a person has to mend still shows in the exit code."""
    destination.mkdir()
    fail(platform.run("host-1"), destination)
    platform.sql("UPDATE janitor_provider_health SET until = now() + interval '1 hour'")
    destination.chmod(0o700)
    before = destination.stat().st_mtime_ns
    NEEDED.clear()
    with closing(run_of(platform.run("host-2"), destination)) as providers:
        assert providers.get(1) is None
    assert destination.stat().st_mtime_ns == before
    assert [(1, "El NAS", ConnectionDenied.code)] == NEEDED


def test_changed_settings_are_tried_at_once(platform: Platform, destination: Path) -> None:
    database = platform.run()
    destination.mkdir()
    fail(database, destination)
    platform.sql("UPDATE janitor_provider_health SET until = now() + interval '1 hour'")
    with closing(run_of(database, destination, "changed")) as providers:
        assert providers.get(1) is not None
    assert remembered(platform) == (0, 0.0)


def test_two_hosts_that_find_out_at_once_lengthen_the_pause_once(platform: Platform, destination: Path) -> None:
    destination.mkdir()
    both = [run_of(platform.run(host), destination) for host in ("host-1", "host-2")]
    for providers in both:
        provider = providers.get(1)
        assert provider is not None
        providers.note_failure(provider, ConnectionDenied("clave rechazada"), "")
        providers.close()
    assert remembered(platform) == (1, 0.0)


def test_a_failure_of_one_object_is_not_remembered(platform: Platform, destination: Path) -> None:
    destination.mkdir()
    with closing(run_of(platform.run(), destination)) as providers:
        provider = providers.get(1)
        assert provider is not None
        providers.note_failure(provider, AccessDenied("ese objeto no"), "")
        assert providers.get(1) is provider
    assert remembered(platform) == (0, 0.0)


def error_of(platform: Platform) -> str:
    rows = platform.sql("SELECT error FROM janitor_provider_health")
    return str(rows[0]["error"]) if rows else ""


def test_a_lack_of_room_is_remembered_without_a_pause_until_all_had_room(platform: Platform, destination: Path) -> None:
    """A person is asked for once a run. A smaller execution that was stored, and a probe, do not end it."""
    destination.mkdir()
    database = platform.run()
    for failures in (1, 2):
        NEEDED.clear()
        with closing(run_of(database, destination)) as providers:
            provider = providers.get(1)
            assert provider is not None
            providers.note_success(provider, 10)
            for _ in range(2):
                providers.note_failure(provider, StorageFull("lleno"), "", size_bytes=2048)
            assert providers.get(1) is provider
            providers.settle()
        assert remembered(platform) == (failures, 0.0)
        assert [(1, "El NAS", StorageFull.code)] == NEEDED
    assert error_of(platform) == "sin espacio (hacen falta 2.00 KB): lleno"
    with closing(run_of(database, destination)) as providers:
        assert providers.get(1) is not None
        providers.settle()
    assert remembered(platform) == (2, 0.0)
    with closing(run_of(database, destination)) as providers:
        provider = providers.get(1)
        assert provider is not None
        providers.note_success(provider, 2048)
        providers.settle()
    assert remembered(platform) == (0, 0.0)


def test_one_process_does_not_forget_what_another_has_found_out(platform: Platform, destination: Path) -> None:
    """Of two that share a run, one stores small executions only."""
    destination.mkdir()
    with closing(run_of(platform.run(), destination)) as providers:
        provider = providers.get(1)
        assert provider is not None
        providers.note_failure(provider, StorageFull("lleno"), "", size_bytes=2048)
    one, other = (run_of(platform.run(host), destination) for host in ("host-1", "host-2"))
    with closing(one), closing(other):
        for providers in (one, other):
            assert providers.get(1) is not None
        full, small = one.get(1), other.get(1)
        assert full is not None
        assert small is not None
        one.note_failure(full, StorageFull("lleno"), "", size_bytes=2048)
        other.note_success(small, 10)
        other.settle()
    assert remembered(platform) == (2, 0.0)


def test_a_run_that_is_stopped_remembers_nothing(platform: Platform, destination: Path) -> None:
    """A signal gives up requests without their fault."""
    destination.mkdir()
    providers = run_of(platform.run(), destination)
    provider = providers.get(1)
    assert provider is not None
    provider.progress.interruption.set()
    providers.note_failure(provider, ConnectionDenied("clave rechazada"), "")
    providers.close()
    assert remembered(platform) == (0, 0.0)


def test_the_identity_follows_the_row_and_its_secrets(platform: Platform) -> None:
    """Equal settings have one identity, no matter who reads them; each change gives another one."""
    database = platform.database()
    platform.add_provider("local", {"ruta": "/srv/a"})

    def identity() -> str:
        (row,) = database.load_provider_rows()
        assert isinstance(row, ProviderRow)
        return row.identity

    seen = [identity(), identity()]
    platform.sql("""UPDATE cloud_providers SET configuracion = '{"ruta": "/srv/b"}'""")
    seen.append(identity())
    platform.sql("""UPDATE cloud_providers SET credenciales = '{"username": "a"}'""")
    seen.append(identity())
    assert len(set(seen)) == 3
    assert all(len(text) == 8 for text in seen)


def test_without_the_table_a_run_continues(platform: Platform, destination: Path) -> None:
    destination.mkdir()
    database = platform.run()
    platform.sql("ALTER TABLE janitor_provider_health RENAME TO elsewhere")
    try:
        with closing(run_of(database, destination)) as providers:
            assert providers.get(1) is not None
            assert not fail(database, destination)
    finally:
        platform.sql("ALTER TABLE elsewhere RENAME TO janitor_provider_health")
