"""The first installation, and what can go wrong with the database's tables."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest

from tests.repository import PRODUCT_FOLDERS, REPOSITORY
from tests.stories.installation import PLATFORM_TABLES, Installation

PLATFORM = ("cloud_providers", "ejecuciones_config", "ejecuciones_yaml")
MADE_IF_MISSING = ("secretos_nube", "historial_backup", "notificaciones")


def _columns(installation: Installation) -> list[tuple[str, ...]]:
    rows = installation.rows(
        "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns "
        "WHERE table_schema = 'public' ORDER BY 1, 2"
    )
    return [tuple(row.values()) for row in rows]


def _use_a_copy_of_the_checkout(installation: Installation) -> Path:
    copy = installation.directory / "checkout"
    for name in PRODUCT_FOLDERS:
        shutil.copytree(REPOSITORY / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "janitor_daemon.py", copy)
    installation.program = copy / "janitor_daemon.py"
    return copy


def test_init_db_makes_all_tables_in_an_empty_database(bare_installation: Installation) -> None:
    run = bare_installation.run("init-db")
    assert run.exit_code == 0, str(run)
    tables = {table for table, *_ in _columns(bare_installation)}
    assert {*PLATFORM, "janitor_migrations", "janitor_attempts", "janitor_runs"} <= tables
    bare_installation.execute("INSERT INTO ejecuciones_yaml (uuid) VALUES ('u')")
    assert bare_installation.place("u") == (False, None, None)


def test_the_platform_tables_that_init_db_makes_are_those_of_the_platform(
    bare_installation: Installation, database_url: str
) -> None:
    bare_installation.execute("CREATE SCHEMA made")
    bare_installation.execute(f"SET search_path = made; {PLATFORM_TABLES}; RESET search_path")
    bare_installation.run("init-db")
    question = (
        "SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default "
        "FROM information_schema.columns WHERE table_schema = %s AND table_name = ANY(%s) "
        "AND column_name <> 'id' ORDER BY 1, 2"
    )
    assert bare_installation.rows(question, ("public", list(PLATFORM))) == bare_installation.rows(
        question, ("made", list(PLATFORM))
    )


def test_init_db_again_changes_nothing(bare_installation: Installation) -> None:
    bare_installation.run("init-db")
    columns, content = _columns(bare_installation), bare_installation.everything_in_the_database()
    run = bare_installation.run("init-db")
    assert run.exit_code == 0, str(run)
    assert (_columns(bare_installation), bare_installation.everything_in_the_database()) == (columns, content)


def test_several_init_db_at_once_all_succeed(bare_installation: Installation) -> None:
    with contextlib.ExitStack() as stack:
        commands = [stack.enter_context(bare_installation.start("init-db")) for _ in range(3)]
        runs = [command.finish() for command in commands]
    assert [run.exit_code for run in runs] == [0, 0, 0], str(runs)
    numbers = [row["number"] for row in bare_installation.rows("SELECT number FROM janitor_upgrades ORDER BY 1")]
    assert numbers == list(range(1, len(numbers) + 1))
    assert bare_installation.run("--clean-only").exit_code == 0


def test_init_db_leaves_the_tables_of_a_grown_platform_as_they_are(bare_installation: Installation) -> None:
    bare_installation.create_platform_tables(
        ("nube_provider_id INTEGER\n", "nube_provider_id INTEGER,\n    usuario TEXT NOT NULL DEFAULT 'nadie'\n"),
        ("activo        BOOLEAN DEFAULT true", "activo BOOLEAN, creado TIMESTAMPTZ DEFAULT now(), notas TEXT"),
    )
    bare_installation.execute("CREATE TABLE usuarios (id INTEGER PRIMARY KEY)")
    bare_installation.execute("INSERT INTO ejecuciones_yaml (uuid, usuario) VALUES ('vieja', 'ana')")
    columns = _columns(bare_installation)
    content = bare_installation.everything_in_the_database()
    run = bare_installation.run("init-db")
    assert run.exit_code == 0, str(run)
    assert [column for column in _columns(bare_installation) if column in columns] == columns
    after = bare_installation.everything_in_the_database()
    for table in (*PLATFORM, "usuarios"):
        assert after[table] == content[table]
    new_tables = {table for table, *_ in _columns(bare_installation)} - {table for table, *_ in columns}
    assert all(table.startswith("janitor_") or table in MADE_IF_MISSING for table in new_tables)


def test_an_upgrade_that_was_edited_after_it_was_applied_is_noticed(bare_installation: Installation) -> None:
    copy = _use_a_copy_of_the_checkout(bare_installation)
    assert bare_installation.run("init-db").exit_code == 0
    (first, *_) = sorted((copy / "sql" / "upgrades").glob("*.sql"))
    first.write_text(first.read_text() + "\n-- una coma de nada\n")
    for command in (["init-db"], []):
        run = bare_installation.run(*command)
        assert run.exit_code == 2, str(run)
        (message,) = run.messages("ERROR")
        assert first.name in message
        assert "cambió" in message


def test_a_database_of_a_newer_version_is_left_alone(bare_installation: Installation) -> None:
    assert bare_installation.run("init-db").exit_code == 0
    bare_installation.execute(
        "INSERT INTO janitor_upgrades (number, name, sha256) VALUES (9999, '9999_futuro.sql', 'x')"
    )
    content = bare_installation.everything_in_the_database()
    for command in (["init-db"], [], ["--dry-run"], ["status"]):
        run = bare_installation.run(*command)
        assert run.exit_code == 2, str(run)
        (message,) = run.messages("ERROR")
        assert "9999_futuro.sql" in message
        assert "más nueva" in message
    assert bare_installation.everything_in_the_database() == content


def test_an_older_database_asks_for_init_db_and_is_upgraded_by_it(bare_installation: Installation) -> None:
    copy = _use_a_copy_of_the_checkout(bare_installation)
    assert bare_installation.run("init-db").exit_code == 0
    (copy / "sql" / "upgrades" / "9998_algo_mas.sql").write_text("CREATE TABLE janitor_algo_mas (id INTEGER);\n")
    run = bare_installation.run()
    assert run.exit_code == 2, str(run)
    assert "9998_algo_mas.sql" in run.messages("ERROR")[0]
    assert "init-db" in run.messages("ERROR")[0]
    assert bare_installation.run("init-db").exit_code == 0
    assert bare_installation.rows("SELECT * FROM janitor_algo_mas") == []
    assert bare_installation.run().exit_code == 0


@pytest.mark.parametrize("platform_exists", [True, False])
@pytest.mark.parametrize("command", ["", "--clean-only", "--migrate-only", "--dry-run", "status", "check"])
def test_whatever_runs_before_init_db_says_to_run_it(
    bare_installation: Installation, command: str, platform_exists: bool
) -> None:
    if platform_exists:
        bare_installation.create_platform_tables()
    run = bare_installation.run(*command.split())
    assert run.exit_code == 2, str(run)
    (message,) = run.messages("ERROR")
    assert "init-db" in message
