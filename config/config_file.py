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
    """What the file says; `path` is `None` where there is none. It may hold addresses, so a repr shows only its path.

    A named tuple and no dataclass: making the class costs a tenth, and every tick pays it.
    """

    path: Path | None
    content: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"ConfigFile({str(self.path)!r})"

    def has(self, name: str) -> bool:
        """Whether something stands at a path of keys, such as `watch.services`."""
        return self._at(name) is not None

    def value(self, name: str, kind: Any) -> Any:
        """What stands at a path of keys, as a value of the type `kind`.

        Raises `AmountError` that names the file and everything that is wrong by its path of keys.
        """
        from config.tables import converted  # with what it imports, only for those who have such a file

        try:
            return converted(self._at(name), kind, name)
        except AmountError as error:
            raise AmountError(f"{self.path}: {error}") from None

    def require_nothing_but(self, schema: Mapping[str, Any]) -> None:
        """Raises `ConfigurationError` for every key that `schema` (types by paths of keys) does not know, which names
        the nearest right one, and for every value that has not the type that it says.
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
    """What a file says; without a file, nothing. Raises `ConfigurationError` with the line, never with its text."""
    if not must_exist and not os.path.lexists(path):
        return NO_FILE
    import tomllib  # only for those who have such a file

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
        ) from None  # the library's words may quote what stands there


def _unknown_keys(content: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[str]:
    """Keys above the declared parts; what is below them, their types judge."""
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
    """A key is like one of those beside it, or like one that stands elsewhere."""
    parent, _, key = path.rpartition(".")
    for candidates in ([name for name in known if name.rpartition(".")[0] == parent], known):
        by_key = {name.rpartition(".")[2]: name for name in candidates}
        meant = nearest(key, by_key)
        if meant is not None:
            return f"{one_line(path)} no se conoce; ¿quería decir {by_key[meant]}?"
    return unknown(path, ())
