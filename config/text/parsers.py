"""Converts the text of a variable into a value; each parser says in Spanish what it expects.

None quotes its input, except a directory, which is not secret. All raise `AmountError` and nothing else.
`config.declared` adds the name of the variable.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from config.fields import NOT_IN_A_TEXT
from config.text.amounts import NUMBER, AmountError

Item = TypeVar("Item")

TRUE = ("true", "yes", "on", "1", "si", "sí")
FALSE = ("false", "no", "off", "0")

MOST_DAYS = 36500
MOST_MEGABYTES = 10**9


def text(written: str) -> str:
    """Any text without control characters. Raises `AmountError`."""
    if re.search(NOT_IN_A_TEXT, written):
        raise AmountError("no puede tener caracteres de control")
    return written


def boolean(written: str) -> bool:
    """A truth value, in English or Spanish, upper or lower case. Raises `AmountError`."""
    folded = written.lower()
    if folded not in TRUE and folded not in FALSE:
        raise AmountError("debe ser true o false")
    return folded in TRUE


def choice(*allowed: str) -> Callable[[str], str]:
    """A parser that takes one of a few words, exactly as they are written."""

    def parse(written: str) -> str:
        if written not in allowed:
            raise AmountError("debe ser " + " o ".join(f"'{word}'" for word in allowed))
        return written

    return parse


def integer(least: int, most: int) -> Callable[[str], int]:
    """A parser that takes a whole number from `least` to `most`, in decimal digits alone."""

    def parse(written: str) -> int:
        if not re.fullmatch("[0-9]{1,18}", written, re.ASCII) or not least <= int(written) <= most:
            raise AmountError(f"debe ser un número entero entre {least} y {most}")
        return int(written)

    return parse


def number(least: float, most: float) -> Callable[[str], float]:
    """A parser that takes a number from `least` to `most`, with decimals after a point."""

    def parse(written: str) -> float:
        if not re.fullmatch(NUMBER, written, re.ASCII) or not least <= float(written) <= most:
            raise AmountError(f"debe ser un número entre {least:g} y {most:g}, con punto decimal")
        return float(written)

    return parse


hour_of_day = integer(0, 23)
minute_of_hour = integer(0, 59)
weekday = integer(0, 6)
"""Monday is 0."""

whole_days = integer(1, MOST_DAYS)
"""For a retention: zero or less would delete new files at once."""


def hours(written: str) -> float:
    """A number of hours from 0 on, as Python reads a number (0.5, 1e3). Raises `AmountError`."""
    try:
        value = float(written)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise AmountError("debe ser un número de horas mayor o igual que 0")
    return value


def megabytes(written: str) -> int:
    """Bytes, more than none, from a number of MB of 1024 * 1024 bytes. Raises `AmountError`."""
    return _bytes(written, "MB", 1024**2)


def gigabytes(written: str) -> int:
    """Bytes, more than none, from a number of GB of 1024 * 1024 * 1024 bytes. Raises `AmountError`."""
    return _bytes(written, "GB", 1024**3)


def _bytes(written: str, unit: str, unit_bytes: int) -> int:
    size_bytes = int(float(written) * unit_bytes) if re.fullmatch(NUMBER, written, re.ASCII) else 0
    if not 1 <= size_bytes <= MOST_MEGABYTES * 1024**2:
        raise AmountError(f"debe ser un número de {unit} mayor que 0, sin unidad, como 10 o 0.5")
    return size_bytes


def comma_separated(parse: Callable[[str], Item]) -> Callable[[str], tuple[Item, ...]]:
    """A parser of several texts with commas between them; spaces around each, and empty ones, do not count."""

    def parse_all(written: str) -> tuple[Item, ...]:
        return tuple(dict.fromkeys(parse(part) for part in map(str.strip, written.split(",")) if part))

    return parse_all


names = comma_separated(text)
"""Texts with commas between them, none twice."""


def file_patterns(written: str) -> tuple[str, ...]:
    """Patterns of file names with commas between them, at least one, none with a slash. Raises `AmountError`."""
    patterns = names(written)
    if not patterns or any("/" in pattern for pattern in patterns):
        raise AmountError("debe ser una lista de patrones de nombres separados por comas, como *.log,*.log.*, sin '/'")
    return patterns


def path(written: str) -> Path:
    """A path, absolute or not. Raises `AmountError`."""
    return Path(text(written))


def directories(written: str) -> tuple[str, ...]:
    """Absolute directories with `:` between them, in their shortest form, none twice and never `/`.

    Raises `AmountError`.
    """
    parts = (re.sub("/+", "/", part) for part in text(written).split(":") if part)
    found = tuple(dict.fromkeys(map(os.path.normpath, parts)))
    for directory in found:
        if not directory.startswith("/") or directory.strip("/") == "":
            wanted = "indique directorios absolutos, separados por ':', y nunca '/'"
            raise AmountError(f"tiene {directory!r}, que no sirve; {wanted}")
    return found


def references(written: str) -> tuple[int | str, ...]:
    """Ids (`int`) or names (`str`) of rows of `cloud_providers`, with commas between them. Raises `AmountError`."""
    return comma_separated(reference)(written)


def reference(written: str) -> int | str:
    """The id (`int`) or the name (`str`) of one row of `cloud_providers`. Raises `AmountError`."""
    return integer(0, 2**31 - 1)(written) if re.fullmatch("[0-9]+", written, re.ASCII) else text(written)


def url(*schemes: str) -> Callable[[str], str]:
    """A parser that takes an address of one of these schemes with a host; it may hold user and password.

    `unix` needs a path instead, and hosts may be several with commas between them, as MongoDB has them.
    """

    def parse(written: str) -> str:
        try:
            parts = urlsplit(text(written))
            _ = None if "," in parts.netloc else parts.port
        except ValueError:  # a bracket in the host, or a port that is none; the library's words quote it
            usable = False
        else:
            place = parts.path if parts.scheme == "unix" else parts.hostname
            usable = parts.scheme in schemes and bool(place) and " " not in written
        if not usable:
            raise AmountError(f"debe ser una dirección {' o '.join(f'{scheme}://' for scheme in schemes)}")
        return written

    return parse


web_url = url("https", "http")


def addresses(written: str) -> tuple[str, ...]:
    """Addresses of any scheme, none twice, with spaces between them, or commas where a new address begins after one.

    Raises `AmountError`.
    """
    parts = [part for part in re.split(rf"\s+|,(?=\s*{SCHEME})", written) if part.strip(",")]
    if not all(re.match(SCHEME + r"\S", part) for part in parts):
        raise AmountError("debe ser una lista de direcciones (esquema://...) separadas por espacios o comas")
    return tuple(dict.fromkeys(parts))


SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*://"


def part_of_day(written: str) -> tuple[int, int]:
    """Two different hours of the day, such as `22-7`: from the first one on, until the second. Raises `AmountError`."""
    first, _, last = written.partition("-")
    try:
        found = hour_of_day(first.strip()), hour_of_day(last.strip())
    except AmountError:
        found = (0, 0)
    if found[0] == found[1]:
        raise AmountError("debe ser dos horas distintas del día, de 0 a 23, con un guion, como 22-7")
    return found
