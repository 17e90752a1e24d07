"""Tests use what a module offers to others: no private name of another module, and no bound on elapsed time.

What remains is listed with its reason. The list may get shorter; a test that is added says the same through a public
name, and waits for an event.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import pytest

from tests.test_architecture import SourceFile, files_of, parsed

PUBLIC_IN_SPITE_OF_THE_NAME = {"_asdict", "_exit", "_fields", "_make", "_replace"}
"""Names that the standard library documents."""

PRIVATE_NAMES_THAT_REMAIN = {
    "tests/jobs/rehome/test_rehome.py": {"_get_candidate_names"},  # no other way to make `tempfile` give up
    "tests/model/stores.py": {"_as_seen", "_look_for"},  # of its base class in this repository
    "tests/providers/test_azure_provider.py": {"_blobs"},  # a listing that misses a blob: no server does so at will
    "tests/providers/test_ssh_authentication.py": {  # of paramiko: a server that answers out of order
        *("_disconnect_service_not_available", "_parse_service_request"),
    },
    "tests/servers/gcs_emulator.py": {"_write_config_to_file"},  # of the emulator, which has no setting for it
}
"""By file."""

BOUNDS_ON_TIME_THAT_REMAIN = Counter({"tests/storage/test_pace.py": 1})
"""Asserts that read a clock, by file: the promise itself is that something takes its time."""


@pytest.fixture(scope="module")
def files_of_tests() -> list[SourceFile]:
    """All of them, parsed once, and let go of after these tests."""
    return files_of("tests/**/*.py")


def private_names(file: SourceFile) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """Private names that the file takes from elsewhere: as an attribute, by import, or as text for `setattr`."""
    own = own_names(file.nodes)
    for node in file.nodes:
        match node:
            case ast.Attribute(attr=name) if is_private(name) and name not in own:
                yield node, name
            case ast.ImportFrom(names=names):
                yield from ((node, alias.name) for alias in names if is_private(alias.name))
            case ast.Call(func=ast.Attribute(attr="setattr"), args=[*arguments]):
                for argument in arguments[:2]:
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                        name = argument.value.rpartition(".")[2]
                        if is_private(name):
                            yield node, name


def is_private(name: str) -> bool:
    """Whether others are not meant to use it."""
    return name.startswith("_") and not name.startswith("__") and name not in PUBLIC_IN_SPITE_OF_THE_NAME


def own_names(nodes: Iterable[ast.AST]) -> set[str]:
    """What a file itself defines: functions, classes, fields, and attributes of `self`."""
    names = set()
    for node in nodes:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                names.add(name)
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return names


def forbidden_names(file: SourceFile) -> Iterator[str]:
    """Private names of others that are not listed."""
    allowed = PRIVATE_NAMES_THAT_REMAIN.get(file.path, set())
    return (
        file.at(node, f"uses {name} of another module") for node, name in private_names(file) if name not in allowed
    )


def asserts_on_time(file: SourceFile) -> Iterator[str]:
    """Asserts of time that has passed: on a machine three times slower they fail without a fault."""
    for node in file.nodes:
        if isinstance(node, ast.Assert) and any(reads_clock(one) or bounds_duration(one) for one in ast.walk(node)):
            yield file.at(node, "asserts how much time has passed")


def reads_clock(node: ast.AST) -> bool:
    """Whether this is a call of one of the clocks of `time`."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="time"), attr="monotonic" | "time" | "perf_counter")):
            return True
    return False


def bounds_duration(node: ast.AST) -> bool:
    """Whether this demands that `seconds` are few, other than those of a clock that the test moves."""
    match node:
        case ast.Compare(left=shorter, ops=[ast.Lt() | ast.LtE(), *_]):
            return is_duration(shorter)
        case ast.Compare(ops=[ast.Gt() | ast.GtE(), *_], comparators=[shorter, *_]):
            return is_duration(shorter)
    return False


def is_duration(node: ast.expr) -> bool:
    """Whether this is named as what something took."""
    match node:
        case ast.Attribute(value=ast.Name(id="clock")):
            return False
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name in ("seconds", "duration", "elapsed", "took")
    return False


def test_tests_use_no_private_name_of_another_module(files_of_tests: list[SourceFile]) -> None:
    breaches = [breach for file in files_of_tests for breach in forbidden_names(file)]
    assert not breaches, "\n".join(["", *breaches])


def test_tests_set_no_new_bound_on_elapsed_time(files_of_tests: list[SourceFile]) -> None:
    found = {file.path: list(asserts_on_time(file)) for file in files_of_tests}
    breaches = [*(one for path, each in found.items() if len(each) > BOUNDS_ON_TIME_THAT_REMAIN[path] for one in each)]
    assert not breaches, "\n".join(["", *breaches])


def test_what_is_listed_is_still_there(files_of_tests: list[SourceFile]) -> None:
    files = {file.path: file for file in files_of_tests}
    for path, names in PRIVATE_NAMES_THAT_REMAIN.items():
        assert names == {name for _, name in private_names(files[path])}, path
    for path, count in BOUNDS_ON_TIME_THAT_REMAIN.items():
        assert count == len(list(asserts_on_time(files[path]))), path


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (forbidden_names, "assert provider._pool is None"),
        (forbidden_names, "from config.logs import _written_forms"),
        (forbidden_names, "monkeypatch.setattr(provider, '_blobs', [])"),
        (forbidden_names, "monkeypatch.setattr('providers.gcs.provider._credentials', None)"),
        (asserts_on_time, "assert time.monotonic() - started < 5"),
        (asserts_on_time, "assert run.seconds < 5, str(run)"),
        (asserts_on_time, "assert 5 >= seconds"),
    ],
)
def test_a_breach_is_found(rule: Callable[[SourceFile], Iterator[str]], source: str) -> None:
    assert list(rule(parsed("tests/a.py", source)))


@pytest.mark.parametrize("source", ["assert clock.seconds < 5", "assert run.seconds >= 5", "assert 5 < run.seconds"])
def test_a_clock_of_the_test_and_a_lower_bound_are_no_breach(source: str) -> None:
    assert not list(asserts_on_time(parsed("tests/a.py", source)))


def test_what_is_a_files_own_is_no_breach() -> None:
    source = "class A:\n    def __init__(self):\n        self._a = 1\ndef f(a):\n    return a._a, a._replace()"
    assert not list(forbidden_names(parsed("tests/a.py", source)))
