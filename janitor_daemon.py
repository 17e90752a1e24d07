"""Housekeeping for SAGE: moves old executions to the cloud, proven and recorded, and cleans temporary files.

The class `JanitorDaemon` holds order and policy; the work is done in `jobs`. `commands.command_line` reads the options.
"""

from __future__ import annotations

import sys

from config.process.early_signals import end_at_once_on_signal

if __name__ == "__main__" or sys.argv[0].endswith("/janitor-daemon"):  # what follows takes a while to import
    end_at_once_on_signal()

import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, NoReturn, TypeVar

from config.process.requirements import require_python_and_packages

require_python_and_packages()  # before any of them is imported

from commands.command_line import VERSION, run_arguments
from commands.endings import exit_code_of, in_words, report_stopped
from config.errors import (
    ConfigurationError,
    MigrationError,
    RunInterrupted,
    UnsafeSource,
    caused_by_too_many_open_files,
    unexpected,
)
from config.exit_codes import EXIT_DATABASE, EXIT_DONE
from config.logs import emit, one_line
from config.models import Claim, Execution, MigrationPolicy, ProvenCopy
from config.process.log_output import configure_logging, log_file_failure
from config.process.preparation import (
    drop_what_cannot_be_written,
    keep_rights_of_owner,
    leave_process,
    open_missing_streams,
    require_utf8_names,
    return_large_blocks,
    write_no_core_dumps,
)
from config.provider_fields import unknown_fields
from config.settings import Settings, load_settings
from jobs.context import EndOfRun
from jobs.heartbeat import renewing_leases
from jobs.job import Outcome, Ref
from jobs.locks import LockHeld
from jobs.migration.directories import DirectoryJudge, KnownConflicts, OpenDirectory
from jobs.migration.messages import Messages, error_code
from jobs.provider_set import ProviderSet
from jobs.provider_state.memory import PausesOnly, ProviderMemory
from jobs.registry import all_jobs, job_named
from jobs.report import DUE_COUNTED_TO, MAX_DURATION, Named, TickReport
from jobs.settings import settings_of_jobs
from jobs.signals import Interruption, Stopped, raising_on_signal, stopping_on_signal
from jobs.temp_files.clean import TempDirectoryMissing, TempDirectoryUnsafe, clean_temp_files, report_cleaning
from jobs.temp_files.guard import copies_fault
from jobs.tick import Observers, Plan, RunOptions, Tick
from providers.errors import ProviderUnavailable
from sql.database import Database, DatabaseBusy, DatabaseError, DatabaseUnavailable
from sql.migration.removals import ListedDeletion
from storage.keys import Place, place_of, shared_prefix

if TYPE_CHECKING:
    from jobs.migration.run import Migration
    from storage.manifest import Manifest

Item = TypeVar("Item")

JUDGMENT = Ref("commands.status.words:in_need_of_a_person")


def in_need_of_a_person(database: Database, settings: Settings) -> Iterable[str]:
    """What `status` says first, imported only for a job that asks. Raises `DatabaseError`."""
    lines: Iterable[str] = JUDGMENT.load()(database, settings)
    return lines


class JanitorDaemon:
    """One tick of housekeeping: migrate what is old enough, remove what is proven, clean temporary files.

    `run` raises `LockHeld`, `ConfigurationError`, `DatabaseError`. A problem with one execution, provider or job is
    logged, counted in the report, and stops none of the others.
    """

    def __init__(self, settings: Settings | None = None, options: RunOptions | None = None) -> None:
        self._settings = settings or load_settings(jobs=settings_of_jobs)
        self._options = options or RunOptions()
        self._database = Database(self._settings.database_url, self._settings.host)
        self._judge = DirectoryJudge(self._settings.roots)
        self._policy = MigrationPolicy()
        self._providers = ProviderSet((), ())
        self._conflicts = KnownConflicts(self._database, self._judge)
        self.interruption = Interruption()
        """Set it to stop the run: work in flight is abandoned and nothing new begins."""
        self.report = TickReport(name for job in all_jobs() if job.is_done_by_daemon for name in job.counts)
        self._messages = Messages(self.report)
        watching = () if self._options.dry_run else all_jobs()
        self._observers = Observers(watching, self._settings, self._options.request, VERSION)
        self._temp_directory_fault: str | None = None
        self._is_end_recorded = True
        self._at_the_end = contextlib.ExitStack()
        self._at_the_end.callback(self._database.close)

    def run(self) -> int:
        """Do one tick and return its exit code."""
        with self._at_the_end, self._observed():
            self._messages.unknown_names(self._settings.unknown_variables)
            tick = self._new_tick()
            plans = tick.plans(all_jobs())
            self._require_on(plans)
            if self._options.dry_run:
                self._preview(tick, plans)
            else:
                self._tick(tick, plans)
        return self.report.exit_code

    @contextlib.contextmanager
    def _observed(self) -> Iterator[None]:
        """Show the end of the run to its observers, however it ends, unless another run does all the work."""
        try:
            yield
        except LockHeld:
            raise
        except Exception as error:
            exit_code = self.report.exit_code if self.report.is_ended_by_signal else exit_code_of(error)
            self._show_end(exit_code, (*self.report.problems(), in_words(error)))
            raise
        self._show_end(self.report.exit_code, self.report.problems())

    def _show_end(self, exit_code: int, problems: tuple[str, ...]) -> None:
        is_lost = exit_code == EXIT_DATABASE or not self._is_end_recorded
        end = EndOfRun(
            exit_code, self.report.elapsed_seconds, self.report.counts, tuple(self.report.jobs), problems,
            None if is_lost else self._database, self.report.is_ended_by_signal,
        )  # fmt: skip
        self._observers.ended(end, self.report)

    def _require_on(self, plans: Sequence[Plan]) -> None:
        """Raises `ConfigurationError` for a job that is off but was requested by name."""
        request = self._options.request
        if request.due_or_not and not plans and self.report.exit_code == EXIT_DONE:
            (name,) = request.only or ("",)
            raise ConfigurationError(f"el trabajo {name} no está activado: {job_named(name).when_off}")

    def _new_tick(self) -> Tick:
        """The frame for all jobs; the order and policy of these two are in this class."""
        return Tick(
            self._settings,
            self._options.request,
            self._database,
            self.report,
            self.interruption,
            {
                "migration": lambda: self._counted(self._migrate_old_executions),
                "temp": lambda: self._counted(self._clean_temp_files),
            },
            in_need_of_a_person,
        )

    def _tick(self, tick: Tick, plans: Sequence[Plan]) -> None:
        work = [plan for plan in plans if plan.job.observer is None]
        with tick.holding_first_lock(work):
            self._connect()
            if work and not tick.has_work(work):
                return
            if not plans:
                return
            seen = self._database.start_run(os.getpid(), self._options.request.mode, VERSION)
            self._observers.started()
            try:
                with renewing_leases(self._database):
                    tick.run(work, seen)
            finally:
                self._finish(frozenset(plan.job.name for plan in plans))

    def _finish(self, jobs: frozenset[str]) -> None:
        """Sum up and record the report. The job that lost the database has already reported that."""
        if (log_file := log_file_failure()) is not None:
            self._messages.log_unwritable(log_file)
        self._messages.run_finished(jobs)
        report = {
            **self.report.counts,
            "named": self.report.named,
            "problems": self.report.problems(),
            "jobs": {done.name: done.recorded() for done in self.report.jobs},
            "interrupted": self.interruption.is_set(),
            "limit_reached": self.report.limit_reached,
        }
        try:
            self._database.finish_run(self.report.exit_code, report)
        except DatabaseUnavailable:
            self._is_end_recorded = False
        except DatabaseError as error:
            self._messages.end_not_recorded(error)

    def _connect(self) -> None:
        self._database.connect()
        self._database.require_current_schema()
        if self._options.request.asks_for("temp"):
            self._temp_directory_fault = copies_fault(self._settings, self._database.local_directories())

    def _counted(self, story: Callable[[], None]) -> Outcome:
        """Do one of this class's own jobs; its outcome is what it added to the report."""
        counts, problems = self.report.counts, self.report.problems()
        story()
        added = {name: count - counts[name] for name, count in self.report.counts.items() if count != counts[name]}
        return Outcome(added, tuple(problem for problem in self.report.problems() if problem not in problems))

    # Configuration

    def _load_configuration(self) -> None:
        """Read the policy in force and apply the command line's overrides. Raises `FieldError`."""
        policy = self._database.load_policy()
        if policy is None:
            self._messages.no_configuration()
        self._policy = policy or MigrationPolicy()
        if not self._settings.roots:
            self._messages.roots_not_set()

    def _load_cloud_providers(self) -> None:
        """Read the providers' rows; none is contacted yet."""
        rows, unreadable = self._database.sorted_provider_rows()
        used = [row for row in rows if row.active and row.id in self._policy.provider_ids]
        self._messages.unknown_names(f"{row.name}: {text}" for row in used for text in unknown_fields(row))
        memory_kind = PausesOnly if self._options.dry_run else ProviderMemory
        memory = memory_kind(self._database, self._policy.key_prefix)
        asked = None if self._options.dry_run else self._database  # a dry run contacts nobody
        self._providers = ProviderSet(
            rows,
            unreadable,
            self.interruption.migrations,
            self._note_unusable_provider,
            memory,
            self._settings.unfinished_directory,
            asked,
        )
        self._at_the_end.callback(self._providers.close)
        self._providers.report_unreadable(self._policy.provider_ids)
        directories = (row.options.get("ruta") for row in rows if row.kind == "local")
        self._judge.keep_out_of(f"{path}/{shared_prefix(self._policy.key_prefix)}" for path in directories)

    def _note_unusable_provider(self, provider_id: int, name: str, error_code: str) -> None:
        """Only a person can fix it, so the exit code shows it even where an alternate takes everything."""
        if provider_id in self._policy.provider_ids:
            self._messages.provider_needs_a_person(name, error_code)

    def _note_alternate(self, provider_id: int) -> None:
        """Note which provider took an execution, if it is not the primary one."""
        primary_id, row = self._policy.primary_provider_id, self._providers.row(provider_id)
        if primary_id is not None and row is not None and provider_id != primary_id:
            self._messages.provider_replaced(primary_id, row.name)

    @property
    def _retention_hours(self) -> float:
        override = self._options.retention_hours
        return self._policy.retention_hours if override is None else override

    @property
    def _delete_after_migration(self) -> bool:
        return self._policy.delete_after_migration and self._judge.may_delete

    @cached_property
    def _migration(self) -> Migration:
        """The part that stores, removes and cleans up, with its threads: imported and made once there is work."""
        from jobs.migration.run import Migration  # most runs find nothing and need not pay for it

        return_large_blocks()
        migration = Migration(
            self._settings,
            self._policy.provider_ids,
            self._retention_hours,
            self._database,
            self._judge,
            self._providers,
            self._conflicts,
            self.interruption,
            self.report,
        )
        self._at_the_end.callback(migration.close)
        return migration

    # Dry run

    def _preview(self, tick: Tick, plans: Sequence[Plan]) -> None:
        """Report what a tick would do. Writes nothing, not even a record of this request, and contacts no provider."""
        self._connect()
        tick.preview(plans, {"migration": self._preview_migrations, "temp": self._clean_temp_files})

    def _preview_migrations(self) -> None:
        from jobs.migration.preview import (  # what it needs to walk a tree, a real run may not need
            Preview,
            preview_deletion,
        )

        self._load_configuration()
        self._load_cloud_providers()
        names = [provider.name for provider in self._providers.in_order(self._policy.provider_ids)]
        for deletion in self._database.list_deletions():
            if not deletion.is_held:
                preview_deletion(deletion.execution)
        if not self._migration_is_on():
            return
        preview = Preview(self._judge, self._policy.key_prefix, names, self._settings.max_bytes)
        for ready in self._ready_executions():
            for execution in ready:
                preview.migration(execution, self._conflicts.present, deletes=self._delete_after_migration)
        preview.report_plan(self._database.outlook.put_off(), self._database.outlook.past_throughput())

    # Migration

    def _migrate_old_executions(self) -> None:
        """Finish what earlier runs began, migrate what is due, and remove what failed attempts left."""
        self._database.require_rights()
        self._load_configuration()
        self._load_cloud_providers()
        unfinished = self._unfinished_removals(self._database.list_deletions())
        ready = _unless_empty(self._ready_executions()) if self._migration_is_on() else None
        if ready or unfinished:
            self._migration.run(ready or (), self._migrate_execution, self._count_due, unfinished)
            self._providers.settle()
        if leftovers := _unless_empty(self._database.leftovers()):
            self._migration.remove_leftovers(leftovers)

    def _unfinished_removals(self, listed: Sequence[ListedDeletion]) -> list[Execution]:
        """The removals that earlier runs began and whose turn it is; none if nothing may be removed any more.

        Removals in a missing root are not taken up: an entry that is not visible there may still exist.
        """
        self._look_for_roots()
        listed = [deletion for deletion in listed if not self._judge.is_in_missing_root(deletion.execution)]
        if listed and not self._delete_after_migration:
            self._migration.local_copies.keep_all(deletion.execution for deletion in listed)
            return []
        if held := [deletion.execution for deletion in listed if deletion.is_held]:
            self._migration.local_copies.give_back_held(held)
            listed = [deletion for deletion in listed if not deletion.is_held]
        due = [deletion.execution for deletion in listed if deletion.is_due]
        if len(due) < len(listed):
            self._messages.removals_wait(len(listed) - len(due))
        return due

    def _look_for_roots(self) -> None:
        """Report each missing root once per run; one may also vanish while the run is working."""
        for root in self._judge.look_for_roots():
            self._messages.root_missing(root)

    def _count_due(self) -> int:
        return self._database.count_due(self._retention_hours, DUE_COUNTED_TO)

    def _migration_is_on(self) -> bool:
        if not self._policy.migrate_automatically:
            self._messages.migration_off()
            return False
        if self._policy.primary_provider_id is None:
            self._messages.no_primary_provider()
            return False
        return True

    def _ready_executions(self) -> Iterator[list[Execution]]:
        """Pages of due executions that this host can take up, without those whose directory is not here."""
        looked = False
        for page in self._database.candidates(self._retention_hours):
            self._look_for_roots()
            ready = [execution for execution in page if self._is_ready(execution)]
            if not ready:
                continue
            if not looked:
                self._conflicts.look(shared_prefix(self._policy.key_prefix))
                looked = True
            yield ready

    def _is_ready(self, execution: Execution) -> bool:
        """Whether to take an execution up. Refused ones are taken up too, to record why."""
        if self._judge.is_in_missing_root(execution):
            return False
        try:
            if self._judge.exists(execution):
                return True
        except UnsafeSource:
            return True
        self._messages.directory_missing(execution)
        return not self._options.skip_missing_directories

    def _migrate_execution(self, claim: Claim) -> None:
        """One execution's whole way: judged, stored, proven, committed, and its local copy removed if that is wanted.

        Raises `DatabaseUnavailable` only.
        """
        execution = claim.execution
        try:
            self._require_no_conflict(execution)
            place = place_of(self._policy.key_prefix, execution.uuid)
            with self._judge.open(execution) as directory:
                self._messages.migration_started(execution)
                copy, manifest = self._upload_directory_to_cloud(claim, place, directory)
        except DatabaseUnavailable:
            raise
        except (MigrationError, DatabaseError) as error:
            self._note_failed_migration(claim, error)
        except Exception as error:
            self._note_failed_migration(claim, unexpected(error))
        else:
            self._messages.migrated(execution, copy)
            self._note_alternate(copy.provider_id)
            if self._delete_after_migration and not copy.is_of_others:
                self._migration.local_copies.remove(claim, lambda: manifest.tree)

    def _require_no_conflict(self, execution: Execution) -> None:
        reason = self._conflicts.present.reason(execution)
        if reason is not None:
            raise UnsafeSource(reason)

    def _upload_directory_to_cloud(
        self, claim: Claim, place: Place, directory: OpenDirectory
    ) -> tuple[ProvenCopy, Manifest]:
        """Store an execution whole on the first provider in order that accepts it, and commit that.

        Raises `MigrationError`: the last provider's, or the execution's own.
        """
        attempts = self._migration.new_attempts(claim.execution, delete_local_copy=self._delete_after_migration)
        last_error: MigrationError = ProviderUnavailable("no hay ningún proveedor que se pueda usar")
        for provider in self._providers.in_order(self._policy.provider_ids):
            if provider.id != self._policy.primary_provider_id:
                self._messages.trying_alternate(claim.execution, provider)
            try:
                with self._migration.under_way.noted(provider, place):
                    return attempts.store(provider, claim, place, directory)
            except MigrationError as error:
                if not self._is_put_off(error):
                    self._messages.upload_failed(claim.execution, provider, error)
                if not error.try_next_provider or caused_by_too_many_open_files(error):
                    raise
                last_error = error
        raise last_error

    def _note_failed_migration(self, claim: Claim, error: MigrationError | DatabaseError) -> None:
        if caused_by_too_many_open_files(error) and self._migration.put_to_the_end(claim):
            self._messages.descriptors_wanting(claim.execution)
            return
        if self._is_put_off(error):
            reason = "" if self.interruption.is_set() else f" al alcanzarse {MAX_DURATION}"
            error = RunInterrupted(f"se quedó a medias{reason}; se retoma la próxima vez")
            self._messages.migration_put_off(claim.execution, error)
        else:
            self._messages.migration_failed(claim.execution, error)
        from jobs.migration.setbacks import counts_against  # most runs have no failure

        state = "refused" if isinstance(error, UnsafeSource) else "failed"
        counts = counts_against(error, self._providers, self._policy.provider_ids)
        max_failed_runs = self._settings.max_attempts if counts else None
        with contextlib.suppress(DatabaseBusy):  # then the claim is freed at the end of the run
            failure = self._database.fail_migration(claim, state, error_code(error), str(error), max_failed_runs)
            if failure.is_quarantined:
                self._messages.quarantined(claim.execution, failure.failed_runs)

    def _is_put_off(self, error: Exception) -> bool:
        """Whether an execution was stopped without a fault: the run's time is over, or a signal has ended it, after
        which failed requests are not repeated.
        """
        if self.interruption.is_set() and isinstance(error, ProviderUnavailable):
            return True
        return isinstance(error, RunInterrupted)

    # Temporary files

    def _clean_temp_files(self) -> None:
        """Delete old files directly in the temporary directory. Raises `ConfigurationError` if copies are in it."""
        if self._temp_directory_fault is not None:
            raise ConfigurationError(self._temp_directory_fault)
        dry_run = self._options.dry_run
        try:
            cleaned = clean_temp_files(
                self._settings.temp_directory, self._settings.temp_retention_hours, self.interruption, dry_run=dry_run
            )
        except TempDirectoryMissing as error:
            emit(logging.WARNING, "temp_directory_missing", f"Limpieza omitida: {error}")
            return
        except TempDirectoryUnsafe as error:
            self.report.name(Named.TEMP_DIRECTORY, one_line(self._settings.temp_directory))
            emit(logging.ERROR, "temp_directory_unsafe", f"Limpieza omitida: {error}", cause=error)
            return
        self.report.count(
            temp_files_deleted=cleaned.deleted_files,
            temp_bytes_deleted=cleaned.deleted_bytes,
            temp_failures=cleaned.failures,
        )
        report_cleaning(cleaned, dry_run=dry_run)


def _unless_empty(items: Iterator[Item]) -> Iterator[Item] | None:
    """The same items, with the first one fetched at once; `None` if there are none."""
    for first in items:
        return chain((first,), items)
    return None


# The process


def run_tick(settings: Settings, options: RunOptions) -> int:
    """Do one tick, which a signal stops; return its exit code."""
    daemon = JanitorDaemon(settings, options)
    with stopping_on_signal(daemon.interruption, daemon.report.note_signal):
        return daemon.run()


def run_command_line(arguments: Sequence[str]) -> int:
    """Run one command, or a tick, and return its exit code."""
    return run_arguments(arguments, run_tick)


def _run_process() -> int:
    """Do what the process was started for; return its exit code."""
    open_missing_streams()
    require_utf8_names()
    write_no_core_dumps()
    keep_rights_of_owner()
    configure_logging(None, "text", debug=False)  # for failures before the settings are known
    try:
        with raising_on_signal():
            exit_code = run_command_line(sys.argv[1:])
    except Stopped as stopped:
        exit_code = report_stopped(stopped)
    drop_what_cannot_be_written()
    return exit_code


def main() -> None:
    """Run the command line for a program that continues when this raises `SystemExit`."""
    sys.exit(_run_process())


def program() -> NoReturn:
    """The command `janitor-daemon`. It skips the interpreter's own shutdown, in which a signal would be lost."""
    leave_process(_run_process())


if __name__ == "__main__":
    program()
