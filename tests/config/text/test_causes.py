"""The codes of errors have words for operators, and no report shows a code."""

from __future__ import annotations

import re

import pytest

from config.text.causes import CAUSES, with_cause
from tests.repository import PRODUCT_FOLDERS, REPOSITORY

CODE = re.compile(r'^    code(?:: ClassVar\[str\])? = "([a-z_]+)"$', re.MULTILINE)


def test_every_code_has_words() -> None:
    paths = [path for folder in PRODUCT_FOLDERS for path in (REPOSITORY / folder).rglob("*.py")]
    sources = [path.read_text(encoding="utf-8") for path in paths]
    codes = {code for source in sources for code in CODE.findall(source)}
    assert len(codes) > 30
    assert codes <= CAUSES.keys(), codes - CAUSES.keys()
    assert not any("_" in words for words in CAUSES.values())


@pytest.mark.parametrize(
    ("code", "error", "told"),
    [
        ("access_denied", "firma rechazada", "acceso denegado: firma rechazada"),
        ("access_denied", "Acceso denegado por el cubo", "Acceso denegado por el cubo"),
        ("access_denied", "", "acceso denegado"),
        (None, "algo", "algo"),
        ("of_a_later_version", "algo", "algo"),
        (None, "", "?"),
    ],
)
def test_an_error_follows_its_cause(code: str | None, error: str, told: str) -> None:
    assert with_cause(code, error) == told
