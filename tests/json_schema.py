"""Holds a document against a JSON Schema: the few keywords that the schemas in `docs/schemas` use.

Stricter than the standard in one point: a name that the schema does not describe is a fault, so that nothing is output
that is not documented. Programs that read the documents accept further names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.repository import REPOSITORY

KNOWN = {
    *("$schema", "$id", "title", "description", "type", "enum"),
    *("properties", "required", "items", "additionalProperties"),
}
TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def schema(name: str) -> dict[str, Any]:
    """One of the schemas of the documentation."""
    loaded: dict[str, Any] = json.loads((REPOSITORY / "docs" / "schemas" / name).read_text(encoding="utf-8"))
    return loaded


def faults(document: object, described: Mapping[str, Any], where: str = "$") -> Iterator[str]:
    """Where a document differs from its schema."""
    if unknown := set(described) - KNOWN:
        yield f"{where}: the schema uses {unknown}, which is not checked"
    if not _is_of_type(document, described.get("type")):
        yield f"{where}: {document!r} is no {described['type']}"
        return
    if "enum" in described and document not in described["enum"]:
        yield f"{where}: {document!r} is none of {described['enum']}"
    if isinstance(document, dict):
        yield from _faults_of_object(document, described, where)
    if isinstance(document, list):
        for number, item in enumerate(document):
            yield from faults(item, described.get("items", {}), f"{where}[{number}]")


def _is_of_type(document: object, wanted: str | list[str] | None) -> bool:
    if wanted is None:
        return True
    names = [wanted] if isinstance(wanted, str) else wanted
    return any(
        isinstance(document, TYPES[name]) and (name == "boolean" or not isinstance(document, bool)) for name in names
    )


def _faults_of_object(document: Mapping[str, Any], described: Mapping[str, Any], where: str) -> Iterator[str]:
    for name in described.get("required", ()):
        if name not in document:
            yield f"{where}: {name} is missing"
    others = described.get("additionalProperties")
    for name, value in document.items():
        known = described.get("properties", {}).get(name, others)
        if isinstance(known, Mapping):
            yield from faults(value, known, f"{where}.{name}")
        elif known is not True:
            yield f"{where}: {name} is not documented"
