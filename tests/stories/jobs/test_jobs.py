"""Jobs beside each other: a migration of hours, two hosts, machines that sleep and clocks that are wrong.

The job "tarea" is made up by these stories: it waits as long as a file is there. Real processes on a real database.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.commands.json_schemas import require_valid
from tests.destinations import Destination
from tests.processes import wait_until
from tests.stories.hosts.test_hosts import CLOCK_IS_WRONG
from tests.stories.installation import Installation, Run
from tests.stories.programs import use_program_with

SOURCE = """
import time
from datetime import time as time_of_day
from pathlib import Path
from jobs.job import Job, Outcome, Ref, Scope
from jobs.schedule import Daily, Every

HERE = Path(__file__).parent

def run(context):
    with (HERE / "begun").open("a") as file:
        file.write(context.settings.host + "\\n")
    while (HERE / "wait").exists():
        context.require_going_on()
        time.sleep(0.02)
    context.say("task_done", "Tarea hecha")
    return Outcome({"done": 1})

def preview(context):
    context.say("task_previewed", "Se haría la tarea")

JOB = Job("tarea", "prueba", scope=Scope.SCOPE, due=DUE, run=Ref("tarea:run"), preview=Ref("tarea:preview"))
"""


class Task:
    """The job of these stories, in an installation."""

    def __init__(
        self, installation: Installation, scope: str = "PLATFORM", due: str = "Every(24)", **values: Any
    ) -> None:
        self.installation = installation
        self.directory = installation.directory / "tarea"
        self.directory.mkdir()
        source = SOURCE.replace("Scope.SCOPE", f"Scope.{scope}").replace("due=DUE", f"due={due}")
        (self.directory / "tarea.py").write_text(source)
        use_program_with(installation)
        lines = installation.program.read_text().splitlines()
        added = (
            f"sys.path.insert(0, {str(self.directory)!r})",
            "import jobs.registry",
            "jobs.registry.DEFINITIONS += (jobs.registry.Ref('tarea:JOB'),)",
        )
        installation.program.write_text("\n".join([lines[0], lines[1], *added, *lines[2:]]) + "\n")

    def hold(self) -> None:
        """It continues until it is let go."""
        (self.directory / "wait").touch()

    def let_go(self) -> None:
        """It ends now."""
        (self.directory / "wait").unlink()

    @property
    def begun(self) -> list[str]:
        """The hosts on which it was begun, in order."""
        path = self.directory / "begun"
        return path.read_text().split() if path.exists() else []

    @property
    def outcomes(self) -> list[tuple[str, str | None]]:
        """Host and outcome of each of its runs, in order."""
        rows = self.installation.rows("SELECT host, outcome FROM janitor_job_runs WHERE job = 'tarea' ORDER BY run_id")
        return [(row["host"], row["outcome"]) for row in rows]


def jobs_of(installation: Installation, **environment: str) -> dict[str, dict[str, Any]]:
    """What `jobs --json` says, by name."""
    run = installation.run("jobs", "--json", **environment)
    assert run.exit_code == 0, str(run)
    found = json.loads(run.output)
    require_valid("jobs", found)
    return {entry["name"]: entry for entry in found}


def pass_time(installation: Installation, interval: str) -> None:
    """All that jobs know of lies further back."""
    installation.execute(
        "UPDATE janitor_jobs SET last_started_at = last_started_at - %s::interval, "
        "last_good_at = last_good_at - %s::interval, lease_expires_at = lease_expires_at - %s::interval",
        (interval, interval, interval),
    )


def south(installation: Installation) -> dict[str, str]:
    """What makes a command one of another host, which has locks of its own."""
    locks = installation.directory / "bloqueos-del-sur"
    locks.mkdir(exist_ok=True)
    return {"JANITOR_HOST": "sur", "JANITOR_LOCK_DIR": str(locks)}


def end_leases(installation: Installation) -> None:
    """Nobody has renewed any for a quarter of an hour."""
    installation.execute("UPDATE janitor_jobs SET lease_expires_at = now() - interval '1 second'")


def old_file(installation: Installation, name: str) -> Path:
    """A temporary file that is to be deleted."""
    path = installation.temporary / name
    path.write_text("x")
    long_ago = time.time() - 90 * 3600
    os.utime(path, (long_ago, long_ago))
    return path


def require_done(run: Run) -> None:
    assert run.exit_code == 0, str(run)


# Beside a migration of hours


def test_other_jobs_come_and_go_while_a_migration_takes_hours(installation: Installation, nas: Destination) -> None:
    task = Task(installation)
    installation.configure(installation.add_provider(nas))
    installation.small_execution("uno", grande="x" * 500_000)
    with installation.start("--migrate-only", "--bandwidth-limit", "1K") as migration:
        migration.wait_for_line("Migrando ejecución uno")
        first = old_file(installation, "primero")
        require_done(installation.run("run", "temp"))
        assert not first.exists()

        second = old_file(installation, "segundo")
        tick = installation.run()
        require_done(tick)
        assert not second.exists()
        assert task.outcomes[0][1] == "done"
        told = "El trabajo de migración lo hace ahora otro proceso de esta máquina: este ciclo no lo repite"
        assert tick.said("INFO", told), tick.errors

        for arguments in (["run", "migration"], ["--migrate-only"], ["--only", "migration", "--skip", "temp"]):
            assert installation.run(*arguments).exit_code == 75
        pass_time(installation, "2 days")
        require_done(installation.run("--only", "tarea"))
        assert len(task.outcomes) == 2
        assert migration.process.poll() is None
        assert installation.place("uno")[0] is False
        migration.stop(signal.SIGKILL)
    require_done(installation.run())
    assert installation.place("uno")[0] is True
    assert installation.unfinished() == {"attempts": 0, "leases": 0, "removals": 0}


def test_a_migration_continues_beside_a_job_that_takes_hours(installation: Installation, nas: Destination) -> None:
    """The other way round, from two lines of cron."""
    task = Task(installation, scope="HOST")
    installation.configure(installation.add_provider(nas))
    installation.small_execution("uno")
    task.hold()
    with installation.start("--only", "tarea") as long:
        wait_until(lambda: task.begun, 30)
        require_done(installation.run())
        assert installation.place("uno")[0] is True
        assert task.begun == [task.begun[0]]
        task.let_go()
        require_done(long.finish())


# Two hosts


def test_of_two_hosts_the_second_takes_over_when_the_first_was_killed(installation: Installation) -> None:
    task = Task(installation)
    task.hold()
    with installation.start("--only", "tarea", JANITOR_HOST="norte") as north:
        wait_until(lambda: task.begun == ["norte"], 30)
        busy = installation.run("--only", "tarea", **south(installation))
        assert busy.exit_code == 75, str(busy)
        north.stop(signal.SIGKILL)
    assert installation.run("--only", "tarea", **south(installation)).exit_code == 75  # the lease holds
    task.let_go()
    end_leases(installation)
    require_done(installation.run("--only", "tarea", **south(installation)))
    assert task.begun == ["norte", "sur"]
    assert task.outcomes == [("norte", None), ("sur", "done")]
    require_done(installation.run("--only", "tarea", JANITOR_HOST="norte"))
    assert task.begun == ["norte", "sur"]  # it is done for today


def test_a_host_that_was_stopped_past_its_lease_does_nothing_more(installation: Installation) -> None:
    task = Task(installation)
    task.hold()
    with installation.start("--only", "tarea", JANITOR_HOST="norte") as north:
        wait_until(lambda: task.begun == ["norte"], 30)
        north.process.send_signal(signal.SIGSTOP)
        end_leases(installation)
        with installation.start("--only", "tarea", **south(installation)) as second:
            wait_until(lambda: task.begun == ["norte", "sur"], 30)
            north.process.send_signal(signal.SIGCONT)
            overtaken = north.finish()
            assert overtaken.exit_code == 1, str(overtaken)
            assert not overtaken.said("INFO", "Tarea hecha")
            task.let_go()
            require_done(second.finish())
    (row,) = installation.rows("SELECT held_by, last_outcome FROM janitor_jobs WHERE job = 'tarea'")
    assert row == {"held_by": "sur", "last_outcome": "done"}


# Time


def test_a_machine_that_slept_for_three_days_catches_up_once(installation: Installation) -> None:
    task = Task(installation, scope="HOST", due="Daily(time_of_day(0, 0))")
    require_done(installation.run())
    assert len(task.begun) == 1
    pass_time(installation, "3 days")
    for _ in range(2):
        require_done(installation.run())
    assert len(task.begun) == 2


@pytest.mark.parametrize("ahead_days", [-400, 400])
def test_a_host_whose_clock_is_wrong_does_a_job_no_more_and_no_less(
    installation: Installation, ahead_days: int
) -> None:
    """What is due is by the database's clock alone. The job `temp` judges files by the host's, and leaves them."""
    task = Task(installation)
    (installation.directory / "sitecustomize.py").write_text(CLOCK_IS_WRONG)
    wrong = {"PYTHONPATH": str(installation.directory), "RELOJ": str(ahead_days * 86400)}
    for environment, exit_code in ((wrong, 1), (wrong, 1), ({}, 0)):
        run = installation.run(**environment)
        assert run.exit_code == exit_code, str(run)
        assert len(run.messages("ERROR")) == exit_code
        assert len(task.begun) == 1


def test_a_clock_that_was_set_back_stops_nothing(installation: Installation) -> None:
    task = Task(installation)
    require_done(installation.run())
    pass_time(installation, "-400 days")
    require_done(installation.run())
    assert len(task.begun) == 2


# What operators see


def test_jobs_are_listed_with_their_last_run_and_when_they_are_due(installation: Installation) -> None:
    task = Task(installation)
    assert jobs_of(installation)["tarea"]["due"] is True
    require_done(installation.run())
    listed = jobs_of(installation)
    assert list(listed)[:2] == ["migration", "temp"]
    assert listed["temp"]["every_tick"] is True
    entry = listed["tarea"]
    assert (entry["on"], entry["due"], entry["last_outcome"]) == (True, False, "done")
    assert entry["last_good_at"] < entry["next_due"]
    text = installation.run("jobs").output
    assert "temp (limpieza): toca en cada ciclo; última vez " in text
    assert len(text.splitlines()) == len(listed)
    assert len(task.begun) == 1


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(installation: Installation) -> None:
    task = Task(installation)
    before = installation.everything_in_the_database()
    for arguments in (["--dry-run"], ["run", "tarea", "--dry-run"]):
        run = installation.run(*arguments)
        require_done(run)
        assert run.said("INFO", "Se haría la tarea")
    assert installation.everything_in_the_database() == before
    assert task.begun == []
    require_done(installation.run())
    assert not installation.run("--dry-run").said("INFO", "Se haría la tarea")


def test_a_signal_ends_a_job_in_time_and_it_is_due_at_the_next_tick(installation: Installation) -> None:
    task = Task(installation)
    task.hold()
    with installation.start() as tick:
        wait_until(lambda: task.begun, 30)
        run = tick.stop(signal.SIGTERM)
    assert run.exit_code == 143, str(run)
    assert task.outcomes[0][1] == "interrupted"
    task.let_go()
    require_done(installation.run())
    assert [outcome for _, outcome in task.outcomes] == ["interrupted", "done"]


def test_an_unknown_job_is_a_usage_error(installation: Installation) -> None:
    for arguments in (["--only", "tmp"], ["--skip", "temp,migracion"], ["run", "nada"]):
        run = installation.run(*arguments)
        assert run.exit_code == 2
        assert "no se conoce" in run.errors
    assert installation.rows("SELECT FROM janitor_runs") == []
