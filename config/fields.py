"""Reading `credenciales` and `configuracion` field by field, with errors that name the field and never its value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

NOT_IN_A_TEXT = "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]"
"""A pattern, compiled once it is used. It finds characters that no address, name or secret holds and no SDK can send:
control characters, except tabs and line ends of keys, and lone surrogates, which JSON can express. Libraries raise
unexpected errors for them.
"""


def is_plain_url(text: str) -> bool:
    """Whether a text is an http(s) address with a host and no parameters, fragment or user."""
    try:
        parts = urlsplit(text)
    except ValueError:  # a bracket in the host, say
        return False
    plain = not (parts.query or parts.fragment or "@" in text)
    return text.isprintable() and parts.scheme in ("http", "https") and bool(parts.hostname) and plain


class FieldError(ValueError):
    """A field is missing or wrong. The message is in Spanish and names the field, never its value."""


class Fields:
    """Typed access to one JSON object of a provider's row; `label` is the column's name.

    An empty string counts as absent, as forms save it so.
    """

    def __init__(self, label: str, values: Mapping[str, object]) -> None:
        self._label = label
        self._values = values

    def text(self, name: str, default: str | None = None) -> str | None:
        """The text of a field, or `default` when absent. Raises `FieldError` for anything but text."""
        value = self._values.get(name)
        if value is None or value == "":
            return default
        if not isinstance(value, str):
            raise FieldError(f"{self._label}.{name}: debe ser un texto")
        if re.search(NOT_IN_A_TEXT, value):
            raise FieldError(f"{self._label}.{name}: tiene un carácter nulo o de control")
        return value

    def required_text(self, name: str) -> str:
        """The text of a required field. Raises `FieldError`."""
        value = self.text(name)
        if value is None:
            raise FieldError(f"{self._label}.{name}: falta")
        return value

    def integer(self, name: str, default: int, minimum: int, maximum: int) -> int:
        """A whole number, possibly written as text. Raises `FieldError` for anything else or out of bounds."""
        value = self._values.get(name)
        if value is None or value == "":
            return default
        try:
            number = int(value) if isinstance(value, str) and value.strip().isdecimal() else value
        except ValueError:
            number = None
        if isinstance(number, bool) or not isinstance(number, int) or not minimum <= number <= maximum:
            raise FieldError(f"{self._label}.{name}: debe ser un número entero entre {minimum} y {maximum}")
        return number

    def boolean(self, name: str, default: bool) -> bool:
        """A truth value. Raises `FieldError` for anything but `true` and `false`."""
        value = self._values.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise FieldError(f"{self._label}.{name}: debe ser true o false")
        return value
