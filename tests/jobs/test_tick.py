"""A tick does what is due, one job after the other; what stops one stops no other, and each run of one is recorded.

Where else it was looked for that one failure stops others: executions (`tests/stories/migration/test_isolation.py`),
providers (`tests/jobs/test_provider_set.py`), upgrades of jobs (`tests/sql/test_schema.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from config.errors import ConfigurationError, RunInterrupted
from config.exit_codes import EXIT_DONE
from config.settings import Settings, load_settings
from jobs import heartbeat
from jobs.context import EndOfRun, ObservedRun
from jobs.heartbeat import renewing_leases
from jobs.job import Job, Outcome, Phase, Ref, Scope
from jobs.locks import LockHeld
from jobs.registry import all_jobs
from jobs.report import TickReport
from jobs.schedule import Every
from jobs.signals import Interruption
from jobs.tick import Observers, Plan, Request, Tick
from sql.database import Database, DatabaseUnavailable
from tests.databases.platform_database import Platform
from tests.disks.small_disk import make_read_only, mounted_small_disk, use_up_inodes
from tests.processes import wait_until

HOST_JOB = Job("own", "lo propio")
PLATFORM_JOB = Job("shared", "lo común", scope=Scope.PLATFORM)
OWN_TOO = Job("too", "también lo propio")
DAILY_JOB = Job("daily", "lo diario", scope=Scope.PLATFORM, due=Every(24))

Stories = Mapping[str, Callable[[], Outcome]]


AGES_JOB = Job("ages", "lo viejo", goes_by_host_clock=True)


@dataclass(frozen=True)
class OffSettings:
    """Settings of a job that nobody has configured."""

    def is_on(self) -> bool:
        return False


@dataclass(frozen=True)
class WrongSettings:
    """Settings of a job that cannot be used."""

    def __post_init__(self) -> None:
        raise ConfigurationError("OWN_HOUR debe ser una hora")

    def is_on(self) -> bool:
        return True


def nobody_in_need(_database: Database, _settings: Settings) -> Iterator[str]:
    """A judgment: nothing needs a person."""
    return iter(())


@pytest.fixture
def platform(initialized_database_url: str) -> Iterator[Platform]:
    """A database of the platform."""
    with closing(Platform(initialized_database_url)) as made:
        yield made


class Host:
    """A host that does ticks with jobs of the test's own."""

    def __init__(self, platform: Platform, directory: Path, name: str = "norte") -> None:
        self.platform, self.name = platform, name
        directory.mkdir(exist_ok=True)
        self.settings: Settings = load_settings(
            {"DATABASE_URL": platform.database_url, "JANITOR_HOST": name, "JANITOR_LOCK_DIR": str(directory)}
        )
        self.did: list[str] = []
        self.interruption = Interruption()
        self.report = TickReport()
        self.clock_is_ahead = timedelta(0)

    def story(self, name: str) -> Callable[[], Outcome]:
        """One that only says that it was done."""

        def do() -> Outcome:
            self.did.append(name)
            return Outcome({"done": 1})

        return do

    def tick(
        self, *jobs: Job, request: Request | None = None, stories: Stories | None = None, **more: Callable[[], Outcome]
    ) -> list[str]:
        """Do one; which jobs were done by the stories that only say so."""
        self.did, self.report, database = [], TickReport(), self.platform.database(self.name)
        told = {**{job.name: self.story(job.name) for job in jobs}, **(stories or {}), **more}
        tick = Tick(self.settings, request or Request(), database, self.report, self.interruption, told, nobody_in_need)
        plans = tick.plans(jobs)
        with tick.holding_first_lock(plans):
            self._run(tick, plans, database)
        return self.did

    def _run(self, tick: Tick, plans: list[Plan], database: Database) -> None:
        if tick.has_work(plans):
            seen = database.start_run(1, "tick", "test")
            seen = seen._replace(now=seen.now - self.clock_is_ahead)
            try:
                with renewing_leases(database):
                    tick.run(plans, seen)
            finally:
                database.finish_run(self.report.exit_code, {})


@pytest.fixture
def host(platform: Platform, tmp_path: Path) -> Host:
    """The first host."""
    return Host(platform, tmp_path / "locks")


def runs(platform: Platform) -> list[tuple[str, str | None]]:
    """Job and outcome of every run, in order."""
    rows = platform.sql("SELECT job, outcome FROM janitor_job_runs ORDER BY run_id, started_at, job")
    return [(row["job"], row["outcome"]) for row in rows]


def state(platform: Platform, job: str) -> dict[str, Any]:
    """What is known of a job."""
    (row,) = platform.sql("SELECT * FROM janitor_jobs WHERE job = %s", job)
    return row


def make_older(platform: Platform, hours: float) -> None:
    """Let time pass, as far as jobs know of it."""
    platform.sql(
        "UPDATE janitor_jobs SET last_started_at = last_started_at - make_interval(hours => 1) * %s, "
        "last_good_at = last_good_at - make_interval(hours => 1) * %s",
        hours, hours,
    )  # fmt: skip


# What is done, and recorded


def test_each_run_of_a_job_is_recorded(platform: Platform, host: Host) -> None:
    assert host.tick(HOST_JOB, PLATFORM_JOB) == ["own", "shared"]
    rows = platform.sql(
        "SELECT job, host, outcome, counts, error, finished_at IS NOT NULL AS ended FROM janitor_job_runs"
    )
    expected = {"host": "norte", "outcome": "done", "counts": {"done": 1}, "error": None, "ended": True}
    assert sorted(rows, key=lambda row: row["job"]) == [{"job": "own", **expected}, {"job": "shared", **expected}]
    assert state(platform, "own")["host"] == "norte"
    assert (state(platform, "shared")["host"], state(platform, "shared")["held_by"]) == ("", "norte")
    assert state(platform, "shared")["lease_expires_at"] is None
    assert host.report.exit_code == 0


def test_a_tick_asks_the_database_twice_more_for_two_jobs(
    platform: Platform, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the start and the end of the run, which there were before jobs were recorded."""
    from sql.connection import Connection

    asked: list[str] = []
    ask = Connection.query_once

    def watched(connection: Connection, name: str, parameters: Any = None) -> Any:
        asked.append(name)
        return ask(connection, name, parameters)

    monkeypatch.setattr(Connection, "query_once", watched)
    host.tick(HOST_JOB, PLATFORM_JOB)
    assert asked == ["start_run", "claim_job", "end_job, claim_job", "end_job, finish_run", "release_leases"]


def test_jobs_come_in_their_order_and_those_of_the_whole_tick_after_them(host: Host) -> None:
    notices = Job("notices", "avisos", phase=Phase.AFTER)
    assert host.tick(notices, HOST_JOB, PLATFORM_JOB) == ["own", "shared", "notices"]


def test_a_scheduled_job_is_done_once_in_its_time(platform: Platform, host: Host) -> None:
    assert host.tick(DAILY_JOB) == ["daily"]
    assert host.tick(DAILY_JOB) == []
    assert runs(platform) == [("daily", "done")]
    assert platform.value("SELECT count(*) FROM janitor_runs") == 1  # where nothing is due, no run begins
    make_older(platform, 24)
    assert host.tick(DAILY_JOB) == ["daily"]


def test_what_is_asked_for_now_is_done_due_or_not(host: Host) -> None:
    host.tick(DAILY_JOB)
    now = Request(only=frozenset(("daily",)), due_or_not=True)
    assert host.tick(HOST_JOB, DAILY_JOB, request=now) == ["daily"]


@pytest.mark.parametrize(
    ("request_", "done"),
    [
        (Request(only=frozenset(("own",))), ["own"]),
        (Request(skip=frozenset(("own",))), ["shared", "daily"]),
        (Request(only=frozenset(("own", "daily")), skip=frozenset(("own",))), ["daily"]),
    ],
    ids=["only", "skip", "both"],
)
def test_only_what_is_asked_for_is_done(host: Host, request_: Request, done: list[str]) -> None:
    assert host.tick(HOST_JOB, PLATFORM_JOB, DAILY_JOB, request=request_) == done


@pytest.mark.parametrize(("only", "is_told"), [(frozenset({"daily"}), True), (None, False)], ids=["named", "all"])
def test_a_dry_run_says_when_a_job_is_due_that_is_named_and_not_due_yet(
    host: Host, caplog: pytest.LogCaptureFixture, only: frozenset[str] | None, is_told: bool
) -> None:
    """Else it would say nothing at all."""
    assert host.tick(DAILY_JOB) == ["daily"]
    database = host.platform.database(host.name)
    tick = Tick(host.settings, Request(only), database, TickReport(), host.interruption, {}, nobody_in_need)
    with caplog.at_level("INFO"):
        tick.preview(tick.plans([DAILY_JOB]), {})
    assert ("[simulación] El trabajo daily no toca hasta 20" in caplog.text) is is_told


def test_a_job_that_is_off_is_not_done(platform: Platform, host: Host) -> None:
    off = Job("off", "lo apagado", settings=Ref(f"{__name__}:OffSettings"))
    assert host.tick(off) == []
    assert runs(platform) == []


@pytest.mark.parametrize(("request_", "is_told"), [(Request(frozenset({"off"})), True), (Request(), False)], ids=str)
def test_a_job_that_is_off_is_reported_only_when_it_is_named(
    host: Host, caplog: pytest.LogCaptureFixture, request_: Request, is_told: bool
) -> None:
    off = Job("off", "lo apagado", settings=Ref(f"{__name__}:OffSettings"), when_off="falta una variable")
    with caplog.at_level("INFO"):
        assert host.tick(off, request=request_) == []
    assert ("El trabajo off no está activado, y no se hace: falta una variable" in caplog.text) is is_told
    assert host.report.exit_code == 0


@pytest.mark.parametrize("phase", [Phase.WORK, Phase.AFTER])
def test_wrong_settings_of_one_job_are_its_own_failure(host: Host, phase: int) -> None:
    """Of one that only accompanies the others, too: no run will do it."""
    wrong = Job("wrong", "lo mal puesto", settings=Ref(f"{__name__}:WrongSettings"), phase=phase)
    assert host.tick(wrong, HOST_JOB) == ["own"]
    assert host.report.exit_code == 2
    assert "lo mal puesto" in str(host.report.problems())


# What stops one job


@pytest.mark.parametrize("days", [10, -10])
def test_what_goes_by_the_clock_of_the_host_is_left_while_that_is_wrong(
    platform: Platform, host: Host, days: int
) -> None:
    """Young files would seem old. All other jobs are done, and the next tick does what was left."""
    host.clock_is_ahead = timedelta(days=days)
    assert host.tick(AGES_JOB, HOST_JOB) == ["own"]
    assert host.report.exit_code == 1
    error = state(platform, "ages")["last_error"]
    how = "adelantado" if days > 0 else "atrasado"
    assert error.startswith(f"reloj: el de este equipo va 10 d {how} respecto al de la base de datos; ")
    host.clock_is_ahead = timedelta(0)
    assert host.tick(AGES_JOB, HOST_JOB) == ["ages", "own"]


def test_the_jobs_that_judge_the_ages_of_local_files_go_by_the_clock_of_the_host() -> None:
    """Looked for: those that read `time.time_ns` or compare times of files."""
    assert {job.name for job in all_jobs() if job.goes_by_host_clock} == {"temp", "logs"}


def failing(error: BaseException) -> Callable[[], Outcome]:
    """A job that is stopped by something."""

    def fail() -> Outcome:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [(ZeroDivisionError(), 1), (ConfigurationError("falta algo"), 2), (DatabaseUnavailable("no responde"), 3)],
)
def test_what_stops_one_job_does_not_stop_the_next(
    platform: Platform, host: Host, error: Exception, exit_code: int
) -> None:
    jobs = (HOST_JOB, Job("next", "lo siguiente"))
    assert host.tick(*jobs, own=failing(error)) == ["next"]
    assert host.report.exit_code == exit_code
    (row,) = platform.sql("SELECT outcome, error FROM janitor_job_runs WHERE job = 'own'")
    assert row["outcome"] == "failed"
    assert row["error"]


def test_what_a_job_could_not_do_makes_it_fail_and_its_rest_count(platform: Platform, host: Host) -> None:
    host.tick(DAILY_JOB, daily=lambda: Outcome({"files": 3}, ("un fichero no se pudo leer",)))
    (row,) = platform.sql("SELECT outcome, counts, error FROM janitor_job_runs")
    assert row == {"outcome": "failed", "counts": {"files": 3}, "error": "un fichero no se pudo leer"}
    assert state(platform, "daily")["last_good_at"] is None


def test_a_failed_job_is_due_again_with_growing_pauses(platform: Platform, host: Host) -> None:
    def tick() -> bool:
        host.tick(DAILY_JOB, daily=failing(ZeroDivisionError()))
        return bool(host.report.named)

    assert [tick(), tick(), tick()] == [True, True, False]
    make_older(platform, 0.2)
    assert [tick(), tick()] == [True, False]
    make_older(platform, 0.2)
    assert not tick()
    make_older(platform, 0.2)
    assert tick()
    make_older(platform, 6)
    assert host.tick(DAILY_JOB) == ["daily"]
    assert state(platform, "daily")["tries"] == 0


@pytest.mark.parametrize("is_signalled", [False, True])
def test_a_job_that_was_put_off_is_due_at_the_next_tick(platform: Platform, host: Host, is_signalled: bool) -> None:
    def put_off() -> Outcome:
        if is_signalled:
            host.interruption.set()
        raise RunInterrupted("se pidió parar")

    for _ in range(4):
        host.interruption = Interruption()
        host.tick(DAILY_JOB, HOST_JOB, daily=put_off)
        assert host.did == ([] if is_signalled else ["own"])
    outcome = "interrupted" if is_signalled else "put_off"
    assert [run for run in runs(platform) if run[0] == "daily"] == [("daily", outcome)] * 4
    assert state(platform, "daily")["tries"] == 0


def test_secrets_are_in_no_row(platform: Platform, host: Host) -> None:
    from config.logs import redactor

    redactor.add("muy-secreto-1234")
    host.tick(HOST_JOB, own=failing(ConfigurationError("la clave muy-secreto-1234 no vale")))
    (row,) = platform.sql("SELECT error FROM janitor_job_runs")
    assert row["error"] == "la clave *** no vale"
    assert state(platform, "own")["last_error"] == row["error"]


# Killed runs


def kill_during(host: Host, *jobs: Job) -> None:
    """A tick whose process is gone in the middle of its first job."""

    class Killed(BaseException):
        pass

    with pytest.raises(Killed):
        host.tick(*jobs, stories={jobs[0].name: failing(Killed())})
    host.platform.sql("UPDATE janitor_runs SET finished_at = NULL")


def test_a_job_whose_run_was_killed_comes_last(platform: Platform, host: Host) -> None:
    """Or it would keep the others from being done as long as it kills every run."""
    other = Job("other", "lo otro")
    kill_during(host, HOST_JOB, other)
    assert runs(platform) == [("own", None)]
    assert host.tick(HOST_JOB, other) == ["other", "own"]
    assert host.tick(HOST_JOB, other) == ["own", "other"]


def test_a_killed_run_of_a_scheduled_job_counts_as_a_failure(platform: Platform, host: Host) -> None:
    kill_during(host, DAILY_JOB)
    kill_during(host, DAILY_JOB)
    assert state(platform, "daily")["tries"] == 2
    assert host.tick(DAILY_JOB) == []
    make_older(platform, 1)
    assert host.tick(DAILY_JOB) == ["daily"]


# Several processes, several hosts


def test_a_job_that_another_process_does_keeps_no_other_one_waiting(platform: Platform, host: Host) -> None:
    second = Host(platform, Path(host.settings.lock_directory))
    done: list[str] = []

    def meanwhile() -> Outcome:
        done.extend(second.tick(HOST_JOB, PLATFORM_JOB))
        return Outcome()

    host.tick(HOST_JOB, own=meanwhile)
    assert done == ["shared"]
    assert second.report.exit_code == 0


@pytest.mark.parametrize("lacking", ["inodes", "writing"])
def test_where_no_lock_file_can_be_made_every_job_is_done(platform: Platform, tmp_path: Path, lacking: str) -> None:
    """There the directory is the lock of all jobs, and the run that holds it holds theirs, too.

    Where else locks of one run may meet: in the kernel each job has a name of its own, as it has with files.
    """
    directory = tmp_path / "locks"
    directory.mkdir()
    with mounted_small_disk(directory, 65_536, inodes=20):
        {"inodes": use_up_inodes, "writing": make_read_only}[lacking](directory)
        first, second = Host(platform, directory), Host(platform, directory)
        refused = []

        def look() -> Outcome:
            with pytest.raises(LockHeld):
                second.tick(OWN_TOO)
            refused.append(OWN_TOO.name)
            return Outcome()

        assert first.tick(HOST_JOB, PLATFORM_JOB, OWN_TOO, shared=look) == ["own", "too"]
        assert refused == ["too"]
        assert second.tick(OWN_TOO) == ["too"]
    assert first.report.exit_code == EXIT_DONE


def test_who_finds_everything_in_other_hands_goes_away(platform: Platform, host: Host) -> None:
    second = Host(platform, Path(host.settings.lock_directory))
    told: list[str] = []

    def meanwhile() -> Outcome:
        with pytest.raises(LockHeld) as held:
            second.tick(HOST_JOB)
        told.append(str(held.value))
        return Outcome()

    host.tick(HOST_JOB, own=meanwhile)
    assert "hace ya lo que se pide (lo propio)" in told[0]
    assert platform.value("SELECT count(*) FROM janitor_runs") == 1


@pytest.mark.parametrize("job", [PLATFORM_JOB, DAILY_JOB])
def test_of_two_hosts_one_does_a_job_of_the_platform(platform: Platform, host: Host, tmp_path: Path, job: Job) -> None:
    second = Host(platform, tmp_path / "locks of south", "sur")

    def meanwhile() -> Outcome:
        host.did += second.tick(job)
        assert second.report.exit_code == 75
        return Outcome()

    assert host.tick(job, stories={job.name: meanwhile}) == []
    assert state(platform, job.name)["held_by"] == "norte"


def test_both_hosts_do_a_job_of_their_own(platform: Platform, host: Host, tmp_path: Path) -> None:
    second = Host(platform, tmp_path / "locks of south", "sur")
    assert host.tick(HOST_JOB) == second.tick(HOST_JOB) == ["own"]
    assert platform.value("SELECT count(*) FROM janitor_jobs") == 2


def test_a_host_takes_over_when_the_lease_of_a_dead_one_has_expired(
    platform: Platform, host: Host, tmp_path: Path
) -> None:
    second = Host(platform, tmp_path / "locks of south", "sur")
    kill_during(host, PLATFORM_JOB)
    assert second.tick(PLATFORM_JOB) == []
    platform.sql("UPDATE janitor_jobs SET lease_expires_at = now() - interval '1 second'")
    assert second.tick(PLATFORM_JOB) == ["shared"]


def test_a_lease_from_before_the_clock_was_set_back_keeps_nobody_waiting(
    platform: Platform, host: Host, tmp_path: Path
) -> None:
    """The database's clock was a year ahead when a host was killed that never comes back: a container, say.

    One that was ahead by no more than a lease, as clocks are that are put right, frees no lease of a host at work.
    Where else times from such a clock were looked for in the frame: good runs and pauses (`test_schedule.py`).
    """
    second = Host(platform, tmp_path / "locks of south", "sur")
    kill_during(host, DAILY_JOB)
    platform.sql("UPDATE janitor_jobs SET lease_expires_at = lease_expires_at + interval '10 minutes'")
    assert second.tick(DAILY_JOB) == []
    platform.sql(
        "UPDATE janitor_jobs SET lease_expires_at = lease_expires_at + interval '1 year', "
        "last_started_at = last_started_at + interval '1 year'"
    )
    assert second.tick(DAILY_JOB) == ["daily"]


def test_the_host_of_a_killed_run_need_not_wait_for_its_own_lease(host: Host) -> None:
    """It holds the lock of the kernel, so the holder of the lease is dead."""
    kill_during(host, PLATFORM_JOB)
    assert host.tick(PLATFORM_JOB) == ["shared"]


def test_who_was_overtaken_changes_nothing_any_more(platform: Platform, host: Host, tmp_path: Path) -> None:
    second = Host(platform, tmp_path / "locks of south", "sur")

    def stopped_past_the_lease() -> Outcome:
        platform.sql("UPDATE janitor_jobs SET lease_expires_at = now() - interval '1 second'")
        second.tick(DAILY_JOB, daily=failing(ZeroDivisionError()))
        return Outcome()

    host.tick(DAILY_JOB, daily=stopped_past_the_lease)
    known = state(platform, "daily")
    assert (known["held_by"], known["last_outcome"], known["last_good_at"]) == ("sur", "failed", None)


def test_a_scheduled_job_that_others_did_meanwhile_is_not_done_again(
    platform: Platform, host: Host, tmp_path: Path
) -> None:
    """It was found due at the beginning of a tick whose first job took hours."""
    second = Host(platform, tmp_path / "locks of south", "sur")

    def hours() -> Outcome:
        assert second.tick(DAILY_JOB) == ["daily"]
        return Outcome()

    assert host.tick(HOST_JOB, DAILY_JOB, own=hours) == []
    assert runs(platform).count(("daily", "done")) == 1
    assert host.report.exit_code == 0


def test_a_lease_is_renewed_while_the_job_continues(
    platform: Platform, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "LEASE_SECONDS", 0.3)
    seconds_left = "SELECT extract(epoch FROM lease_expires_at - now()) FROM janitor_jobs"

    def long() -> Outcome:
        platform.sql("UPDATE janitor_jobs SET lease_expires_at = now() + interval '10 seconds'")
        wait_until(lambda: platform.value(seconds_left) > 100, 30)
        return Outcome()

    host.tick(PLATFORM_JOB, shared=long)
    assert runs(platform) == [("shared", "done")]


# Observers


class Fails:
    """An observer in which everything goes wrong."""

    def __init__(self, run: ObservedRun) -> None:
        self.run = run

    def started(self) -> None:
        raise OSError("no")

    def ended(self, end: EndOfRun) -> Outcome:
        raise ValueError(f"exit code {end.exit_code}")


class Notes(Fails):
    """One that notes what it saw."""

    seen: ClassVar[list[str]] = []

    def started(self) -> None:
        self.seen.append(f"{self.run.job.name} started")

    def ended(self, end: EndOfRun) -> Outcome:
        self.seen.append(f"{self.run.job.name} ended with {end.exit_code}")
        return Outcome()


def test_an_observer_that_fails_stops_no_other_and_changes_nothing(
    host: Host, platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    fails = Job("fails", "lo que falla", phase=Phase.AFTER, observer=Ref(f"{__name__}:Fails"))
    notes = Job("notes", "lo que anota", phase=Phase.AFTER, observer=Ref(f"{__name__}:Notes"))
    observers = Observers((OWN_TOO, fails, notes), host.settings, Request(skip=frozenset(("other",))), "v")
    database = platform.run("norte")
    observers.started()
    observers.ended(EndOfRun(0, 1.0, {}, (), (), database), host.report)
    assert Notes.seen == ["notes started", "notes ended with 0"]
    assert host.report.exit_code == EXIT_DONE
    assert runs(platform) == [("fails", "failed"), ("notes", "done")]
    assert state(platform, "fails")["tries"] == 1
    assert caplog.text.count("El trabajo de lo que falla no pudo terminar: error inesperado") == 2
