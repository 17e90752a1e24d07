"""Reads a `.env` file whole or not at all: one that is half obeyed would let things happen that it forbids."""

from __future__ import annotations

import io
import os
from pathlib import Path

from config.text.files import UnreadableFile, read_text


class DotenvError(Exception):
    """The file cannot be used. The message is in Spanish, says where, and never what stands there."""


def add_dotenv(path: Path) -> tuple[str, ...]:
    """Add to the process's environment what a file says and the environment lacks; give every name in the file.

    A file that is not there says nothing. Raises `DotenvError`.
    """
    if not os.path.lexists(path):
        return ()
    try:
        text = read_text(path)
    except UnreadableFile as error:
        raise DotenvError(str(error)) from error
    from dotenv import load_dotenv  # with what it imports, slower to load than the rest of this room together

    names = _names_in(text)
    load_dotenv(stream=io.StringIO(text), override=False)
    return names


def _names_in(text: str) -> tuple[str, ...]:
    """Raises `DotenvError` with the number of the first line that the library would only warn of, or pass over."""
    from dotenv.parser import parse_stream

    names: list[str] = []
    for binding in parse_stream(io.StringIO(text)):
        has_no_value = binding.key is not None and binding.value is None
        if binding.error or has_no_value:
            raise DotenvError(
                f"la línea {_line_of(binding.original.string, binding.original.line)} no se entiende; "
                "escriba NOMBRE=valor, y entre comillas el valor que tenga espacios, '#' o comillas"
            )
        if binding.key is not None:
            names.append(binding.key)
    return tuple(names)


def _line_of(original: str, first_line: int) -> int:
    """The library counts blank lines before a statement to it."""
    return first_line + original[: len(original) - len(original.lstrip())].count("\n")
