"""Options, usage errors, retention, and the dry run that changes nothing anywhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.destinations import Destination
from tests.stories.installation import Installation
from tests.stories.trees import snapshot


def _old_temporary_file(installation: Installation) -> Path:
    path = installation.temporary / "viejo"
    path.touch()
    os.utime(path, (0, 0))
    return path


def test_migrate_only_cleans_nothing(installation: Installation, nas: Destination) -> None:
    installation.configure(installation.add_provider(nas))
    installation.small_execution("uno")
    path = _old_temporary_file(installation)
    run = installation.run("--migrate-only")
    assert run.exit_code == 0, str(run)
    assert installation.place("uno")[0] is True
    assert path.exists()
    assert not [line for line in run.messages() if "Limpieza" in line]


@pytest.mark.parametrize(
    ("configured", "arguments", "migrated"),
    [
        (24, [], ["25h"]),
        (None, [], ["0h", "1h", "25h"]),
        (0, [], ["0h", "1h", "25h"]),
        (24, ["--retention-hours", "0"], ["0h", "1h", "25h"]),
        (24, ["--retention-hours", "0.5"], ["1h", "25h"]),
        (0, ["--retention-hours=1e3"], []),
        (0, ["--retention-hours", "1e300"], []),
        (1000, [], []),
        (2147483647, [], []),
    ],
)
def test_only_what_is_older_than_the_retention_is_migrated(
    installation: Installation, nas: Destination, configured: int | None, arguments: list[str], migrated: list[str]
) -> None:
    installation.configure(installation.add_provider(nas), tiempo_retencion_local=configured)
    installation.small_execution("0h", age_hours=0)
    installation.small_execution("1h", age_hours=1)
    installation.small_execution("25h", age_hours=25)
    installation.small_execution("futura", age_hours=-1)
    run = installation.run(*arguments)
    assert run.exit_code == 0, str(run)
    rows = installation.rows("SELECT uuid FROM ejecuciones_yaml WHERE migrado_a_nube ORDER BY uuid")
    assert [row["uuid"] for row in rows] == migrated


@pytest.mark.parametrize(
    "arguments",
    [
        ["--clean-only", "--migrate-only"],
        ["--retention-hours", "-1"],
        ["--retention-hours", "nan"],
        ["--retention-hours", "inf"],
        ["--retention-hours", "mucho"],
        ["--retention-hours", ""],
        ["--retention-hours"],
        ["--no-existe"],
        ["no-existe"],
        ["restore"],
        ["restore", "solo-uuid"],
        ["restore", "uno", ""],
        ["restore", "", "restaurada"],
        ["restore", "uno", "no-hay/restaurada"],
        ["status", "de-mas"],
    ],
    ids=" ".join,
)
def test_a_usage_error_is_one_line_and_does_nothing(
    installation: Installation, nas: Destination, arguments: list[str]
) -> None:
    installation.configure(installation.add_provider(nas))
    installation.small_execution("uno")
    path = _old_temporary_file(installation)
    content = installation.everything_in_the_database()
    run = installation.run(*arguments)
    assert run.exit_code == 2, str(run)
    assert run.errors.splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in run.errors
    assert installation.everything_in_the_database() == content
    assert path.exists()
    assert not installation.logs.exists()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("JANITOR_ROOTS", "relativa"),
        ("JANITOR_ROOTS", "/"),
        ("JANITOR_ROOTS", "/a:/"),
        ("JANITOR_LOG_FORMAT", "xml"),
        ("DATABASE_URL", "mysql://usuario:no-debe-verse@servidor/base"),
        ("DATABASE_URL", "no-debe-verse"),
    ],
)
def test_a_wrong_setting_is_named_without_a_secret(installation: Installation, variable: str, value: str) -> None:
    path = _old_temporary_file(installation)
    run = installation.run(**{variable: value})
    assert run.exit_code == 2, str(run)
    assert variable in run.errors
    assert "no-debe-verse" not in run.errors
    assert "Traceback" not in run.errors
    assert path.exists()


def test_settings_are_read_from_a_file_too_and_the_environment_rules(
    installation: Installation, nas: Destination
) -> None:
    home = Path(installation.environment["HOME"])
    (home / ".env").write_text(f"DATABASE_URL={installation.database_url}\nTEMP_DIR=/no/existe\n")
    path = _old_temporary_file(installation)
    run = installation.run("--clean-only", DATABASE_URL=None)
    assert run.exit_code == 0, str(run)
    assert not path.exists()


def test_libpqs_own_variables_name_the_database(installation: Installation) -> None:
    _, _, rest = installation.database_url.partition("://")
    login, _, address = rest.partition("@")
    (user, _, password), (place, _, name) = login.partition(":"), address.partition("/")
    host, _, port = place.partition(":")
    variables = {"PGHOST": host, "PGPORT": port, "PGUSER": user, "PGPASSWORD": password, "PGDATABASE": name}
    run = installation.run("--clean-only", DATABASE_URL=None, **variables)
    assert run.exit_code == 0, str(run)
    assert len(installation.rows("SELECT FROM janitor_runs")) == 1


def test_rows_without_a_directory_are_skipped_with_a_warning(installation: Installation, nas: Destination) -> None:
    installation.configure(installation.add_provider(nas))
    missing = installation.executions / "no-esta"
    installation.add_execution("no-esta", missing)
    installation.small_execution("uno")
    for arguments in ([], ["--existing-dirs-only"]):
        run = installation.run(*arguments)
        assert run.exit_code == 0, str(run)
        (warning,) = run.messages("WARNING")
        assert warning.startswith("Directorio no encontrado para ejecución no-esta")
    assert installation.place("uno")[0] is True
    assert installation.place("no-esta") == (False, None, None)


def test_all_dirs_tries_them_and_reports_them_as_failed(installation: Installation, nas: Destination) -> None:
    installation.configure(installation.add_provider(nas))
    installation.add_execution("no-esta", installation.executions / "no-esta")
    installation.small_execution("uno")
    run = installation.run("--all-dirs")
    assert run.exit_code == 1, str(run)
    assert [
        line for line in run.messages("WARNING") if line.startswith("Directorio no encontrado para ejecución no-esta")
    ]
    assert [line for line in run.messages("ERROR") if line.startswith("No se pudo migrar la ejecución no-esta")]
    assert installation.place("uno")[0] is True
    assert nas.everything_stored() == {
        "ejecuciones/uno.manifest.json",
        "ejecuciones/uno/ejecucion.txt",
        "ejecuciones/uno/tabla.txt",
    }


@pytest.mark.parametrize("arguments", [[], ["--migrate-only"], ["--clean-only"], ["--all-dirs"]], ids=" ".join)
def test_a_dry_run_changes_nothing_anywhere(
    installation: Installation, new_destination: Callable[[str], Destination], arguments: list[str]
) -> None:
    destination = new_destination("s3-rclone")
    provider = installation.add_provider(destination, "La nube")
    installation.configure(provider, eliminar_despues_de_migrar=True)
    installation.small_execution("hecha")
    assert installation.run().exit_code == 0
    installation.small_execution("uno")
    installation.add_execution("mala", "/etc")
    installation.add_execution("no-esta", installation.executions / "no-esta")
    _old_temporary_file(installation)
    log = installation.log_file.read_bytes()
    files, stored = snapshot(installation.directory), destination.everything_stored()
    content = installation.everything_in_the_database()

    run = installation.run("--dry-run", *arguments)

    assert run.exit_code == 0, str(run)
    assert installation.everything_in_the_database() == content
    assert destination.everything_stored() == stored
    after = snapshot(installation.directory)
    for own in (b"trabajo", *(path for path in after if path.startswith(b"trabajo/"))):  # this test's own capture
        after.pop(own, None)
        files.pop(own, None)
    assert after == files
    assert installation.log_file.read_bytes() == log
    told = "\n".join(run.messages())
    assert ("Se migraría la ejecución uno" in told) == ("--clean-only" not in arguments)
    assert ("[simulación] Limpieza: se eliminarían 1 archivos temporales (0.00 MB)" in told) == (
        "--migrate-only" not in arguments
    )
    if "--clean-only" not in arguments:
        assert "La nube" in told
        assert "No se migraría la ejecución mala" in told


def test_a_dry_run_makes_no_log_directory(installation: Installation) -> None:
    assert installation.run("--dry-run").exit_code == 0
    assert not installation.logs.exists()


def test_help_and_version_need_no_database(bare_installation: Installation) -> None:
    for arguments in (["--help"], ["-h"], ["status", "--help"], ["--version"]):
        run = bare_installation.run(*arguments, DATABASE_URL="postgresql://127.0.0.1:1/nada")
        assert run.exit_code == 0, str(run)
        assert run.output


def test_commands_of_a_story_that_run_at_once_each_end_as_they_would_alone(
    installation: Installation, nas: Destination
) -> None:
    installation.configure(installation.add_provider(nas))
    with ThreadPoolExecutor(4) as threads:
        runs = list(threads.map(installation.run, ["status", "--version", "--no-such-option", "jobs"] * 2))
    assert [run.exit_code for run in runs] == [0, 0, 2, 0] * 2
    for status, version, mistake, jobs in zip(*(iter(runs),) * 4, strict=True):
        assert "La primaria" in status.output or "nas" in status.output
        assert version.output.startswith("janitor-daemon ")
        assert "--no-such-option" in mistake.errors
        assert "migration" in jobs.output
