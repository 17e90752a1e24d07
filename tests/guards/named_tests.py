"""Finds tests by their names without running or importing them."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

from tests.repository import REPOSITORY

UNCONDITIONAL_MARKS = frozenset({"pytest.mark.skip", "pytest.mark.xfail"})
"""A `skipif` says when; these say that the test shows nothing."""


@functools.cache
def _functions(path: Path) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    module = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name: node for node in module.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


def fault_of(test: str) -> str | None:
    """What is wrong with the name of a test (`tests/file.py::function`, with or without parameters), if anything."""
    file_name, _, name = test.partition("::")
    path = REPOSITORY / file_name
    if not path.is_file():
        return f"there is no file {file_name}"
    function = _functions(path).get(name.partition("[")[0])
    if function is None or not function.name.startswith("test_"):
        return f"there is no test {name} in {file_name}"
    for mark in map(_mark, function.decorator_list):
        if mark in UNCONDITIONAL_MARKS:
            return f"{test} is marked {mark}"
    return None


def _mark(decorator: ast.expr) -> str:
    """A decorator's dotted name; an `xfail` with a condition is another thing than one without."""
    if not isinstance(decorator, ast.Call):
        return ast.unparse(decorator)
    name = ast.unparse(decorator.func)
    return f"{name} with a condition" if name == "pytest.mark.xfail" and decorator.args else name
