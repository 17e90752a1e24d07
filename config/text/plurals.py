"""Numbers with their nouns, in Spanish."""

from __future__ import annotations


def counted(number: int, singular: str, plural: str) -> str:
    """A number with its noun in the right form: "1 fichero", "2 ficheros"."""
    return f"{number} {singular if number == 1 else plural}"


def executions(number: int) -> str:
    """A number of executions."""
    return counted(number, "ejecución", "ejecuciones")


def files(number: int) -> str:
    """A number of files."""
    return counted(number, "fichero", "ficheros")
