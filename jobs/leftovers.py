"""Removes what failed attempts left at places from which no row points to them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from functools import partial

from config.logs import emit, one_line
from jobs.keys import Place, place_from_uri
from jobs.lease import ClaimLost
from jobs.provider_set import ProviderSet
from jobs.report import TickReport
from jobs.retries import with_retries
from providers.base import BytesSource, IntegrityError, MigrationError, ObjectNotFound, Provider
from sql.database import Database, Leftover


def remove_leftovers(
    database: Database,
    leftovers: Iterable[Leftover],
    providers: ProviderSet,
    report: TickReport,
    interruption: threading.Event,
) -> None:
    """Clear away what can be; what lies on a provider that is down now can wait for another tick."""
    for leftover in leftovers:
        abandoned = providers.get(leftover.provider_id)
        migrated = providers.get(leftover.migrated_provider_id)
        if abandoned is None or migrated is None or interruption.is_set():
            continue
        try:
            _remove_leftover(database, leftover, abandoned, migrated, interruption)
        except MigrationError as error:
            providers.note_failure(abandoned, error)
            message = f"Quedan restos de la ejecución {one_line(leftover.uuid)} en {abandoned.name}: {one_line(error)}"
            emit(logging.WARNING, "leftover_kept", message, cause=error, execution=one_line(leftover.uuid))
            continue
        database.settle_attempt(leftover.attempt_id)
        report.count(leftovers_removed=1)


def _remove_leftover(
    database: Database, leftover: Leftover, abandoned: Provider, migrated: Provider, interruption: threading.Event
) -> None:
    """Remove an abandoned attempt's unfinished uploads and objects; raises `MigrationError`.

    Two rows of `cloud_providers` may name the same bucket, and then the place of the failed attempt is that of the
    committed copy. So no object is removed before it is known that the committed copy lies elsewhere; and none once the
    row says otherwise, as it may since this process was stopped.
    """
    if leftover.foreign_objects:
        return
    place = Place(leftover.key_prefix)
    for prefix in place.unfinished_prefixes:
        with_retries(partial(abandoned.abandon, prefix), interruption)
    keys = [stored.key for stored in with_retries(lambda: list(abandoned.list(place.files_prefix)), interruption)]
    if _holds(abandoned, place.manifest_key, interruption):
        keys.insert(0, place.manifest_key)
    if keys and not _is_same_place(leftover, abandoned, migrated, interruption):
        for key in keys:
            if not database.is_leftover(leftover):
                raise ClaimLost("la fila cambió")
            with_retries(partial(abandoned.delete, key), interruption)
        _require_gone(abandoned, place, interruption)


def _require_gone(provider: Provider, place: Place, interruption: threading.Event) -> None:
    """A removal is believed like a copy: when the provider, asked anew, shows it. Raises `IntegrityError`."""
    remaining = with_retries(lambda: list(provider.list(place.files_prefix)), interruption)
    if remaining:
        raise IntegrityError(f"siguen allí {len(remaining)} objetos que el proveedor dice haber borrado")


def _is_same_place(leftover: Leftover, abandoned: Provider, migrated: Provider, interruption: threading.Event) -> bool:
    """Whether the committed copy lies where the failed attempt was, though through another row of the table.

    A probe that is put in the one place shows in the other only if they are the same. Its name depends on the attempt
    alone, so one that a crash left, finished or not, is removed when this is done again.
    """
    probe = f".janitor-probe-{leftover.attempt_id}"
    put_key = leftover.key_prefix + probe
    seen_key = place_from_uri(leftover.migrated_uri).key_prefix + probe
    with_retries(lambda: abandoned.abandon(put_key), interruption)
    with_retries(lambda: abandoned.put(put_key, BytesSource(b"janitor-daemon")), interruption)
    try:
        return _holds(migrated, seen_key, interruption)
    finally:
        with_retries(lambda: abandoned.delete(put_key), interruption)


def _holds(provider: Provider, key: str, interruption: threading.Event) -> bool:
    try:
        with_retries(lambda: provider.stat(key), interruption)
    except ObjectNotFound:
        return False
    return True
