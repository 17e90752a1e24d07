"""Everything that operators read of the command line is in Spanish, also what the command-line library says."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

import janitor_daemon
from config.wording import in_spanish
from janitor_daemon import cli, run_command_line

COMMANDS = [[], *([name] for name in cli.list_commands(click.Context(cli)))]
ENGLISH = re.compile(
    r"\b(usage|options?|commands?|arguments?|args|show|this|message|and|exit|version|such|no such|did|you|mean|one of|"
    r"possible|missing|requires?|does|not|take|value|values|got|unexpected|extra|invalid|for|try|help|default|"
    r"choose|from|is|valid|must|required|name|path|directory|text|integer|float|deprecated|error:? the)\b",
    re.IGNORECASE,
)
OUR_OWN_NAMES = re.compile(r"(?<!\w)--?[a-z][\w-]*|'[^']*'|\bError:")
"""Options and what is quoted from the command line are names, and "Error" is also Spanish."""

USAGE_ERRORS = [
    (["--no-existe"], "No existe la opción '--no-existe'."),
    (["-x"], "No existe la opción '-x'."),
    (["--no existe"], "No existe la opción '--no existe'."),
    (["--debgu"], "No existe la opción '--debgu'. ¿Quería decir '--debug'?"),
    (["--only"], "No existe la opción '--only'. (¿Quería decir una de estas: '--clean-only', '--migrate-only'?)"),
    (["no-existe"], "No existe la orden 'no-existe'."),
    (["no existe."], "No existe la orden 'no existe.'."),
    (["statsu"], "No existe la orden 'statsu'. ¿Quería decir 'status'?"),
    (["--retention-hours"], "La opción '--retention-hours' necesita un valor."),
    (["--debug=1"], "La opción '--debug' no lleva valor."),
    (
        ["--retention-hours", "x"],
        "Valor no válido para '--retention-hours': debe ser un número de horas mayor o igual que 0 (0.5 es media hora)",
    ),
    (["--clean-only", "--migrate-only"], "--clean-only y --migrate-only no se pueden usar juntas"),
    (["restore"], "Falta el argumento 'UUID'."),
    (["restore", "x"], "Falta el argumento 'DESTINO'."),
    (["restore", "x", "y", "z"], "Sobran argumentos: z"),
    (["restore", "x", ""], "Valor no válido para 'DESTINO': está vacío"),
    (["restore", "", "y"], "Valor no válido para 'UUID': está vacío"),
    (
        ["restore", "x", "no-hay/y"],
        "Valor no válido para 'DESTINO': no existe no-hay, en el que se crearía y: cree ese directorio antes",
    ),
    (["status", "x y", "z"], "Sobran argumentos: x y z"),
    (["status", "--jsno"], "No existe la opción '--jsno'. ¿Quería decir '--json'?"),
    (["init-db", "--debug"], "No existe la opción '--debug'."),
    (["demo", "--directory"], "La opción '--directory' necesita un valor."),
]


@pytest.fixture(autouse=True)
def _leave_the_tests_own_logging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(janitor_daemon, "configure_logging", lambda *_arguments, **_options: None)


def english_words(text: str) -> list[str]:
    """The library's words that are left in a text."""
    return ENGLISH.findall(OUR_OWN_NAMES.sub("", text))


def test_the_search_for_english_words_finds_the_librarys_own() -> None:
    for text in ("Usage: x [OPTIONS]", "Show this message and exit.", "No such command 'x'.", "Did you mean 'x'?"):
        assert english_words(text)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0] if command else "cli")
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_the_help_is_in_spanish(command: list[str], option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line([*command, option]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"Uso: {' '.join(['janitor-daemon', *command])} [OPCIONES]")
    assert "\nOpciones:\n" in text
    assert "Muestra esta ayuda y termina." in text
    assert english_words(text) == []


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["--version"]) == 0
    assert re.fullmatch(r"janitor-daemon \d+\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize(("arguments", "message"), USAGE_ERRORS, ids=[" ".join(case[0]) for case in USAGE_ERRORS])
def test_a_usage_error_is_in_spanish(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    *usage, error = output.err.splitlines()
    assert error == f"Error: {message}"
    assert all(line.startswith("Uso: janitor-daemon ") for line in usage)
    assert english_words(output.err) == []


@pytest.mark.parametrize(
    ("older", "message"),
    [
        ("No such option: --x Did you mean --y?", "No existe la opción --x. ¿Quería decir --y?"),
        ("No such option: --x (Possible options: --y, --z)", "No existe la opción --x. (opciones parecidas: --y, --z)"),
        ("No such option: --x", "No existe la opción --x."),
        ("Got unexpected extra arguments (x y)", "Sobran argumentos: x y"),
    ],
)
def test_the_wordings_of_older_versions_of_the_library_are_known_too(older: str, message: str) -> None:
    assert in_spanish(older) == message
