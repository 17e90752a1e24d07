"""The rights on tables and functions that a role lacks, and what grants them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class MissingRight(NamedTuple):
    """A right that a job needs and the role of this program lacks."""

    right: str
    """Such as `SELECT`."""
    name: str
    """Of the table, or of a function with the types of its arguments."""
    role: str
    """As it is written in a statement."""

    @property
    def words(self) -> str:
        """What operators read, in Spanish."""
        return f"{self.right} en {self.name}"


def described(missing: Iterable[MissingRight]) -> str:
    """All of them in Spanish, and the statements that the owner of the tables runs to grant them."""
    found = list(missing)
    return (
        f"{', '.join(right.words for right in found)}; lo concede el dueño de las tablas: {'; '.join(_grants(found))}"
    )


def _grants(missing: Iterable[MissingRight]) -> list[str]:
    rights: dict[tuple[str, str], list[str]] = {}
    for right in missing:
        rights.setdefault((right.name, right.role), []).append(right.right)
    return [
        f"GRANT {', '.join(names)} ON {'FUNCTION ' if name.endswith(')') else ''}{name} TO {role}"
        for (name, role), names in rights.items()
    ]
