"""What `check` finds, one line each."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """One line of the check: what was inspected, whether it is in order, what is wrong and what to do.

    Advice counts as in order, but deserves attention.
    """

    subject: str
    in_order: bool
    text: str
    advice: bool = False
    stops_everything: bool = False
    """Whether this keeps a tick from starting at all."""

    @property
    def mark(self) -> str:
        """The start of the line, in five characters."""
        if not self.in_order:
            return "ERROR"
        return "aviso" if self.advice else "bien "


def good(subject: str, text: str) -> Finding:
    """A finding in order."""
    return Finding(subject, in_order=True, text=text)


def bad(subject: str, text: str) -> Finding:
    """A finding that makes `check` end with 1."""
    return Finding(subject, in_order=False, text=text)


def unusable(subject: str, text: str) -> Finding:
    """A finding that makes `check` end with 2, as a tick would."""
    return Finding(subject, in_order=False, text=text, stops_everything=True)


def advised(subject: str, text: str) -> Finding:
    """A finding that is in order but deserves attention."""
    return Finding(subject, in_order=True, text=text, advice=True)
