"""What `check` says of settings: which are there, where they come from, and what is wrong, never what they say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from commands.check_settings import check_settings
from config.declared import declared
from config.settings import load_settings
from config.text.parsers import boolean
from jobs.findings import Finding
from jobs.settings import WHOLE_PROGRAM, Group


@dataclass(frozen=True, slots=True)
class ExampleSettings:
    """The settings of a job that is not there."""

    on: bool = declared("EXAMPLE_ON", boolean, default="false", spanish="Activa.", english="On.")


GROUPS = (WHOLE_PROGRAM, Group("example", "el ejemplo", ExampleSettings))


def findings(environment: dict[str, str]) -> dict[str, Finding]:
    """What is said, by its subject."""
    settings = load_settings(environment, lambda: [ExampleSettings])
    return {finding.subject: finding for finding in check_settings(settings, GROUPS)}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty `janitor.toml` in the working directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "janitor.toml"
    path.touch(mode=0o600)
    return path


def test_the_variables_that_are_set_are_named_without_their_values(file: Path) -> None:
    found = findings({"DATABASE_URL": "postgresql://u:clave-secreta@h/d", "EXAMPLE_ON": "true", "TEMP_DIR": ""})
    assert found["variables"].text == "definidas: DATABASE_URL, EXAMPLE_ON"
    assert "clave-secreta" not in str(found)
    assert findings({})["variables"].text == "definidas: ninguna"


def test_names_that_mean_nothing_and_wrong_values_of_jobs_are_reported(file: Path) -> None:
    found = findings({"JANITOR_ROTS": "/a", "EXAMPLE_ON": "quizá"})
    assert found["entorno"].text == "JANITOR_ROTS no se conoce; ¿quería decir JANITOR_ROOTS?"
    assert found["trabajo example"].text == "EXAMPLE_ON debe ser true o false"
    assert not found["entorno"].in_order
    assert not found["trabajo example"].in_order


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o400])
def test_the_file_that_was_read_is_shown(file: Path, mode: int) -> None:
    file.chmod(mode)
    found = findings({})["janitor.toml"]
    assert found.in_order
    assert found.text == f"se leyó {file}; solo lo cambia su dueño (modo {mode:o})"


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_change_is_reported(file: Path, mode: int) -> None:
    """As with `.env`: it decides what is done here, perhaps as root."""
    file.chmod(mode)
    found = findings({})["janitor.toml"]
    assert not found.in_order
    assert found.text == f"tiene modo {mode:o} y otros usuarios lo pueden cambiar; ejecute chmod go-w {file}"


def test_that_there_is_no_file_is_said(file: Path) -> None:
    file.unlink()
    assert findings({})["janitor.toml"].in_order
