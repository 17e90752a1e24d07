"""Steps that a run can do without where a provider refuses them. That they are left out is said once a run."""

from __future__ import annotations

import logging
import threading
from functools import partial

from config.logs import emit
from providers.base import CannotDiscard, Provider
from providers.retries import with_retries

UPLOADS_STAY = "uploads_stay"
TOLD_ONCE = frozenset((UPLOADS_STAY,))
"""The events of which a run tells once for each provider, however many processes it has."""


def tell_once(provider: Provider, event: str, message: str) -> None:
    """Warn of something that holds for a provider throughout the run. `event` is one of `TOLD_ONCE`."""
    if event not in provider.told:
        provider.told.add(event)
        emit(logging.WARNING, event, message, provider=provider.name)


def discard_unfinished(provider: Provider, prefix: str, stop: threading.Event) -> bool:
    """Discard unfinished uploads; see `Provider.abandon`. `False` where the provider does not allow it."""
    try:
        with_retries(partial(provider.abandon, prefix), stop, provider.progress)
    except CannotDiscard as error:
        tell_once(
            provider,
            UPLOADS_STAY,
            f"En {provider.name} no se pueden descartar las subidas sin terminar: {error}; las que quedan ocupan sitio "
            "y se cobran: dé ese permiso, o ponga en el destino una regla que las borre pasados unos días",
        )
        return False
    return True
