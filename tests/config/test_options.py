"""Questions of commands: a clear yes in the operators' language, and nothing else, is one."""

from __future__ import annotations

import io
import sys

import click
import pytest

from config.options import is_confirmed


@pytest.mark.parametrize(
    ("answer", "is_yes"),
    [("s\n", True), ("Sí\n", True), (" si \n", True), ("y\n", True), ("n\n", False), ("\n", False),
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


@pytest.mark.parametrize("input_", [None, io.StringIO("")], ids=["closed", "at its end"])
def test_where_nobody_can_answer_the_order_is_not_done_and_that_is_an_error(
    monkeypatch: pytest.MonkeyPatch, input_: io.StringIO | None
) -> None:
    monkeypatch.setattr(sys, "stdin", input_)
    with pytest.raises(click.UsageError, match="--yes"):
        is_confirmed("¿Hacerlo?")
