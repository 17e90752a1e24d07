"""Reads `janitor.toml`, which holds the lists that fit no variable, whole or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from config.errors import ConfigurationError
from config.logs import one_line
from config.text.amounts import AmountError
from config.text.files import UnreadableFile, read_text
from config.text.names import nearest, unknown


class ConfigFile(NamedTuple):
    """The content of the file; `path` is `None` without one. It may hold addresses, so a repr shows only its path.

    A named tuple rather than a dataclass: defining the class costs a tenth as much, and every tick pays for it.
    """

    path: Path | None
    content: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"ConfigFile({str(self.path)!r})"

    def has(self, name: str) -> bool:
        """Whether the file has a value at a path of keys, such as `watch.services`."""
        return self._at(name) is not None

    def value(self, name: str, kind: Any) -> Any:
        """The value at a path of keys, converted to the type `kind`.

        Raises `AmountError`, which names the file and every fault by its path of keys.
        """
        from config.reading.tables import converted  # imported only where there is such a file

        try:
            return converted(self._at(name), kind, name)
        except AmountError as error:
            raise AmountError(f"{self.path}: {error}") from None

    def require_nothing_but(self, schema: Mapping[str, Any]) -> None:
        """Raises `ConfigurationError` for unknown keys, naming the nearest known one of each, and for values of the
        wrong type. `schema` holds the types by paths of keys.
        """
        faults = [f"{self.path}: {fault}" for fault in _unknown_keys(self.content, schema)]
        for name, kind in schema.items():
            try:
                if self.has(name):
                    self.value(name, kind)
            except AmountError as error:
                faults.append(str(error))
        if faults:
            raise ConfigurationError("; ".join(faults))

    def _at(self, name: str) -> object:
        value: object = self.content
        for key in name.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return value


NO_FILE = ConfigFile(None, {})


def read_config_file(path: Path, *, must_exist: bool) -> ConfigFile:
    """Read a file; a missing one counts as empty. Raises `ConfigurationError` with the line, never with its text."""
    if not must_exist and not os.path.lexists(path):
        return NO_FILE
    import tomllib  # imported only where there is such a file

    try:
        return ConfigFile(path, tomllib.loads(read_text(path)))
    except UnreadableFile as error:
        advice = "; corrija JANITOR_CONFIG o cree ese fichero" if must_exist else ""
        raise ConfigurationError(f"{one_line(path)}: {error}{advice}") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        line = re.search(r"at line ([0-9]+)", str(error))
        where = f"la línea {line[1]}" if line else "el final"
        raise ConfigurationError(
            f"{one_line(path)}: {where} no se entiende; debe ser TOML: [tabla] o [[lista]], y debajo clave = valor"
        ) from None  # the library's message may quote the file


def _unknown_keys(content: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """Unknown keys above the declared parts; below those, the types check the keys."""
    inner = {name[:position] for name in schema for position, sign in enumerate(name) if sign == "."}

    def look(table: Mapping[str, Any], prefix: str) -> Iterator[str]:
        for key, value in table.items():
            path = f"{prefix}{key}"
            if path in schema:
                continue
            if path not in inner:
                yield _unknown_key(path, {*schema, *inner})
            elif isinstance(value, dict):
                yield from look(value, f"{path}.")
            else:
                yield f"{path} debe ser una tabla: [{path}]"

    return look(content, "")


def _unknown_key(path: str, known: set[str]) -> str:
    """Compare the key with its siblings first, then with keys elsewhere."""
    parent, _, key = path.rpartition(".")
    for candidates in ([name for name in known if name.rpartition(".")[0] == parent], known):
        by_key = {name.rpartition(".")[2]: name for name in candidates}
        meant = nearest(key, by_key)
        if meant is not None:
            return f"{one_line(path)} no se conoce; ¿quería decir {by_key[meant]}?"
    return unknown(path, ())
