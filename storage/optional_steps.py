"""Steps that a run skips where a provider refuses them. It reports that once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial

from config.logs import emit
from providers.base import Provider
from providers.errors import CannotDiscard
from providers.probes import remove_probes_below
from providers.retries import with_retries
from storage.keys import Place

UPLOADS_STAY = "uploads_stay"
TOLD_ONCE = frozenset((UPLOADS_STAY,))
"""The events that a run reports once for each provider, however many processes it has."""


def tell_once(provider: Provider, event: str, message: str) -> None:
    """Warn of a fact that holds for a provider throughout the run. `event` is one of `TOLD_ONCE`."""
    if event not in provider.told:
        provider.told.add(event)
        emit(logging.WARNING, event, message, provider=provider.name)


def discard_unfinished(provider: Provider, prefix: str, stop: threading.Event) -> bool:
    """Discard unfinished uploads; see `Provider.discard_unfinished`. `False` where the provider does not allow it."""
    try:
        with_retries(partial(provider.discard_unfinished, prefix), stop, provider.progress)
    except CannotDiscard as error:
        _tell_that_uploads_stay(provider, error)
        return False
    return True


def discard_but_for(
    provider: Provider, prefix: str, is_wanted: Callable[[str], bool], stop: threading.Event
) -> bool | None:
    """Discard unfinished uploads, except those of some keys, and return whether there are such.

    See `Provider.discard_unfinished_but_for`. `None` where the provider does not allow it.
    """
    try:
        return with_retries(partial(provider.discard_unfinished_but_for, prefix, is_wanted), stop, provider.progress)
    except CannotDiscard as error:
        _tell_that_uploads_stay(provider, error)
        return None


def remove_probes_of_killed_runs(provider: Provider, place: Place, stop: threading.Event) -> None:
    """Remove the probe objects of a run that was killed while it stored an execution, as far as the provider allows.

    Only for the holder of the execution's claim. Raises `ProviderError` if they cannot be listed.
    """
    with_retries(partial(remove_probes_below, provider, place.probe_prefix), stop, provider.progress)


def _tell_that_uploads_stay(provider: Provider, error: CannotDiscard) -> None:
    tell_once(
        provider,
        UPLOADS_STAY,
        f"En {provider.name} no se pueden descartar las subidas sin terminar: {error}; las que quedan ocupan sitio "
        "y se cobran: dé ese permiso, o ponga en el destino una regla que las borre pasados unos días",
    )
