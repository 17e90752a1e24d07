"""Tells what may be a token in a secret address from the words of which people make paths and names."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

SHORTEST_SECRET = 8
MOST_WORDS = 2
"""More of them make a phrase that nobody guesses, such as a topic of ntfy."""

LONGEST_WORD = 20
WORD = re.compile("[A-ZÑ]?[a-zñáéíóúü]*|[A-ZÑ]+")
UNSPEAKABLE = re.compile("[^aeiouyáéíóúü]{5}", re.IGNORECASE)
YEAR = re.compile("(19|20)[0-9]{2}")


def may_be_a_secret(part: str) -> bool:
    """Whether it is long enough, and no name that a person would give: one or two words, perhaps with a year. Nor is a
    directory above the working directory a secret: what hides it would hide it in every path.
    """
    if len(part) < SHORTEST_SECRET or part in _directories_above():
        return False
    words = [word for word in re.split("[-_]", unquote(part)) if not YEAR.fullmatch(word)]
    return len(words) > MOST_WORDS or not all(map(_is_like_a_word, words))


def _directories_above() -> tuple[str, ...]:
    try:
        return Path.cwd().parts
    except OSError:  # it was removed
        return ()


def _is_like_a_word(text: str) -> bool:
    """Letters that can be spoken, none of them large within the word. A host's name is made of several."""
    return all(
        len(part) <= LONGEST_WORD and WORD.fullmatch(part) is not None and UNSPEAKABLE.search(part) is None
        for part in text.split(".")
    )
