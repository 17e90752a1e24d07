"""Removes what failed attempts left at places from which no row points to them."""

from __future__ import annotations

import logging
import threading

from config.logs import emit, one_line
from jobs.keys import Place, place_from_uri
from jobs.provider_set import ProviderSet
from jobs.report import TickReport
from jobs.retries import with_retries
from providers.base import BytesSource, MigrationError, ObjectNotFound, Provider
from sql.database import Database, Leftover


def remove_leftovers(
    database: Database, providers: ProviderSet, report: TickReport, interruption: threading.Event
) -> None:
    """Clear away what can be; what lies on a provider that is down now can wait for another tick."""
    for leftover in database.leftovers():
        abandoned = providers.get(leftover.provider_id)
        migrated = providers.get(leftover.migrated_provider_id)
        if abandoned is None or migrated is None or interruption.is_set():
            continue
        try:
            _remove_leftover(leftover, abandoned, migrated, interruption)
        except MigrationError as error:
            providers.note_failure(abandoned, error)
            message = f"Quedan restos de la ejecución {one_line(leftover.uuid)} en {abandoned.name}: {one_line(error)}"
            emit(logging.WARNING, "leftover_kept", message, cause=error, execution=one_line(leftover.uuid))
            continue
        database.settle_attempt(leftover.attempt_id)
        report.count(leftovers_removed=1)


def _remove_leftover(
    leftover: Leftover, abandoned: Provider, migrated: Provider, interruption: threading.Event
) -> None:
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
