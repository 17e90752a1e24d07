"""What the database remembers of each provider: nothing here contacts one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from commands.status.facts import Leftover, MigrationState, Provider
from config.logs import one_line
from config.models import ProviderRow
from sql.database import Database
from sql.memory.provider_health import ProviderFailure
from sql.platform.configuration import provider_name

ADVICE = {
    "unavailable": "compruebe dirección, red, cortafuegos y el propio servidor",
    "access_denied": "renueve o corrija las credenciales y sus permisos",
    "destination_missing": "monte o cree el destino, o corrija la configuración",
    "not_mounted": "monte el destino; el ciclo siguiente lo usa",
    "invalid_settings": "corrija su fila en cloud_providers",
    "storage_full": "libere espacio o amplíe la cuota",
}


class Stored(NamedTuple):
    """What one provider holds, by its id."""

    migrated: int
    file_count: int
    size_bytes: int


class Known(NamedTuple):
    """A row of `cloud_providers`, readable or not."""

    name: str
    kind: str
    active: bool
    fault: str | None
    identity: str
    """Of its settings, as failures are remembered with it."""


class Failure(NamedTuple):
    """Why a provider cannot be used, and since when."""

    since: datetime | None
    code: str
    text: str
    failures: int


def known_providers(database: Database) -> dict[int, Known]:
    """By id."""
    known: dict[int, Known] = {}
    for item in database.load_provider_rows():
        if isinstance(item, ProviderRow):
            known[item.id] = Known(item.name, item.kind, item.active, None, item.identity)
        else:
            row, error = item
            known[row["id"]] = Known(provider_name(row), str(row["tipo"]), row["activo"] is True, one_line(error), "")
    return known


def providers(
    database: Database,
    known: Mapping[int, Known],
    migration: MigrationState,
    stored: Mapping[int | None, Stored],
) -> tuple[Provider, ...]:
    """Those that the policy names in their order, then all others."""
    ids: list[int | None] = list(dict.fromkeys((*migration.provider_ids, *sorted(known))))
    ids += sorted((each for each in stored if each not in ids), key=lambda each: (each is None, each))
    asked = [each for each in ids if each is not None]
    good = {
        row["provider_id"]: row["last_good_at"] for row in database.ask("status_providers", {"provider_ids": asked})
    }
    failures = database.provider_health.recall()
    return tuple(
        _provider(each, known.get(each or 0), failures.get(each or 0), good.get(each), migration, stored.get(each))
        for each in ids
    )


def _provider(
    provider_id: int | None,
    known: Known | None,
    remembered: ProviderFailure | None,
    last_good_at: datetime | None,
    migration: MigrationState,
    stored: Stored | None,
) -> Provider:
    migrated, file_count, size_bytes = stored or Stored(0, 0, 0)
    state, failure = _judge(known, remembered, last_good_at)
    role = _role(provider_id, migration)
    is_away = migration.primary_provider_id is not None and role != "primary" and provider_id is not None
    return Provider(
        provider_id,
        None if known is None else known.name,
        None if known is None else known.kind,
        role,
        state,
        failure.since if failure else None,
        failure.code if failure else None,
        failure.text if failure else None,
        failure.failures if failure else 0,
        last_good_at,
        migrated,
        file_count,
        size_bytes,
        migrated if is_away else 0,
    )


def _role(provider_id: int | None, migration: MigrationState) -> str | None:
    if provider_id is None or provider_id not in migration.provider_ids:
        return None
    return "primary" if provider_id == migration.primary_provider_id else "alternate"


def _judge(
    known: Known | None, remembered: ProviderFailure | None, last_good_at: datetime | None
) -> tuple[str, Failure | None]:
    """Its row decides first; then what runs remember, unless its settings have changed since."""
    if known is None:
        return "missing", Failure(None, "missing", "no tiene fila en cloud_providers", 1)
    if known.fault is not None:
        return "unusable", Failure(None, "invalid_settings", known.fault, 1)
    if not known.active:
        return "inactive", Failure(None, "inactive", "no está activo (cloud_providers.activo)", 1)
    if remembered is not None and remembered.settings == known.identity:
        text = one_line(remembered.error)
        return "unusable", Failure(remembered.since, remembered.error_code, text, remembered.failures)
    return ("unknown" if last_good_at is None else "usable"), None


def leftovers(database: Database, known: Mapping[int, Known]) -> tuple[Leftover, ...]:
    """What failed attempts, and copies brought to another provider, may have left, by provider and store."""
    return tuple(
        Leftover(
            row["provider_id"],
            known[row["provider_id"]].name if row["provider_id"] in known else None,
            row["store"],
            row["count"],
            row["to_be_reused"],
            row["refused"],
            row["moved"],
            row["provider_id"] in known and known[row["provider_id"]].active,
            row["oldest_at"],
            row["example"],
        )
        for row in database.ask("status_leftovers")
    )
