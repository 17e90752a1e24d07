"""Names that nobody asks for: a slip of the pen must not pass for a setting."""

from __future__ import annotations

from collections.abc import Iterable

from config.logs import one_line

ALIKE = 0.75
"""From which likeness on a name is offered in the place of another one; 1 is the same."""

SHORTEST_BEGINNING = 4
"""So many letters of a known name, if of one alone, are taken for it: `user` for `username`."""


def nearest(name: str, known: Iterable[str], likeness: float = ALIKE) -> str | None:
    """The known name that is most like one, or begins with it, upper and lower case aside; `None` where none is."""
    from difflib import get_close_matches  # only for who has made a slip

    by_folded = {candidate.lower(): candidate for candidate in known}
    matches = get_close_matches(name.lower(), by_folded, n=1, cutoff=likeness)
    if matches:
        return by_folded[matches[0]]
    longer = [candidate for candidate in by_folded if candidate.startswith(name.lower())]
    return by_folded[longer[0]] if len(longer) == 1 and len(name) >= SHORTEST_BEGINNING else None


def unknown(name: str, known: Iterable[str]) -> str:
    """Says of a name that it means nothing, and which one was probably meant."""
    meant = nearest(name, known)
    advice = f"; ¿quería decir {meant}?" if meant else ""
    return f"{one_line(name)} no se conoce{advice}"
