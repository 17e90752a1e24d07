"""Detects unknown names: a typing error must not pass for a setting."""

from __future__ import annotations

from collections.abc import Iterable

from config.logs import one_line

ALIKE = 0.75
"""The similarity from which a name is suggested for another; 1 means equal."""

SHORTEST_BEGINNING = 4
"""A beginning of this length that only one known name has is taken for it: `user` for `username`."""


def nearest(name: str, known: Iterable[str], likeness: float = ALIKE) -> str | None:
    """The known name most similar to `name`, or beginning with it, ignoring case; `None` if there is none."""
    from difflib import get_close_matches  # imported only for a typing error

    by_folded = {candidate.lower(): candidate for candidate in known}
    matches = get_close_matches(name.lower(), by_folded, n=1, cutoff=likeness)
    if matches:
        return by_folded[matches[0]]
    longer = [candidate for candidate in by_folded if candidate.startswith(name.lower())]
    return by_folded[longer[0]] if len(longer) == 1 and len(name) >= SHORTEST_BEGINNING else None


def unknown(name: str, known: Iterable[str]) -> str:
    """Report an unknown name, with the one probably meant."""
    meant = nearest(name, known)
    advice = f"; ¿quería decir {meant}?" if meant else ""
    return f"{one_line(name)} no se conoce{advice}"
