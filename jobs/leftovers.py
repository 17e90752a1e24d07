"""Removes what failed attempts left at places from which no row points to them."""

from __future__ import annotations

import threading

from jobs.keys import Place, place_from_uri
from jobs.retries import with_retries
from providers.base import BytesSource, ObjectNotFound, Provider
from sql.database import Leftover


def remove_leftover(leftover: Leftover, abandoned: Provider, migrated: Provider, interruption: threading.Event) -> None:
    """Remove an abandoned attempt's unfinished uploads and objects; raises `MigrationError`.

    Two rows of `cloud_providers` may name the same bucket, and then the place of the failed attempt is that of the
    committed copy. So nothing is removed before it is known that the committed copy lies elsewhere.
    """
    if leftover.foreign_objects:
        return
    place = Place(leftover.key_prefix)
    committed = place_from_uri(leftover.migrated_uri)
    with_retries(lambda: abandoned.abandon(place.key_prefix), interruption)
    if _is_committed_copy(place, committed, abandoned, migrated, interruption):
        return
    for stored in with_retries(lambda: list(abandoned.list(place.files_prefix)), interruption):
        with_retries(lambda key=stored.key: abandoned.delete(key), interruption)  # type: ignore[misc]


def _is_committed_copy(
    place: Place, committed: Place, abandoned: Provider, migrated: Provider, interruption: threading.Event
) -> bool:
    """Whether both places are the same, seen through two providers.

    A committed copy has a manifest. Where the attempt left none, it lies elsewhere. Where there is one, taking it away
    shows whether the committed one went with it; then it is put back.
    """
    with_retries(lambda: migrated.stat(committed.manifest_key), interruption)
    try:
        content = with_retries(lambda: b"".join(abandoned.open(place.manifest_key)), interruption)
    except ObjectNotFound:
        return False
    with_retries(lambda: abandoned.delete(place.manifest_key), interruption)
    try:
        with_retries(lambda: migrated.stat(committed.manifest_key), interruption)
    except ObjectNotFound:
        with_retries(lambda: abandoned.put(place.manifest_key, BytesSource(content)), interruption)
        return True
    return False
