"""No promise is without a test that shows it, and each of those tests exists and is run."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.guards import named_tests
from tests.guards.named_tests import fault_of
from tests.guards.promises import PROMISES


def test_every_promise_is_shown_by_a_test() -> None:
    for group, promises in PROMISES.items():
        assert promises, group
        for promise in promises:
            assert promise.tests, f"{group}: nothing shows that {promise.sentence}"


def test_every_test_that_shows_a_promise_exists_and_is_run() -> None:
    faults = [
        f"{group}: {promise.sentence}\n    {fault}"
        for group, promises in PROMISES.items()
        for promise in promises
        for test in promise.tests
        if (fault := fault_of(f"tests/{test}"))
    ]
    assert not faults, "\n".join(faults)


def test_every_promise_is_one_sentence_said_once() -> None:
    sentences = [promise.sentence for promises in PROMISES.values() for promise in promises]
    assert [sentence for sentence, count in Counter(sentences).items() if count > 1] == []
    assert [sentence for sentence in sentences if not (sentence[0].isupper() and sentence.endswith("."))] == []


MODULE = """
import pytest

def test_good() -> None: ...
@pytest.mark.parametrize("x", [1])
@pytest.mark.skipif(True, reason="says when")
def test_skipped_somewhere(x) -> None: ...
@pytest.mark.skip
def test_skipped() -> None: ...
@pytest.mark.skip(reason="never")
def test_skipped_with_reason() -> None: ...
@pytest.mark.xfail(reason="known")
def test_expected_to_fail() -> None: ...
@pytest.mark.xfail(True, reason="says when")
def test_expected_to_fail_somewhere() -> None: ...
def helper() -> None: ...
"""


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("test_good", None),
        ("test_good[with parameters]", None),
        ("test_skipped_somewhere", None),
        ("test_expected_to_fail_somewhere", None),
        ("test_skipped", "is marked"),
        ("test_skipped_with_reason", "is marked"),
        ("test_expected_to_fail", "is marked"),
        ("helper", "there is no test"),
        ("test_gone", "there is no test"),
        ("", "there is no test"),
    ],
)
def test_a_test_that_shows_nothing_is_reported(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, name: str, fault: str | None
) -> None:
    directory = tmp_path_factory.mktemp("repository")
    (directory / "test_module.py").write_text(MODULE)
    monkeypatch.setattr(named_tests, "REPOSITORY", directory)
    found = fault_of(f"test_module.py::{name}")
    assert (found is None) if fault is None else (found is not None and fault in found)
    assert "there is no file" in str(fault_of(f"test_gone.py::{name}"))
