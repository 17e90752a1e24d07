"""The file of metrics: what it says, and that readers never see a part of one."""

from __future__ import annotations

import errno
import fcntl
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from config.settings import load_settings
from jobs.context import EndOfRun, ObservedRun
from jobs.job import Outcome
from jobs.metrics import file as metrics_file
from jobs.metrics import run as metrics_run
from jobs.metrics.file import MetricsFileError, new_file, update_file
from jobs.metrics.job import JOB
from jobs.metrics.run import MetricsObserver
from jobs.metrics.samples import HEAD, Samples, parsed, sample
from jobs.metrics.settings import MetricsSettings
from jobs.report import JobDone
from sql.database import Database
from tests.databases.platform_database import Platform, claim_one, open_attempt

ODD_NAME = 'NAS "azul" \\ {a="b"}\nsegundo'


@pytest.fixture
def platform(initialized_database_url: str) -> Iterator[Platform]:
    """A database of the platform."""
    with closing(Platform(initialized_database_url)) as made:
        yield made


class Host:
    """A host whose runs end as a test says."""

    def __init__(self, platform: Platform, directory: Path) -> None:
        self.platform = platform
        self.file = directory / "janitor.prom"
        (directory / "ejecuciones").mkdir()
        self.settings = load_settings(
            {
                "DATABASE_URL": platform.database_url,
                "JANITOR_HOST": "norte",
                "JANITOR_ROOTS": f"{directory / 'ejecuciones'}:{directory / 'no'}",
            }
        )

    def ends(self, exit_code: int = 0, database: Database | None = None, *jobs: JobDone) -> Outcome:
        """A run has ended."""
        own = MetricsSettings(self.file)
        observer = MetricsObserver(ObservedRun(JOB, self.settings, own, "tick", "1.2.3", is_asked_for=True))
        return observer.ended(EndOfRun(exit_code, 1.5, {"migrated": 2, "failed": 1}, jobs, ("una", "otra"), database))

    def well(self) -> Samples:
        """A run has ended well; what the file says then."""
        assert self.ends(0, self.platform.database("norte")).failures == ()
        return self.samples()

    def samples(self) -> Samples:
        """What the file says."""
        return parsed(self.file.read_text())


@pytest.fixture
def host(platform: Platform, tmp_path: Path) -> Host:
    """The host of these tests."""
    return Host(platform, tmp_path)


def test_each_attempt_is_counted_once_when_it_has_ended(host: Host) -> None:
    """Also one that a run has left open, and that a later one settles."""
    platform = host.platform
    provider = platform.add_provider("local", {"ruta": "/x"})
    database = platform.run("norte")
    claims = [claim_one(database, platform.add_execution(uuid=f"uuid-{number}")) for number in range(3)]
    for claim in claims:
        open_attempt(database, claim, provider)
    ids = [row["id"] for row in platform.sql("SELECT id FROM janitor_attempts ORDER BY id")]
    platform.sql(
        "UPDATE janitor_attempts SET state = 'committed', finished_at = started_at + interval '4 s' WHERE id = %s",
        ids[0],
    )
    platform.sql("UPDATE janitor_migrations SET state = 'migrated', size_bytes = 800 WHERE uuid = 'uuid-0'")
    platform.sql("UPDATE janitor_attempts SET state = 'abandoned', finished_at = now() WHERE id = %s", ids[1])
    labels = {"provider": "local", "provider_id": str(provider)}
    for _ in range(2):
        metrics = host.well()
        assert metrics.value("janitor_executions_total", outcome="migrated", **labels) == 1
        assert metrics.value("janitor_execution_bytes_total", outcome="migrated", **labels) == 800
        assert metrics.value("janitor_execution_seconds_total", outcome="migrated", **labels) == 4
        assert metrics.value("janitor_executions_total", outcome="failed", **labels) == 1
        assert metrics.value("janitor_migration_throughput_bytes_per_second", **labels) == 200
        assert metrics.value("janitor_migration_error_ratio", **labels) == 0.5
    platform.sql("UPDATE janitor_attempts SET state = 'settled' WHERE id = %s", ids[2])
    platform.sql("UPDATE janitor_attempts SET state = 'settled' WHERE id = %s", ids[1])
    for _ in range(2):
        assert host.well().value("janitor_executions_total", outcome="failed", **labels) == 2
    assert host.samples().value("janitor_executions_total", outcome="migrated", **labels) == 1
    assert host.samples().value("janitor_runs_total", exit_code="0") == 4
    assert host.samples().value("janitor_work_total", kind="migrated") == 8
    moved = open_attempt(database, claim_one(database, platform.add_execution(uuid="uuid-3")), provider)
    platform.sql("UPDATE janitor_attempts SET state = 'abandoned', error_code = 'rehomed' WHERE id = %s", moved.id)
    assert host.well().value("janitor_executions_total", outcome="migrated", **labels) == 2
    assert host.samples().value("janitor_executions_total", outcome="failed", **labels) == 2


def test_what_waits_and_what_is_not_at_home_is_counted(host: Host) -> None:
    platform = host.platform
    home, away = (platform.add_provider("local", {"ruta": path}) for path in ("/x", "/y"))
    platform.sql("INSERT INTO ejecuciones_config (nube_primaria_id, nubes_alternativas, tiempo_retencion_local) "
                 "VALUES (%s, %s, 24)", home, [away])  # fmt: skip
    platform.sql("SET TIME ZONE 'UTC'")
    platform.add_execution(uuid="vieja", executed_at=platform.value("SELECT (now() - interval '3 days')::text"))
    platform.add_execution(uuid="nueva", executed_at=platform.value("SELECT now()::text"))
    platform.add_execution(directory=None, uuid="sin")
    platform.sql(
        "INSERT INTO ejecuciones_yaml (uuid, migrado_a_nube, nube_provider_id) VALUES ('a', true, %s), ('b', true, %s)",
        home, away,
    )  # fmt: skip
    metrics = host.well()
    assert metrics.value("janitor_executions_pending") == 2
    assert metrics.value("janitor_executions_due") == 1
    assert metrics.value("janitor_executions_without_directory") == 1
    assert round((metrics.value("janitor_oldest_due_age_seconds") or 0) / 86400) == 3
    assert round((metrics.value("janitor_oldest_due_overdue_seconds") or 0) / 86400) == 2
    debts = [metrics.value("janitor_debt_executions", provider="local", provider_id=str(n)) for n in (home, away)]
    assert debts == [0, 1]
    stored = {"provider": "local", "provider_id": str(away), "role": "alternate"}
    assert metrics.value("janitor_stored_executions", **stored) == 1


def test_directories_and_backups_are_reported(host: Host) -> None:
    host.platform.sql(
        "INSERT INTO historial_backup (tipo, nombre_archivo, ruta_archivo, tamanio_bytes, estado, fecha_creacion) "
        "VALUES ('COMPLETO', 'a', '/a', 10, 'COMPLETADO', now() - interval '2 days'), "
        "('COMPLETO', 'b', '/b', 20, 'COMPLETADO', now() - interval '1 day'), "
        "('COMPLETO', 'c', '/c', 30, 'ERROR', now())"
    )
    metrics = host.well()
    assert round((metrics.value("janitor_backup_age_seconds", kind="full") or 0) / 3600) == 24
    assert metrics.value("janitor_backup_size_bytes", kind="full") == 20
    assert metrics.value("janitor_backup_size_bytes", kind="differential") is None
    here, gone = host.settings.roots
    assert metrics.value("janitor_directory_up", path=here, purpose="root") == 1
    assert (metrics.value("janitor_disk_free_bytes", path=here, purpose="root") or 0) > 0
    assert metrics.value("janitor_directory_up", path=gone, purpose="root") == 0


def test_without_a_database_what_was_known_stays(host: Host) -> None:
    success = host.well().value("janitor_run_last_success_timestamp_seconds")
    assert host.ends(3, None, JobDone("temp", "failed", 2.0)).failures == ()
    metrics = host.samples()
    assert metrics.value("janitor_database_up") == 0
    assert metrics.value("janitor_run_last_success_timestamp_seconds") == success
    assert metrics.value("janitor_executions_pending") == 0
    assert metrics.value("janitor_task_success", task="temp") == 0
    assert metrics.value("janitor_run_problems") == 2


def test_a_database_that_is_lost_meanwhile_is_reported(host: Host) -> None:
    with closing(Database("postgresql://nadie@127.0.0.1:1/nada", "norte")) as gone:
        assert host.ends(0, gone).failures == ()
    assert host.samples().value("janitor_database_up") == 0


def test_what_is_free_at_the_roots_is_recorded_for_the_forecast_of_the_report(host: Host) -> None:
    here, _gone = host.settings.roots
    counts = host.ends(0, None).counts
    assert list(counts) == [here]
    assert counts[here] > 0


def test_what_one_table_lacks_keeps_nothing_else_from_being_reported(host: Host) -> None:
    host.platform.sql("DROP TABLE historial_backup")
    metrics = host.well()
    assert metrics.value("janitor_executions_pending") == 0
    assert metrics.value("janitor_database_up") == 1


def test_a_file_that_was_lost_learns_the_last_success_from_the_database(host: Host) -> None:
    host.platform.sql(
        "INSERT INTO janitor_runs (host, process_id, mode, version, finished_at, exit_code) "
        "VALUES ('norte', 1, 'tick', 'v', to_timestamp(1000), 0)"
    )
    host.ends(1, host.platform.database("norte"))
    assert host.samples().value("janitor_run_last_success_timestamp_seconds") == 1000


def test_executions_are_counted_seldom_where_that_takes_long(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_run, "SLOW_COUNT_SECONDS", 0.0)
    monkeypatch.setattr(metrics_run, "SHARE_OF_COUNTING", 1e-9)
    host.well()
    host.platform.add_execution()
    assert host.well().value("janitor_executions_pending") == 0
    monkeypatch.setattr(metrics_run, "SHARE_OF_COUNTING", 1e9)
    assert host.well().value("janitor_executions_pending") == 1


# The format


def test_every_name_survives_the_file_and_promtool_takes_it(host: Host) -> None:
    provider = host.platform.add_provider("local", {"ruta": "/x"})
    host.platform.sql("UPDATE cloud_providers SET nombre = %s", ODD_NAME)
    host.platform.sql(
        "INSERT INTO ejecuciones_yaml (uuid, migrado_a_nube, nube_provider_id) VALUES ('a', true, %s)", provider
    )
    metrics = host.well()
    labels = {"provider": ODD_NAME, "provider_id": str(provider), "role": "other"}
    assert metrics.value("janitor_stored_executions", **labels) == 1
    assert parsed(metrics.text()).text() == metrics.text()
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool, of Debian's package prometheus")
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=host.file.read_bytes(), capture_output=True, check=False, timeout=60
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    "text", ["", "\0\xff", f"{HEAD}# State: [1", "# State: 7\njanitor_x{ 1\njanitor_x nan\njanitor_runs_total x"]
)
def test_a_damaged_file_costs_only_its_history(host: Host, text: str) -> None:
    host.file.write_text(text, encoding="latin-1")
    assert host.well().value("janitor_runs_total", exit_code="0") == 1


# The file


def nothing_known(_earlier: Samples) -> Samples:
    return Samples([sample("janitor_database_up", 1)])


def test_what_a_killed_run_left_is_overwritten_and_the_old_file_stays_until_then(tmp_path: Path) -> None:
    path = tmp_path / "janitor.prom"
    update_file(path, nothing_known)
    before = path.read_bytes()

    def fail(_earlier: Samples) -> Samples:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        update_file(path, fail)
    new_file(path).write_bytes(b"x" * 100_000)
    assert path.read_bytes() == before
    update_file(path, nothing_known)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["janitor.prom"]
    assert not new_file(path).name.endswith(".prom")


def test_two_runs_that_end_at_once_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_file, "WAIT_SECONDS", 0.0)
    path = tmp_path / "janitor.prom"
    with new_file(path).open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(MetricsFileError, match="otro proceso"):
            update_file(path, nothing_known)
    update_file(path, nothing_known)


@pytest.mark.parametrize("kind", ["directory", "link", "file of others"])
def test_what_is_no_file_of_metrics_is_not_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "passwd"
    others = tmp_path / "otro"
    others.write_text("root:x:0:0\n")
    if kind == "directory":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(others)
    else:
        path.write_bytes(others.read_bytes())
    with pytest.raises(MetricsFileError, match="JANITOR_METRICS_FILE"):
        update_file(path, nothing_known)
    assert others.read_text() == "root:x:0:0\n"
    assert path.is_dir() or path.read_text() == "root:x:0:0\n"


def test_a_file_that_cannot_be_written_is_an_outcome_and_no_error(host: Host) -> None:
    host.file = host.file.parent / "no" / "janitor.prom"
    (failure,) = host.ends(0, None).failures
    assert "no se puede escribir" in failure
    assert "JANITOR_METRICS_FILE" in failure
