"""Whether a destination has room for what a run sends, as far as it says so."""

from __future__ import annotations

from config.text.times import size
from providers.base import Provider, ProviderError


def lack_of_room(provider: Provider, size_bytes: int, prefix: str) -> str | None:
    """How much room is left and how much is needed, in Spanish; `None` if it suffices or the store does not say.

    What is stored below `prefix` already, by an attempt that was cut off, is not needed again.
    """
    try:
        free_bytes = provider.free_bytes()
        if free_bytes is None or size_bytes <= free_bytes:
            return None
        needed_bytes = size_bytes - sum(stored.size_bytes for stored in provider.list(prefix))
    except ProviderError:  # the upload meets the same error, and reports it
        return None
    return None if needed_bytes <= free_bytes else f"quedan {size(free_bytes)}, hacen falta {size(needed_bytes)}"
