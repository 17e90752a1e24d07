"""Checks whether a tick could work: database, configuration, directories, and each provider by a probe object."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import partial

from commands.check_host import check_dotenv, check_own_directories, check_roots, check_secret_keys
from commands.check_rights import check_rights, with_advice
from commands.check_settings import check_settings
from commands.jobs import check_jobs, check_jobs_without_database, whole
from config.errors import MigrationError
from config.fields import FieldError
from config.logs import one_line
from config.models import MigrationPolicy, ProviderRow
from config.provider_fields import unknown_fields
from config.settings import Settings
from config.text.clocks import ADVICE as CLOCK_ADVICE
from config.text.clocks import difference
from jobs.findings import Finding, advised, bad, unusable
from jobs.locks import LockHeld, machine_lock
from jobs.provider_state.recorded_copies import recorded_copies
from providers import build_provider
from providers.base import Provider
from providers.errors import StorageFull
from providers.mounts import require_mounted, shares_disk
from sql.database import Database, DatabaseError, DatabaseReadOnly, SchemaError, database_identity
from sql.memory.provider_health import ProviderFailure
from sql.platform.configuration import UnreadableRow


def check_everything(database: Database, settings: Settings) -> Iterator[Finding]:
    """Check one thing after the other.

    Raises `DatabaseError` when the database cannot be used at all, after everything that needs none was checked.
    """
    try:
        _require_usable(database)
    except DatabaseError:
        yield from _check_host(settings, MigrationPolicy(), [], [])
        yield from check_jobs_without_database(settings)
        raise
    yield Finding("base de datos", in_order=True, text="responde y sus tablas están al día")
    if (off := _clock_fault(database)) is not None:
        yield bad("reloj", f"{off}; {CLOCK_ADVICE}")
    if missing := database.missing_columns():
        yield from (_missing_column(table, column) for table, column in missing)
        yield from _check_host(settings, MigrationPolicy(), [], [])
        return
    yield _check_rights(database)
    yield _check_audit(database)
    yield from check_jobs(database, settings)
    try:
        policy = database.load_policy()
    except FieldError as error:
        policy = None
        yield Finding("configuración", in_order=False, text=str(error))
    else:
        yield _check_policy(policy)
    policy = policy or MigrationPolicy()
    items = list(database.load_provider_rows())
    rows = [item for item in items if isinstance(item, ProviderRow)]
    yield from _check_host(settings, policy, rows, database.local_directories())
    with _only_check(settings) as only_check_of:
        yield from _check_providers(items, policy, database, settings.roots, only_check_of)
    yield from _check_secrets(database)


def _require_usable(database: Database) -> None:
    database.connect()
    database.require_current_schema()
    database.require_whole_schema()


def _clock_fault(database: Database) -> str | None:
    """How this host's clock differs from the database's, in Spanish; `None` if it does not. Raises `DatabaseError`."""
    asked_at = datetime.now(UTC)
    now: datetime = database.ask("read_clock")[0]["now"]
    return difference(asked_at, now, datetime.now(UTC))


def _missing_column(table: str, column: str) -> Finding:
    text = f"le falta la columna {column}; aplique la migración de la plataforma que la añade"
    return unusable(f"tabla {table}", f"{text}: el programa no cambia esa tabla; después repita check")


def _check_host(
    settings: Settings, policy: MigrationPolicy, rows: Iterable[ProviderRow], copies: Iterable[str]
) -> Iterator[Finding]:
    """Check everything that needs no database."""
    yield from check_roots(settings, policy, rows)
    yield from check_own_directories(settings, copies)
    yield from check_dotenv()
    yield from check_settings(settings)
    yield from check_secret_keys()


def _check_rights(database: Database) -> Finding:
    try:
        database.require_rights()
    except (DatabaseReadOnly, SchemaError) as error:
        return Finding("permisos en la base de datos", in_order=False, text=str(error))
    return Finding("permisos en la base de datos", in_order=True, text="los que hacen falta")


def _check_audit(database: Database) -> Finding:
    """Say whether the audit trail also holds against an intruder who takes the daemon over. It need not."""
    rights = database.orders.rights_to_change_the_trail()
    text = "este usuario solo puede añadir anotaciones"
    if rights:
        can = ", ".join(rights)
        text = f"este usuario puede también cambiarlo ({can}); si ha de servir de prueba, vea docs/memory.md"
    return Finding("registro de auditoría", in_order=True, text=text)


def _check_policy(policy: MigrationPolicy | None) -> Finding:
    if policy is None:
        return Finding("configuración", in_order=False, text="ejecuciones_config no tiene ninguna fila; añada una")
    if policy.primary_provider_id is None:
        return Finding("configuración", in_order=False, text="nube_primaria_id está vacía: no se migrará nada")
    deletion = "se borra" if policy.delete_after_migration else "se conserva"
    automatic = "activada" if policy.migrate_automatically else "DESACTIVADA"
    return Finding(
        "configuración",
        in_order=True,
        text=f"migración {automatic} tras {policy.retention_hours:g} h; la copia local {deletion}; "
        f"proveedores en orden: {', '.join(map(str, policy.provider_ids))}",
    )


@contextlib.contextmanager
def _only_check(settings: Settings) -> Iterator[str | None]:
    """This host's name while no other check of it uses the same objects at providers; `None` while one does."""
    with contextlib.ExitStack() as stack:
        try:
            lock = machine_lock(settings.host, f"{database_identity(settings.database_url)}\0check")
            stack.enter_context(lock)
        except LockHeld:
            yield None
            return
        yield settings.host


def _check_providers(
    items: Sequence[ProviderRow | UnreadableRow],
    policy: MigrationPolicy,
    database: Database,
    roots: Sequence[str],
    only_check_of: str | None,
) -> Iterator[Finding]:
    known: set[int] = set()
    rows = [item for item in items if isinstance(item, ProviderRow)]
    failures = database.provider_health.recall()
    for item in items:
        if isinstance(item, ProviderRow):
            known.add(item.id)
            check = partial(_check_provider, item, policy, database, rows, roots, only_check_of)
            findings = list(whole(f"proveedor {item.name} ({item.kind})", check))
            yield from findings
            if item.id in failures and item.active and all(finding.in_order for finding in findings):
                yield _recovered(item, failures[item.id], database)
        else:
            known.add(item.id)
            yield Finding(f"proveedor {item.name}", in_order=False, text=str(item.error))
    for provider_id in policy.provider_ids:
        if provider_id not in known:
            yield Finding(f"proveedor {provider_id}", in_order=False, text="no existe en cloud_providers")


def _recovered(row: ProviderRow, failure: ProviderFailure, database: Database) -> Finding:
    """A provider that failed has just shown that it works: the next run uses it at once."""
    subject = f"proveedor {row.name} ({row.kind})"
    text = f"fallaba desde {failure.since.astimezone():%Y-%m-%d %H:%M}, y ya funciona"
    if failure.error_code == StorageFull.code and failure.settings == row.identity:
        told = f"lo último que se le quiso enviar no cupo: {one_line(failure.error)}; el próximo ciclo lo intenta"
        return Finding(subject, in_order=True, text=told, advice=True)
    try:
        database.provider_health.forget(row.id, failure.failures)
    except DatabaseError as error:
        return Finding(subject, in_order=True, text=f"{text}; no se pudo anotar: {error}", advice=True)
    return Finding(subject, in_order=True, text=f"{text}: el próximo ciclo lo usa")


def _check_provider(
    row: ProviderRow,
    policy: MigrationPolicy,
    database: Database,
    rows: Sequence[ProviderRow],
    roots: Sequence[str],
    only_check_of: str | None,
) -> Iterator[Finding]:
    subject = f"proveedor {row.name} ({row.kind})"
    if not row.active:
        wanted = row.id in policy.provider_ids
        yield Finding(subject, in_order=not wanted, text="no está activo: no se usa")
        return
    for text in unknown_fields(row):
        yield Finding(subject, in_order=False, text=text)
    try:
        with closing(build_provider(row)) as provider:
            provider.recorded = recorded_copies(database, provider, rows)
            require_mounted(provider)  # before anything is stored below a mount point
            yield from check_rights(provider, policy.key_prefix, only_check_of)
            yield from _check_disk(row, provider, roots)
    except MigrationError as error:
        yield bad(subject, with_advice(error))


def _check_disk(row: ProviderRow, provider: Provider, roots: Sequence[str]) -> Iterator[Finding]:
    """Before the first copy nothing but a person knows whether the right disk is mounted."""
    path = row.options.get("ruta")
    if row.kind != "local" or not isinstance(path, str) or provider.recorded is None or provider.recorded(1):
        return
    same = next((other for other in ("/", *roots) if shares_disk(path, other)), None)
    if same is not None:
        text = f"{one_line(path)} está en el mismo sistema de ficheros que {one_line(same)}"
        yield advised(
            f"proveedor {row.name} ({row.kind})",
            f"{text}: si debe ser otro disco o un NAS, no está montado; móntelo antes del primer ciclo",
        )


def _check_secrets(database: Database) -> Iterator[Finding]:
    """Advise against literal secrets: they work, but anybody who may read the table or its backup sees them."""
    for use in database.stored_secrets.uses():
        if use.literal_fields:
            fields = ", ".join(f"credenciales.{name}" for name in use.literal_fields)
            text = (
                f"guarda sin cifrar {fields}; para cifrarlo ejecute 'secret set NOMBRE' "
                'y ponga {"secreto": "NOMBRE"} en lugar del valor'
            )
            yield Finding(f"proveedor {use.provider}", in_order=True, text=text, advice=True)
