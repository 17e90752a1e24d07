"""Questions of commands: a clear yes in the operators' language, and nothing else, is one."""

from __future__ import annotations

import io
import sys

import pytest

from config.options import is_confirmed


@pytest.mark.parametrize(
    ("answer", "is_yes"),
    [("s\n", True), ("Sí\n", True), (" si \n", True), ("y\n", True), ("n\n", False), ("\n", False), ("", False),
     ("sin duda\n", False)],
)  # fmt: skip
def test_a_question_is_answered_in_spanish(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str, is_yes: bool
) -> None:
    """Looked for in all questions of the program: `audit --fix`, `retry --all`."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    assert is_confirmed("¿Hacerlo?") is is_yes
    told = capsys.readouterr()
    assert (told.out, told.err.rstrip("\n")) == ("", "¿Hacerlo? [s/N] ")


def test_where_nobody_can_answer_the_answer_is_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert not is_confirmed("¿Hacerlo?")
