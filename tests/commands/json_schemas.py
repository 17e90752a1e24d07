"""Holds JSON that the program writes against the schemas in `docs/schemas`: the part of JSON Schema that they use.

Stricter than the standard in one point: a name that the schema does not describe is a breach, so that nothing is output
that is not documented. Programs that read the documents accept further names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.repository import REPOSITORY

TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
KNOWN = frozenset(
    (
        *("$schema", "$id", "$defs", "$ref", "title", "description", "type", "properties", "required"),
        *("additionalProperties", "items", "oneOf", "const", "enum", "pattern", "minimum"),
    )
)


def require_valid(name: str, value: object) -> None:
    """Fail with everything in a value that `docs/schemas/NAME.json` does not allow."""
    schema = json.loads((REPOSITORY / "docs" / "schemas" / f"{name}.json").read_text(encoding="utf-8"))
    found = breaches(schema, value, name)
    assert found == [], "\n".join(found)


def breaches(schema: Mapping[str, Any], value: object, where: str = "$") -> list[str]:
    """Everything in a value that a schema does not allow."""
    return list(_breaches(schema, schema, value, where))


def _breaches(root: Mapping[str, Any], schema: Mapping[str, Any], value: Any, where: str) -> Iterator[str]:
    assert schema.keys() <= KNOWN, f"{where}: {schema.keys() - KNOWN} is not checked here"
    if "$ref" in schema:
        yield from _breaches(root, _referenced(root, schema["$ref"]), value, where)
    if "oneOf" in schema:
        found = [list(_breaches(root, one, value, where)) for one in schema["oneOf"]]
        if sum(not each for each in found) != 1:
            yield from min(found, key=len) or [f"{where}: fits several of oneOf"]
    if "type" in schema and not _is_of(schema["type"], value):
        yield f"{where}: {value!r} is no {schema['type']}"
        return
    yield from _breaches_of_value(schema, value, where)
    if isinstance(value, dict):
        yield from _breaches_of_members(root, schema, value, where)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _breaches(root, schema.get("items", {}), item, f"{where}[{number}]")


def _referenced(root: Mapping[str, Any], reference: str) -> Mapping[str, Any]:
    target: Any = root
    for part in reference.removeprefix("#/").split("/"):
        target = target[part]
    assert isinstance(target, dict)
    return target


def _breaches_of_value(schema: Mapping[str, Any], value: object, where: str) -> Iterator[str]:
    if "const" in schema and value != schema["const"]:
        yield f"{where}: {value!r} instead of {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where}: {value!r} is none of {schema['enum']}"
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        yield f"{where}: {value!r} does not match {schema['pattern']}"
    if isinstance(value, (int, float)) and value < schema.get("minimum", value):
        yield f"{where}: {value!r} is less than {schema['minimum']}"


def _breaches_of_members(
    root: Mapping[str, Any], schema: Mapping[str, Any], value: Mapping[str, Any], where: str
) -> Iterator[str]:
    described_elsewhere = bool(schema.keys() & {"oneOf", "$ref"})  # each of those is as strict
    members, others = schema.get("properties", {}), schema.get("additionalProperties", described_elsewhere)
    yield from (f"{where}: lacks {name}" for name in schema.get("required", ()) if name not in value)
    for name, item in value.items():
        if name in members:
            yield from _breaches(root, members[name], item, f"{where}.{name}")
        elif isinstance(others, Mapping):
            yield from _breaches(root, others, item, f"{where}.{name}")
        elif others is not True:
            yield f"{where}: {name} is not in the schema"


def _is_of(names: str | list[str], value: object) -> bool:
    wanted = (names,) if isinstance(names, str) else names
    if isinstance(value, bool):
        return "boolean" in wanted
    return isinstance(value, tuple(kind for name in wanted for kind in TYPES[name]))
