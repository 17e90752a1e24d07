"""Tests use what a module offers to others: no private name of another module, no bound on elapsed time, no pause.

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
    "tests/providers/azure/test_azure_provider.py": {
        "_blobs"
    },  # a listing that misses a blob: no server does so at will
    "tests/providers/sftp/test_ssh_authentication.py": {  # of paramiko: a server that answers out of order
        *("_disconnect_service_not_available", "_parse_service_request"),
    },
    "tests/servers/gcs_emulator.py": {"_write_config_to_file"},  # of the emulator, which has no setting for it
}
"""By file."""

BOUNDS_ON_TIME_THAT_REMAIN = Counter(
    {
        "tests/storage/traffic/test_pace.py": 1,  # the promise itself is that something takes its time
        "tests/providers/test_provider_contract.py": 1,  # and here, that a server that does not answer is given up
    }
)
"""Asserts that read a clock, by file."""

PAUSES_THAT_REMAIN = Counter(
    {
        "tests/processes.py": 1,  # between two looks of `wait_until`
        "tests/disks/racing.py": 1,  # of no length: lets another thread run
        "tests/model/world.py": 1,  # between two looks at the kernel's clock
        "tests/stories/hosts/test_hosts.py": 1,  # a process is stopped until an answer of the database is too old
        "tests/faults/http_effects.py": 1,  # the pause is the fault
        "tests/faults/sftp_liar.py": 1,  # asyncio closes sockets in later rounds
        "tests/files/test_slow_sources.py": 2,  # a source is silent for longer than a deadline
        "tests/providers/test_wire_damage_sftp_local.py": 2,  # so is a reader; and a server, for ever
        "tests/servers/canned_http.py": 1,  # a slow line
        "tests/storage/test_helpers.py": 1,  # a process dies while others already wait for their turn
    }
)
"""Calls of `sleep`, by file. What a test waits for is an event, or `wait_until`."""


@pytest.fixture(scope="module")
def files_of_tests() -> list[SourceFile]:
    """All of them, parsed once and freed after these tests."""
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
        if isinstance(node, ast.Assert):
            is_bound = bounds_duration_from_above if is_denial(node.test) else bounds_duration
            if any(reads_clock(one) or is_bound(one) for one in ast.walk(node)):
                yield file.at(node, "asserts how much time has passed")


def is_denial(node: ast.expr) -> bool:
    """Whether this says that something is not so, such as that nothing took longer."""
    match node:
        case ast.UnaryOp(op=ast.Not()):
            return True
    return False


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


def pauses(file: SourceFile) -> Iterator[str]:
    """Fixed pauses: too short on a slow machine, and time lost on every other one."""
    for node in file.nodes:
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="time" | "asyncio"), attr="sleep")):
                yield file.at(node, "sleeps")


def bounds_duration_from_above(node: ast.AST) -> bool:
    """Whether this says that `seconds` are many, which a denial makes a demand that they are few."""
    match node:
        case ast.Compare(left=longer, ops=[ast.Gt() | ast.GtE(), *_]):
            return is_duration(longer)
        case ast.Compare(ops=[ast.Lt() | ast.LtE(), *_], comparators=[longer, *_]):
            return is_duration(longer)
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


@pytest.mark.parametrize(
    ("rule", "remaining"), [(asserts_on_time, BOUNDS_ON_TIME_THAT_REMAIN), (pauses, PAUSES_THAT_REMAIN)]
)
def test_tests_set_no_new_bound_on_elapsed_time_and_do_not_sleep(
    rule: Callable[[SourceFile], Iterator[str]], remaining: Counter[str], files_of_tests: list[SourceFile]
) -> None:
    found = {file.path: list(rule(file)) for file in files_of_tests}
    breaches = [one for path, each in found.items() if len(each) > remaining[path] for one in each]
    assert not breaches, "\n".join(["", *breaches])


def test_what_is_listed_is_still_there(files_of_tests: list[SourceFile]) -> None:
    files = {file.path: file for file in files_of_tests}
    for path, names in PRIVATE_NAMES_THAT_REMAIN.items():
        assert names == {name for _, name in private_names(files[path])}, path
    for path, count in BOUNDS_ON_TIME_THAT_REMAIN.items():
        assert count == len(list(asserts_on_time(files[path]))), path
    for path, count in PAUSES_THAT_REMAIN.items():
        assert count == len(list(pauses(files[path]))), path


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
        (asserts_on_time, "assert not [1 for seconds in taken if seconds > 5]"),
        (pauses, "time.sleep(0.5)"),
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
