"""Housekeeping for SAGE: moves old executions to the cloud, proven and recorded, and cleans temporary files.

The class `JanitorDaemon` holds order and policy; the work is done in `jobs`. The command line is at the end.
"""

from __future__ import annotations

import sys

from config.process.early_signals import EXIT_SIGNAL_BASE, end_at_once_on_signal, interrupted_by

if __name__ == "__main__" or sys.argv[0].endswith("/janitor-daemon"):  # what follows takes a while to import
    end_at_once_on_signal()

import contextlib
import logging
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

from config.process.requirements import require_python_and_packages

require_python_and_packages()  # before any of them is imported

import click

from config.errors import (
    ConfigurationError,
    MigrationError,
    RunInterrupted,
    UnsafeSource,
    broken_environment,
    caused_by_too_many_open_files,
    unexpected,
)
from config.exit_codes import EXIT_CONFIGURATION, EXIT_DATABASE, EXIT_DONE, EXIT_LOCKED, EXIT_SOMETHING_FAILED
from config.fields import FieldError
from config.logs import configure_logging, emit, log_file_failure, one_line
from config.models import Claim, Execution, MigrationPolicy, ProvenCopy, ProviderRow
from config.options import (
    LazyGroup,
    SpanishCommand,
    bandwidth_option,
    hours,
    require_no_options_of_the_tick,
    setting,
    transfers_option,
)
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
from config.text.amounts import parse_duration, parse_size
from config.text.wording import in_spanish, output_failure, reason_of
from jobs.context import EndOfRun
from jobs.heartbeat import renewing_leases
from jobs.job import Outcome
from jobs.locks import LockHeld
from jobs.migration.directories import DirectoryJudge, OpenDirectory
from jobs.migration.known_conflicts import KnownConflicts
from jobs.migration.messages import Messages, error_code
from jobs.provider_set import PausesOnly, ProviderMemory, ProviderSet
from jobs.registry import UnknownJob, all_jobs, job_named, jobs_named
from jobs.report import DUE_COUNTED_TO, MAX_DURATION, Named, TickReport
from jobs.settings import settings_of_jobs, variables_by_title
from jobs.signals import Interrupted, Interruption, Stopped, end_now, raising_on_signal, stopping_on_signal
from jobs.temp_files.clean import TempDirectoryMissing, TempDirectoryUnsafe, clean_temp_files, report_cleaning
from jobs.temp_files.guard import (
    require_outside_roots,
    require_temp_directory_apart,
    require_temp_directory_apart_from_copies,
)
from jobs.tick import Observers, Plan, Request, Tick
from providers.base import ProviderUnavailable
from sql.database import (
    Database,
    DatabaseBusy,
    DatabaseError,
    DatabaseUnavailable,
    ListedDeletion,
    SchemaError,
    provider_name,
    require_database_named,
)
from storage.keys import Place, place_of, shared_prefix

if TYPE_CHECKING:
    from jobs.migration.run import Migration
    from storage.manifest import Manifest

VERSION = "0.1.0"

Item = TypeVar("Item")


class RunOptions(NamedTuple):
    """The command line's options for one run."""

    request: Request = Request()
    retention_hours: float | None = None
    skip_missing_directories: bool = True
    dry_run: bool = False


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
        self.report = TickReport()
        self._messages = Messages(self.report)
        watching = () if self._options.dry_run else all_jobs()
        self._observers = Observers(watching, self._settings, self._options.request, VERSION)
        self._is_end_recorded = True
        self._at_the_end = contextlib.ExitStack()
        self._at_the_end.callback(self._database.close)

    def run(self) -> int:
        """Do one tick and return its exit code."""
        with self._at_the_end, self._observed():
            if self._options.request.asks_for("temp"):
                require_temp_directory_apart(self._settings)
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
            self._show_end(exit_code, (*self.report.problems(), _in_words(error)))
            raise
        self._show_end(self.report.exit_code, self.report.problems())

    def _show_end(self, exit_code: int, problems: tuple[str, ...]) -> None:
        is_lost = exit_code == EXIT_DATABASE or not self._is_end_recorded
        end = EndOfRun(
            exit_code, self.report.elapsed_seconds, self.report.counts._asdict(), tuple(self.report.jobs), problems,
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
            **self.report.counts._asdict(),
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
            require_temp_directory_apart_from_copies(self._settings, self._database.local_directories())

    def _counted(self, story: Callable[[], None]) -> Outcome:
        """Do one of this class's own jobs; its outcome is what it added to the report."""
        counts, problems = self.report.counts._asdict(), self.report.problems()
        story()
        added = {
            name: count - counts[name] for name, count in self.report.counts._asdict().items() if count != counts[name]
        }
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
        rows: list[ProviderRow] = []
        unreadable: list[tuple[int, str, FieldError]] = []
        for item in self._database.load_provider_rows():
            if isinstance(item, ProviderRow):
                rows.append(item)
            else:
                unreadable.append((item[0]["id"], provider_name(item[0]), item[1]))
        used = [row for row in rows if row.active and row.id in self._policy.provider_ids]
        self._messages.unknown_names(f"{row.name}: {text}" for row in used for text in unknown_fields(row))
        memory_kind = PausesOnly if self._options.dry_run else ProviderMemory
        memory = memory_kind(self._database, self._policy.key_prefix)
        self._providers = ProviderSet(
            rows, unreadable, self.interruption.migrations, self._note_unusable_provider, memory
        )
        self._at_the_end.callback(self._providers.close)
        self._providers.tell_unreadable(self._policy.provider_ids)
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
        preview = Preview(self._judge, self._policy.key_prefix, names)
        for ready in self._ready_executions():
            for execution in ready:
                preview.migration(execution, self._conflicts.present, deletes=self._delete_after_migration)
        preview.tell_plan(self._database.outlook.put_off(), self._database.outlook.past_throughput())

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
            if self._delete_after_migration:
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
        """Delete old files directly in the temporary directory."""
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


# Command line


def _commands() -> Mapping[str, Callable[[], click.Command]]:
    """What loads each command, by its name: no cron run needs one, and no command another one."""
    from commands.table import COMMANDS

    references = {**COMMANDS, **{job.name: job.commands for job in all_jobs() if job.commands is not None}}
    return {**{name: reference.load for name, reference in references.items()}, "run": lambda: run_job}


def _jobs_named(_context: click.Context, _parameter: click.Parameter, texts: Sequence[str]) -> frozenset[str] | None:
    """Convert a repeatable option into job names; `None` if it is not given."""
    try:
        names = jobs_named(texts)
    except UnknownJob as error:
        raise click.BadParameter(str(error)) from error
    if texts and not names:
        raise click.BadParameter("está vacío")
    return names if texts else None


def _one_job(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    try:
        return job_named(name).name
    except UnknownJob as error:
        raise click.BadParameter(str(error)) from error


def _names_of_jobs(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The jobs that a shell may complete a word to."""
    return [job.name for job in all_jobs() if job.name.startswith(incomplete)]


def _run(settings: Settings, options: RunOptions, *, debug: bool) -> int:
    """Do the tick that the command line requests."""
    require_database_named(settings.database_url)  # in a wrong directory nothing is made, and nothing else is blamed
    require_outside_roots(settings)
    if not options.dry_run:
        configure_logging(settings.log_directory, settings.log_format, debug=debug)
    daemon = JanitorDaemon(settings, options)
    with stopping_on_signal(daemon.interruption, daemon.report.note_signal):
        return daemon.run()


@click.command("run", cls=SpanishCommand, short_help="Hace un trabajo ahora, le toque o no.")
@click.argument("job", metavar="TRABAJO", callback=_one_job, shell_complete=_names_of_jobs)
@click.option("--dry-run", is_flag=True, help="Decir qué se haría, sin cambiar nada.")
@click.pass_context
def run_job(context: click.Context, *, job: str, dry_run: bool, wish: object = None) -> int:
    """Hace el trabajo TRABAJO ahora, le toque o no, y ningún otro. Con jobs se ve cuáles hay."""
    debug = bool(context.find_root().params["debug"])  # a job's own commands invoke this one, too
    options = RunOptions(Request(only=frozenset((job,)), due_or_not=True, wish=wish), dry_run=dry_run)
    return _run(context.obj, options, debug=debug)


@click.group(
    cls=LazyGroup,
    load=_commands,
    variables=variables_by_title,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    option_groups={
        "Qué se hace": (
            "clean_only",
            "migrate_only",
            "only",
            "skip",
            "dry_run",
            "existing_dirs_only",
            "retention_hours",
        ),
        "Cuánto y a qué ritmo": ("transfers", "bandwidth_limit", "max_duration", "max_bytes"),
    },
    epilog="""\b
Ejemplos:
  janitor-daemon
      un ciclo completo: migrar y limpiar
  janitor-daemon --dry-run
      decir qué se haría, sin cambiar nada
  janitor-daemon --clean-only
      solo limpiar los archivos temporales
  janitor-daemon --retention-hours 0.5
      migrar lo que tenga más de media hora
  janitor-daemon --bandwidth-limit 20M --max-duration 5h
      sin ocupar la línea, y nada nuevo pasadas 5 horas
  janitor-daemon check
      comprobar base de datos y proveedores
  janitor-daemon restore 1234-abcd /srv/recuperada
      traer una ejecución de vuelta

\b
Códigos de salida:
  0        hecho, o no había nada que hacer
  1        algo falló y el resto se hizo
  2        uso o configuración
  3        sin base de datos
  75       otro proceso hace ya todo lo que se pedía
  129/130/143
           interrumpido""",
)
@click.version_option(
    VERSION, prog_name="janitor-daemon", message="%(prog)s %(version)s", help="Muestra la versión y termina."
)
@click.option("--debug", is_flag=True, help="Registro con nivel DEBUG.")
@click.option("--clean-only", is_flag=True, help="Solo limpiar; no se carga ni contacta ningún proveedor.")
@click.option("--migrate-only", is_flag=True, help="Solo migrar.")
@click.option(
    "--only",
    metavar="TRABAJO",
    multiple=True,
    callback=_jobs_named,
    shell_complete=_names_of_jobs,
    help="De los trabajos a los que les toca, solo estos, separados por comas.",
)
@click.option(
    "--skip",
    metavar="TRABAJO",
    multiple=True,
    callback=_jobs_named,
    shell_complete=_names_of_jobs,
    help="Todos menos estos, separados por comas.",
)
@click.option(
    "--retention-hours",
    metavar="H",
    callback=hours,
    help="Horas de retención para esta vez, en lugar de tiempo_retencion_local; admite decimales.",
)
@click.option(
    "--existing-dirs-only/--all-dirs",
    default=True,
    help="Omitir las filas cuyo directorio no está (por defecto), o intentarlas y darlas por fallidas.",
)
@click.option("--dry-run", is_flag=True, help="Decir qué se migraría, borraría y limpiaría, sin cambiar nada.")
@transfers_option
@bandwidth_option
@click.option(
    "--max-duration",
    metavar="T",
    callback=setting("max_duration_seconds", parse_duration),
    help="No empezar ninguna ejecución pasado este tiempo, con unidad: 5h, 1h30m. Lo empezado tiene un 10 % más para "
    "acabar, 5 minutos como mucho; luego se deja a medias para la próxima vez.",
)
@click.option(
    "--max-bytes",
    metavar="B",
    callback=setting("max_bytes", parse_size),
    help="No empezar ninguna ejecución con la que se enviaría más que esto, con unidad: 100G. Una que sea mayor ella "
    "sola se migra cuando le toca ser la primera, y ninguna más.",
)
@click.pass_context
def cli(
    context: click.Context,
    *,
    debug: bool,
    clean_only: bool,
    migrate_only: bool,
    only: frozenset[str] | None,
    skip: frozenset[str] | None,
    retention_hours: float | None,
    existing_dirs_only: bool,
    dry_run: bool,
    transfers: Mapping[str, Any],
    bandwidth_limit: Mapping[str, Any],
    max_duration: Mapping[str, Any],
    max_bytes: Mapping[str, Any],
) -> int:
    """Mantenimiento de SAGE: migra a la nube las ejecuciones antiguas, limpia los archivos temporales y hace los demás
    trabajos que tocan (la orden jobs los dice).

    Sin orden hace un ciclo completo, como desde cron.
    """
    if clean_only and migrate_only:
        raise click.UsageError("--clean-only y --migrate-only no se pueden usar juntas")
    if only is not None and (clean_only or migrate_only):
        raise click.UsageError("--only no se puede usar con --clean-only ni con --migrate-only")
    require_no_options_of_the_tick(context)
    configure_logging(None, "text", debug=debug)
    settings = replace(
        load_settings(jobs=settings_of_jobs), **transfers, **bandwidth_limit, **max_duration, **max_bytes
    )
    context.obj = settings
    configure_logging(None, settings.log_format, debug=debug)
    if context.invoked_subcommand is not None:
        return EXIT_DONE
    if clean_only:
        only = frozenset(("temp",))
    elif migrate_only:
        only = frozenset(("migration",))
    request = Request(only, skip or frozenset())
    if not any(request.asks_for(job.name) for job in all_jobs()):
        raise click.UsageError("con estas opciones no queda ningún trabajo que hacer; quite --skip o cambie --only")
    options = RunOptions(request, retention_hours, existing_dirs_only, dry_run)
    return _run(settings, options, debug=debug)


EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (LockHeld, EXIT_LOCKED),
    (DatabaseUnavailable, EXIT_DATABASE),
    (SchemaError, EXIT_CONFIGURATION),
    (ConfigurationError, EXIT_CONFIGURATION),
    (FieldError, EXIT_CONFIGURATION),
    (ImportError, EXIT_CONFIGURATION),
    (Exception, EXIT_SOMETHING_FAILED),
)


def run_command_line(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code. Errors are one line in Spanish; the traceback is in the debug log."""
    try:
        result = cli.main(list(arguments), prog_name="janitor-daemon", standalone_mode=False)
        return result if isinstance(result, int) else EXIT_DONE
    except click.UsageError as error:
        usage = f"{in_spanish(error.ctx.get_usage())}\n" if error.ctx else ""
        with contextlib.suppress(OSError):  # nobody reads, or the disk is full
            click.echo(f"{usage}Error: {in_spanish(error.format_message())}", err=True)
        return EXIT_CONFIGURATION
    except click.Abort as abort:
        return _stopped(abort.__cause__) if isinstance(abort.__cause__, Stopped) else EXIT_SIGNAL_BASE + signal.SIGINT
    except Interrupted as interrupted:
        end_now(interrupted.exit_code)
    except Exception as error:
        emit(logging.ERROR, "run_failed", _in_words(error), cause=error)
        return exit_code_of(error)


def _stopped(stopped: Stopped) -> int:
    """Say that a signal has ended the command; return its exit code."""
    message = interrupted_by(stopped.exit_code - EXIT_SIGNAL_BASE)
    emit(logging.WARNING, "interrupted", message)
    return stopped.exit_code


def exit_code_of(error: Exception) -> int:
    """The exit code of a command that an error has ended."""
    return next(exit_code for kind, exit_code in EXIT_CODES if isinstance(error, kind))


def _in_words(error: Exception) -> str:
    if isinstance(error, ImportError):
        return one_line(broken_environment(error))
    if isinstance(error, OSError) and _is_of_the_output(error):
        return output_failure(error)
    if isinstance(error, OSError):  # an error with a known source in the program comes as one of its own
        return f"no se puede leer o escribir: {one_line(reason_of(error))}"
    return one_line(error) or type(error).__name__


def _is_of_the_output(error: OSError) -> bool:
    """Whether the standard output still holds unwritten text, or refused text too long for its buffer."""
    try:
        sys.stdout.flush()
    except OSError:
        return True
    *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
    return frame.f_code is click.echo.__code__


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
        exit_code = _stopped(stopped)
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
