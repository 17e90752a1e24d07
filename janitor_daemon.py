"""Housekeeping for SAGE: moves old executions to the cloud, proven and recorded, and cleans temporary files.

The class `JanitorDaemon` holds order and policy; the work is done in `jobs`. The command line is at the end.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import click

from config.amounts import AmountError, parse_bandwidth, parse_duration, parse_size
from config.fields import FieldError
from config.logs import configure_logging, emit, one_line, printable_json
from config.models import Claim, Execution, MigrationPolicy, ProviderRow
from config.process import drop_what_cannot_be_written, open_missing_streams, require_utf8_names
from config.settings import ConfigurationError, Settings, load_settings, parse_transfers
from config.wording import in_spanish
from jobs.attempts import Attempts
from jobs.check import check_everything
from jobs.directories import DirectoryJudge, OpenDirectory
from jobs.flights import Flights
from jobs.heartbeat import renewing_leases
from jobs.host_lock import LockHeld, host_lock
from jobs.keys import Place, place_of, shared_prefix
from jobs.leftovers import remove_leftovers
from jobs.limits import MAX_DURATION, Interruption, RunLimits, size_on_disk
from jobs.local_copies import LocalCopies
from jobs.manifest import Manifest
from jobs.pace import Traffic
from jobs.preview import Preview, preview_deletion
from jobs.progress import Progress, is_watched, shown_on_terminal
from jobs.provider_set import ProviderSet
from jobs.report import (
    EXIT_CONFIGURATION,
    EXIT_DATABASE,
    EXIT_DONE,
    EXIT_LOCKED,
    EXIT_SIGNAL_BASE,
    EXIT_SOMETHING_FAILED,
    TickReport,
)
from jobs.restore import DestinationUnusable, restore_execution
from jobs.secret_store import (
    SecretRefused,
    force_removal,
    list_secrets,
    new_key,
    read_secret,
    remove_secret,
    rotate_secrets,
    set_secret,
)
from jobs.signals import Interrupted, end_now, stopping_on_signal
from jobs.status import FAILURES_SHOWN, describe_status
from jobs.temp_files import TempDirectoryMissing, TempDirectoryUnsafe, clean_temp_files, report_cleaning
from jobs.transfers import TransferPool
from jobs.under_way import UploadsUnderWay
from providers.base import MigrationError, Provider, ProviderUnavailable, RunInterrupted, UnsafeSource
from sql.conflicts import Conflicts
from sql.database import (
    Database,
    DatabaseBusy,
    DatabaseError,
    DatabaseUnavailable,
    ProvenCopy,
    SchemaError,
    database_identity,
)

VERSION = "0.1.0"
EXECUTIONS_IN_FLIGHT = 4
CLAIMED_AT_A_TIME = 8
MISSING_DIRECTORIES_NAMED = 100
DUE_COUNTED_TO = 10_000
SECONDS_TO_ABANDON_AFTER_SIGNAL = 1.5


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the command line asks of one run."""

    migrate: bool = True
    clean: bool = True
    retention_hours: float | None = None
    skip_missing_directories: bool = True
    dry_run: bool = False

    @property
    def mode(self) -> str:
        """How the run is recorded."""
        return {(True, True): "tick", (True, False): "migrate-only", (False, True): "clean-only"}[
            self.migrate, self.clean
        ]


class JanitorDaemon:
    """One tick of housekeeping: migrate what is old enough, remove what is proven, clean temporary files.

    `run` raises `LockHeld`, `ConfigurationError`, `DatabaseError`; everything that concerns one execution, provider
    or job is logged, counted in the report, and stops none of the others.
    """

    def __init__(self, settings: Settings | None = None, options: RunOptions | None = None) -> None:
        self._settings = settings or load_settings()
        self._options = options or RunOptions()
        self._database = Database(self._settings.database_url, self._settings.host)
        self._judge = DirectoryJudge(self._settings.roots)
        self._policy = MigrationPolicy()
        self._providers = ProviderSet((), ())
        self._conflicts = Conflicts()  # read anew by each run, once something can be migrated
        self.interruption = Interruption()
        """Set it to ask the run to stop: what is in flight is abandoned, nothing new is begun."""
        traffic = Traffic(self._settings.bandwidth, self.interruption.migrations)
        self._pool = TransferPool(self._settings.transfers, traffic)
        self._limits = RunLimits(self._settings.max_duration_seconds, self._settings.max_bytes, traffic)
        self.report = TickReport()
        self._flights = Flights(EXECUTIONS_IN_FLIGHT, self.interruption)
        self._local_copies = LocalCopies(self._database, self._judge, self.report, self.interruption)
        self._under_way = UploadsUnderWay()

    def run(self) -> int:
        """Do one tick and give its exit code."""
        try:
            if self._options.dry_run:
                self._preview()
            else:
                with host_lock(self._settings.lock_directory, database_identity(self._settings.database_url)):
                    self._tick()
        finally:
            self._close()
        return self.report.exit_code

    def _tick(self) -> None:
        self._connect()
        self._database.start_run(os.getpid(), self._options.mode, VERSION)
        try:
            with renewing_leases(self._database):
                if self._options.migrate:
                    self._do_job("migración", self._migrate_old_executions)
                if self._options.clean:
                    self._do_job("limpieza", self._clean_temp_files)
        finally:
            self._finish()

    def _finish(self) -> None:
        """Sum up in one line, and record the report; a database that was lost has been told of by its job."""
        counts = self.report.counts
        emit(
            logging.INFO,
            "run_finished",
            f"Ciclo terminado: {counts.migrated} migradas ({counts.migrated_files} ficheros, "
            f"{counts.migrated_bytes / 1024 / 1024:.2f} MB), {counts.failed} con error, "
            f"{counts.missing_directories} sin directorio, {counts.local_copies_deleted} copias locales borradas"
            f"{self._what_is_left}",
            **asdict(counts),
        )
        report = {**asdict(counts), "interrupted": self.interruption.is_set(), "limit_reached": self._limits.reached}
        try:
            with contextlib.suppress(DatabaseUnavailable):
                self._database.finish_run(self.report.exit_code, report)
        except DatabaseError as error:
            message = f"No se pudo anotar el final; lo reservado queda libre cuando venza: {error}"
            emit(logging.WARNING, "end_not_recorded", message, cause=error)

    def _connect(self) -> None:
        self._database.connect()
        self._database.require_current_schema()

    def _do_job(self, name: str, job: Callable[[], None]) -> None:
        """Whatever stops one job does not stop the next; what stopped it decides the exit code."""
        if self.interruption.is_set():
            return
        try:
            job()
        except DatabaseUnavailable as error:
            self._note_stopped_job(name, error, EXIT_DATABASE)
        except (FieldError, SchemaError, ConfigurationError) as error:
            self._note_stopped_job(name, error, EXIT_CONFIGURATION)
        except (DatabaseError, MigrationError) as error:
            self._note_stopped_job(name, error, EXIT_SOMETHING_FAILED)
        except Exception as error:
            self._note_stopped_job(name, _unexpected(error), EXIT_SOMETHING_FAILED)

    def _note_stopped_job(self, name: str, error: Exception, exit_code: int) -> None:
        message = f"El trabajo de {name} no pudo terminar: {one_line(error)}"
        emit(logging.ERROR, "job_stopped", message, cause=error, job=name)
        self.report.note_problem(exit_code)

    # Configuration

    def _load_configuration(self) -> None:
        """Read the policy in force, and apply what the command line overrides. Raises `FieldError`."""
        policy = self._database.load_policy()
        if policy is None:
            emit(
                logging.WARNING,
                "no_configuration",
                "No hay ninguna fila en ejecuciones_config; se usan los valores por defecto: sin proveedor",
            )
        self._policy = policy or MigrationPolicy()
        if not self._settings.roots:
            emit(
                logging.WARNING,
                "roots_not_set",
                "JANITOR_ROOTS no está definida: no se borrará ninguna copia local; "
                "indique en ella los directorios que contienen las ejecuciones",
            )

    def _load_cloud_providers(self) -> None:
        """Read the rows of the providers; none is contacted yet."""
        rows: list[ProviderRow] = []
        unreadable: list[tuple[int, str, FieldError]] = []
        for item in self._database.load_provider_rows():
            if isinstance(item, ProviderRow):
                rows.append(item)
            else:
                unreadable.append((item[0]["id"], item[0]["nombre"], item[1]))
        self._providers = ProviderSet(rows, unreadable)
        directories = (row.options.get("ruta") for row in rows if row.kind == "local")
        self._judge.keep_out_of(f"{path}/{shared_prefix(self._policy.key_prefix)}" for path in directories)

    @property
    def _retention_hours(self) -> float:
        override = self._options.retention_hours
        return self._policy.retention_hours if override is None else override

    # Dry run

    def _preview(self) -> None:
        """Say what a tick would do; nothing is written, not even that this was asked, and no provider is contacted."""
        self._connect()
        if self._options.migrate:
            self._do_job("simulación", self._preview_migrations)
        if self._options.clean:
            self._do_job("simulación", self._clean_temp_files)

    def _preview_migrations(self) -> None:
        self._load_configuration()
        self._load_cloud_providers()
        names = [provider.name for provider in self._providers.in_order(self._policy.provider_ids)]
        for execution in self._database.list_deletions():
            preview_deletion(execution)
        if not self._migration_is_on():
            return
        for ready in self._ready_executions():
            preview = Preview(self._judge, self._policy.key_prefix, names, self._conflicts)
            for execution in ready:
                preview.migration(execution, deletes=self._delete_after_migration)

    # Migration

    def _migrate_old_executions(self) -> None:
        """Finish what earlier runs began, migrate what is due, and remove what failed attempts left."""
        self._database.require_rights()
        self._load_configuration()
        self._load_cloud_providers()
        if self._delete_after_migration:
            self._local_copies.finish_removals(self._providers)
        else:
            self._local_copies.keep_all()
        if self._migration_is_on():
            with self._limits.enforced(self.interruption.migrations), self._showing_progress():
                self._migrate_ready_executions()
        remove_leftovers(self._database, self._providers, self.report, self.interruption)

    def _showing_progress(self) -> contextlib.AbstractContextManager[None]:
        if not is_watched():
            return contextlib.nullcontext()
        due = self._database.count_due(self._retention_hours, DUE_COUNTED_TO)
        progress = Progress(self.report, self._pool.traffic, due if due < DUE_COUNTED_TO else None)
        return shown_on_terminal(progress.text)

    def _migrate_ready_executions(self) -> None:
        try:
            for ready in self._ready_executions():
                self._migrate_page(ready)
                if self._limits.reached:
                    break
        finally:
            self._flights.land_all()
            if self.interruption.is_set():
                self._under_way.abandon_all(SECONDS_TO_ABANDON_AFTER_SIGNAL)
        if self._limits.reached and not self.interruption.is_set():
            self._tell_what_is_left(self._limits.reached)

    def _migration_is_on(self) -> bool:
        if not self._policy.migrate_automatically:
            emit(logging.INFO, "migration_off", "La migración automática está desactivada: no se migra nada")
            return False
        if self._policy.primary_provider_id is None:
            emit(logging.INFO, "no_primary_provider", "No hay nube primaria configurada: no se migra nada")
            return False
        return True

    def _ready_executions(self) -> Iterator[list[Execution]]:
        """Pages of due executions that this host can take up: not those whose directory is not here."""
        conflicts_are_known = False
        for page in self._database.candidates(self._retention_hours):
            ready = [execution for execution in page if self._is_ready(execution)]
            if ready and not conflicts_are_known:
                self._conflicts = self._database.conflicts(self._judge.is_acceptable)
                conflicts_are_known = True
            yield ready

    def _is_ready(self, execution: Execution) -> bool:
        """Whether to take an execution up: those that are refused are taken up, too, to record why."""
        try:
            if self._judge.exists(execution):
                return True
        except UnsafeSource:
            return True
        self.report.count(missing_directories=1)
        named = self.report.counts.missing_directories <= MISSING_DIRECTORIES_NAMED
        emit(
            logging.WARNING if named else logging.DEBUG,
            "directory_missing",
            f"Directorio no encontrado para ejecución {one_line(execution.uuid)}: {one_line(execution.directory)}",
            execution=execution.uuid,
        )
        return not self._options.skip_missing_directories

    def _migrate_page(self, executions: list[Execution]) -> None:
        remaining = takewhile(self._may_begin, executions)
        while batch := list(islice(remaining, 1 if self._limits.any else CLAIMED_AT_A_TIME)):
            if self.interruption.is_set():
                return
            claims = self._claim(batch)
            for claim in claims:
                self._flights.launch(self._migrate_within_limits, claim)
            for execution in set(batch) - {claim.execution for claim in claims}:
                self._limits.end(execution)  # somebody else was quicker

    def _may_begin(self, execution: Execution) -> bool:
        """Whether the limits of the run leave time and room for one more execution."""
        if not self._limits.any:
            return True
        self._flights.wait_for_room()
        size_bytes = size_on_disk(self._judge, execution) if self._limits.counts_bytes else 0
        if not self._limits.has_room(size_bytes):
            self._flights.land_all()  # some of it may have sent less than it holds
        return self._limits.has_time() and self._limits.begin(execution, size_bytes)

    def _migrate_within_limits(self, claim: Claim) -> None:
        try:
            self._migrate_execution(claim)
        finally:
            self._limits.end(claim.execution)

    def _claim(self, executions: list[Execution]) -> list[Claim]:
        """Take up what can be: one whose row somebody holds locked must not stand in the way of the others."""
        try:
            return self._database.claim(executions)
        except DatabaseBusy as error:
            if len(executions) > 1:
                return [claim for execution in executions for claim in self._claim([execution])]
            self._tell_of_failed_migration(executions[0], error)
            return []

    def _migrate_execution(self, claim: Claim) -> None:
        """One execution's whole way: judged, stored, proven, committed, and its local copy removed if that is wanted.

        Raises `DatabaseUnavailable` only.
        """
        execution = claim.execution
        uuid = one_line(execution.uuid)
        try:
            self._require_no_conflict(execution)
            place = place_of(self._policy.key_prefix, execution.uuid)
            with self._judge.open(execution) as directory:
                emit(logging.INFO, "migration_started", f"Migrando ejecución {uuid} a la nube", execution=uuid)
                copy, manifest = self._upload_directory_to_cloud(claim, place, directory)
        except DatabaseUnavailable:
            raise
        except (MigrationError, DatabaseError) as error:
            self._note_failed_migration(claim, error)
        except Exception as error:
            self._note_failed_migration(claim, _unexpected(error))
        else:
            self._note_migrated(execution, copy)
            if self._delete_after_migration:
                self._local_copies.remove(claim, lambda: manifest.tree)

    @property
    def _delete_after_migration(self) -> bool:
        return self._policy.delete_after_migration and self._judge.may_delete

    def _require_no_conflict(self, execution: Execution) -> None:
        reason = self._conflicts.reason(execution)
        if reason is not None:
            raise UnsafeSource(reason)

    def _upload_directory_to_cloud(
        self, claim: Claim, place: Place, directory: OpenDirectory
    ) -> tuple[ProvenCopy, Manifest]:
        """Store an execution whole on the first provider in order that can take it, and commit that.

        Raises `MigrationError`: the last provider's, or the execution's own.
        """
        attempts = Attempts(
            self._database,
            self._providers,
            self._pool,
            self.interruption.migrations,
            self._delete_after_migration,
            self._pool.traffic.new_place(),
        )
        last_error: MigrationError = ProviderUnavailable("no hay ningún proveedor que se pueda usar")
        for provider in self._providers.in_order(self._policy.provider_ids):
            if provider.id != self._policy.primary_provider_id:
                emit(
                    logging.INFO,
                    "trying_alternate",
                    f"Intentando migrar al proveedor alternativo: {provider.name}",
                    execution=claim.execution.uuid,
                    provider=provider.name,
                )
            try:
                with self._under_way.noted(provider, place):
                    return attempts.store(provider, claim, place, directory)
            except MigrationError as error:
                self._note_failed_upload(claim, provider, error)
                if not error.try_next_provider:
                    raise
                last_error = error
        raise last_error

    def _note_failed_upload(self, claim: Claim, provider: Provider, error: MigrationError) -> None:
        if self._is_put_off(error):
            return
        uuid = one_line(claim.execution.uuid)
        emit(
            logging.ERROR,
            "upload_failed",
            f"Error subiendo {uuid} a {provider.name}: {one_line(error)}",
            cause=error,
            execution=uuid,
            provider=provider.name,
            error_code=error.code,
        )

    def _note_failed_migration(self, claim: Claim, error: MigrationError | DatabaseError) -> None:
        if self._is_put_off(error):
            error = RunInterrupted(f"se quedó a medias al alcanzarse {MAX_DURATION}; se retoma la próxima vez")
            self._tell_of_put_off_migration(claim.execution, error)
        else:
            self._tell_of_failed_migration(claim.execution, error)
        state = "refused" if isinstance(error, UnsafeSource) else "failed"
        with contextlib.suppress(DatabaseBusy):  # then the end of the run lets go of it
            self._database.fail_migration(claim, state, _code(error), str(error))

    def _tell_of_failed_migration(self, execution: Execution, error: MigrationError | DatabaseError) -> None:
        uuid = one_line(execution.uuid)
        self.report.count(failed=1)
        emit(
            logging.ERROR,
            "migration_failed",
            f"No se pudo migrar la ejecución {uuid}: {one_line(error)}",
            cause=error,
            execution=uuid,
            error_code=_code(error),
        )

    def _is_put_off(self, error: Exception) -> bool:
        """Whether an execution was stopped for no fault, because the time of the run is over."""
        return isinstance(error, RunInterrupted) and not self.interruption.is_set()

    def _tell_of_put_off_migration(self, execution: Execution, error: MigrationError) -> None:
        uuid = one_line(execution.uuid)
        self.report.count(put_off=1)
        emit(logging.INFO, "migration_put_off", f"La ejecución {uuid} {error}", execution=uuid)

    def _tell_what_is_left(self, limit: str) -> None:
        """Count what was due and not begun; what is not on this host does not count, as far as it is known."""
        due = self._database.count_due(self._retention_hours, DUE_COUNTED_TO)
        self.report.count(left_due=max(0, due - self.report.counts.missing_directories))
        emit(logging.INFO, "limit_reached", f"No se empieza ninguna ejecución más{self._what_is_left}", limit=limit)

    @property
    def _what_is_left(self) -> str:
        """The end of a sentence; empty when no limit of the run was reached."""
        if self._limits.reached is None:
            return ""
        counts = self.report.counts
        at_least = "al menos " if counts.left_due >= DUE_COUNTED_TO else ""
        return (
            f"; se alcanzó {self._limits.reached}: quedan para la próxima vez {at_least}{counts.left_due} ejecuciones "
            f"sin empezar y {counts.put_off} a medias"
        )

    def _note_migrated(self, execution: Execution, copy: ProvenCopy) -> None:
        uuid = one_line(execution.uuid)
        self.report.count(migrated=1, migrated_files=copy.file_count, migrated_bytes=copy.size_bytes)
        emit(
            logging.INFO,
            "migration_finished",
            f"Ejecución {uuid} migrada exitosamente a {copy.uri}",
            execution=uuid,
            uri=copy.uri,
            provider_id=copy.provider_id,
            file_count=copy.file_count,
            size_bytes=copy.size_bytes,
            evidence=copy.evidence.value,
        )

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
            self.report.count(temp_failures=1)
            emit(logging.ERROR, "temp_directory_unsafe", f"Limpieza omitida: {error}", cause=error)
            return
        self.report.count(
            temp_files_deleted=cleaned.deleted_files,
            temp_bytes_deleted=cleaned.deleted_bytes,
            temp_failures=cleaned.failures,
        )
        report_cleaning(cleaned, dry_run=dry_run)

    def _close(self) -> None:
        self._flights.close()
        self._pool.close()
        self._providers.close()
        self._database.close()


def _code(error: MigrationError | DatabaseError) -> str:
    return error.code if isinstance(error, MigrationError) else "database_error"


def _unexpected(error: Exception) -> MigrationError:
    """A defect of the program, brought out by one execution or job, which must not stop the others."""
    wrapped = MigrationError(f"error inesperado ({type(error).__name__}); con --debug se registra dónde")
    wrapped.__cause__ = error
    return wrapped


# Command line


class SpanishCommand(click.Command):
    """A command whose help is in Spanish, click's own words included."""

    def get_help(self, ctx: click.Context) -> str:
        return in_spanish(super().get_help(ctx))


class SpanishGroup(click.Group):
    """A group of such commands."""

    command_class = SpanishCommand

    def get_help(self, ctx: click.Context) -> str:
        return in_spanish(super().get_help(ctx))


def _setting(name: str, parse: Callable[[str], object]) -> Callable[..., Mapping[str, Any]]:
    """What turns an option into a change of one setting, or into none where it is not given."""

    def change(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Mapping[str, Any]:
        try:
            return {} if text is None else {name: parse(text)}
        except AmountError as error:
            raise click.BadParameter(str(error)) from error

    return change


transfers_option = click.option(
    "--transfers",
    metavar="N",
    callback=_setting("transfers", parse_transfers),
    help="Cuántos ficheros se transfieren a la vez, de 1 a 256.",
)
bandwidth_option = click.option(
    "--bandwidth-limit",
    metavar="V",
    callback=_setting("bandwidth", parse_bandwidth),
    help="Cuánto por segundo, entre todas las transferencias: 20M; o según la hora local: "
    "'08:00,512k 19:00,10M 23:00,off'.",
)


def _hours(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        hours = float(text)
    except ValueError:
        hours = math.nan
    if not (math.isfinite(hours) and hours >= 0):
        raise click.BadParameter("debe ser un número de horas mayor o igual que 0 (0.5 es media hora)")
    return hours


@click.group(
    cls=SpanishGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Ejemplos:
  janitor-daemon                        un ciclo completo: migrar y limpiar
  janitor-daemon --dry-run              decir qué se haría, sin cambiar nada
  janitor-daemon --clean-only           solo limpiar los archivos temporales
  janitor-daemon --retention-hours 0.5  migrar lo que tenga más de media hora
  janitor-daemon --bandwidth-limit 20M --max-duration 5h
                                        sin ocupar la línea, y nada nuevo pasadas 5 horas
  janitor-daemon check                  comprobar base de datos y proveedores
  janitor-daemon restore 1234-abcd /tmp/recuperada

\b
Códigos de salida: 0 hecho; 1 algo falló y el resto se hizo; 2 uso o configuración;
3 sin base de datos; 75 ya hay otra ejecución en esta máquina; 130/143 interrumpido.""",
)
@click.version_option(VERSION, prog_name="janitor-daemon", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Registro con nivel DEBUG.")
@click.option("--clean-only", is_flag=True, help="Solo limpiar; no se carga ni contacta ningún proveedor.")
@click.option("--migrate-only", is_flag=True, help="Solo migrar.")
@click.option(
    "--retention-hours",
    metavar="H",
    callback=_hours,
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
    callback=_setting("max_duration_seconds", parse_duration),
    help="No empezar ninguna ejecución pasado este tiempo: 5h, 1h30m. Lo empezado tiene un 10 % más para acabar, "
    "5 minutos como mucho; luego se deja a medias para la próxima vez.",
)
@click.option(
    "--max-bytes",
    metavar="B",
    callback=_setting("max_bytes", parse_size),
    help="No empezar ninguna ejecución con la que se enviaría más que esto: 100G. Una que sea mayor ella sola se migra "
    "cuando le toca ser la primera, y ninguna más.",
)
@click.pass_context
def cli(
    context: click.Context,
    *,
    debug: bool,
    clean_only: bool,
    migrate_only: bool,
    retention_hours: float | None,
    existing_dirs_only: bool,
    dry_run: bool,
    transfers: Mapping[str, Any],
    bandwidth_limit: Mapping[str, Any],
    max_duration: Mapping[str, Any],
    max_bytes: Mapping[str, Any],
) -> int:
    """Mantenimiento de SAGE: migra a la nube las ejecuciones antiguas y limpia los archivos temporales.

    Sin orden hace un ciclo completo, como desde cron.
    """
    if clean_only and migrate_only:
        raise click.UsageError("--clean-only y --migrate-only no se pueden usar juntas")
    configure_logging(None, "text", debug=debug)
    settings = replace(load_settings(), **transfers, **bandwidth_limit, **max_duration, **max_bytes)
    context.obj = settings
    is_tick = context.invoked_subcommand is None
    log_directory = settings.log_directory if is_tick and not dry_run else None
    configure_logging(log_directory, settings.log_format, debug=debug)
    if not is_tick:
        return EXIT_DONE
    options = RunOptions(
        migrate=not clean_only,
        clean=not migrate_only,
        retention_hours=retention_hours,
        skip_missing_directories=existing_dirs_only,
        dry_run=dry_run,
    )
    daemon = JanitorDaemon(settings, options)
    with stopping_on_signal(daemon.interruption):
        return daemon.run()


@cli.command("init-db")
@click.pass_obj
def init_db(settings: Settings) -> int:
    """Crea y actualiza las tablas del programa, y las de la plataforma que falten. Se puede repetir."""
    with contextlib.closing(Database(settings.database_url, settings.host)) as database:
        database.connect()
        applied = database.initialize()
    for name in applied:
        click.echo(f"Aplicada la actualización {name}")
    click.echo("La base de datos está al día")
    return EXIT_DONE


@cli.command()
@click.pass_obj
def check(settings: Settings) -> int:
    """Comprueba la base de datos, la configuración y cada proveedor, con un objeto de prueba."""
    exit_code = EXIT_DONE
    with contextlib.closing(Database(settings.database_url, settings.host)) as database:
        for finding in check_everything(database, settings):
            click.echo(one_line(f"{finding.mark}  {finding.subject}: {finding.text}"))
            exit_code = exit_code if finding.in_order else EXIT_SOMETHING_FAILED
    return exit_code


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="En JSON, para otros programas.")
@click.pass_obj
def status(settings: Settings, *, as_json: bool) -> int:
    """Dice cuántas ejecuciones hay pendientes, migradas y con error, y en qué proveedor están."""
    with contextlib.closing(Database(settings.database_url, settings.host)) as database:
        database.connect()
        database.require_current_schema()
        policy = database.load_policy() or MigrationPolicy()
        summary = database.summarize(policy.retention_hours, FAILURES_SHOWN)
    lines = "\n".join(map(one_line, describe_status(summary)))
    click.echo(printable_json(summary, indent=2) if as_json else lines)
    return EXIT_DONE


@cli.command()
@click.argument("uuid", metavar="UUID")
@click.argument("destination", metavar="DESTINO", type=click.Path(path_type=Path))
@transfers_option
@bandwidth_option
@click.pass_obj
def restore(
    settings: Settings, uuid: str, destination: Path, transfers: Mapping[str, Any], bandwidth_limit: Mapping[str, Any]
) -> int:
    """Descarga una ejecución migrada, la verifica y la reconstruye idéntica en DESTINO, un directorio vacío."""
    interruption = threading.Event()
    settings = replace(settings, **transfers, **bandwidth_limit)
    with (
        contextlib.closing(Database(settings.database_url, settings.host)) as database,
        stopping_on_signal(interruption),
    ):
        tree = restore_execution(database, uuid, destination, settings.transfers, settings.bandwidth, interruption)
    done = f"Ejecución {uuid} restaurada en {destination}: {len(tree.files)} ficheros, {tree.size_bytes} bytes"
    click.echo(one_line(done))
    return EXIT_DONE


@cli.command()
@click.option("--keep", is_flag=True, help="Dejar la base de datos en marcha al terminar, para probar a mano.")
@click.option("--directory", type=click.Path(path_type=Path), default=Path("demo-data"), metavar="DIRECTORIO",
              help="Dónde guardar los datos de la demostración (por defecto, ./demo-data).")  # fmt: skip
def demo(*, keep: bool, directory: Path) -> int:
    """Enseña el programa en marcha, con una base de datos y un servidor S3 propios, sin tocar nada más."""
    from jobs.demo import run_demo

    return run_demo(directory, keep=keep)


@cli.group(
    "secret",
    cls=SpanishGroup,
    invoke_without_command=True,
    short_help="Guarda cifrados los secretos de los proveedores.",
)
@click.pass_context
def secret(context: click.Context) -> int:
    """Guarda cifrados, en secretos_nube, los secretos de los proveedores.

    En credenciales se escribe {"secreto": "NOMBRE"} en lugar del valor. Las claves que los cifran están en
    JANITOR_SECRET_KEYS y en ningún otro sitio: quien las pierde, pierde los secretos.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        return EXIT_CONFIGURATION
    return EXIT_DONE


@secret.command("new-key", short_help="Escribe una clave nueva.")
def secret_new_key() -> int:
    """Escribe una clave nueva; no la guarda en ningún sitio."""
    click.echo(new_key())
    click.echo("Póngala la primera de JANITOR_SECRET_KEYS (en .env, por ejemplo) en todas las máquinas.", err=True)
    return EXIT_DONE


@secret.command("set", short_help="Cifra un secreto y lo guarda.")
@click.argument("name", metavar="NOMBRE")
@click.pass_obj
def secret_set(settings: Settings, *, name: str) -> int:
    """Cifra un secreto y lo guarda como NOMBRE, en lugar del que hubiera.

    En un terminal lo pide dos veces, sin mostrarlo. Si no, lee toda la entrada estándar, tal cual salvo un fin de
    línea al final: así se guarda una clave privada o un JSON de varias líneas:

    \b
      janitor-daemon secret set clave-sftp < id_ed25519
    """
    with contextlib.closing(Database(settings.database_url, settings.host)) as database:
        replaced = set_secret(database, name, _given_secret)
    click.echo(f"Secreto {one_line(name)} {'reemplazado' if replaced else 'guardado'}")
    return EXIT_DONE


def _given_secret() -> str:
    """What is typed twice and unseen at a terminal, otherwise all of the standard input."""
    if sys.stdin is None or not sys.stdin.isatty():
        return read_secret(sys.stdin.buffer if sys.stdin else io.BytesIO())
    first, again = (
        click.prompt(text, hide_input=True, default="", show_default=False, err=True) for text in ("Valor", "Otra vez")
    )
    if first != again:
        raise SecretRefused("los dos valores no son iguales; no se guardó nada")
    return str(first)


@secret.command("list", short_help="Dice qué secretos hay y quién los usa.")
@click.pass_obj
def secret_list(settings: Settings) -> int:
    """Dice qué secretos hay, con qué clave está cifrado cada uno y qué proveedores lo usan; nunca su valor."""
    with contextlib.closing(Database(settings.database_url, settings.host)) as database:
        for listing in list_secrets(database):
            click.echo(str(listing))
    return EXIT_DONE


@secret.command("rotate", short_help="Cifra todos de nuevo con la primera clave.")
@click.pass_obj
def secret_rotate(settings: Settings) -> int:
    """Cifra de nuevo todos los secretos con la primera clave de JANITOR_SECRET_KEYS, todos o ninguno.

    Después se pueden quitar de ahí las claves anteriores, en todas las máquinas.
    """
    with contextlib.closing(Database(settings.database_url, settings.host)) as database:
        count = rotate_secrets(database)
    click.echo(f"Cifrados de nuevo con la primera clave: {count}; las demás claves ya no hacen falta")
    return EXIT_DONE


@secret.command("remove", short_help="Borra un secreto.")
@click.argument("name", metavar="NOMBRE")
@click.option("--force", is_flag=True, help="También si lo usa un proveedor activo.")
@click.pass_obj
def secret_remove(settings: Settings, *, name: str, force: bool) -> int:
    """Borra el secreto NOMBRE, si no lo usa ningún proveedor activo."""
    remove = force_removal if force else remove_secret
    with contextlib.closing(Database(settings.database_url, settings.host)) as database:
        remove(database, name)
    click.echo(f"Secreto {one_line(name)} borrado")
    return EXIT_DONE


EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (LockHeld, EXIT_LOCKED),
    (DatabaseUnavailable, EXIT_DATABASE),
    (SchemaError, EXIT_CONFIGURATION),
    (ConfigurationError, EXIT_CONFIGURATION),
    (FieldError, EXIT_CONFIGURATION),
    (DestinationUnusable, EXIT_CONFIGURATION),
    (Exception, EXIT_SOMETHING_FAILED),
)


def run_command_line(arguments: Sequence[str]) -> int:
    """Run one command and give its exit code. Errors are one line in Spanish; the traceback is in the debug log."""
    try:
        result = cli.main(list(arguments), prog_name="janitor-daemon", standalone_mode=False)
        return result if isinstance(result, int) else EXIT_DONE
    except click.UsageError as error:
        usage = f"{in_spanish(error.ctx.get_usage())}\n" if error.ctx else ""
        with contextlib.suppress(OSError):  # nobody reads, or the disk is full
            click.echo(f"{usage}Error: {in_spanish(error.format_message())}", err=True)
        return EXIT_CONFIGURATION
    except click.Abort:
        return EXIT_SIGNAL_BASE + signal.SIGINT
    except Interrupted as interrupted:
        end_now(interrupted.exit_code)
    except Exception as error:
        emit(logging.ERROR, "run_failed", one_line(error) or type(error).__name__, cause=error)
        return next(exit_code for kind, exit_code in EXIT_CODES if isinstance(error, kind))


def main() -> None:
    """The command `janitor-daemon`."""
    open_missing_streams()
    require_utf8_names()
    exit_code = run_command_line(sys.argv[1:])
    drop_what_cannot_be_written()
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
