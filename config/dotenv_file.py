"""Reads a `.env` file whole or not at all: one that is half obeyed would let things happen that it forbids."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

from config.text.wording import reason_of


class DotenvError(Exception):
    """The file cannot be used. The message is in Spanish, says where, and never what stands there."""


def add_dotenv(path: Path) -> tuple[str, ...]:
    """Add to the process's environment what a file says and the environment lacks; give every name in the file.

    A file that is not there says nothing. Raises `DotenvError`.
    """
    if not os.path.lexists(path):
        return ()
    text = _text_of(path)
    from dotenv import load_dotenv  # with what it imports, slower to load than the rest of this room together

    names = _names_in(text)
    load_dotenv(stream=io.StringIO(text), override=False)
    return names


def _text_of(path: Path) -> str:
    try:
        text = _bytes_of(path).decode("utf-8-sig")  # some editors begin a file with a mark that would join a name
    except OSError as error:
        raise DotenvError(f"no se puede leer: {reason_of(error)}") from error
    except UnicodeDecodeError:  # its words would quote what the file says
        raise DotenvError("no es un texto en UTF-8, o tiene un carácter nulo") from None
    if "\0" in text:
        raise DotenvError("no es un texto en UTF-8, o tiene un carácter nulo")
    return text


def _bytes_of(path: Path) -> bytes:
    """Raises `OSError` for what is no regular file: a FIFO would be waited for, without end."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123 by descriptor
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "no es un fichero normal")
        return file.read()


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
