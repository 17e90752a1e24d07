"""Everything that operators read of the command line is in Spanish, also what the command-line library says."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from commands import command_line
from commands.command_line import cli
from config.text.amounts import DURATION_HINT, SIZE_HINT
from config.text.wording import REASONS, in_spanish, reason_of
from janitor_daemon import run_command_line
from jobs.registry import all_jobs
from tests.repository import PRODUCT_FOLDERS, REPOSITORY

COMMANDS = [[], *([name] for name in cli.list_commands(click.Context(cli)))]
ENGLISH = re.compile(
    r"\b(usage|options?|commands?|arguments?|args|show|this|message|and|exit|version|such|no such|did|you|mean|one of|"
    r"possible|missing|requires?|does|not|take|value|values|got|unexpected|extra|invalid|for|try|help|default|"
    r"choose|from|is|valid|must|required|name|path|directory|text|integer|float|deprecated|error:? the)\b",
    re.IGNORECASE,
)
OUR_OWN_NAMES = re.compile(r"(?m:^  show  )|(?<!\w)--?[a-z][\w-]*|'[^']*'|\bError:|\bdefecto,\s+text\b")
"""Options, what is quoted from the command line and values of variables are names, and "Error" is also Spanish."""

JOBS = [job.name for job in all_jobs()]
THE_JOBS = f"los trabajos son {', '.join(JOBS)}"
NO_URI = "no es una URI de PostgreSQL válida (postgresql://usuario@host/base)"
NOTHING_IS_LEFT = "con estas opciones no queda ningún trabajo que hacer; quite --skip o cambie --only"

USAGE_ERRORS = [
    (["--no-existe"], "No existe la opción '--no-existe'."),
    (["backup", "restore", "x"], "Valor no válido para 'ID': 'x' no es un número."),
    (["audit", "--sample", "0"], "Valor no válido para '--sample': 0 no está entre los valores que se admiten: x>=1."),
    (
        ["report", "--days", "366"],
        "Valor no válido para '--days': 366 no está entre los valores que se admiten: 1<=x<=365.",
    ),
    (["report", "--html", "/"], "Valor no válido para '--html': '/' es un directorio, y ha de ser un fichero."),
    (["backup", "restore", "3", "--to", "nohay"], f"--to {NO_URI}"),
    (["backup", "verify", "--server", "nohay"], f"--server {NO_URI}"),
    (["-x"], "No existe la opción '-x'."),
    (["--no existe"], "No existe la opción '--no existe'."),
    (["--debgu"], "No existe la opción '--debgu'. ¿Quería decir '--debug'?"),
    (["--onl"], "No existe la opción '--onl'. ¿Quería decir '--only'?"),
    (["--cleanonly"], "No existe la opción '--cleanonly'. (¿Quería decir una de estas: '--clean-only', '--only'?)"),
    (["--only"], "La opción '--only' necesita un valor."),
    (["--only", "tmp"], f"Valor no válido para '--only': tmp no se conoce; ¿quería decir temp?; {THE_JOBS}"),
    (
        ["--skip", "temp,migracion"],
        f"Valor no válido para '--skip': migracion no se conoce; ¿quería decir migration?; {THE_JOBS}",
    ),
    (["--only", ","], "Valor no válido para '--only': está vacío"),
    (["run", "nada"], f"Valor no válido para 'TRABAJO': nada no se conoce; {THE_JOBS}"),
    (["--only", "temp", "--clean-only"], "--only no se puede usar con --clean-only ni con --migrate-only"),
    (["--only", "temp", "--skip", "temp"], NOTHING_IS_LEFT),
    (["--clean-only", "--skip", "temp"], NOTHING_IS_LEFT),
    (["--skip", ",".join(JOBS), "--dry-run"], NOTHING_IS_LEFT),
    (["no-existe"], "No existe la orden 'no-existe'."),
    (["no existe."], "No existe la orden 'no existe.'."),
    (["rebuild"], "Falta la opción '--provider'."),
    (
        ["completion", "csh"],
        "Valor no válido para 'bash|zsh|fish': 'csh' no es ninguna de estas: 'bash', 'zsh', 'fish'.",
    ),
    (["statsu"], "No existe la orden 'statsu'. ¿Quería decir 'status'?"),
    (["--retention-hours"], "La opción '--retention-hours' necesita un valor."),
    (["--debug=1"], "La opción '--debug' no lleva valor."),
    (
        ["--retention-hours", "x"],
        "Valor no válido para '--retention-hours': debe ser un número de horas mayor o igual que 0 (0.5 es media hora)",
    ),
    (["--max-bytes", "100"], "Valor no válido para '--max-bytes': " + SIZE_HINT),
    (["--max-duration", "5"], "Valor no válido para '--max-duration': " + DURATION_HINT),
    (["--dry-run", "status"], "--dry-run es una opción del ciclo y delante de status no vale; quítela"),
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
    monkeypatch.setattr(command_line, "configure_logging", lambda *_arguments, **_options: None)


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


def test_the_version_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
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


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize(
    "command", [*COMMANDS, ["secret", "set"], ["secret", "rotate"]], ids=lambda command: " ".join(command) or "cli"
)
def test_the_help_fits_into_the_terminal(
    command: list[str], columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert run_command_line([*command, "--help"]) == 0
    text = capsys.readouterr().out
    assert [line for line in text.splitlines() if len(line) > columns] == []
    assert english_words(text) == []
    assert "..." not in text.partition("\nÓrdenes:\n")[2]


def started(command: list[str], **redirections: Any) -> subprocess.CompletedProcess[str]:
    """What a start of the program as a process of its own gives."""
    return subprocess.run(
        command, cwd=REPOSITORY, env={"PATH": "/usr/bin:/bin"}, check=False, text=True, timeout=60,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **redirections},
    )  # fmt: skip


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["restore", "--help"]], ids=" ".join)
def test_an_output_that_cannot_be_written_is_one_line(arguments: list[str]) -> None:
    """A short one is refused when the buffer is flushed, a long one such as the help when it is written.

    All commands write by `click.echo`, so this holds for every one of them.
    """
    with Path("/dev/full").open("w") as full:
        ended = started([sys.executable, "janitor_daemon.py", *arguments], stdout=full)
    assert ended.returncode == 1
    assert re.fullmatch(r".* - ERROR - no se puede escribir en la salida estándar: no queda espacio.*\n", ended.stderr)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_gives_no_traceback(closed: str) -> None:
    ended = started(["/bin/sh", "-c", f'"$0" janitor_daemon.py --help {closed}', sys.executable])
    assert ended.returncode == 0
    assert ended.stderr == ""


@pytest.mark.parametrize("arguments", [[], ["--help"], ["check"]], ids=" ".join)
def test_without_its_packages_the_program_says_where_they_are(arguments: list[str]) -> None:
    """As when somebody starts it with the system's Python: -S leaves out whatever is installed."""
    ended = started([sys.executable, "-S", "janitor_daemon.py", *arguments])
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("janitor-daemon no puede empezar: falta el paquete click")
    assert ".venv/bin/python" in line
    assert "make venv" in line


@pytest.mark.parametrize("locale", ["C", "POSIX", "es_ES.ISO-8859-1"])
def test_whatever_the_locale_the_output_is_in_utf8(locale: str) -> None:
    ended = subprocess.run(
        [sys.executable, "janitor_daemon.py", "--help"], cwd=REPOSITORY, check=True, capture_output=True, timeout=60,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": locale},
    )  # fmt: skip
    assert "Órdenes" in ended.stdout.decode("utf-8")


@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOSPC, errno.EIO, errno.EMFILE, errno.ENOTDIR, errno.EROFS])
def test_what_the_system_says_is_in_spanish(code: int) -> None:
    assert reason_of(OSError(code, os.strerror(code))) == REASONS[code]
    assert english_words(REASONS[code]) == []


def test_what_somebody_else_has_put_into_words_stays(tmp_path: Path) -> None:
    assert reason_of(OSError(errno.EINVAL, "no es un fichero")) == "no es un fichero"
    assert reason_of(OSError()) == "OSError"
    assert reason_of(OSError(9999, os.strerror(9999))) == os.strerror(9999)


def test_no_message_quotes_the_systems_own_words() -> None:
    """But for what a restore and the log file say, so far."""
    paths = (path for folder in PRODUCT_FOLDERS for path in (REPOSITORY / folder).rglob("*.py"))
    quoting = {
        path.relative_to(REPOSITORY).as_posix()
        for path in paths
        if re.search(r"\{\w+\.strerror", path.read_text(encoding="utf-8"))
    }
    assert quoting <= {"jobs/migration/restore/run.py"}
