"""One tick: finds which jobs are due, runs them in turn, and records each. A problem with one stops no other."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from config.errors import ConfigurationError, MigrationError, RunInterrupted, unexpected
from config.exit_codes import (
    EXIT_CONFIGURATION,
    EXIT_DATABASE,
    EXIT_DONE,
    EXIT_LOCKED,
    EXIT_SOMETHING_FAILED,
)
from config.fields import FieldError
from config.logs import emit, one_line
from config.models import JobState
from config.settings import Settings
from config.text.clocks import difference
from config.text.times import Clock
from jobs.context import Context, EndOfRun, Judgment, LeaseLost, ObservedRun, Observer
from jobs.job import Job, Outcome, Phase, Ref, Scope
from jobs.locks import JobLocks, LockHeld
from jobs.report import JobDone, Named, TickReport
from jobs.schedule import NEVER_RUN, EveryTick, Schedule, is_due, next_due
from jobs.signals import Interruption
from sql.database import Database, DatabaseError, DatabaseUnavailable, SchemaError, database_identity
from sql.job_records import JobEnd, JobsSeen
from sql.rights import described

Story = Callable[[], Outcome]
"""Runs a job whose order and policy the daemon itself holds."""


class Request(NamedTuple):
    """Which jobs somebody asks for."""

    only: frozenset[str] | None = None
    skip: frozenset[str] = frozenset()
    due_or_not: bool = False
    wish: object = None
    """What is wanted of the one job that is asked for by its name, in that job's own terms."""

    def asks_for(self, job: str) -> bool:
        """Whether this job is requested."""
        return job not in self.skip and (self.only is None or job in self.only)

    @property
    def mode(self) -> str:
        """The mode under which the run is recorded."""
        if self.only is None:
            return f"tick, skip {', '.join(sorted(self.skip))}" if self.skip else "tick"
        names = ", ".join(sorted(self.only - self.skip))
        if self.due_or_not:
            return f"run {names}"
        return {"migration": "migrate-only", "temp": "clean-only"}.get(names, f"only {names}")


class RunOptions(NamedTuple):
    """The command line's options for one run."""

    request: Request = Request()
    retention_hours: float | None = None
    skip_missing_directories: bool = True
    dry_run: bool = False


class ClockIsOff(MigrationError):
    """This host's clock is wrong: by it, files seem older or younger than they are."""

    code = "clock_is_off"


class Plan(NamedTuple):
    """A job that is on, with its settings."""

    job: Job
    own_settings: Any
    schedule: Schedule

    @property
    def is_platform(self) -> bool:
        """Whether of all hosts one does it."""
        return self.job.scope == Scope.PLATFORM

    def state(self, seen: JobsSeen) -> JobState:
        """What is known of its runs."""
        return (seen.of_platform if self.is_platform else seen.of_host).get(self.job.name, NEVER_RUN)

    def is_due(self, seen: JobsSeen, settings: Settings) -> bool:
        """Whether it should run now."""
        return is_due(self.schedule, self.state(seen), seen.now, self._zone(settings))

    def next_due(self, seen: JobsSeen, settings: Settings) -> datetime:
        """When it should next run."""
        return next_due(self.schedule, self.state(seen), seen.now, self._zone(settings))

    def _zone(self, settings: Settings) -> Any:
        return settings.time_zone if self.schedule.is_local else UTC  # loading a zone costs milliseconds


def plan_of(job: Job, settings: Settings) -> Plan | None:
    """The plan of a job, or `None` where it is off, mostly without an import. Raises `ConfigurationError` for settings
    with which it is not to work.
    """
    if not job.may_be_on(settings.sources.environment):
        return None
    own_settings = None if job.settings is None else settings.of(job.settings.load())
    if not job.is_on_with(own_settings):
        return None
    if job.required is not None:
        job.required.load()(settings)
    return Plan(job, own_settings, job.schedule(own_settings))


class Tick:
    """Runs the jobs that are requested, on and due, and records their results.

    `stories` run the jobs whose order and policy the daemon itself holds; all others have their own function.
    `judgment` is given to every job that runs.
    """

    def __init__(
        self,
        settings: Settings,
        request: Request,
        database: Database,
        report: TickReport,
        interruption: Interruption,
        stories: Mapping[str, Story],
        judgment: Judgment,
    ) -> None:
        self._settings = settings
        self._request = request
        self._database = database
        self._report = report
        self._interruption = interruption
        self._stories = stories
        self._judgment = judgment
        self._locks = JobLocks(settings.lock_directory, settings.host)
        self._is_database_lost = False
        self._clock_fault: str | None = None
        self._done = 0
        self._elsewhere = 0

    # What to do

    def plans(self, jobs: Iterable[Job]) -> list[Plan]:
        """The requested jobs that are on. Wrong settings of one are its own failure."""
        plans = []
        for job in jobs:
            if not self._request.asks_for(job.name):
                continue
            try:
                plan = plan_of(job, self._settings)
            except ConfigurationError as error:
                self._misconfigured(job, error)
                continue
            if plan is not None:
                plans.append(plan)
            elif self._request.only is not None and not self._request.due_or_not:
                self._is_off(job)
        return plans

    def due(self, plans: Sequence[Plan], seen: JobsSeen) -> list[Plan]:
        """The jobs to run now. One whose last run was killed comes last, because it may kill this run too."""
        due = [plan for plan in plans if self._is_wanted_now(plan) or plan.is_due(seen, self._settings)]
        return sorted(due, key=lambda plan: (plan.job.phase, plan.state(seen).was_cut_off))

    def _is_asked_for(self, job: Job) -> bool:
        """Whether a job decides how the run ends: not what only accompanies the others, unless it is named."""
        return job.phase != Phase.AFTER or self._request.only is not None

    def _asked_for(self, plans: Iterable[Plan]) -> list[Plan]:
        return [plan for plan in plans if self._is_asked_for(plan.job)]

    def _is_wanted_now(self, plan: Plan) -> bool:
        return self._request.due_or_not or isinstance(plan.schedule, EveryTick)

    # Locks

    @contextlib.contextmanager
    def holding_first_lock(self, plans: Sequence[Plan]) -> Iterator[None]:
        """Hold, within the block, the first available lock of the jobs that are due in any case.

        So a run that finds all its jobs taken leaves before it queries the database. Raises `LockHeld`,
        `ConfigurationError`.
        """
        asked_for = self._asked_for(plans)
        certain = [plan for plan in asked_for if self._is_wanted_now(plan)]
        try:
            if not any(self._try_lock(plan) for plan in certain) and certain == asked_for != []:
                raise LockHeld(_held_elsewhere(certain))
            yield
        finally:
            self._locks.release_all()

    def has_work(self, plans: Sequence[Plan]) -> bool:
        """Whether something is due that no other run is doing; its lock is held from then on. Raises `LockHeld` where
        others are doing all of it.
        """
        if self._locks:
            return True
        due = self.due(self._asked_for(plans), self._database.jobs_seen())
        if due and not any(self._try_lock(plan) for plan in due):
            raise LockHeld(_held_elsewhere(due))
        return bool(due)

    def _try_lock(self, plan: Plan) -> bool:
        """Whether this host's lock of the job is had. Raises `ConfigurationError`."""
        return self._locks.take(database_identity(self._settings.database_url), plan.job.name)

    # Execution

    def run(self, plans: Sequence[Plan], seen: JobsSeen) -> None:
        """Run the due jobs in turn. Raises nothing that concerns only one of them. `seen` was read just now."""
        own_clock = datetime.now(UTC)
        self._clock_fault = difference(own_clock, seen.now, own_clock)
        for plan in self.due(plans, seen):
            if not self._interruption.is_set():
                self._do(plan, seen)
        if self._elsewhere and not self._done and self._report.exit_code == EXIT_DONE:
            self._report.note_problem(EXIT_LOCKED)

    def _do(self, plan: Plan, seen: JobsSeen) -> None:
        try:
            if not self._try_lock(plan):
                self._is_done_elsewhere(plan.job)
                return
            fencing_token = self._claim(plan, seen)
        except (DatabaseError, ConfigurationError) as error:
            self._stopped(plan.job, error, exit_code_of(error))
            return
        if fencing_token is None:
            self._is_done_elsewhere(plan.job)
            return
        self._done += self._is_asked_for(plan.job)
        context = Context(
            plan.job, self._settings, plan.own_settings, self._database, seen.now, self._interruption,
            is_asked_for=self._request.due_or_not, wish=self._request.wish,
            fencing_token=fencing_token if plan.is_platform else 0, report=self._report, judgment=self._judgment,
        )  # fmt: skip
        began = time.monotonic()
        end = self._end_of(plan, self._guarded(plan, context))
        self._report.jobs.append(JobDone(end.job, end.outcome, time.monotonic() - began, end.counts))
        if fencing_token != UNRECORDED:
            self._database.job_records.end(end)

    def _claim(self, plan: Plan, seen: JobsSeen) -> int | None:
        """Return the fencing token. A host job runs without one when the database is lost: its lock suffices.

        The lock of the previous job is held until its end is recorded, which the claim does. So nobody who takes that
        lock finds the job still due.
        """
        seen_token = None if self._is_wanted_now(plan) else plan.state(seen).fencing_token
        if self._is_database_lost and not plan.is_platform:
            return UNRECORDED
        try:
            token = self._database.job_records.claim(plan.job.name, is_platform=plan.is_platform, seen_token=seen_token)
        except DatabaseUnavailable as error:
            self._is_database_lost = True
            if plan.is_platform:
                raise
            self._stopped(plan.job, error, EXIT_DATABASE)
            return UNRECORDED
        self._locks.release_all(but=plan.job.name)
        return token

    def _guarded(self, plan: Plan, context: Context) -> tuple[str, Outcome]:
        """How a job ended, and what it did. An error in it does not stop the next job."""
        title = plan.job.title
        try:
            outcome = self._call(plan, context)
        except RunInterrupted as error:
            self._put_off(title)
            return "interrupted" if self._interruption.is_set() else "put_off", Outcome(failures=(str(error),))
        except Exception as error:
            told = error if isinstance(error, KNOWN_ERRORS) else unexpected(error)
            self._is_database_lost |= isinstance(error, DatabaseUnavailable)
            self._stopped(plan.job, told, exit_code_of(error))
            return "failed", Outcome(failures=(one_line(told),))
        if self._interruption.is_set():
            return "interrupted", outcome
        return "failed" if outcome.failures else "done", outcome

    def _call(self, plan: Plan, context: Context) -> Outcome:
        if plan.job.goes_by_host_clock and self._clock_fault is not None:
            raise ClockIsOff(
                f"reloj: {self._clock_fault}; no se toca ningún fichero por su antigüedad hasta que esté en hora (NTP)"
            )
        story = self._stories.get(plan.job.name)
        if story is not None:
            return story()
        self._require_rights(plan.job)
        outcome: Outcome = _reference(plan.job.run).load()(context)
        if outcome.failures and self._is_asked_for(plan.job):
            self._report.name(Named.UNDONE, plan.job.title)
        return outcome

    def _require_rights(self, job: Job) -> None:
        if job.rights and (missing := self._database.missing_job_rights(job.rights)):
            raise SchemaError(f"el usuario de la base de datos no tiene permiso de {described(missing)}")

    def _end_of(self, plan: Plan, ended: tuple[str, Outcome]) -> JobEnd:
        name, outcome = ended
        error = "; ".join(outcome.failures) or None
        return JobEnd(plan.job.name, plan.is_platform, name, outcome.counts, error)

    # A dry run

    def preview(self, plans: Sequence[Plan], previews: Mapping[str, Callable[[], object]]) -> None:
        """Report what a run would do. Writes nothing, not even a record of this request, and needs no lock."""
        scheduled = [plan for plan in plans if not self._is_wanted_now(plan)]
        seen = self._database.jobs_seen() if scheduled else JobsSeen(datetime.now(UTC), {}, {})
        due = self.due(plans, seen)
        for plan in plans if self._request.only is not None else ():
            if plan not in due:
                self._is_not_due(plan, seen)
        for plan in due:
            if self._interruption.is_set():
                return
            context = Context(
                plan.job, self._settings, plan.own_settings, self._database, seen.now, self._interruption, dry_run=True
            )
            preview = previews.get(plan.job.name) or partial(_reference(plan.job.preview).load(), context)
            try:
                outcome = preview()
                if isinstance(outcome, Outcome) and outcome.failures:
                    self._report.name(Named.UNDONE, plan.job.title)
            except RunInterrupted:
                self._put_off(plan.job.title)
            except Exception as error:
                told = error if isinstance(error, KNOWN_ERRORS) else unexpected(error)
                self._stopped(plan.job, told, exit_code_of(error))

    # Reports to operators

    def _put_off(self, title: str) -> None:
        """Report a job that was stopped without a fault. If a signal stopped the run, report that instead."""
        level = logging.DEBUG if self._report.is_ended_by_signal else logging.INFO
        emit(level, "job_put_off", f"El trabajo de {title} se quedó a medias; se retoma la próxima vez", job=title)

    def _stopped(self, job: Job, error: Exception, exit_code: int) -> None:
        """Report a job that could not do everything. What only accompanies the others does not fail the run."""
        if self._is_asked_for(job):
            self._note_stopped(job, exit_code)
        self._report_stopped(job, error)

    def _misconfigured(self, job: Job, error: ConfigurationError) -> None:
        """Report a job that no run does until somebody corrects its settings, also what only accompanies the others."""
        self._note_stopped(job, EXIT_CONFIGURATION)
        self._report_stopped(job, error)

    def _note_stopped(self, job: Job, exit_code: int) -> None:
        self._report.note_problem(exit_code)
        self._report.name(Named.JOB, job.title)

    def _report_stopped(self, job: Job, error: Exception) -> None:
        message = f"El trabajo de {job.title} no pudo terminar: {one_line(error)}"
        emit(logging.ERROR, "job_stopped", message, cause=error, job=job.title)

    def _is_off(self, job: Job) -> None:
        """A job that was named with `--only` is off."""
        message = f"El trabajo {job.name} no está activado, y no se hace: {job.when_off}"
        emit(logging.INFO, "job_off", message, job=job.title)

    def _is_not_due(self, plan: Plan, seen: JobsSeen) -> None:
        """A job that was named with `--only` for a dry run has nothing to do yet."""
        name, when = plan.job.name, Clock(seen.now, self._settings.time_zone).when(plan.next_due(seen, self._settings))
        message = f"[simulación] El trabajo {name} no toca hasta {when}; 'run {name} --dry-run' dice qué haría ahora"
        emit(logging.INFO, "job_not_due", message, job=plan.job.title)

    def _is_done_elsewhere(self, job: Job) -> None:
        self._elsewhere += self._is_asked_for(job)
        where = (
            "otra máquina, u otro proceso de esta" if job.scope == Scope.PLATFORM else "otro proceso de esta máquina"
        )
        message = f"El trabajo de {job.title} lo hace ahora {where}: este ciclo no lo repite"
        emit(logging.INFO, "job_elsewhere", message, job=job.title)


class Observers:
    """The jobs that see the start and the end of a run. What goes wrong in one is a warning, and stops no other."""

    def __init__(self, jobs: Iterable[Job], settings: Settings, request: Request, version: str) -> None:
        """Makes those that are on and not skipped. `Tick.plans` reports wrong settings of one."""
        self._request = request
        self._observers: list[tuple[Job, Observer]] = []
        for job in jobs:
            if job.observer is None or job.name in request.skip:
                continue
            with contextlib.suppress(ConfigurationError):
                plan = plan_of(job, settings)
                if plan is not None:
                    asked = request.asks_for(job.name)
                    run = ObservedRun(job, settings, plan.own_settings, request.mode, version, is_asked_for=asked)
                    self._observers.append((job, job.observer.load()(run)))

    def started(self) -> None:
        """The run has begun to work."""
        for job, observer in self._observers:
            self._guarded(job, observer.started)

    def ended(self, end: EndOfRun, report: TickReport) -> None:
        """The run is over. Records what each observer did where that is possible."""
        for job, observer in self._observers:
            began = time.monotonic()
            outcome = self._guarded(job, partial(observer.ended, end))
            if outcome is None:
                continue
            if outcome.failures and self._request.due_or_not and self._request.asks_for(job.name):
                report.name(Named.UNDONE, job.title)
            if end.database is not None:
                self._record(job, outcome, time.monotonic() - began, end.database)

    def _guarded(self, job: Job, call: Callable[[], Outcome | None]) -> Outcome | None:
        try:
            outcome = call()
        except Exception as error:
            told = error if isinstance(error, KNOWN_ERRORS) else unexpected(error)
            outcome = Outcome(failures=(one_line(told),))
        if outcome is not None and outcome.failures:
            message = f"El trabajo de {job.title} no pudo terminar: {'; '.join(outcome.failures)}"
            emit(logging.WARNING, "observer_failed", f"{message} (lo demás del ciclo no cambia)", job=job.title)
        return outcome

    def _record(self, job: Job, outcome: Outcome, seconds: float, database: Database) -> None:
        name = "failed" if outcome.failures else "done"
        error = "; ".join(outcome.failures) or None
        try:
            database.record_observer(JobEnd(job.name, False, name, outcome.counts, error), seconds)
        except DatabaseError as lost:
            emit(logging.DEBUG, "observer_not_recorded", f"No se pudo anotar: {lost}", cause=lost, job=job.title)


UNRECORDED = 0
"""Stands for a fencing token when the database could not record that this run does the job."""

EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (DatabaseUnavailable, EXIT_DATABASE),
    (FieldError, EXIT_CONFIGURATION),
    (SchemaError, EXIT_CONFIGURATION),
    (ConfigurationError, EXIT_CONFIGURATION),
)
KNOWN_ERRORS = (DatabaseError, FieldError, ConfigurationError, MigrationError, LeaseLost)
"""Errors whose message is meant for operators."""


def exit_code_of(error: Exception) -> int:
    """The exit code for an error that stopped a job."""
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), EXIT_SOMETHING_FAILED)


def _held_elsewhere(plans: Sequence[Plan]) -> str:
    """What operators read where others do all that was asked for."""
    titles = ", ".join(plan.job.title for plan in plans)
    return f"otro proceso de esta máquina hace ya lo que se pide ({titles}): no hay que hacer nada, salvo que no acabe"


def _reference(reference: Ref | None) -> Ref:
    if reference is None:
        raise LookupError("the job has neither a function nor a story")
    return reference
