"""What an operator sees of a restore: the last line, the exit code, and how the same command continues."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.destinations import Destination
from tests.processes import wait_until
from tests.servers.odd_file_system import Rules, mounted_odd_file_system
from tests.stories.installation import Installation
from tests.stories.trees import make_usual_tree, snapshot

MARK = ".janitor-restore-incomplete"


@pytest.fixture
def migrated(installation: Installation, nas: Destination) -> Installation:
    """One execution, `uno`, in the cloud and still here."""
    installation.configure(installation.add_provider(nas))
    installation.add_execution("uno", installation.new_directory("uno"))
    make_usual_tree(installation.executions / "uno")
    assert installation.run().exit_code == 0
    return installation


def files_and_bytes(directory: Path) -> tuple[int, int]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return len(files), sum(path.stat().st_size for path in files)


def test_the_last_line_says_how_many_files_there_are_and_how_many_were_there(
    migrated: Installation, nas: Destination
) -> None:
    original = migrated.executions / "uno"
    destination = migrated.directory / "restaurada"
    files, size_bytes = files_and_bytes(original)
    stored = nas.directory / "ejecuciones" / "uno" / "registro.log"
    stored.rename(stored.with_name("apartado"))

    run = migrated.run("restore", "uno", str(destination))
    assert run.exit_code == 1, str(run)
    (error,) = run.messages("ERROR")
    assert error.startswith("la ejecución uno no se pudo restaurar de nas: registro.log: ")
    assert error.endswith("repita la misma orden para seguir")
    assert (destination / MARK).exists()

    stored.with_name("apartado").rename(stored)
    run = migrated.run("restore", "uno", str(destination))
    assert run.exit_code == 0, str(run)
    told = f"Ejecución uno restaurada en {destination}: {files} ficheros, {size_bytes} bytes"
    assert run.output == f"{told}; {files - 1} ya estaban y se comprobaron\n"
    assert snapshot(destination) == snapshot(original)

    other = migrated.directory / "otra"
    whole = migrated.run("restore", "uno", str(other))
    assert whole.output == f"Ejecución uno restaurada en {other}: {files} ficheros, {size_bytes} bytes\n"


@pytest.mark.parametrize("options", [(), ("--request-restore",)])
def test_what_a_provider_refuses_names_the_execution_the_provider_and_what_to_do(
    migrated: Installation, nas: Destination, options: tuple[str, ...]
) -> None:
    """Looked for in its directory, its manifest, its row and the request for what is archived."""
    beginning = "la ejecución uno no se pudo restaurar de nas: "
    advice = "compruébelo con check y repita la misma orden"
    target = str(migrated.directory / "restaurada")
    manifest = nas.directory / "ejecuciones" / "uno.manifest.json"
    manifest.rename(nas.directory / "apartado")
    (error,) = migrated.run("restore", "uno", target, *options).messages("ERROR")
    assert "uno.manifest.json" in error
    assert options or (error.startswith(beginning) and error.endswith(advice)), error

    nas.directory.rename(nas.directory.with_name("desmontado"))
    (error,) = migrated.run("restore", "uno", target, *options).messages("ERROR")
    of_step = beginning.replace("restaurar", "sacar del archivo") if options else beginning
    assert error == f"{of_step}no existe el directorio {nas.directory}; {advice}"

    migrated.execute("UPDATE cloud_providers SET configuracion = '{}'")
    (error,) = migrated.run("restore", "uno", target, *options).messages("ERROR")
    assert error == f"{beginning}configuracion.ruta: falta; {advice}"


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_restore_that_is_stopped_from_outside_continues_by_the_same_command(
    installation: Installation, new_destination: Callable[[str], Destination], signal_number: signal.Signals
) -> None:
    """In the middle of a large file, under a limit that keeps it on its way."""
    installation.configure(installation.add_provider(new_destination("s3-rclone")))
    original = installation.new_directory("uno")
    make_usual_tree(original)
    (original / "grande.bin").write_bytes(os.urandom(12_000_000))
    installation.add_execution("uno", original)
    assert installation.run().exit_code == 0
    target = installation.directory / "restaurada"
    with installation.start("restore", "uno", str(target), "--bandwidth-limit", "2M", "--transfers", "2") as command:
        wait_until(lambda: (target / "grande.bin").exists() and (target / "grande.bin").stat().st_size > 0, 60)
        run = command.stop(signal_number)
    assert run.exit_code == {signal.SIGKILL: -9, signal.SIGINT: 130, signal.SIGTERM: 143}[signal_number], str(run)
    assert (target / MARK).exists()
    again = installation.run("restore", "uno", str(target))
    assert again.exit_code == 0, str(again)
    assert snapshot(target) == snapshot(original)


def test_a_restore_of_several_that_is_killed_continues_where_it_stopped(
    installation: Installation, new_destination: Callable[[str], Destination]
) -> None:
    """In the middle of the second one; the first one is whole and stays as it is."""
    installation.configure(installation.add_provider(new_destination("s3-rclone")))
    for uuid in ("uno", "dos"):
        installation.small_execution(uuid)
    (installation.executions / "dos" / "grande.bin").write_bytes(os.urandom(8_000_000))
    assert installation.run().exit_code == 0
    target = installation.directory / "recuperadas"
    order = ("restore", "uno", "dos", "--to", str(target))
    with installation.start(*order, "--bandwidth-limit", "1M", "--transfers", "2") as command:
        small, large = target / "uno", target / "dos" / "grande.bin"
        wait_until(lambda: large.exists() and large.stat().st_size > 0, 60)
        wait_until(lambda: (small / "tabla.txt").exists() and not (small / MARK).exists(), 60)
        assert command.stop(signal.SIGKILL).exit_code == -9
    before = (target / "uno").stat()
    again = installation.run(*order)
    assert again.exit_code == 0, str(again)
    assert "Ejecución uno: ya estaba" in again.output
    assert (target / "uno").stat().st_mtime_ns == before.st_mtime_ns
    assert all(snapshot(target / uuid) == snapshot(installation.executions / uuid) for uuid in ("uno", "dos"))


@pytest.mark.parametrize(
    ("uuid", "parts"), [("uno", [""]), ("uno", [" "]), ("", ["nueva"]), ("uno", ["no-hay", "nueva"])]
)
def test_an_empty_argument_or_a_missing_parent_is_a_usage_error_and_nothing_is_made(
    migrated: Installation, uuid: str, parts: list[str]
) -> None:
    before = set(migrated.directory.rglob("*"))
    destination = parts[0] if not parts[0].strip() else str(migrated.directory.joinpath(*parts))
    run = migrated.run("restore", uuid, destination)
    assert run.exit_code == 2, str(run)
    assert run.errors.splitlines()[-1].startswith("Error: Valor no válido para ")
    made = set(migrated.directory.rglob("*")) - before
    assert {path for path in made if path.suffix not in (".stdout", ".stderr")} == set()


def test_a_file_as_destination_is_a_usage_error(migrated: Installation) -> None:
    path = migrated.directory / "fichero"
    path.write_text("algo")
    run = migrated.run("restore", "uno", str(path))
    assert run.exit_code == 2, str(run)
    assert "no es un directorio" in run.errors
    assert path.read_text() == "algo"


def test_two_names_that_are_one_on_the_disk_are_an_error(installation: Installation, nas: Destination) -> None:
    installation.configure(installation.add_provider(nas))
    directory = installation.small_execution("uno")
    (directory / "Informe.txt").write_text("uno")
    (directory / "informe.TXT").write_text("otro")
    assert installation.run().exit_code == 0
    odd = installation.directory / "disco"
    odd.mkdir()
    with mounted_odd_file_system(odd, Rules(folds_case=True)):
        run = installation.run("restore", "uno", str(odd / "restaurada"))
        assert run.exit_code == 1, str(run)
        (error,) = run.messages("ERROR")
        assert "Informe.txt" in error
        assert "informe.TXT" in error
        assert (odd / "restaurada" / "tabla.txt").read_bytes() == (directory / "tabla.txt").read_bytes()


def test_a_disk_that_keeps_no_modes_gets_everything_else_and_exit_code_1(migrated: Installation) -> None:
    odd = migrated.directory / "disco"
    odd.mkdir()
    with mounted_odd_file_system(odd, Rules(modes="refused")):
        run = migrated.run("restore", "uno", str(odd / "restaurada"))
        assert run.exit_code == 1, str(run)
        assert run.output.startswith("Ejecución uno restaurada en ")
        (error,) = run.messages("ERROR")
        assert "permisos (ejecucion.yaml, " in error
        assert files_and_bytes(odd / "restaurada") == files_and_bytes(migrated.executions / "uno")
        assert not (odd / "restaurada" / MARK).exists()


def test_an_execution_without_files_has_nothing_to_restore(migrated: Installation) -> None:
    migrated.add_execution("vacía", None)
    migrated.add_execution("nueva", migrated.new_directory("nueva"))
    for uuid, why in (("vacía", "no dejó ficheros: no hay nada que restaurar"), ("nueva", "no está migrada a la nube")):
        run = migrated.run("restore", uuid, str(migrated.directory / "restaurada"))
        assert run.messages("ERROR") == [f"la ejecución {uuid} {why}"], str(run)


def test_what_there_is_one_of_is_reported_in_the_singular(installation: Installation, nas: Destination) -> None:
    installation.configure(installation.add_provider(nas))
    (installation.new_directory("uno") / "único").write_text("a")
    installation.add_execution("uno", installation.executions / "uno")
    assert installation.run().exit_code == 0
    target = installation.directory / "restaurada"
    assert installation.run("restore", "uno", str(target)).output == (
        f"Ejecución uno restaurada en {target}: 1 fichero, 1 byte\n"
    )


def test_a_line_that_cannot_be_written_says_so_and_that_the_files_are_whole(migrated: Installation) -> None:
    """Also looked for in `status`, `check` and the help."""
    target = migrated.directory / "restaurada"
    full = "no se puede escribir en la salida estándar: no queda espacio en el dispositivo"
    for arguments, told in (
        (["restore", "uno", str(target)], f"la ejecución uno está restaurada entera en {target}, pero {full}"),
        (["status"], full),
        (["check"], full),
        (["--help"], full),
    ):
        with Path("/dev/full").open("w") as output:
            run = subprocess.run(
                [sys.executable, str(migrated.program), *arguments],
                cwd=migrated.directory,
                env=migrated.environment,
                stdout=output,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert run.returncode == 1, arguments
        assert run.stderr.splitlines()[-1].endswith(f" - ERROR - {told}"), (arguments, run.stderr)
    assert snapshot(target) == snapshot(migrated.executions / "uno")


@pytest.mark.parametrize("content", [None, b"", b"mine\n", b"[1]"])
def test_a_half_restored_directory_is_not_migrated(
    installation: Installation, nas: Destination, content: bytes | None
) -> None:
    """It would replace the copy that it came from. A file of the execution's own may have the mark's name."""
    installation.configure(installation.add_provider(nas))
    directory = installation.small_execution("uno")
    whole = b'{"execution": "uno", "place": "ejecuciones/uno", "manifest_sha256": "00"}\n'
    (directory / MARK).write_bytes(whole if content is None else content)
    run = installation.run()
    if content:
        assert run.exit_code == 0, str(run)
        assert installation.place("uno")[0] is True
        return
    assert run.exit_code == 1, str(run)
    assert any("contiene una restauración a medias" in message for message in run.messages()), str(run)
    assert installation.place("uno")[0] is False
    assert not (nas.directory / "ejecuciones").exists()
    (directory / MARK).unlink()
    installation.let_pauses_end()
    assert installation.run().exit_code == 0
