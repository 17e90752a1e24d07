"""Where the copy of an execution is, and what is said of a provider that does not give it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from config.errors import MigrationError, RunInterrupted
from config.logs import emit, one_line
from config.models import ProviderRow
from jobs.migration.restore.errors import RestoreImpossible
from jobs.provider_state.recorded_copies import recorded_copies
from providers import build_provider
from providers.base import Provider
from providers.errors import CannotUnarchive
from sql.database import Database
from sql.platform.configuration import UnreadableRow
from sql.platform.stored_executions import StoredExecution
from storage.keys import Place, place_from_uri

WITHOUT_REQUEST = "restáurela sin --request-restore"
CHECK_AND_AGAIN = "compruébelo con check y repita la misma orden"


@contextlib.contextmanager
def errors_named(uuid: str, provider_name: str, advice: str, step: str = "restaurar") -> Iterator[None]:
    """Add the execution, the step that failed, the provider and the advice to a provider's errors."""
    try:
        yield
    except RunInterrupted as error:  # no fault of either
        raise RunInterrupted(f"{error}; {advice}") from error
    except MigrationError as error:
        subject = f"la ejecución {one_line(uuid)} no se pudo {step} de {one_line(provider_name)}"
        to_do = WITHOUT_REQUEST if isinstance(error, CannotUnarchive) else advice
        raise type(error)(f"{subject}: {error}; {to_do}") from error


@dataclass(frozen=True, slots=True)
class StoredCopy:
    """Where the copy of an execution is, according to its row."""

    provider: Provider
    place: Place
    manifest_sha256: str | None
    """The recorded hash, if there is one."""


@contextlib.contextmanager
def stored_copy(database: Database, uuid: str) -> Iterator[StoredCopy]:
    """The copy of a migrated execution; its provider is closed at the end.

    Raises `RestoreImpossible`, `DatabaseError`, `InvalidProviderSettings`.
    """
    database.connect()
    database.require_current_schema()
    row, place, sha256 = copy_among(database.stored_executions.with_uuid(uuid), uuid)
    with contextlib.closing(provider_of(database, row)) as provider:
        yield StoredCopy(provider, place, sha256)


def copy_among(found: Sequence[StoredExecution], uuid: str) -> tuple[StoredExecution, Place, str | None]:
    """The migrated row among all of one uuid, where its copy is, and the recorded hash of its manifest.

    Raises `RestoreImpossible`.
    """
    if not found:
        raise RestoreImpossible(f"no hay ninguna ejecución con el uuid {one_line(uuid)}")
    stored = found[0]
    if len(found) > 1:
        _report_several_rows(found)
    if not stored.migrated or stored.uri is None or stored.provider_id is None:
        without_files = not stored.migrated and not stored.has_directory
        why = "no dejó ficheros: no hay nada que restaurar" if without_files else "no está migrada a la nube"
        raise RestoreImpossible(f"la ejecución {one_line(uuid)} {why}")
    try:
        place = place_from_uri(stored.uri)
    except ValueError:
        raise RestoreImpossible(f"ruta_nube no se entiende: {one_line(stored.uri)}") from None
    return stored, place, _recorded_sha256(found)


def _report_several_rows(found: Sequence[StoredExecution]) -> None:
    rows = ", ".join(f"id {row.id} en {row.uri}" if row.migrated else f"id {row.id} sin migrar" for row in found)
    emit(
        logging.WARNING,
        "several_rows",
        f"Hay {len(found)} ejecuciones con el uuid {one_line(found[0].uuid)} ({one_line(rows)}): se restaura la "
        "primera; compruebe que es la que busca",
        execution=found[0].uuid,
        rows=len(found),
    )


def _recorded_sha256(found: Sequence[StoredExecution]) -> str | None:
    """The manifest's recorded hash: of the first row, or else of another row with the same copy."""
    first = found[0]
    same_place = [row for row in found if (row.uri, row.provider_id) == (first.uri, first.provider_id)]
    return next((row.manifest_sha256 for row in same_place if row.manifest_sha256 is not None), None)


def provider_of(database: Database, row: StoredExecution) -> Provider:
    """The provider that holds a row's copy; an inactive one can still be read. The caller closes it.

    Raises `RestoreImpossible`, `DatabaseError`, `InvalidProviderSettings`.
    """
    uuid, provider_id = row.uuid, row.provider_id
    readable, unreadable = database.sorted_provider_rows()
    rows: Iterable[ProviderRow | UnreadableRow] = (*readable, *unreadable)
    found = next((each for each in rows if each.id == provider_id), None)
    if found is None:
        raise RestoreImpossible(
            f"la ejecución {one_line(uuid)} no se pudo restaurar: el proveedor con id {provider_id}, donde está, ya no "
            "existe en cloud_providers"
        )
    if not isinstance(found, ProviderRow):
        raise RestoreImpossible(
            f"la ejecución {one_line(uuid)} no se pudo restaurar: el proveedor {found.name} no se puede usar: "
            f"{found.error}"
        )
    with errors_named(uuid, found.name, CHECK_AND_AGAIN):
        provider = build_provider(found)
    provider.recorded = recorded_copies(database, provider, readable)
    return provider
