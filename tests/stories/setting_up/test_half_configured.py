"""What is half configured, or misspelt, is refused or told before anything is touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.destinations import Destination
from tests.stories.installation import Installation
from tests.stories.programs import change_constants

OPTIONS_OF_THE_TICK = (
    *("--dry-run", "--clean-only", "--migrate-only", "--all-dirs", "--existing-dirs-only"),
    *("--retention-hours=1", "--transfers=2", "--bandwidth-limit=1M", "--max-duration=1h", "--max-bytes=1G"),
)


def make_old(path: Path) -> Path:
    """A file that cleaning would delete where it is in `TEMP_DIR`."""
    path.write_text("x")
    os.utime(path, (time.time() - 400 * 86400,) * 2)
    return path


def test_a_temp_dir_that_is_no_such_place_is_not_cleaned_and_stops_nothing_else(
    installation: Installation, nas: Destination
) -> None:
    """`status` and `health` judge as a tick does, also before the first one."""
    installation.configure(installation.add_provider(nas))
    directory = installation.small_execution("uno")
    work = Path(installation.environment["HOME"])
    files = [make_old(work / ".env"), make_old(directory / "viejo"), make_old(installation.directory / "viejo")]
    files[0].write_text("")
    for refused, arguments in ((".", "--dry-run"), (str(directory), "--clean-only"), (str(installation.directory), "")):
        status = installation.run("status", "--quiet", TEMP_DIR=refused)
        assert (status.exit_code, "! trabajo temp: TEMP_DIR: " in status.output) == (1, True), str(status)
        health = installation.run("health", TEMP_DIR=refused)
        assert (health.exit_code, "temp mal configurado: TEMP_DIR: " in health.output) == (1, True), str(health)
        run = installation.run(*arguments.split(), TEMP_DIR=refused)
        assert run.exit_code == 2, str(run)
        assert "El trabajo de limpieza no pudo terminar: TEMP_DIR: " in run.messages("ERROR")[0]
        assert all(file.exists() for file in files)
    assert installation.place("uno")[0] is True


@pytest.mark.parametrize("active", [True, False])
@pytest.mark.parametrize("where", ["the same", "in it", "around it"])
def test_a_temp_dir_among_the_copies_of_a_local_provider_is_not_cleaned(
    installation: Installation, tmp_path: Path, active: bool, where: str
) -> None:
    """A file there may be the last copy. Looked for in every mode that cleans, in `check`, and in rows that nobody uses
    any more: their copies are still there.
    """
    copies = tmp_path / "nas" / "copias"
    (copies / "ejecuciones").mkdir(parents=True)
    temporary = {"the same": copies, "in it": copies / "ejecuciones", "around it": copies.parent}[where]
    kept = make_old(temporary / "viejo")
    installation.add_provider_row("NAS", " Local", None, {"ruta": str(copies)}, active=active)
    fault = f"TEMP_DIR: {temporary} es, contiene o está en {copies}, donde un proveedor local"
    for arguments in (["--dry-run"], ["--clean-only", "--dry-run"], ["--clean-only"], []):
        run = installation.run(*arguments, TEMP_DIR=str(temporary))
        assert run.exit_code == 2, str(run)
        assert f"El trabajo de limpieza no pudo terminar: {fault}" in run.messages("ERROR")[0]
    assert kept.exists()
    (row,) = installation.rows("SELECT last_outcome FROM janitor_jobs WHERE job = 'migration'")
    assert row["last_outcome"] == "done"
    status = installation.run("status", "--quiet")
    assert (status.exit_code, fault in status.output) == (1, True), str(status)
    check = installation.run("check", TEMP_DIR=str(temporary))
    assert check.exit_code == 1, str(check)
    assert f"ERROR  directorio temporal: {fault}" in check.output


@pytest.mark.parametrize("fault", ["absent", "in a root"])
def test_a_setting_that_stops_every_run_is_the_first_that_is_said(installation: Installation, fault: str) -> None:
    """Also where the database is gone, and by all who say how things are."""
    directory = installation.executions if fault == "in a root" else installation.directory / "no-está"
    changed = {"JANITOR_LOCK_DIR": str(directory)}
    for commands, first in (
        (["status", "--quiet"], "! ajustes: JANITOR_LOCK_DIR: "),
        (["health"], "jobs: JANITOR_LOCK"),
    ):
        run = installation.run(*commands, **changed)
        assert (run.exit_code, first in run.output) == (1, True), str(run)
    lost = installation.run("status", **changed, DATABASE_URL="postgresql:///?host=/no-hay")
    assert (lost.exit_code, "! ajustes: JANITOR_LOCK_DIR: " in lost.output) == (3, True), str(lost)
    assert installation.run(**changed).exit_code == 2


def test_check_names_such_a_temp_dir_and_a_run_that_cleans_nothing_ignores_it(
    installation: Installation, nas: Destination
) -> None:
    installation.configure(installation.add_provider(nas))
    installation.small_execution("uno")
    run = installation.run("check", TEMP_DIR=".")
    assert run.exit_code == 1
    assert "ERROR  directorio temporal: TEMP_DIR: " in run.output
    assert run.output.count("temporal") == 2, run.output  # its subject and its advice
    assert installation.run("--migrate-only", TEMP_DIR=".").exit_code == 0


@pytest.mark.parametrize("arguments", [[], ["--dry-run"], ["check"], ["init-db"], ["status"]], ids=" ".join)
def test_a_file_that_is_not_understood_stops_every_command(
    installation: Installation, nas: Destination, arguments: list[str]
) -> None:
    installation.configure(installation.add_provider(nas))
    installation.small_execution("uno")
    (Path(installation.environment["HOME"]) / ".env").write_text("JANITOR_HOST=norte\nJANITOR_ROOTS: no-debe-verse\n")
    run = installation.run(*arguments)
    assert run.exit_code == 2, str(run)
    (error,) = run.messages("ERROR")
    assert error.startswith(".env: la línea 2 no se entiende")
    assert "no-debe-verse" not in run.errors
    assert installation.rows("SELECT FROM janitor_runs") == []


@pytest.mark.parametrize("arguments", [[], ["check"]], ids=["tick", "check"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("janitor = 'no-debe-verse", "janitor.toml: el final no se entiende"),
        ("[janitor]\nclave = 'no-debe-verse'\n", "janitor.toml: janitor no se conoce"),
    ],
)
def test_a_list_that_is_not_understood_stops_every_command(
    installation: Installation, nas: Destination, arguments: list[str], content: str, message: str
) -> None:
    """A file that is half obeyed is as bad for lists as it is for variables."""
    installation.configure(installation.add_provider(nas))
    installation.small_execution("uno")
    (Path(installation.environment["HOME"]) / "janitor.toml").write_text(content)
    run = installation.run(*arguments)
    assert run.exit_code == 2, str(run)
    (error,) = run.messages("ERROR")
    assert error.startswith(message)
    assert "no-debe-verse" not in run.errors
    assert installation.rows("SELECT FROM janitor_runs") == []


@pytest.mark.parametrize("arguments", [[], ["check"], ["status"]], ids=" ".join)
def test_a_fifo_or_directory_as_the_file_is_refused_at_once(installation: Installation, arguments: list[str]) -> None:
    file = Path(installation.environment["HOME"], ".env")
    os.mkfifo(file)
    for reason in ("no es un fichero normal", "es un directorio"):
        with installation.start(*arguments) as command:
            run = command.finish(seconds=30)
        assert run.exit_code == 2, str(run)
        assert run.messages("ERROR") == [f".env: no se puede leer: {reason} (en {file.parent})"]
        file.unlink(missing_ok=True) if file.is_fifo() else file.rmdir()
        file.mkdir()


def test_names_that_mean_nothing_are_reported_once_in_a_run_and_named_by_check(
    installation: Installation, nas: Destination
) -> None:
    options = {**nas.options, "RUTA": "no-debe-verse"}
    used = installation.add_provider_row("NAS", "local", {"usuario": "no-debe-verse"}, options)
    installation.add_provider_row("Otra", "local", None, {**options, "rutas": "no-debe-verse"}, active=False)
    installation.configure(used)
    installation.small_execution("uno")
    installation.small_execution("dos")
    fields = [
        "NAS: credenciales.usuario no se conoce",
        "NAS: configuracion.RUTA no se conoce; ¿quería decir ruta?",
    ]
    variable = "JANITOR_ROTS no se conoce; ¿quería decir JANITOR_ROOTS?"
    run = installation.run(JANITOR_ROTS="/srv")
    assert run.exit_code == 0, str(run)
    assert run.messages("WARNING") == [
        f"No se tiene en cuenta lo que no se conoce: {variable}",
        f"No se tiene en cuenta lo que no se conoce: {' · '.join(fields)}",
    ]
    dry = installation.run("--dry-run", JANITOR_ROTS="/srv")
    assert dry.messages("WARNING") == run.messages("WARNING")
    check = installation.run("check", JANITOR_ROTS="/srv")
    assert check.exit_code == 1, str(check)
    for told in (variable, *(field.removeprefix("NAS: ") for field in fields)):
        assert check.output.count(told) == 1
    assert "no-debe-verse" not in run.errors + dry.errors + check.output + check.errors


@pytest.mark.parametrize("option", OPTIONS_OF_THE_TICK)
def test_an_option_of_the_tick_before_a_command_is_a_usage_error(bare_installation: Installation, option: str) -> None:
    """Not only where it would be dangerous: none of them is obeyed there. `--debug` is."""
    run = bare_installation.run(option, "init-db")
    assert run.exit_code == 2, str(run)
    name = option.partition("=")[0]
    assert run.errors.splitlines()[-1] == (
        f"Error: {name} es una opción del ciclo y delante de init-db no vale; quítela"
    )
    assert bare_installation.everything_in_the_database() == {"(sequences)": []}


def test_an_option_that_a_command_has_too_is_sent_behind_it(installation: Installation) -> None:
    run = installation.run("--transfers", "3", "restore", "uno", "destino")
    assert run.exit_code == 2
    assert run.errors.splitlines()[-1].endswith("; escríbala detrás: restore --transfers")


def test_debug_may_stand_before_any_command(bare_installation: Installation) -> None:
    assert bare_installation.run("--debug", "init-db").exit_code == 0
    assert bare_installation.run("--debug", "jobs").exit_code == 0


@pytest.mark.parametrize("file_exists", [True, False])
def test_without_the_address_of_a_database_it_is_said_where_it_was_looked_for(
    installation: Installation, file_exists: bool
) -> None:
    """As when cron starts the program in another directory, or `.env` has another name for it."""
    work = Path(installation.environment["HOME"])
    change_constants(installation, sql__connection__LOST_FOR_SECONDS=0.5)
    if file_exists:
        (work / ".env").write_text("OTRA_COSA=1\n")
    for arguments in ([], ["--dry-run"], ["check"], ["status"], ["init-db"], ["restore", "u", "d"], ["secret", "list"]):
        run = installation.run(*arguments, DATABASE_URL=None, JANITOR_SECRET_KEYS="A" * 43 + "=")
        assert run.exit_code == 3, str(run)
        (error,) = run.messages("ERROR")
        assert error.startswith(f"falta DATABASE_URL: no está en el entorno ni en {work}/.env")
        assert (", que no existe" in error) == (not file_exists)
        assert "arranque su servidor" not in run.output


def test_in_a_wrong_directory_nothing_else_is_blamed_and_nothing_is_made(
    bare_installation: Installation, tmp_path: Path
) -> None:
    """As where cron starts the program in `/`, where the default `TEMP_DIR` would be refused, too."""
    for directory, runs in (("/", [["--dry-run"]]), (str(tmp_path), [[], ["--clean-only"], ["--dry-run"]])):
        environment = {name: bare_installation.environment[name] for name in ("PATH", "LANG")}
        before = sorted(os.listdir(directory))
        for arguments in runs:
            done = subprocess.run(
                [sys.executable, str(bare_installation.program), *arguments],
                env=environment, cwd=directory, capture_output=True, text=True, check=False, timeout=60,
            )  # fmt: skip
            assert done.returncode == 3, done.stderr
            (line,) = done.stderr.splitlines()
            file = Path(directory, ".env")
            assert f"falta DATABASE_URL: no está en el entorno ni en {file}, que no existe" in line
        assert sorted(os.listdir(directory)) == before


@pytest.mark.parametrize("arguments", [[], ["--clean-only"], ["status"], ["check"]], ids=" ".join)
def test_a_working_directory_that_is_gone_is_named_as_such(installation: Installation, arguments: list[str]) -> None:
    gone = installation.directory / "borrado"
    gone.mkdir()
    script = f'cd "{gone}" && rmdir "{gone}" && exec "$@"'
    environment = {name: value for name, value in installation.environment.items() if name != "TEMP_DIR"}
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", sys.executable, str(installation.program), *arguments],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert "el directorio de trabajo ya no existe; entre con cd en " in line


@pytest.mark.parametrize("variable", ["JANITOR_LOG_DIR", "JANITOR_LOCK_DIR"])
@pytest.mark.parametrize("way", ["as it is", "link"])
def test_a_log_or_lock_in_a_root_is_refused_before_it_is_made(
    installation: Installation, nas: Destination, variable: str, way: str
) -> None:
    """It would be migrated with an execution, and change meanwhile. A root may lie in one of them."""
    installation.configure(installation.add_provider(nas))
    execution = installation.small_execution("uno")
    directory = execution / "dentro"
    if way == "link":
        (installation.directory / "enlace").symlink_to(execution)
        directory = installation.directory / "enlace" / "dentro"
    for arguments in ([], ["--dry-run"], ["--clean-only"], ["--migrate-only"]):
        run = installation.run(*arguments, **{variable: str(directory)})
        assert run.exit_code == 2, str(run)
        (error,) = run.messages("ERROR")
        assert error.startswith(f"{variable}: {execution}/dentro está en la raíz {installation.executions} ")
    assert not directory.exists()
    assert installation.rows("SELECT FROM janitor_runs") == []
    check = installation.run("check", **{variable: str(directory)})
    assert check.exit_code == 1
    assert f"ERROR  {'registro' if variable == 'JANITOR_LOG_DIR' else 'bloqueo'}: {variable}: " in check.output
    assert installation.run(**{variable: str(installation.directory)}).exit_code == 0


def test_two_lock_directories_are_still_one_lock(installation: Installation, nas: Destination, tmp_path: Path) -> None:
    """Cron and a person's shell may name different ones, or may write to different ones; a run that is killed, and
    leaves nothing behind, keeps nobody out.
    """
    installation.configure(installation.add_provider(nas))
    installation.small_execution("uno", datos="x" * 50_000)
    other = tmp_path / "otros-bloqueos"
    other.mkdir()
    with installation.start("--bandwidth-limit", "1K") as command:
        command.wait_for_line("Migrando ejecución uno")
        again = installation.run("--migrate-only", JANITOR_LOCK_DIR=str(other))
        assert again.exit_code == 75, str(again)
        assert again.messages("ERROR") == [
            "otro proceso de esta máquina hace ya lo que se pide (migración): no hay que hacer nada, salvo que no acabe"
        ]
        elsewhere = installation.run("--clean-only", JANITOR_LOCK_DIR=str(other), JANITOR_HOST="otra-máquina")
        assert elsewhere.exit_code == 0, str(elsewhere)
        command.stop(signal.SIGKILL)
    assert installation.run(JANITOR_LOCK_DIR=str(other)).exit_code == 0
    assert installation.place("uno")[0] is True


@pytest.mark.parametrize("table", ["ejecuciones_yaml", "cloud_providers"])
def test_a_column_that_the_platform_lacks_is_the_platforms_to_add(
    installation: Installation, new_destination: Callable[[str], Destination], table: str
) -> None:
    column = {"ejecuciones_yaml": "ruta_directorio", "cloud_providers": "configuracion"}[table]
    installation.configure(1)
    installation.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    run = installation.run("--migrate-only")
    assert run.exit_code == 2, str(run)
    (error,) = run.messages("ERROR")
    assert f"a la tabla {table} le falta la columna {column}; aplique la migración de la plataforma" in error
    assert "init-db" not in error
    check = installation.run("check", JANITOR_ROOTS=str(installation.directory / "falta"), JANITOR_SECRET_KEYS="no")
    assert check.exit_code == 2, str(check)
    assert f"ERROR  tabla {table}: le falta la columna {column}; aplique la migración de la plataforma" in check.output
    for told in ("/falta: no existe; móntela", "bien   registro", "bien   bloqueo", "claves de los secretos: "):
        assert told in check.output, told
