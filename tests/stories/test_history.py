"""`history` tells what happened to an execution, in order and by whom, and its JSON is what its schema says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.destinations import Destination
from tests.json_schemas import require_valid
from tests.stories.installation import Installation


def _found(installation: Installation, *arguments: str) -> Any:
    run = installation.run("history", *arguments, "--json")
    assert run.exit_code == 0, str(run)
    found = json.loads(run.output)
    require_valid("history", found)
    return found


def test_the_whole_life_of_an_execution_is_told_in_order(
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
    assert "?" not in run.output
    cut = _found(installation, "una", "--limit", "2")
    assert [event["event"] for event in cut["events"]] == ["local_copy_deleted", "restored"]
    assert cut["is_cut"] is True
    assert "--limit" in installation.run("history", "una", "--limit", "2").output


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
    assert "código 0" in ran.run("history").output
    assert "nunca" in ran.run("history", "backup").output
    assert _found(ran, "backup")["runs"] == []


def test_an_unknown_subject_is_said_to_be_unknown(installation: Installation) -> None:
    run = installation.run("history", "--limit", "0")
    assert (run.exit_code, "entre 1 y 100000" in run.errors) == (2, True), str(run)
    run = installation.run("history", "nadie")
    assert run.exit_code == 1
    assert "nadie" in run.output
