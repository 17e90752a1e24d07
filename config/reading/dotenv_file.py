"""Reads a `.env` file whole or not at all: half a file could allow what the other half forbids."""

from __future__ import annotations

import io
import os
from pathlib import Path

from config.text.files import UnreadableFile, read_text


class DotenvError(Exception):
    """The file cannot be used. The message is in Spanish, names the place and never quotes the file."""


def add_dotenv(path: Path) -> tuple[str, ...]:
    """Add the file's variables that the process's environment lacks; return every name in the file.

    A missing file counts as empty. Raises `DotenvError`.
    """
    if not os.path.lexists(path):
        return ()
    try:
        text = read_text(path)
    except UnreadableFile as error:
        raise DotenvError(str(error)) from error
    from dotenv import load_dotenv  # slower to import than the rest of this package together

    names = _names_in(text)
    load_dotenv(stream=io.StringIO(text), override=False)
    return names


def _names_in(text: str) -> tuple[str, ...]:
    """Raises `DotenvError` with the number of the first line that the library would only warn about, or ignore."""
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
