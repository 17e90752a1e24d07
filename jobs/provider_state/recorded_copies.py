"""Asks the database which copies are stored at a provider."""

from __future__ import annotations

from collections.abc import Iterable

from config.models import ProviderRow
from providers.base import Provider, Recorded, RecordedCopy
from sql.database import Database
from storage.keys import place_from_uri


def recorded_copies(database: Database, provider: Provider, rows: Iterable[ProviderRow]) -> Recorded:
    """What the database says is stored where a provider leads, also by other rows for the same directory of a host. Two
    SFTP servers may have directories of one name.

    Rows are compared by their text alone: their directories may be on disks that do not answer.
    """
    directories = {row.id: row.options.get("ruta") for row in rows if row.kind == provider.kind == "local"}
    same = [row_id for row_id, directory in directories.items() if directory == directories.get(provider.id)]

    def recorded(most: int) -> list[RecordedCopy]:
        uris = database.stored_executions.newest_in(provider.store, {provider.id, *same}, most)
        places = (place_from_uri(uri) for uri in uris)
        return [RecordedCopy(place.manifest_key, place.files_prefix) for place in places]

    return recorded
