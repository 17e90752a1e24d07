"""The job `logs` as operators run it: by the tick, by its name, in a dry run."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.disks.protection import protected
from tests.jobs.logs.log_files import contents, make_log
from tests.stories.installation import Installation


@pytest.fixture
def logs(installation: Installation) -> Path:
    """A directory of logs that the installation is to keep small."""
    directory = installation.directory / "logs"
    directory.mkdir()
    installation.environment["LOGS_PATH"] = str(directory)
    make_log(directory / "app.log", b"content")
    make_log(directory / "old.log.gz", days=91)
    return directory


def test_a_tick_keeps_logs_small_once_a_day(installation: Installation, logs: Path) -> None:
    tick = installation.run()
    assert tick.exit_code == 0, tick
    assert contents(logs) == {"app.log.gz": b"content"}
    assert "Registros: 1 comprimido (0.00 MB -> 0.00 MB), 1 antiguo eliminado" in tick.errors
    make_log(logs / "another.log", b"another")
    assert installation.run().exit_code == 0
    assert "another.log" in contents(logs)
    assert installation.run("run", "logs").exit_code == 0
    assert "another.log" not in contents(logs)


def test_its_numbers_are_recorded(installation: Installation, logs: Path) -> None:
    installation.run("run", "logs")
    (recorded,) = installation.rows("SELECT outcome, counts FROM janitor_job_runs WHERE job = 'logs'")
    assert recorded["outcome"] == "done"
    counts = recorded["counts"]
    assert (counts["compressed_files"], counts["deleted_files"], counts["bytes_before"]) == (1, 1, 7)
    assert counts["freed_bytes"] == counts["bytes_before"] - counts["bytes_after"] + counts["deleted_bytes"]


def test_without_directories_it_is_off(installation: Installation, logs: Path) -> None:
    del installation.environment["LOGS_PATH"]
    assert installation.run().exit_code == 0
    assert sorted(os.listdir(logs)) == ["app.log", "old.log.gz"]
    assert "LOGS_PATH" in installation.run("jobs").output


def test_a_dry_run_changes_nothing(installation: Installation, logs: Path) -> None:
    preview = installation.run("--dry-run")
    assert preview.exit_code == 0, preview
    assert "[simulación] se comprimiría" in preview.errors
    assert sorted(os.listdir(logs)) == ["app.log", "old.log.gz"]


def test_a_refused_directory_stops_this_job_alone(installation: Installation, logs: Path) -> None:
    old = make_log(installation.temporary / "temporary", days=2)
    installation.environment["LOGS_PATH"] = f"{logs}:{installation.executions}"
    tick = installation.run()
    assert tick.exit_code == 2, tick
    assert "es o está en una de las raíces de JANITOR_ROOTS" in tick.errors
    assert sorted(os.listdir(logs)) == ["app.log", "old.log.gz"]
    assert not old.exists()


def test_what_fails_is_in_the_exit_code(installation: Installation, logs: Path) -> None:
    closed = logs / "closed"
    closed.mkdir()
    make_log(closed / "app.log")
    with protected(closed):
        tick = installation.run(LOGS_PATH=f"{closed}:{logs}")
    assert tick.exit_code == 1, tick
    (line,) = tick.messages("ERROR")
    assert line.startswith(f"No se puede trabajar en el directorio de registros {closed}: ")
    assert "1 trabajo con algo sin hacer: registros" in tick.errors
    assert "con error: 1 fallo con los registros: janitor_daemon.log dice " in installation.run("jobs").output
    assert "app.log.gz" in os.listdir(logs)


def test_a_directory_that_is_not_there_is_in_the_exit_code(installation: Installation, logs: Path) -> None:
    """And needs a person: a disk may be unmounted. The other directories are done."""
    tick = installation.run("--only", "logs", LOGS_PATH=f"{logs}:{logs}-gone")
    assert tick.exit_code == 1, tick
    assert f"No existe el directorio de registros {logs}-gone: créelo o corrija LOGS_PATH" in tick.messages("ERROR")
    assert "app.log.gz" in os.listdir(logs)
    told = installation.run("status", "--quiet", LOGS_PATH=f"{logs}:{logs}-gone")
    assert "  ! trabajo logs: falló 1 vez: LOGS_PATH nombra 1 directorio que no existe: " in told.output


def test_what_stops_a_dry_run_is_reported_for_the_job(installation: Installation, logs: Path) -> None:
    run = installation.run("run", "logs", "--dry-run", LOGS_PATH="/etc")
    assert run.exit_code == 2, str(run)
    (error,) = run.messages("ERROR")
    assert error.startswith("El trabajo de registros no pudo terminar: LOGS_PATH: /etc es ")


def test_wrong_settings_are_not_called_off(installation: Installation, logs: Path) -> None:
    run = installation.run("jobs", LOGS_HOUR="25")
    assert "logs (registros): mal configurado, no se hará: LOGS_HOUR debe ser " in run.output
    entries = json.loads(installation.run("jobs", "--json", LOGS_HOUR="25").output)
    assert [entry["name"] for entry in entries if entry["misconfigured"]] == ["logs"]
    del installation.environment["LOGS_PATH"]
    entries = json.loads(installation.run("jobs", "--json").output)
    assert not any(entry["misconfigured"] for entry in entries)


def test_instants_are_shown_in_the_zone_of_the_schedules(installation: Installation, logs: Path) -> None:
    assert installation.run(JANITOR_TIMEZONE="Asia/Kolkata").exit_code == 0, logs
    entries = json.loads(installation.run("jobs", "--json", JANITOR_TIMEZONE="Asia/Kolkata").output)
    (job,) = (entry for entry in entries if entry["name"] == "logs")
    assert job["next_due"].endswith("T04:00:00+05:30")
    (run,) = installation.rows("SELECT started_at AT TIME ZONE 'Asia/Kolkata' AS began FROM janitor_runs")
    first_line = datetime.fromisoformat(installation.log_file.read_text()[: len("2026-01-01 00:00:00")])
    assert timedelta(hours=-1) < first_line - run["began"] < timedelta(hours=1)


def test_a_dry_run_that_could_not_look_somewhere_does_not_end_well(installation: Installation) -> None:
    """Where else: every job's preview, as the tick asks what it gives."""
    no_directory = installation.directory / "registro"
    no_directory.touch()
    run = installation.run("run", "logs", "--dry-run", LOGS_PATH=str(no_directory))
    assert run.exit_code == 1, str(run)
    assert "ERROR" in run.errors
