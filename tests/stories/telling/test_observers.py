"""What sees the whole of a run, the file of metrics and the ping: told of every end, and never in its way."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from config.settings import load_settings
from janitor_daemon import JanitorDaemon
from jobs.metrics.samples import Samples, parsed
from jobs.settings import settings_of_jobs
from tests.destinations import Destination
from tests.processes import wait_until
from tests.servers.canned_http import Answer, CannedHttp, Request
from tests.stories.installation import Installation

SECRET = "5cf9a8e1-muy-secreto"
NOBODY = "postgresql://nadie@127.0.0.1:1/nada"
WAITING = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
def service() -> Iterator[CannedHttp]:
    """Whom the pings are sent to."""
    with CannedHttp(lambda _: Answer(200, b"OK")) as server:
        yield server


@pytest.fixture
def watched(installation: Installation, service: CannedHttp, tmp_path: Path) -> Installation:
    """An installation that writes metrics and sends pings."""
    installation.environment |= {
        "JANITOR_METRICS_FILE": str(tmp_path / "janitor.prom"),
        "JANITOR_PING_URL": f"{service.url}/ping/{SECRET}?create=1",
    }
    return installation


def metrics_of(installation: Installation) -> Samples:
    """What the file says."""
    return parsed(Path(installation.environment["JANITOR_METRICS_FILE"]).read_text())


def pings(service: CannedHttp) -> list[str]:
    """The ends of the paths that were asked for, in order."""
    return [told(request) for request in service.requests]


def told(request: Request) -> str:
    match = re.fullmatch(rf"/ping/{SECRET}(/\w+)\?create=1", request.path)
    assert match, request.path
    return match[1]


def test_a_good_run_is_reported_with_its_sums(watched: Installation, service: CannedHttp, nas: Destination) -> None:
    watched.configure(watched.add_provider(nas, "NAS"))
    watched.small_execution("uno")
    run = watched.run()
    assert run.exit_code == 0, str(run)
    assert pings(service) == ["/start", "/0"]
    assert "Migradas: 1 ejecución, 2 ficheros" in service.requests[-1].body.decode()
    file = Path(watched.environment["JANITOR_METRICS_FILE"])
    assert file.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in file.parent.glob("*.prom*")] == ["janitor.prom"]
    metrics = metrics_of(watched)
    assert metrics.value("janitor_executions_total", provider="NAS", provider_id="1", outcome="migrated") == 1
    assert metrics.value("janitor_task_success", task="migration") == 1
    assert metrics.value("janitor_run_exit_code") == 0
    rows = watched.rows("SELECT job, outcome FROM janitor_job_runs WHERE job IN ('metrics', 'ping') ORDER BY job")
    assert [(row["job"], row["outcome"]) for row in rows] == [("metrics", "done"), ("ping", "done")]


def test_without_a_database_both_still_tell(watched: Installation, service: CannedHttp) -> None:
    assert watched.run().exit_code == 0
    good = metrics_of(watched).value("janitor_run_last_success_timestamp_seconds")
    assert watched.run(DATABASE_URL=NOBODY).exit_code == 3
    assert pings(service) == ["/start", "/0", "/3"]
    metrics = metrics_of(watched)
    assert metrics.value("janitor_database_up") == 0
    assert metrics.value("janitor_run_exit_code") == 3
    assert metrics.value("janitor_runs_total", exit_code="0") == metrics.value("janitor_runs_total", exit_code="3") == 1
    assert good is not None
    assert metrics.value("janitor_run_last_success_timestamp_seconds") == good
    assert metrics.value("janitor_task_last_success_timestamp_seconds", task="temp") is not None


def test_a_run_that_may_not_begin_is_reported(watched: Installation, service: CannedHttp) -> None:
    run = watched.run(JANITOR_LOCK_DIR=str(watched.directory / "no-está"))
    assert run.exit_code == 2, str(run)
    assert pings(service) == ["/2"]
    assert "JANITOR_LOCK_DIR" in service.requests[-1].body.decode()
    assert metrics_of(watched).value("janitor_run_exit_code") == 2


def test_an_interrupted_run_is_reported(watched: Installation, service: CannedHttp) -> None:
    """As its handler of signals leaves it."""
    daemon = JanitorDaemon(load_settings(watched.environment, settings_of_jobs))
    daemon.report.note_signal(signal.SIGTERM)
    daemon.interruption.set()
    assert daemon.run() == 143
    assert pings(service) == ["/start", "/143"]
    assert metrics_of(watched).value("janitor_run_exit_code") == 143


def test_a_killed_run_is_reported_by_the_process_that_sends_its_pings(
    watched: Installation, service: CannedHttp
) -> None:
    with closing(psycopg2.connect(watched.database_url)) as holder:
        holder.cursor().execute("LOCK TABLE janitor_jobs IN EXCLUSIVE MODE")
        with watched.start() as running:
            wait_until(lambda: "/start" in pings(service) and watched.rows(WAITING), 60)
            running.process.kill()
            wait_until(lambda: "/137" in pings(service), 60)
    assert pings(service) == ["/start", "/137"]


def test_neither_changes_the_result(watched: Installation, tmp_path: Path) -> None:
    """A directory that is not there, and a service that is gone."""
    gone = {
        "JANITOR_METRICS_FILE": str(tmp_path / "no/janitor.prom"),
        "JANITOR_PING_URL": f"http://127.0.0.1:1/{SECRET}",
    }
    run = watched.run("--debug", **gone)
    assert run.exit_code == 0, str(run)
    warnings = run.messages("WARNING")
    assert sum("El trabajo de métricas no pudo terminar: no se puede escribir" in line for line in warnings) == 1
    assert sum("JANITOR_PING_URL: conexión rechazada" in line for line in warnings) == 1
    assert SECRET not in run.errors + watched.log_file.read_text()
    assert SECRET not in str(watched.everything_in_the_database())
    assert watched.rows("SELECT exit_code FROM janitor_runs") == [{"exit_code": 0}]


def test_who_asks_for_the_ping_alone_learns_that_it_fails(watched: Installation, service: CannedHttp) -> None:
    assert watched.run("run", "ping").exit_code == 0
    assert pings(service) == ["/start", "/0"]
    assert watched.run("run", "ping", JANITOR_PING_URL="http://127.0.0.1:1/nada").exit_code == 1


def test_part_of_a_tick_is_measured_and_not_taken_for_a_whole_one(watched: Installation, service: CannedHttp) -> None:
    assert watched.run("--only", "temp", "--skip", "metrics").exit_code == 0
    assert not Path(watched.environment["JANITOR_METRICS_FILE"]).exists()
    assert watched.run("--clean-only").exit_code == 0
    assert metrics_of(watched).value("janitor_task_success", task="temp") == 1
    assert pings(service) == []
    assert watched.run("--dry-run").exit_code == 0
    assert pings(service) == []


def test_a_run_that_finds_all_taken_sends_no_ping(watched: Installation, service: CannedHttp) -> None:
    """The other one tells: its absence must be noticed."""
    with closing(psycopg2.connect(watched.database_url)) as holder:
        holder.cursor().execute("LOCK TABLE janitor_jobs IN EXCLUSIVE MODE")
        with watched.start("--only", "temp,ping") as running:
            wait_until(lambda: watched.rows(WAITING), 60)
            assert watched.run("--only", "temp,ping").exit_code == 75
            holder.rollback()
            assert running.finish().exit_code == 0
    assert pings(service) == ["/start", "/0"]
