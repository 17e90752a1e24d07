"""What a run logs for operators and counts in its report: always both together."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable
from typing import Any

from config.errors import MigrationError
from config.logs import emit, logger, one_line
from config.models import Execution, ProvenCopy
from config.text.plurals import counted, executions, files
from jobs.report import DUE_COUNTED_TO, Named, Observed, TickReport
from providers.base import Provider
from providers.errors import UnsafeDestination
from sql.database import DatabaseError

MISSING_DIRECTORIES_NAMED = 100

TO_BE_MENDED = {
    "invalid_settings": "configuración",
    "access_denied": "acceso denegado",
    "destination_missing": "no existe el destino",
    "not_mounted": "sin montar",
    "storage_full": "sin espacio",
    "provider_error": "rechaza lo que se le pide",
}
"""What a person has to fix at a provider, by the code of the error."""


class Messages:
    """Reports on one run. Safe to use from several threads."""

    def __init__(self, report: TickReport) -> None:
        self._report = report

    # Configuration

    def no_configuration(self) -> None:
        """`ejecuciones_config` has no row."""
        emit(
            logging.WARNING,
            "no_configuration",
            "No hay ninguna fila en ejecuciones_config; se usan los valores por defecto: sin proveedor",
        )

    def roots_not_set(self) -> None:
        """Nothing local will be deleted."""
        emit(
            logging.WARNING,
            "roots_not_set",
            "JANITOR_ROOTS no está definida: no se borrará ninguna copia local; "
            "indique en ella los directorios que contienen las ejecuciones",
        )

    def migration_off(self) -> None:
        """The policy asks for no migration."""
        emit(logging.INFO, "migration_off", "La migración automática está desactivada: no se migra nada")

    def no_primary_provider(self) -> None:
        """The policy names no provider."""
        emit(logging.INFO, "no_primary_provider", "No hay nube primaria configurada: no se migra nada")

    def unknown_names(self, complaints: Iterable[str]) -> None:
        """Settings with unknown names have no effect."""
        told = tuple(complaints)
        if told:
            message = f"No se tiene en cuenta lo que no se conoce: {' · '.join(told)}"
            emit(logging.WARNING, "unknown_names", message, names=told)

    # Executions

    def removals_wait(self, count: int) -> None:
        """Local copies whose removal failed several times wait for their turn."""
        self._report.count(deletions_waiting=count)
        emit(
            logging.WARNING,
            "removals_wait",
            f"{'Queda' if count == 1 else 'Quedan'} {counted(count, 'copia local', 'copias locales')} sin borrar tras "
            "varios intentos, que se repiten cada vez más espaciados; status dice por qué",
            count=count,
        )

    def directory_missing(self, execution: Execution) -> None:
        """Its directory is not on this host. If very many are missing, only the debug log names them all."""
        self._report.count(missing_directories=1)
        named = self._report.counts["missing_directories"] <= MISSING_DIRECTORIES_NAMED
        level = logging.WARNING if named else logging.DEBUG
        if logger.isEnabledFor(level):  # for executions of other hosts, the line costs more than the look
            emit(
                level,
                "directory_missing",
                f"Directorio no encontrado para ejecución {one_line(execution.uuid)}: {one_line(execution.directory)}",
                execution=execution.uuid,
            )

    def migration_started(self, execution: Execution) -> None:
        """It was taken up."""
        uuid = one_line(execution.uuid)
        emit(logging.INFO, "migration_started", f"Migrando ejecución {uuid} a la nube", execution=uuid)

    def trying_alternate(self, execution: Execution, provider: Provider) -> None:
        """The providers before this one could not take it."""
        emit(
            logging.INFO,
            "trying_alternate",
            f"Intentando migrar al proveedor alternativo: {provider.name}",
            execution=execution.uuid,
            provider=provider.name,
        )

    def upload_failed(self, execution: Execution, provider: Provider, error: MigrationError) -> None:
        """One provider could not take it, or its own files prevented that."""
        uuid = one_line(execution.uuid)
        if isinstance(error, UnsafeDestination):
            self._report.count(unsafe_destinations=1)
            self._report.name(Named.PLACE, f"{uuid} en {provider.name}")
        emit(
            logging.ERROR,
            "upload_failed",
            f"Error subiendo {uuid} a {provider.name}: {one_line(error)}",
            cause=error,
            execution=uuid,
            provider=provider.name,
            error_code=error.code,
        )

    def migrated(self, execution: Execution, copy: ProvenCopy) -> None:
        """It is stored, proven and recorded."""
        uuid = one_line(execution.uuid)
        self._report.count(migrated=1, migrated_files=copy.file_count, migrated_bytes=copy.size_bytes)
        self._report.observe(Observed.WORKED, copy.provider_id, "")
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

    def migration_failed(self, execution: Execution, error: MigrationError | DatabaseError) -> None:
        """It stays where it is, for this run."""
        uuid = one_line(execution.uuid)
        self._report.count(failed=1)
        self._report.name(Named.FAILED, uuid)
        emit(
            logging.ERROR,
            "migration_failed",
            f"No se pudo migrar la ejecución {uuid}: {one_line(error)}",
            cause=error,
            execution=uuid,
            error_code=error_code(error),
        )

    def quarantined(self, execution: Execution, failed_runs: int) -> None:
        """It failed in too many runs: from now on no run takes it up, and none reports it."""
        uuid = one_line(execution.uuid)
        emit(
            logging.ERROR,
            "execution_quarantined",
            f"La ejecución {uuid} queda en cuarentena, porque falló en {counted(failed_runs, 'ciclo', 'ciclos')}: ya "
            f"no se intenta; arregle la causa y ejecute retry {uuid}",
            execution=uuid,
            failed_runs=failed_runs,
        )

    def descriptors_wanting(self, execution: Execution) -> None:
        """It could not open enough files while others were doing the same."""
        uuid = one_line(execution.uuid)
        emit(
            logging.WARNING,
            "descriptors_wanting",
            f"Demasiados ficheros abiertos a la vez: la ejecución {uuid} se intenta otra vez al final, ella sola; si "
            "se repite, suba el límite (ulimit -n)",
            execution=uuid,
        )

    def migration_put_off(self, execution: Execution, reason: MigrationError) -> None:
        """It was stopped without a fault. If a signal stopped the run, report that, not each execution."""
        uuid = one_line(execution.uuid)
        self._report.count(put_off=1)
        level = logging.DEBUG if self._report.is_ended_by_signal else logging.INFO
        emit(level, "migration_put_off", f"La ejecución {uuid} {reason}", execution=uuid)

    # The run

    def limit_reached(self, due: int) -> None:
        """Nothing more begins, though this much is due. As far as is known, executions of other hosts do not count."""
        self._report.count(left_due=max(0, due - self._report.counts["missing_directories"]))
        message = f"No se empieza ninguna ejecución más{self._what_is_left}"
        emit(logging.INFO, "limit_reached", message, limit=self._report.limit_reached)

    def root_missing(self, root: str) -> None:
        """A directory of `JANITOR_ROOTS` does not exist: its executions are not looked for."""
        self._report.name(Named.ROOT, one_line(root))
        emit(
            logging.ERROR,
            "root_missing",
            f"La raíz {one_line(root)} de JANITOR_ROOTS no está (¿un disco sin montar?): las ejecuciones que hay en "
            "ella se dejan como están; móntela o corrija JANITOR_ROOTS",
            root=root,
        )

    def provider_needs_a_person(self, name: str, error_code: str) -> None:
        """A provider that the policy names cannot be used until somebody fixes it; that was already reported."""
        self._report.name(Named.PROVIDER, f"{one_line(name)} ({TO_BE_MENDED.get(error_code, error_code)})")

    def provider_replaced(self, provider_id: int, other: str) -> None:
        """An execution that was meant for a provider went to another one, because that did not take it."""
        self._report.observe(Observed.WAS_REPLACED, provider_id, one_line(other))

    def log_unwritable(self, log_file: str) -> None:
        """Messages are only on the console, where this was reported too."""
        self._report.name(Named.LOG, one_line(log_file))

    def run_finished(self, jobs: Container[str]) -> None:
        """Sum up in one line, which also explains an exit code other than 0. `jobs` are the names of those it is of."""
        sums = [self._sums_of_migration()] if "migration" in jobs else []
        told = [*sums, *self._report.problems()]
        if self._report.is_ended_by_signal:
            told.append(self._what_was_interrupted)
        fields: dict[str, Any] = {**self._report.counts, "exit_code": self._report.exit_code}
        emit(
            logging.INFO,
            "run_finished",
            f"Ciclo terminado: {'; '.join(told) or 'sin problemas'}{self._what_is_left}",
            **fields,
        )

    def _sums_of_migration(self) -> str:
        counts = self._report.counts
        return ", ".join(
            (
                counted(counts["migrated"], "migrada", "migradas")
                + f" ({files(counts['migrated_files'])}, {counts['migrated_bytes'] / 1024 / 1024:.2f} MB)",
                f"{counts['failed']} con error",
                f"{counts['missing_directories']} sin directorio",
                counted(counts["local_copies_deleted"], "copia local borrada", "copias locales borradas"),
            )
        )

    @property
    def _what_is_left(self) -> str:
        """The end of a sentence; empty unless a limit of the run has kept something from being done."""
        counts = self._report.counts
        if self._report.limit_reached is None or self._report.is_ended_by_signal:
            return ""
        at_least = "al menos " if counts["left_due"] >= DUE_COUNTED_TO else ""
        return (
            f"; se alcanzó {self._report.limit_reached}: quedan para la próxima vez {at_least}"
            f"{executions(counts['left_due'])} sin empezar y {counts['put_off']} a medias"
        )

    @property
    def _what_was_interrupted(self) -> str:
        """What a signal kept from being finished. A job that it met may or may not have done its work."""
        names = ", ".join(done.name for done in self._report.jobs if done.outcome == "interrupted")
        if not names:
            return f"interrumpido {'entre dos trabajos' if self._report.jobs else 'antes del primer trabajo'}"
        put_off = self._report.counts["put_off"]
        return f"interrumpido: sin terminar {names}{f', {executions(put_off)} a medias' if put_off else ''}"

    def end_not_recorded(self, error: DatabaseError) -> None:
        """The report could not be recorded."""
        message = f"No se pudo anotar el final; lo reservado queda libre cuando venza: {error}"
        emit(logging.WARNING, "end_not_recorded", message, cause=error)


def error_code(error: MigrationError | DatabaseError) -> str:
    """The stable name in logs and the database."""
    return error.code if isinstance(error, MigrationError) else "database_error"
