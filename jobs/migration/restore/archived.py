"""Asks a provider to make an archived copy readable, before it can be restored."""

from __future__ import annotations

import threading
from functools import partial

from jobs.migration.places import holds
from jobs.migration.restore.errors import RestoreImpossible
from jobs.migration.restore.source import CHECK_AND_AGAIN, StoredCopy, errors_named, stored_copy
from providers.base import Provider
from providers.retries import with_retries
from sql.database import Database
from storage.keys import Place
from storage.traffic.transfers import TransferPool


def request_restore(database: Database, uuid: str, transfers: int, interruption: threading.Event) -> tuple[int, int]:
    """Request every archived object of a migrated execution; return how many are archived, and the total.

    Raises `RestoreImpossible`, `DatabaseError`, `MigrationError`.
    """
    pool = TransferPool(transfers)
    try:
        with stored_copy(database, uuid) as copy:
            return request_from(copy, pool, interruption)
    finally:
        pool.close()


def request_from(copy: StoredCopy, pool: TransferPool, interruption: threading.Event) -> tuple[int, int]:
    """As `request_restore`, of a copy that was found. Raises `RestoreImpossible`, `MigrationError`."""
    with errors_named(copy.place.name, copy.provider.name, CHECK_AND_AGAIN, "sacar del archivo"):
        keys = _keys_of(copy.provider, copy.place, interruption)
        archived: list[str] = []

        def ask(key: str) -> None:
            request = partial(copy.provider.request_restore, key)
            if with_retries(request, interruption, copy.provider.progress):
                archived.append(key)

        pool.for_each(ask, keys, interruption)
        return len(archived), len(keys)


def _keys_of(provider: Provider, place: Place, interruption: threading.Event) -> list[str]:
    """The keys of the manifest and the files. The files are found by listing: the manifest may be archived, too."""

    def listed() -> list[str]:
        return [stored.key for stored in provider.list(place.files_prefix)]

    files = with_retries(listed, interruption, provider.progress)
    if not holds(provider, place.manifest_key, interruption):
        raise RestoreImpossible(f"en {provider.name} no está el manifiesto {place.manifest_key}")
    return [place.manifest_key, *files]
