"""Reads operators' small settings files, whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from config.text.wording import reason_of


class UnreadableFile(Exception):
    """A file of settings cannot be read. The message is in Spanish and never says what the file holds."""


def read_text(path: Path) -> str:
    """The text of a regular file in UTF-8. Raises `UnreadableFile`."""
    try:
        text = _bytes_of(path).decode("utf-8-sig")  # drops the mark with which some editors begin a file
    except OSError as error:
        raise UnreadableFile(f"no se puede leer: {reason_of(error)}") from error
    except UnicodeDecodeError:  # its message would quote the file
        raise UnreadableFile("no es un texto en UTF-8, o tiene un carácter nulo") from None
    if "\0" in text:
        raise UnreadableFile("no es un texto en UTF-8, o tiene un carácter nulo")
    return text


def _bytes_of(path: Path) -> bytes:
    """Raises `OSError` for anything but a regular file: reading a FIFO would block for ever."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123 by descriptor
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "no es un fichero normal")
        return file.read()
