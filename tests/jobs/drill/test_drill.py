"""A drill restores as an operator would, compares by its own reading, and leaves nothing behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from config.errors import RunInterrupted
from config.settings import load_settings
from jobs.context import Context
from jobs.drill import restoring
from jobs.drill import run as drill
from jobs.drill.job import JOB
from jobs.drill.scratch import NAME, Scratch
from jobs.drill.settings import DrillSettings
from jobs.job import Outcome
from jobs.signals import Interruption
from sql.database import Database, database_identity
from tests.destinations import Destination
from tests.stories.installation import Installation

Drill = Callable[[], Outcome]


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """Where restores are tried out."""
    directory = tmp_path / "simulacros"
    directory.mkdir()
    return directory


@pytest.fixture
def interruption() -> Interruption:
    """A request to stop the drill."""
    return Interruption()


@pytest.fixture
def run_drill(
    installation: Installation, nas: Destination, scratch: Path, interruption: Interruption,
    monkeypatch: pytest.MonkeyPatch,
) -> Drill:  # fmt: skip
    """One run of the job, in this process; the restore it starts is a real one."""
    installation.configure(installation.add_provider(nas, "nas"))
    for uuid in ("uno", "dos"):
        (installation.small_execution(uuid) / "vacío").mkdir(mode=0o555)
    assert installation.run().exit_code == 0
    monkeypatch.chdir(installation.directory)

    def run() -> Outcome:
        with closing(Database(installation.database_url, "norte")) as database:
            seen = database.start_run(1, "tick", "test")
            token = database.job_records.claim("drill", is_platform=True, seen_token=None)
            assert token is not None
            settings = load_settings(installation.environment)
            own = DrillSettings(count=2, directory=scratch)
            outcome = drill.run(Context(JOB, settings, own, database, seen.now, interruption, fencing_token=token))
            database.finish_run(0, {})
            return outcome

    return run


def test_what_is_stored_restores_and_nothing_is_left(
    run_drill: Drill, installation: Installation, scratch: Path
) -> None:
    assert run_drill().counts == {"restored": 2, "failed": 0}
    rows = installation.rows("SELECT uuid, is_good, file_count, seconds > 0 AS took FROM janitor_drills ORDER BY uuid")
    assert [(row["uuid"], row["is_good"], row["file_count"], row["took"]) for row in rows] == [
        ("dos", True, 2, True), ("uno", True, 2, True),
    ]  # fmt: skip
    assert list(scratch.iterdir()) == []


def test_what_does_not_restore_is_reported(
    run_drill: Drill, installation: Installation, nas: Destination, scratch: Path
) -> None:
    (nas.directory / "ejecuciones/uno/tabla.txt").unlink()
    outcome = run_drill()
    assert outcome.failures == ("1 ejecución no se pudo restaurar",)
    (row,) = installation.rows("SELECT uuid, detail FROM janitor_drills WHERE NOT is_good")
    assert row["uuid"] == "uno"
    assert "restore acabó con código 1" in row["detail"]
    assert list(scratch.iterdir()) == []


def test_the_word_of_the_restore_is_not_taken_for_it(
    run_drill: Drill, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pretend(_uuid: str, target: Path, *_others: object) -> None:
        (target / "vacío").mkdir(parents=True)
        (target / "ejecucion.txt").write_text("nombre: prueba\n")
        (target / "tabla.txt").write_text("a,b\n1,xxx\n")

    monkeypatch.setattr(drill, "restore", pretend)
    assert run_drill().counts["failed"] == 2
    details = {row["detail"] for row in installation.rows("SELECT detail FROM janitor_drills")}
    assert details == {"tiene otros bytes tabla.txt"}


def test_what_a_killed_run_left_is_removed_and_nothing_else(
    run_drill: Drill, installation: Installation, scratch: Path, interruption: Interruption
) -> None:
    own = Scratch(scratch, database_identity(installation.database_url))
    with own.made() as made:
        left = made.with_name(f"{made.name}-killed")
    (left / "cerrado").mkdir(parents=True)
    (left / "cerrado/a.txt").write_text("a")
    (left / "cerrado").chmod(0o555)
    of_others = [scratch / f"{NAME}0123456789ab-x", scratch / "mío"]
    for directory in of_others:
        directory.mkdir()
    (scratch / f"{left.name}-link").symlink_to(of_others[1])
    interruption.set()
    with pytest.raises(RunInterrupted):
        run_drill()
    assert sorted(os.listdir(scratch)) == sorted([*(path.name for path in of_others), f"{left.name}-link"])


def test_a_stop_ends_the_restore_and_cleans_up(
    run_drill: Drill, scratch: Path, interruption: Interruption, monkeypatch: pytest.MonkeyPatch
) -> None:

    def stop_first(*arguments: object) -> object:
        interruption.set()
        return restoring.restore(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(drill, "restore", stop_first)
    with pytest.raises(RunInterrupted):
        run_drill()
    assert list(scratch.iterdir()) == []
