"""`history` tells what happened to an execution, in order and by whom, and its JSON is what its schema says."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from commands.history.counts import in_words
from commands.history.life import describe
from config.text.times import Clock
from jobs.logs.report import LogsReport
from jobs.registry import all_jobs, job_named
from tests.commands.json_schemas import require_valid
from tests.destinations import Destination
from tests.stories.installation import Installation


def _found(installation: Installation, *arguments: str) -> Any:
    run = installation.run("history", *arguments, "--json")
    assert run.exit_code == 0, str(run)
    found = json.loads(run.output)
    require_valid("history", found)
    return found


def test_the_whole_life_of_an_execution_is_reported_in_order(
    installation: Installation, nas: Destination, tmp_path: Path
) -> None:
    installation.configure(installation.add_provider(nas, "El NAS"), eliminar_despues_de_migrar=True)
    installation.small_execution("una")
    (nas.directory / "ejecuciones").mkdir()
    blocked = nas.directory / "ejecuciones" / "una"
    blocked.write_text("de otro")
    assert installation.run("--migrate-only", JANITOR_MAX_ATTEMPTS="1").exit_code == 1
    blocked.unlink()
    for order in (("retry", "una"), ("hold", "una", "--reason", "por si acaso"), ("release", "una")):
        assert installation.run(*order).exit_code == 0
    assert installation.run("--migrate-only").exit_code == 0
    assert installation.run("restore", "una", str(tmp_path / "vuelta")).exit_code == 0
    found = _found(installation, "una")
    events = [event["event"] for event in found["events"]]
    assert events == [
        "attempt_began", "attempt_failed", "quarantined", "retried", "held", "released", "attempt_began", "migrated",
        "local_copy_deleted", "restored",
    ]  # fmt: skip
    (row,) = found["rows"]
    assert (row["local_copy"], row["evidence"], row["provider"]) == ("deleted", "read-back", "El NAS")
    assert all(event["host"] and event["at"] for event in found["events"])
    ordered = [event for event in found["events"] if event["os_user"]]
    assert [event["event"] for event in ordered] == ["retried", "held", "released", "restored"]
    _require_told_in_words(installation)


def _require_told_in_words(installation: Installation) -> None:
    run = installation.run("history", "una")
    assert "se borró" in run.output.splitlines()[0], str(run)
    assert "retenida (por si acaso)" in run.output
    assert "queda en cuarentena tras 1 ciclo: " in run.output
    assert "?" not in run.output
    narrow = installation.run("history", "una", COLUMNS="80").output.splitlines()
    assert max(map(len, narrow)) <= 80 or " " not in max(narrow, key=len).strip()
    cut = _found(installation, "una", "--limit", "2")
    assert [event["event"] for event in cut["events"]] == ["local_copy_deleted", "restored"]
    assert cut["is_cut"] is True
    assert "--limit" in installation.run("history", "una", "--limit", "2").output


def test_counts_are_told_in_the_order_in_which_their_job_declares_them() -> None:
    """The database keeps none."""
    counts = {"freed_bytes": 60, "bytes_after": 40, "of_another_version": 1, "bytes_before": 100, "compressed_files": 2}
    expected = ["2 registros comprimidos", "100 B sin comprimir", "40 B comprimidos", "60 B liberados"]
    assert list(in_words("logs", counts)) == [*expected, "of_another_version 1"]


@pytest.fixture
def ran(installation: Installation) -> Installation:
    """An installation with a run that had nothing to do."""
    installation.run()
    return installation


def test_runs_and_the_runs_of_a_job_are_listed(ran: Installation) -> None:
    runs = _found(ran)
    assert [run["exit_code"] for run in runs["runs"]] == [0]
    jobs = _found(ran, "history")
    assert [(run["outcome"], run["counts"]["audit"]) for run in jobs["runs"]] == [("done", 0)]
    assert "código 0: nada que hacer" in ran.run("history").output
    assert "nunca" in ran.run("history", "backup").output
    assert _found(ran, "backup")["runs"] == []


def test_counts_are_reported_in_words() -> None:
    """Of a run that made a backup it is not said that nothing was to be done, and no count keeps its English name."""
    backup = {"full": 1, "tables": 28, "rows": 1500384, "missing": 0, "size_bytes": 2048, "/srv": 1024}
    run = {
        "started_at": "2026-11-28T03:00:00+00:00", "finished_at": "2026-11-28T03:00:09+00:00", "host": "una",
        "mode": "run backup", "exit_code": 0, "outcome": "done", "error": None, "counts": backup,
        "report": {"migrated": 0, "jobs": {"temp": {"outcome": "done", "counts": {}},
                                           "verify": {"outcome": "failed", "counts": {}},
                                           "backup": {"outcome": "done", "counts": backup}}},
    }  # fmt: skip
    words = "1 copia COMPLETA hecha, 2.00 KB en su fichero, 28 tablas, 1500384 filas, 1.00 KB libres en /srv"
    clock = Clock(datetime(2026, 11, 28, 6, tzinfo=UTC), timezone(timedelta(hours=1)))
    (of_run,) = describe({"kind": "runs", "runs": [run], "is_cut": False}, clock)
    assert of_run.startswith("2026-11-28 04:00:00 (hace 3 h), 9 s, una run backup")
    assert of_run.endswith(f"run backup, código 0: verify con fallos; backup bien ({words})")
    (of_job,) = describe({"kind": "job", "job": "backup", "runs": [run], "is_cut": False}, clock)
    assert of_job.endswith(f"bien: {words}")
    (idle,) = describe({"kind": "runs", "runs": [{**run, "report": {"jobs": {}}}], "is_cut": False}, clock)
    assert idle.endswith("nada que hacer")
    for job in all_jobs():
        assert not [text for text in in_words(job.name, dict.fromkeys(job.counts, 2)) if "_" in text]
    assert {field.name for field in fields(LogsReport)} < job_named("logs").counts.keys()


def test_an_unknown_subject_is_said_to_be_unknown(installation: Installation) -> None:
    run = installation.run("history", "--limit", "0")
    assert (run.exit_code, "entre 1 y 100000" in run.errors) == (2, True), str(run)
    run = installation.run("history", "nadie")
    assert run.exit_code == 1
    assert "nadie" in run.output
