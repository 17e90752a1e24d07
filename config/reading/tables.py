"""Converts the content of `janitor.toml` into frozen dataclasses; the types of their fields are the schema.

    @dataclass(frozen=True, slots=True)
    class Service:
        name: str
        url: str = entry(web_url, default="http://localhost")
        every_seconds: int = 30

`bool`, `int`, `float`, `str`, `Path`, `Literal["a", "b"]`, `X | None`, `tuple[X, ...]`, `Mapping[str, X]` and such
dataclasses are supported. A field without a default is required. `entry` adds a parser of `config.text.parsers` to a
field written as text. `__post_init__` may compare fields and raise `AmountError`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints, overload

from config.text.amounts import AmountError
from config.text.names import unknown

Value = TypeVar("Value")

PARSER = "parser"
"""The key of the parser in a field's metadata."""

PLAIN = {
    bool: "debe ser true o false",
    int: "debe ser un número entero",
    float: "debe ser un número",
    str: "debe ser un texto entre comillas",
    Path: "debe ser un texto entre comillas, una ruta",
}


LIST_OF_VALUES = 'con corchetes: clave = ["a", "b"]'


@overload
def entry(parse: Callable[[str], Value]) -> Value: ...


@overload
def entry(parse: Callable[[str], Value], *, default: Value) -> Value: ...


def entry(parse: Callable[[str], Any], *, default: Any = dataclasses.MISSING) -> Any:
    """A field of such a dataclass, written as text and parsed. `parse` raises `AmountError`."""
    return dataclasses.field(default=default, metadata={PARSER: parse})


def converted(value: object, kind: Any, path: str) -> Any:
    """Convert a TOML value to `kind`.

    Raises `AmountError`, which names every fault by its path of keys and quotes no value.
    """
    faults: list[str] = []
    result = _Conversion(faults).convert(value, kind, path)
    if faults:
        raise AmountError("; ".join(faults))
    return result


class _Conversion:
    """Walks a value and its type in parallel and records each fault; a wrong part becomes `None`."""

    def __init__(self, faults: list[str]) -> None:
        self._faults = faults

    def convert(self, value: object, kind: Any, path: str) -> Any:
        origin = get_origin(kind)
        if origin in (Union, UnionType):
            (kind,) = (member for member in get_args(kind) if member is not NoneType)  # TOML has no null
            return self.convert(value, kind, path)
        if origin is tuple:
            return self._tuple(value, get_args(kind)[0], path)
        if origin is Literal:
            return self._literal(value, get_args(kind), path)
        if origin is not None and issubclass(origin, Mapping):
            return self._mapping(value, get_args(kind)[1], path)
        if dataclasses.is_dataclass(kind):
            return self._table(value, kind, path)
        return self._plain(value, kind, path)

    def _fault(self, path: str, text: str) -> Any:
        """Record a fault; the result replaces the wrong part and is never used."""
        self._faults.append(f"{path} {text}")
        return None

    def _plain(self, value: object, kind: type, path: str) -> Any:
        if kind is float and type(value) is int:
            return float(value)
        written_as = str if kind is Path else kind
        if type(value) is not written_as:  # a bool is an int for isinstance
            return self._fault(path, PLAIN[kind])
        return kind(value)

    def _literal(self, value: object, allowed: tuple[object, ...], path: str) -> object:
        if value not in allowed:
            words = " o ".join(f'"{word}"' for word in allowed)
            return self._fault(path, f"debe ser {words}")
        return value

    def _tuple(self, value: object, kind: Any, path: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            of_tables = dataclasses.is_dataclass(kind)
            self._fault(path, f"debe ser una lista {f'de tablas: [[{path}]]' if of_tables else LIST_OF_VALUES}")
            return ()
        return tuple(self.convert(item, kind, f"{path} (elemento {n})") for n, item in enumerate(value, start=1))

    def _mapping(self, value: object, kind: Any, path: str) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            self._fault(path, f"debe ser una tabla: [{path}]")
            return {}
        return {key: self.convert(item, kind, f"{path}.{key}") for key, item in value.items()}

    def _table(self, value: object, kind: Any, path: str) -> object:
        if not isinstance(value, dict):
            return self._fault(path, "debe ser una tabla")
        faults_before = len(self._faults)
        known = {field.name: field for field in dataclasses.fields(kind)}
        self._faults += [f"{path}.{unknown(name, known)}" for name in value if name not in known]
        hints = get_type_hints(kind)
        values = {
            name: self._field(value[name], field, hints[name], f"{path}.{name}")
            for name, field in known.items()
            if name in value
        }
        for name in known.keys() - value.keys():
            if known[name].default is dataclasses.MISSING and known[name].default_factory is dataclasses.MISSING:
                self._fault(f"{path}.{name}", "falta")
        return self._made(kind, values, path) if len(self._faults) == faults_before else None

    def _field(self, value: object, field: dataclasses.Field[Any], kind: Any, path: str) -> Any:
        parse = field.metadata.get(PARSER)
        if parse is None:
            return self.convert(value, kind, path)
        if not isinstance(value, str):
            return self._fault(path, PLAIN[str])
        try:
            return parse(value)
        except AmountError as error:
            return self._fault(path, str(error))

    def _made(self, kind: Any, values: Mapping[str, Any], path: str) -> object:
        try:
            return kind(**values)
        except AmountError as error:
            return self._fault(path, str(error))
