"""The mutants are those of the program as it is, and the runner tells a test that noticed from one that could not run.

Running them all takes some minutes: `make mutants ALL=1`.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.guards.__main__ import Session, Verdict, judge, try_all
from tests.guards.mutants import MANDATORY_GROUPS, MUTANTS, Mutant
from tests.guards.named_tests import fault_of
from tests.guards.outcome import Outcome
from tests.repository import REPOSITORY


def test_every_mutant_finds_its_check() -> None:
    faults = []
    for mutant in MUTANTS:
        try:
            mutant.applied_to((REPOSITORY / mutant.path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            faults.append(f"{mutant.group}: {mutant.name}: {error}")
    assert not faults, "change these mutants with the checks that they take away:\n" + "\n".join(faults)


def test_every_mutant_is_a_program(tmp_path: Path) -> None:
    """With names that all exist: a mutant that cannot run would be killed by any test."""
    for number, mutant in enumerate(MUTANTS):
        if mutant.path.endswith(".py"):
            text = (REPOSITORY / mutant.path).read_text(encoding="utf-8")
            (tmp_path / f"{number}_{Path(mutant.path).name}").write_text(mutant.applied_to(text), encoding="utf-8")
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--quiet", "--select", "E9,F82", str(tmp_path)]
    checked = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_mutant_has_a_name_of_its_own_and_tests_that_exist() -> None:
    names = Counter((mutant.group, mutant.name) for mutant in MUTANTS)
    assert [name for name, count in names.items() if count > 1] == []
    assert [fault for mutant in MUTANTS for test in mutant.tests if (fault := fault_of(test))] == []
    assert all(mutant.tests for mutant in MUTANTS)


def test_no_mandatory_check_is_without_a_mutant() -> None:
    assert {mutant.group for mutant in MUTANTS} >= MANDATORY_GROUPS


# The runner

MUTANT = Mutant(
    "names", "a URI without its end", "storage/keys.py", "{kind}/{self.key_prefix}", "{kind}/", ("tests/a",)
)
STATEMENT = Mutant("names", "a statement", "sql/queries/last_run.sql", "DESC", "ASC", ("tests/a",))
PASSED = Outcome("tests/a::test_one", "call", "passed", "")


@pytest.mark.parametrize(
    ("mutant", "exit_code", "outcomes", "verdict"),
    [
        (MUTANT, 1, [PASSED, Outcome("tests/a::test_two", "call", "failed", "AssertionError")], Verdict.KILLED),
        (MUTANT, 1, [Outcome("tests/a::test_one", "call", "failed", "DatabaseError")], Verdict.KILLED),
        (STATEMENT, 1, [Outcome("tests/a::test_one", "call", "failed", "DatabaseError")], Verdict.BROKEN),
        (MUTANT, 1, [Outcome("tests/a::test_one", "call", "failed", "NameError")], Verdict.BROKEN),
        (MUTANT, 1, [Outcome("tests/a::test_one", "setup", "failed", "AssertionError")], Verdict.BROKEN),
        (MUTANT, 2, [], Verdict.BROKEN),
        (MUTANT, 4, [], Verdict.BROKEN),
        (MUTANT, -9, [PASSED], Verdict.BROKEN),
        (MUTANT, 0, [PASSED], Verdict.SURVIVED),
        (MUTANT, 0, [PASSED, Outcome("tests/a::test_two", "setup", "skipped", "Skipped")], Verdict.SURVIVED),
        (MUTANT, 0, [Outcome("tests/a::test_one", "setup", "skipped", "Skipped")], Verdict.NOT_TRIED),
    ],
)
def test_only_a_test_that_ran_and_failed_kills(
    mutant: Mutant, exit_code: int, outcomes: Sequence[Outcome], verdict: Verdict
) -> None:
    assert judge(mutant, Session(exit_code, outcomes, "output", 1.0)).verdict is verdict


def with_tests(mutant: Mutant, *tests: str) -> Mutant:
    return Mutant(mutant.group, mutant.name, mutant.path, mutant.original, mutant.replacement, tests)


def test_a_check_that_nobody_guards_is_reported_and_the_checkout_stays_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (REPOSITORY / MUTANT.path).read_bytes()
    guarded = with_tests(MUTANT, "tests/storage/test_keys.py::test_a_place_and_its_uri")
    unguarded = with_tests(MUTANT, "tests/storage/test_keys.py::test_what_is_no_uri_of_ours_is_refused")
    assert try_all([guarded], tmp_path) == 0
    assert "1 killed, 0 survived" in capsys.readouterr().out
    assert try_all([unguarded], tmp_path) == 1
    assert "0 killed, 1 survived" in capsys.readouterr().out
    assert (REPOSITORY / MUTANT.path).read_bytes() == before
    assert list(tmp_path.iterdir()) == []
