"""What the README and the examples say, tried out: they must not drift away from the program."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import psycopg2
import pytest
from dotenv import dotenv_values

from commands.command_line import cli
from config.declared import Listed, Sources, Variable, lists_of, variables_of
from config.models import ProviderRow
from config.settings import load_settings
from jobs.settings import all_groups
from providers import KINDS, build_provider
from sql.database import Database
from tests.repository import PRODUCT_FOLDERS, REPOSITORY
from tools.settings_documents import documents

ENVIRONMENT_VARIABLE = re.compile(
    r"\b(?:DATABASE_URL|TELEGRAM_TOKEN|ADMIN_ID|(?:BACKUP|DISK|JANITOR|LOGS|TEMP)_[A-Z_]+)\b"
)
NO_SETTINGS = frozenset(("JANITOR_", "LOGS_OF_THE_SYSTEM", "TEMP_DIRECTORY"))
"""What looks like a variable and is none."""


def readme() -> str:
    """The README's text."""
    return (REPOSITORY / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The code blocks of the README in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", readme(), re.MULTILINE | re.DOTALL)


def variables_of_texts(*texts: str) -> set[str]:
    """The environment variables that texts mention."""
    return {name for text in texts for name in ENVIRONMENT_VARIABLE.findall(text)}


def test_rows_of_the_readme_make_a_policy_and_usable_providers(database_url: str) -> None:
    with contextlib.closing(Database(database_url, "host")) as database:
        database.connect()
        database.initialize()
        with contextlib.closing(psycopg2.connect(database_url)) as platform, platform, platform.cursor() as cursor:
            for statement in blocks("sql"):
                cursor.execute(statement)
        policy = database.load_policy()
        rows = list(database.load_provider_rows())
    assert policy is not None
    assert policy.provider_ids == (1, 2, 3)
    kinds = set()
    for row in rows:
        assert isinstance(row, ProviderRow)
        build_provider(row).close()
        kinds.add(row.kind)
    assert kinds == set(KINDS) - {"gcs"}  # another name of gcp


@pytest.mark.parametrize("path", documents(all_groups()))
def test_what_documents_say_of_settings_is_what_is_declared(path: str) -> None:
    """If it is not: `make env-example` writes them."""
    assert (REPOSITORY / path).read_text(encoding="utf-8") == documents(all_groups())[path]


def test_every_variable_that_anything_names_is_declared() -> None:
    """Looked for in the program, the documents and the example for cron."""
    declared = {variable.name for group in all_groups() for variable in variables_of(group.kind)}
    paths = [
        *(path for folder in PRODUCT_FOLDERS for path in (REPOSITORY / folder).rglob("*.py")),
        *(REPOSITORY / "docs").rglob("*.md"),
        *(REPOSITORY / name for name in ("README.md", ".env.example", "crontab.example", "janitor_daemon.py")),
    ]
    named = variables_of_texts(*(path.read_text(encoding="utf-8") for path in paths))
    assert len(named) >= 10
    assert named - declared - NO_SETTINGS == set()
    assert declared == {name for name in declared if ENVIRONMENT_VARIABLE.fullmatch(name)}, "looked for, too"


def test_each_value_of_the_example_is_one_that_its_variable_takes(tmp_path: Path) -> None:
    """What stands behind a `#`, too: it is there to be uncommented."""
    lines = (REPOSITORY / ".env.example").read_text(encoding="utf-8").splitlines()
    file = tmp_path / "example"
    file.write_text("\n".join(line.removeprefix("#") for line in lines if re.match("#?[A-Z_]+=", line)))
    written = dotenv_values(file)
    declared = [variable for group in all_groups() for variable in variables_of(group.kind)]
    assert list(written) == list(dict.fromkeys(variable.name for variable in declared))
    for variable in declared:
        if written[variable.name]:
            variable.value(Sources({variable.name: written[variable.name] or ""}))


def test_each_declaration_speaks_both_languages_in_whole_sentences() -> None:
    for group in all_groups():
        declarations: list[Variable[Any] | Listed] = [*variables_of(group.kind), *lists_of(group.kind)]
        for declaration in declarations:
            assert re.fullmatch(r"[A-ZÁÉÍÓÚ¿].*\.", declaration.spanish), declaration.name
            assert re.fullmatch(r"[A-Z`].*\.", declaration.english), declaration.name


def test_a_unit_stands_behind_a_number_only() -> None:
    table = documents(all_groups())["docs/settings.md"]
    defaults = re.findall(r"^\| `[A-Z_]+` \| (.*?) \|", table, re.MULTILINE)
    assert "`365` days" in defaults
    assert [default for default in defaults if re.search("(days|hours|MB|GB)$", default) and "`" not in default] == []


def test_every_command_has_a_row_in_the_readme() -> None:
    table = "".join(line for line in readme().splitlines() if line.startswith("| `"))
    commands = cli.list_commands(click.Context(cli))
    assert "restore" in commands
    assert [name for name in commands if not re.search(rf"`{name}[ `]", table)] == []


def test_a_variable_that_two_groups_read_is_declared_once() -> None:
    declared = [variable for group in all_groups() for variable in variables_of(group.kind)]
    first = {variable.name: variable for variable in reversed(declared)}
    assert [variable.name for variable in declared if variable is not first[variable.name]] == []


def test_example_of_the_environment_is_valid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in variables_of_texts((REPOSITORY / ".env.example").read_text(encoding="utf-8")):
        monkeypatch.setenv(name, "")  # so that what load_settings puts there is undone
        monkeypatch.delenv(name)
    (tmp_path / ".env").write_bytes((REPOSITORY / ".env.example").read_bytes())
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert settings.roots == ("/srv/sage/ejecuciones",)
    assert settings.database_url == "postgresql://janitor:password@localhost:5432/sage"


def test_every_link_of_a_document_leads_to_a_file() -> None:
    documents_in_english = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")]
    links = [
        (document, target)
        for document in documents_in_english
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8"))
        if "://" not in target
    ]
    assert len(links) >= 10
    assert [(document.name, target) for document, target in links if not (document.parent / target).exists()] == []


def test_every_link_to_a_heading_leads_to_one() -> None:
    documents_in_english = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")]
    links = [
        (document, target, heading)
        for document in documents_in_english
        for target, heading in re.findall(r"\]\(([^)#]*)#([^)]+)\)", document.read_text(encoding="utf-8"))
        if "://" not in target
    ]
    assert len(links) >= 3
    broken = [
        (document.name, target, heading)
        for document, target, heading in links
        if heading not in anchors_of(document.parent / target if target else document)
    ]
    assert broken == []


def anchors_of(document: Path) -> set[str]:
    """The headings of a document, as links name them."""
    headings = re.findall("^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture
def run_cron_line(tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Run the line of crontab.example as cron does, with a program that behaves as a shell script says."""

    def run(program: str) -> subprocess.CompletedProcess[str]:
        installation = tmp_path / "janitor daemon"
        python = installation / ".venv/bin/python"
        python.parent.mkdir(parents=True, exist_ok=True)
        python.write_text(
            f'#!/bin/sh\n[ "$1" = janitor_daemon.py ] && [ "$PWD" = "{installation}" ] || exit 99\n{program}\n'
        )
        python.chmod(0o755)
        table = (REPOSITORY / "crontab.example").read_text(encoding="utf-8")
        (line,) = (line for line in table.splitlines() if re.match(r"[0-9*]", line))
        return subprocess.run(
            ["/bin/sh", "-c", line.split(maxsplit=5)[5]],
            env={"PATH": "/usr/bin:/bin", "JANITOR": str(installation)},
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
        )

    return run


CronLine = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.mark.parametrize("exit_code", [0, 75])
def test_cron_line_is_silent_when_nothing_is_wrong(run_cron_line: CronLine, exit_code: int) -> None:
    result = run_cron_line(f"echo a log line >&2; exit {exit_code}")
    assert (result.stdout, result.stderr, result.returncode) == ("", "", 0)


@pytest.mark.parametrize("exit_code", [1, 3])
def test_cron_line_shows_what_went_wrong(run_cron_line: CronLine, exit_code: int) -> None:
    result = run_cron_line(f"echo a log line >&2; exit {exit_code}")
    assert (result.stdout, result.returncode) == ("a log line\n", exit_code)
